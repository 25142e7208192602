"""What do the two sides of a split language model take in memory and time, against what a design predicts?

    python benchmarks/language_memory.py [--models gpt2 llama bytes] [--prompt 128] [--context 512] [--users 4]
        [--budget 2] [--json FILE]

For each network and each of its plans (LC or RC: all blocks in one place; SC: cut behind a third and behind half of the
blocks) a design's prediction, of the network traced on a window as long as the prompt, is held against a process that
runs the exported blocks by ONNX Runtime, without PyTorch: it reads a prompt and writes until the context is full
(`token_process`). What counts is the process's own memory at the end, over that of the same process with an empty
program; resident memory also has what the engine's library has read from its file. The last row of a network is a
server of several users. Times are predicted by `time_tokens`, which runs PyTorch, on one thread
as all is here. Weights are random, the shapes are those of real networks; "bytes" is that of examples/language,
untrained. Exit code 1 where memory is off by more than 15 %. Needs transformers, and Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from onnx import TensorProto, helper  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor, nn

from splitimpera.cost.token_timer import time_tokens
from splitimpera.cost.work import NetworkWork
from splitimpera.evaluation.token_blocks import TokenBlocks
from splitimpera.export.block_programs import block_program
from splitimpera.export.engine_files import OPSET
from splitimpera.graph.tracing import trace
from splitimpera.language.decoder import decoder_of
from splitimpera.records.token_times import TokenTimes

HERE = Path(__file__).parent
MB = 1e6
LIMIT = 0.15
BEYOND = 20
"""Megabytes of weights from which on the limit holds: below, an engine's own bookkeeping is of that size."""
IR_VERSION = 10


@dataclass(frozen=True)
class Row:
    """A part of a network on one machine.

    Attributes:
        weights, activations, cache: What the prediction, in megabytes, consists of.
        measured: As `token_process.run` has it.
        times: What `time_tokens` predicts of prefill and of a step behind the prompt and at the end, seconds.
    """

    network: str
    part: str
    users: int
    weights: float
    activations: float
    cache: float
    measured: dict[str, float]
    times: dict[str, float]

    @property
    def predicted(self) -> float:
        return self.weights + self.activations + self.cache

    @property
    def off(self) -> float:
        return self.predicted / self.measured["full_private"] - 1

    @property
    def holds(self) -> bool:
        return abs(self.off) <= LIMIT or self.weights < BEYOND

    def cells(self) -> list[str]:
        found, users = self.measured, f", {self.users} users" if self.users > 1 else ""
        sizes = [self.weights, self.activations, self.cache, self.predicted, found["full_private"]]
        most = max(found["prefill_most"], found["full_most"])
        ratios = [self.times[name] / found[name] for name in ("prefill_s", "decode_s", "decode_full_s")]
        return [
            self.network,
            self.part + users,
            *(f"{size:.1f}" for size in sizes),
            f"{100 * self.off:+.1f} %",
            *(f"{size:.0f}" for size in (found["full"], most, found["load_most"])),
            *(f"{1e3 * found[name]:.1f}" for name in ("prefill_s", "decode_s", "decode_full_s")),
            " ".join(f"{ratio:.2f}" for ratio in ratios),
        ]


HEAD = ["network", "part", "weights", "activations", "cache", "predicted", "measured, MB", "off", "resident"]
HEAD += ["most while running", "most while loading", "prefill, ms", "a token, ms", "at the end, ms", "predicted times"]


class _Logits(nn.Module):
    """A network of transformers as ids -> logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(ids, use_cache=False).logits
        return logits


def transformers() -> Any:
    """The package, where torchvision is mended as tests need it."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from other_packages import package

    return package("transformers")


def gpt2() -> tuple[nn.Module, nn.Module]:
    """The smallest GPT-2: 12 blocks of width 768, vocabulary 50257, which embedding and head share."""
    package = transformers()
    model = package.GPT2LMHeadModel(package.GPT2Config())
    return model, _Logits(model)


