"""What a process takes that runs a language model's blocks, as one that is deployed does: without PyTorch.

    python benchmarks/token_process.py '{"file": "blocks.onnx", "blocks": 8, "key_value_shape": [2, 64], ...}'

It opens a program, reads a prompt and writes until the context is full, for each of some users. Standard output is one
line of JSON: megabytes over those of the same process with an empty program, and seconds. Linux.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from splitimpera.bundle.language_entry import BlocksEntry, LanguageEntry
from splitimpera.core.array_types import Array
from splitimpera.deploy.inference import load_program
from splitimpera.deploy.token_past import Past
from splitimpera.deploy.token_programs import TokenProgram

MB = 1e6
KINDS = "VmRSS", "VmHWM"


def resident() -> tuple[float, float]:
    """Bytes that the process has in memory, and the most since `forget_most`."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (1024.0 * int(lines[kind].split()[0]) for kind in KINDS)
    return now, most


def private() -> float:
    """Bytes of pages that are this process's alone."""
    lines = [line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]]
    return 1024.0 * sum(int(words[1]) for words in lines if words[0].startswith("Private"))


def forget_most() -> None:
    """Count the most from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def run(asked: dict[str, Any]) -> dict[str, float]:
    """What `asked` says, measured: `load` and `load_most`, `prefill_most`, `full`, `full_most` and `full_private` in
    MB; `prefill_s` of the prompt; `decode_s` behind it and `decode_full_s` at the end, medians of the last user's."""
    load_program("onnx", Path(asked["empty"]).read_bytes())
    (before, _), own = resident(), private()
    forget_most()
    program = load_program("onnx", Path(asked["file"]).read_bytes())
    found = dict(zip(("load", "load_most"), resident(), strict=True))
    count = asked["start"] + asked["blocks"]
    language = LanguageEntry(
        vocabulary=asked["vocabulary"],
        context=asked["context"],
        width=asked["width"],
        key_value_shape=asked["key_value_shape"],
        blocks=[BlocksEntry(cut=0, blocks=0), BlocksEntry(cut=1, blocks=count)],
    )
    blocks = TokenProgram(program, language, asked["blocks"], asked["start"] == 0, asked["last"])
    blocks.warm_up()
    forget_most()
    kept, seconds, prefill_s = list[Past](), list[float](), float("nan")
    for _ in range(asked["users"]):
        begun_s = perf_counter()
        y, past = blocks(_some(asked, asked["prompt"]), None)
        prefill_s = perf_counter() - begun_s
        _, found["prefill_most"] = resident()
        seconds = []
        while past.tokens < asked["context"]:
            begun_s = perf_counter()
            y, past = blocks(_some(asked, 1), past)
            seconds.append(perf_counter() - begun_s)
        kept.append(past)
        del y
    found["full"], found["full_most"] = resident()
    taken = {name: (value - before) / MB for name, value in found.items()} | {"full_private": (private() - own) / MB}
    some = max(len(seconds) // 8, 1)
    decode = {"decode_s": float(np.median(seconds[:some])), "decode_full_s": float(np.median(seconds[-some:]))}
    if "torch" in sys.modules:
        raise RuntimeError("PyTorch was imported, which no deployed process does")
    return taken | decode | {"prefill_s": prefill_s}


def _some(asked: dict[str, Any], tokens: int) -> Array:
    chance = np.random.default_rng(tokens)
    if asked["start"] == 0:
        return chance.integers(0, asked["vocabulary"], tokens)
    return chance.standard_normal((tokens, asked["width"])).astype(np.float32)


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
