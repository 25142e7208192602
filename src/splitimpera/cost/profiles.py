"""Profiles as files: JSON, validated from end to end when they are read, for they come from other machines."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from splitimpera.codec.codec_names import codec_kind
from splitimpera.core.bounds import BOUNDS
from splitimpera.core.errors import DataError, SplitImperaError, shown, shown_path
from splitimpera.core.files import read_file, write_output
from splitimpera.graph.tracing import ModelGraph
from splitimpera.records.device import CodecTime, CutTime, LayerTime, PacedTimes, Profile

SCHEMA_VERSION = 2
READ_VERSIONS = (1, 2)
"""Version 1 has no samples, and no paced times."""
BYTES_AT_MOST = 20_000_000
KEYS_AT_MOST = 50
LAYERS_AT_MOST = 20_000
SAMPLES_AT_MOST = 10_000
"""Of one layer, head, tail or codec."""

Name = Annotated[str, Field(max_length=500)]
Seconds = Annotated[float, Field(ge=0, le=1e5, allow_inf_nan=False)]
SecondsPerByte = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Samples = Annotated[list[Seconds], Field(max_length=SAMPLES_AT_MOST)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _LayerTime(_Section):
    name: Name
    operation: Name
    seconds: Seconds
    spread_s: Seconds
    samples_s: Samples = []


class _CutTime(_Section):
    cut: Annotated[int, Field(ge=0, le=LAYERS_AT_MOST)]
    head_s: Seconds | None
    head_spread_s: Seconds
    tail_s: Seconds | None
    tail_spread_s: Seconds
    head_samples_s: Samples = []
    tail_samples_s: Samples = []
    bottleneck: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0


class _CodecTime(_Section):
    codec: Name
    encode_start_s: Seconds
    encode_per_byte_s: SecondsPerByte
    decode_start_s: Seconds
    decode_per_byte_s: SecondsPerByte
    encode_spread: Samples = []
    decode_spread: Samples = []


class _Times(_Section):
    call_s: Seconds
    layers: Annotated[list[_LayerTime], Field(max_length=LAYERS_AT_MOST)]
    cuts: Annotated[list[_CutTime], Field(max_length=LAYERS_AT_MOST)]
    codecs: Annotated[list[_CodecTime], Field(max_length=1000)]

    @field_validator("layers")
    @classmethod
    def _same_passes(cls, layers: list[_LayerTime]) -> list[_LayerTime]:
        counts = sorted({len(layer.samples_s) for layer in layers})
        if len(counts) > 1:
            raise ValueError(f"layers have {counts[0]} to {counts[-1]} samples, one a pass is expected in each")
        return layers

    def times(self) -> dict[str, Any]:
        """Its fields as those of the records."""
        return {
            "call_s": self.call_s,
            "layers": tuple(LayerTime(**_plain(layer)) for layer in self.layers),
            "cuts": tuple(CutTime(**_plain(cut)) for cut in self.cuts),
            "codecs": tuple(CodecTime(**_plain(codec)) for codec in self.codecs),
        }


class _PacedTimes(_Times):
    fps: Annotated[float, Field(**BOUNDS["fps"].limits(), allow_inf_nan=False)]
    wake_s: Seconds


class _Profile(_Times):
    schema_version: Literal[1, 2]
    machine: Name
    network: Name
    input_shape: Annotated[list[Annotated[int, Field(ge=0, le=10**9)]], Field(max_length=10)]
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    engine: Name
    threads: Annotated[int, Field(ge=1, le=4096)]
    peak_bytes: Annotated[int, Field(ge=0, le=10**15)]
    paced: _PacedTimes | None = None

    def record(self) -> Profile:
        others = {"machine", "network", "fingerprint", "engine", "threads", "peak_bytes"}
        paced = (
            None
            if self.paced is None
            else PacedTimes(fps=self.paced.fps, wake_s=self.paced.wake_s, **self.paced.times())
        )
        shape = tuple(self.input_shape)
        return Profile(input_shape=shape, paced=paced, **self.model_dump(include=others), **self.times())


def _plain(section: _Section) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in vars(section).items()}


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


def write_profile(profile: Profile, path: Path, argument: str = "--out") -> None:
    """Write a profile as JSON, at once or not at all; `argument` is the option that named it.

    Raises:
        OutputError: that cannot be written.
    """
    content = {"schema_version": SCHEMA_VERSION} | asdict(profile)
    write_output(path, (json.dumps(content, indent=1) + "\n").encode(), argument)


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
    if version not in READ_VERSIONS:
        known = " and ".join(map(str, READ_VERSIONS))
        raise DataError(
            f"'{name}' is a profile of version {shown(version)}, this program reads versions {known}",
            hint="profile the machine again with the same version of splitimpera as here",
        )
    try:
        profile = _Profile.model_validate(content).record()
        for time in (*profile.codecs, *(profile.paced.codecs if profile.paced else ())):
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
        kinds: list[Profile | PacedTimes] = [profile, *([profile.paced] if profile.paced else [])]
        if all(len(times.layers) == len(graph.layers) for times in kinds) and all(
            time.cut < len(graph.cuts) for times in kinds for time in times.cuts
        ):
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
    return next((time for time in profile.best.codecs or profile.codecs if time.codec == codec), None)


def _entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; every entry that is not known would be one error more."""
    found = dict(pairs)
    if len(found) < len(pairs) or len(found) > KEYS_AT_MOST:
        raise ValueError("keys that stand there twice, or too many of them")
    return found


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"
