"""Profiles as files: JSON, validated from end to end when they are read, for they come from other machines."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splitimpera.codec.codecs import codec_kind
from splitimpera.core.errors import DataError, SplitImperaError, shown, shown_path
from splitimpera.core.files import read_file, write_output
from splitimpera.graph.tracing import ModelGraph
from splitimpera.records.device import CodecTime, CutTime, LayerTime, Profile

SCHEMA_VERSION = 1
BYTES_AT_MOST = 20_000_000
KEYS_AT_MOST = 50
LAYERS_AT_MOST = 20_000

Name = Annotated[str, Field(max_length=500)]
Seconds = Annotated[float, Field(ge=0, le=1e5, allow_inf_nan=False)]
SecondsPerByte = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _LayerTime(_Section):
    name: Name
    operation: Name
    seconds: Seconds
    spread_s: Seconds


class _CutTime(_Section):
    cut: Annotated[int, Field(ge=0, le=LAYERS_AT_MOST)]
    head_s: Seconds
    head_spread_s: Seconds
    tail_s: Seconds
    tail_spread_s: Seconds


class _CodecTime(_Section):
    codec: Name
    encode_start_s: Seconds
    encode_per_byte_s: SecondsPerByte
    decode_start_s: Seconds
    decode_per_byte_s: SecondsPerByte


class _Profile(_Section):
    schema_version: Literal[1]
    machine: Name
    network: Name
    input_shape: Annotated[list[Annotated[int, Field(ge=0, le=10**9)]], Field(max_length=10)]
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    engine: Name
    threads: Annotated[int, Field(ge=1, le=4096)]
    call_s: Seconds
    layers: Annotated[list[_LayerTime], Field(max_length=LAYERS_AT_MOST)]
    cuts: Annotated[list[_CutTime], Field(max_length=LAYERS_AT_MOST)]
    codecs: Annotated[list[_CodecTime], Field(max_length=1000)]
    peak_bytes: Annotated[int, Field(ge=0, le=10**15)]

    def record(self) -> Profile:
        fields = self.model_dump(exclude={"schema_version", "layers", "cuts", "codecs", "input_shape"})
        return Profile(
            input_shape=tuple(self.input_shape),
            layers=tuple(LayerTime(**layer.model_dump()) for layer in self.layers),
            cuts=tuple(CutTime(**cut.model_dump()) for cut in self.cuts),
            codecs=tuple(CodecTime(**codec.model_dump()) for codec in self.codecs),
            **fields,
        )


def fingerprint(graph: ModelGraph) -> str:
    """16 hexadecimal digits that stand for a network's layers, shapes and cuts; weights do not count."""
    layers = [
        [layer.name, layer.operation, layer.output.shape, layer.output.dtype, layer.parameters, layer.macs]
        for layer in graph.layers
    ]
    cuts = [[[tensor.shape, tensor.dtype] for tensor in cut.tensors] for cut in graph.cuts]
    return hashlib.sha256(json.dumps([layers, cuts]).encode()).hexdigest()[:16]


def input_shape(graph: ModelGraph) -> tuple[int, ...]:
    """What a network takes, for one frame; of several inputs the first."""
    return graph.cuts[0].tensors[0].shape


def write_profile(profile: Profile, path: Path) -> None:
    """Write a profile as JSON, at once or not at all.

    Raises:
        OutputError: that cannot be written.
    """
    content = {"schema_version": SCHEMA_VERSION} | asdict(profile)
    write_output(path, (json.dumps(content, indent=1) + "\n").encode(), "--out")


def read_profile(path: Path) -> Profile:
    """Read a file that `write_profile` wrote, perhaps elsewhere.

    Raises:
        DataError: there is no such file, or it is no profile, or one of another version.
    """
    hint = "'splitimpera profile' writes one, on the machine that it is of"
    text, name = read_file(path, BYTES_AT_MOST, DataError, what="profile", hint=hint), shown_path(path)
    try:
        content = json.loads(text.decode(), object_pairs_hook=_entries)
    except (ValueError, RecursionError):
        raise DataError(f"'{name}' is no profile: it is not JSON as it should be", hint=hint) from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise DataError(f"'{name}' is no profile: it has no schema_version", hint=hint)
    if version != SCHEMA_VERSION:
        raise DataError(
            f"'{name}' is a profile of version {shown(version)}, this program reads version {SCHEMA_VERSION}",
            hint="profile the machine again with the same version of splitimpera as here",
        )
    try:
        profile = _Profile.model_validate(content).record()
        for time in profile.codecs:
            codec_kind(time.codec)
        return profile
    except SplitImperaError as error:
        raise DataError(f"'{name}' is a profile of codecs that there are not here: {error}") from None
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_context=False, include_input=False)[0]
        key = shown(".".join(str(part) for part in first["loc"]))
        raise DataError(f"'{name}' is no profile: {key}: {shown(first['msg'].lower())}", hint=hint) from None


def check_profile(profile: Profile, graph: ModelGraph) -> None:
    """Refuse a profile of another network, or of another input size.

    Raises:
        DataError: with what it is of, and what was expected.
    """
    shape = input_shape(graph)
    if profile.input_shape != shape:
        raise DataError(
            f"this profile of '{shown(profile.network)}' was taken with inputs of {_by(profile.input_shape)}, "
            f"here they are {_by(shape)}",
            hint=f"profile the machine again with --input 1,{','.join(map(str, shape))}",
        )
    if profile.fingerprint == fingerprint(graph):
        if len(profile.layers) == len(graph.layers) and all(time.cut < len(graph.cuts) for time in profile.cuts):
            return
        raise DataError("this profile has other layers or cuts than the network that it says it is of")
    named = next(
        (
            f"layer {place} is '{shown(theirs.name)}' there and '{shown(ours.name)}' here"
            for place, (theirs, ours) in enumerate(zip(profile.layers, graph.layers, strict=False), 1)
            if (theirs.name, theirs.operation) != (ours.name, ours.operation)
        ),
        f"{len(profile.layers)} layers there, {len(graph.layers)} here",
    )
    raise DataError(
        f"this profile is of '{shown(profile.network)}', another network than the scenario's: {named}",
        hint="profile the machine again with this network",
    )


def codec_time(profile: Profile, codec: str) -> CodecTime | None:
    """What a profile knows of a codec, by its exact name."""
    return next((time for time in profile.codecs if time.codec == codec), None)


def _entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; every entry that is not known would be one error more."""
    found = dict(pairs)
    if len(found) < len(pairs) or len(found) > KEYS_AT_MOST:
        raise ValueError("keys that stand there twice, or too many of them")
    return found


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"
