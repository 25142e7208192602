"""Which bundles a server serves, by a file that its operator changes: new ones are loaded beside the old, which drain.

The file names a bundle a line, as folder or `.zip`; paths that are not absolute start from the folder of the file. What
stands behind a # is a note. To roll back, name the old bundle again.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from splitimpera.bundle.opened import Bundle, open_bundle
from splitimpera.core.errors import BundleError, SplitImperaError, shown, shown_path
from splitimpera.core.files import read_file
from splitimpera.deploy.event_log import tell
from splitimpera.deploy.server import DRAIN_S, Server

log = logging.getLogger(__name__)

CHECK_S = 1.0
POINTER_BYTES = 1 << 16
BUNDLES_AT_MOST = 16
HINT = "write one a line: the folder of a bundle, or its .zip"


def named_bundles(pointer: Path) -> list[Path]:
    """The bundles that a file names, the newest last.

    Raises:
        BundleError: it cannot be read, is no text, or names none or too many.
    """
    content = read_file(pointer, POINTER_BYTES, BundleError, what="file of bundles", hint=HINT)
    where = shown_path(pointer)
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise BundleError("text in UTF-8 is expected", where=where, hint=HINT) from None
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not 0 < len(names) <= BUNDLES_AT_MOST:
        raise BundleError(
            f"1 to {BUNDLES_AT_MOST} bundles are expected, {len(names)} are named", where=where, hint=HINT
        )
    if any("\0" in name for name in names):
        raise BundleError("a path holds a null character", where=where, hint=HINT)
    return [pointer.parent / name for name in names]


def opened_bundles(places: list[Path]) -> list[Bundle]:
    """Open some bundles; of two that are the same the first.

    Raises:
        BundleError: one is none.
    """
    bundles: dict[str, Bundle] = {}
    for place in places:
        bundle = open_bundle(place)
        bundles.setdefault(bundle.manifest.bundle, bundle)
    return list(bundles.values())


class Rollout:
    """Keeps a server at the bundles that a file names.

    The file is looked at again and again, and read where it has changed; so it is after `hurry`. A bundle that cannot
    be served is logged, once, and then nothing changes.

    Args:
        pointer: The file.
        drain_s: How long clients of a bundle that is named no more may stay.
        check_s: How often the file is looked at.
    """

    def __init__(self, server: Server, pointer: str | Path, drain_s: float = DRAIN_S, check_s: float = CHECK_S) -> None:
        self.server, self.pointer, self.drain_s, self.check_s = server, Path(pointer), drain_s, check_s
        self._seen: tuple[int, ...] = ()  # so it is read once: it may have changed since the server began to load
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Read the file now, whether it has changed or not; for signal handlers."""
        self._hurry.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            asked = False
            try:
                await asyncio.wait_for(self._hurry.wait(), self.check_s)
                asked = True
                self._hurry.clear()
            except TimeoutError:
                pass
            state = _state(self.pointer)
            if asked or state != self._seen:
                self._seen = state
                await self.follow()

    async def follow(self) -> bool:
        """Serve what the file names; False: it cannot be, and all is as it was."""
        server = self.server
        try:
            wanted = await asyncio.to_thread(lambda: opened_bundles(named_bundles(self.pointer)))
            loaded = [await server.load(bundle) for bundle in wanted]
        except SplitImperaError as failure:
            tell(log, logging.ERROR, "bundles not changed", pointer=str(self.pointer), failure=str(failure))
            return False
        except Exception as failure:  # engines fail in kinds of their own, and the server goes on
            tell(log, logging.ERROR, "bundles not changed", pointer=str(self.pointer), failure=shown(failure, 300))
            return False
        for served in loaded:
            server.add(served)
        for served in server.bundles.open:
            if served not in loaded:
                server.drain(served.id, self.drain_s)
        return True


def _state(path: Path) -> tuple[int, ...]:
    """What changes when a file is written anew; empty: it is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
