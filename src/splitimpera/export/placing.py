"""A bundle's files -> a folder or a `.zip`, whole or not at all."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from splitimpera.bundle.manifest import MANIFEST, MANIFEST_BYTES, Manifest, read_manifest, written
from splitimpera.core.errors import BundleError, OutputError, shown, shown_path
from splitimpera.core.files import TEMPORARY_SUFFIX, check_file, check_writable, output_error, read_file, write_output

ARGUMENT = "--out"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every entry of a `.zip`, so that one bundle makes one file."""


def files_of(manifest: Manifest, contents: Mapping[str, bytes], only: str | None = None) -> dict[str, bytes]:
    """The files that a machine needs, the manifest first.

    Args:
        only: "device" or "server", the first and the last machine, or a machine's name; None: all.

    Raises:
        BundleError: the bundle knows no such machine.
    """
    manifest_file = {MANIFEST: written(manifest)}
    if only is None:
        return manifest_file | dict(contents)
    part = manifest.part(machine_called(only, [part.machine for part in manifest.parts]))
    return manifest_file | {name: contents[name] for name in part.files}


def machine_called(name: str, machines: list[str]) -> str:
    """The machine that `--only` names.

    Raises:
        BundleError: there is none.
    """
    if name in machines:
        return name
    if name == "device":
        return machines[0]
    if name == "server" and len(machines) > 1:
        return machines[-1]
    known = ", ".join(dict.fromkeys(["device", *(["server"] if len(machines) > 1 else []), *machines]))
    raise BundleError(f"the plan has no machine '{shown(name)}'", where="--only", hint=f"known: {known}")


def check_place(out: Path) -> None:
    """Refuse a place where a bundle could not be written, before any work is done.

    Raises:
        OutputError: it cannot be written, or something else is there.
    """
    if _is_zip(out):
        check_file(out, ARGUMENT)
        return
    check_writable(out.parent, ARGUMENT)
    _check_replaceable(out)


def write_bundle(files: Mapping[str, bytes], out: Path) -> None:
    """Write a bundle, in place of an earlier one.

    Args:
        files: As `files_of` has them.
        out: A folder, or a file that ends in `.zip`.

    Raises:
        OutputError: it cannot be written, or something else is there; that is as it was.
    """
    if _is_zip(out):
        write_output(out, _archive(files), ARGUMENT)
        return
    _check_replaceable(out)
    try:
        _placed(files, out.absolute())
    except (OSError, ValueError) as failure:
        raise output_error(out, failure, ARGUMENT) from None


def _is_zip(out: Path) -> bool:
    return out.suffix.lower() == ".zip"


def _archive(files: Mapping[str, bytes]) -> bytes:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, content)
    return archive.getvalue()


def _check_replaceable(out: Path) -> None:
    """Only what is a bundle and nothing else gives way to one."""
    try:
        if not os.path.lexists(out):
            return
        if out.is_symlink() or not out.is_dir():
            raise OutputError(
                f"'{shown_path(out)}' is there and is no folder", where=ARGUMENT, hint="choose another place"
            )
        try:
            known = {MANIFEST, *read_manifest(read_file(out / MANIFEST, MANIFEST_BYTES, BundleError)).files}
        except BundleError:
            known = set()
        others = (path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink() or not path.is_dir())
        other = next((name for name in others if name not in known), None)
    except (OSError, ValueError) as failure:
        raise output_error(out, failure, ARGUMENT) from None
    if other is not None:
        raise OutputError(
            f"'{shown_path(out)}' is there and holds other things than a bundle ('{shown(other)}')",
            where=ARGUMENT,
            hint="choose another place",
        )


def _placed(files: Mapping[str, bytes], place: Path) -> None:
    """Fill a folder beside it, then let it take the place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    mark = f".{os.getpid()}-{os.urandom(6).hex()}"
    fresh, old = (place.with_name(f"{mark}-{which}{TEMPORARY_SUFFIX}") for which in ("new", "old"))
    try:
        for name, content in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if place.exists():
            place.rename(old)
        try:
            fresh.rename(place)
        except OSError:
            if old.exists():
                old.rename(place)
            raise
    finally:
        for path in (fresh, old):
            with suppress(OSError):
                shutil.rmtree(path)
