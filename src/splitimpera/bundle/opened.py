"""A bundle on a disk, folder or `.zip`: each file is held to the manifest before anybody looks into it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from splitimpera.bundle.manifest import MANIFEST, MANIFEST_BYTES, HopEntry, Manifest, PlanEntry, read_manifest
from splitimpera.codec.codecs import codec_from
from splitimpera.codec.constants import Constants
from splitimpera.core.array_types import Array
from splitimpera.core.errors import BundleError, SplitImperaError, shown, shown_path
from splitimpera.core.files import read_file
from splitimpera.records.policy import LARGEST_BYTES, PlanKey, Policy, read_policy
from splitimpera.records.traffic import Codec

MOST_ENTRIES = 20_000
DIRECTORY_BYTES = 4 << 20
"""The largest directory that an archive may have: each entry of it becomes an object before any can be counted."""


class _Place(Protocol):
    """Where the files are."""

    def read(self, name: str, most_bytes: int) -> bytes: ...


@dataclass(frozen=True)
class Bundle:
    """An open bundle.

    Attributes:
        path: The folder or `.zip`.
    """

    path: Path
    manifest: Manifest
    place: _Place

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            BundleError: it is missing, or is not what the manifest says.
        """
        known = self.manifest.files.get(name)
        if known is None:
            raise BundleError(f"the bundle lists no file '{shown(name)}'", where=shown_path(self.path))
        content = self.place.read(name, known.bytes)
        if len(content) != known.bytes or hashlib.sha256(content).hexdigest() != known.sha256:
            raise BundleError(
                f"'{name}' is not the file that was exported", where=shown_path(self.path), hint="copy it anew"
            )
        return content

    def codec(self, hop: HopEntry) -> Codec:
        """The codec of a hop, for what crosses there.

        Raises:
            BundleError: its constants are damaged, or are others than the hop's number says.
        """
        specs = tuple(entry.spec for entry in hop.tensors)
        arrays = {} if hop.constants is None else read_arrays(self.read(hop.constants))
        constants = Constants(hop.codec, specs, hop.packet_bytes, arrays)
        try:
            codec = codec_from(constants, specs)
        except SplitImperaError as error:  # of a name that is not known, or constants that do not fit
            raise BundleError(f"the codec '{shown(hop.codec)}' cannot be made: {error}") from None
        if constants.plan_id != hop.number:
            raise BundleError(f"the constants of '{shown(hop.codec)}' are those of another plan")
        return codec

    def policy(self) -> Policy | None:
        """Which plan is used at which link condition; None: the bundle has no policy.

        Raises:
            BundleError: it is damaged, or speaks of other plans than those of the bundle.
        """
        if self.manifest.policy is None:
            return None
        if self.manifest.files[self.manifest.policy].bytes > LARGEST_BYTES:
            raise BundleError("the policy is larger than any that is written", where=shown_path(self.path))
        policy = read_policy(self.read(self.manifest.policy))
        policy.check_plans({plan.id: _key(plan) for plan in self.manifest.plans})
        return policy


def open_bundle(path: str | Path) -> Bundle:
    """A bundle as export wrote it; only its manifest is read.

    Args:
        path: A folder with a `manifest.json`, or a `.zip` of one.

    Raises:
        BundleError: there is none, or it is damaged.

    Example:
        with Client(open_bundle("bundle"), "10.0.0.2:7433", security=security) as client:
            print(client.infer(image).name)
    """
    path = Path(path)
    place: _Place
    if path.is_dir():
        place = _Folder(path)
    elif zipfile.is_zipfile(path):
        place = _Zip(path)
    else:
        raise BundleError(
            f"'{shown_path(path)}' is no bundle: a folder or a .zip with a {MANIFEST} is expected",
            hint="'splitimpera export' writes one",
        )
    try:
        return Bundle(path, read_manifest(place.read(MANIFEST, MANIFEST_BYTES)), place)
    except BundleError as error:
        raise error.at(f"'{shown_path(path)}'" + (f": {error.where}" if error.where else "")) from None


def _key(plan: PlanEntry) -> PlanKey:
    if not plan.hops:
        return PlanKey(None, None, 0.0, None)
    hop = plan.hops[0]
    return PlanKey(hop.cut, hop.codec, hop.bottleneck, hop.transport)


def read_arrays(content: bytes) -> Mapping[str, Array]:
    """The arrays of a safetensors file.

    Raises:
        BundleError: it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        # the library returns them in any order, and a codec's number is that of one
        return {key: np.asarray(array) for key, array in sorted(load(content).items())}
    except (SafetensorError, ValueError, TypeError, KeyError) as failure:
        raise BundleError(f"the file of arrays is damaged: {shown(failure)}") from None


@dataclass(frozen=True)
class _Folder:
    path: Path

    def read(self, name: str, most_bytes: int) -> bytes:
        # a link in the folder may lead anywhere
        file = (self.path / name).resolve()
        if not file.is_relative_to(self.path.resolve()):
            raise BundleError(f"'{shown(name)}' leads out of the bundle")
        return read_file(file, most_bytes, BundleError, what="bundle's file")


class _InParts(io.FileIO):
    """A file that hands out a part at a time: a directory that is larger is cut short, and no archive's."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(DIRECTORY_BYTES if size is None or size < 0 else min(size, DIRECTORY_BYTES))

    def __del__(self) -> None:
        self.close()


class _Zip:
    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(_InParts(path))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as failure:
            raise BundleError(f"'{shown_path(path)}' cannot be opened: {shown(failure)}") from None
        if len(self._archive.infolist()) > MOST_ENTRIES:
            raise BundleError(f"'{shown_path(path)}' has more than {MOST_ENTRIES} entries, a bundle has fewer")

    def read(self, name: str, most_bytes: int) -> bytes:
        """What the entry holds, and no more than it may: whatever an entry's header says is not believed."""
        try:
            with self._archive.open(name) as file:
                content = file.read(most_bytes + 1)
        except KeyError:
            raise BundleError(f"the bundle lacks '{shown(name)}'") from None
        except Exception as failure:  # of a damaged or encrypted archive, in many kinds
            raise BundleError(f"'{shown(name)}' cannot be read: {shown(failure)}") from None
        if len(content) > most_bytes:
            raise BundleError(f"'{shown(name)}' is larger than it may be")
        return content