def llama() -> tuple[nn.Module, nn.Module]:
    """12 blocks of width 512 with 8 heads, 2 of keys and values; vocabulary 8192."""
    package = transformers()
    config = package.LlamaConfig(
        vocab_size=8192,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=2048,
    )
    model = package.LlamaForCausalLM(config)
    return model, _Logits(model)


def of_bytes() -> tuple[nn.Module, nn.Module]:
    """That of examples/language."""
    sys.path.insert(0, str(HERE.parent / "examples" / "language"))
    from network import Decoder as Bytes  # type: ignore[import-not-found]

    model = Bytes()
    return model, model


MODELS: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {"gpt2": gpt2, "llama": llama, "bytes": of_bytes}


def rows(name: str, folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Those of one network."""
    torch.manual_seed(0)
    model, whole = (each.eval() for each in MODELS[name]())
    decoder = decoder_of(model)
    context = min(options.context, decoder.context)
    prompt = min(options.prompt, context // 2)
    graph = trace(whole, torch.randint(0, decoder.vocabulary, (2, prompt)))
    blocks, work = TokenBlocks(decoder, graph), NetworkWork(graph)
    cut_behind = {count: cut for cut, count in blocks.cuts.items()}
    last, count = len(graph.cuts) - 1, len(decoder.blocks)
    third, half = (cut_behind[max(count // parts, 1)] for parts in (3, 2))
    timed: dict[tuple[int, int], dict[str, float]] = {}
    spans = [(0, last, 1), (0, third, 1), (third, last, 1), (0, half, 1), (half, last, 1), (half, last, options.users)]
    for start, end, users in spans:
        run = blocks.run(start, end)
        needed, file = work.between(start, end), folder / f"{name}-{start}-{end}.onnx"
        if not file.exists():
            file.write_bytes(block_program(run))
            times = time_tokens(run, prompt, context, budget_s=options.budget)
            timed[start, end] = predicted_times(times, prompt, context)
        asked = {
            "file": str(file),
            "empty": str(folder / "empty.onnx"),
            "start": run.start,
            "blocks": run.stop - run.start,
            "last": run.last,
            "vocabulary": decoder.vocabulary,
            "width": decoder.width,
            "key_value_shape": decoder.key_value_shape,
            "context": context,
            "prompt": prompt,
            "users": users,
        }
        yield Row(
            name,
            f"blocks {run.start} to {run.stop}",
            users,
            (needed.weight_bytes + blocks.laid_out_bytes(start, end)) / MB,
            needed.activation_bytes / MB,
            blocks.cache_bytes(start, end, context, users) / MB,
            measured(asked),
            timed[start, end],
        )


def measured(asked: dict[str, Any]) -> dict[str, float]:
    """What a process of its own says."""
    command = [sys.executable, str(HERE / "token_process.py"), json.dumps(asked)]
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"token_process ended with {ended.returncode}: {ended.stderr[-500:]}")
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def predicted_times(times: TokenTimes, prompt: int, context: int) -> dict[str, float]:
    """Under the names of `token_process.run`."""
    return {
        "prefill_s": float(times.prefill_s(prompt)),
        "decode_s": float(times.decode_s(prompt)),
        "decode_full_s": float(times.decode_s(context - 1)),
    }


def empty_program(path: Path) -> None:
    """A program that returns what it is given."""
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    path.write_bytes(model.SerializeToString())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--prompt", type=int, default=128, help="tokens, and those of the window")
    parser.add_argument("--context", type=int, default=512, help="tokens of prompt and output together")
    parser.add_argument("--users", type=int, default=4, help="of the last row's server")
    parser.add_argument("--budget", type=float, default=2.0, help="seconds of timing for each part")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: list[Row] = []
    print(f"| {' | '.join(HEAD)} |\n| --- | --- |{' ---: |' * (len(HEAD) - 2)}")
    with TemporaryDirectory() as folder:
        empty_program(Path(folder, "empty.onnx"))
        for name in options.models:
            for row in rows(name, Path(folder), options):
                print(f"| {' | '.join(row.cells())} |", flush=True)
                found.append(row)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in found], indent=1))
    return 0 if all(row.holds for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
