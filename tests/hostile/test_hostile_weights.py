"""Files of weights: true ones with bytes changed, and state dicts of anything that a file can hold."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections import OrderedDict
from pathlib import Path

import torch
from harness import attack, refused_or_taken
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from splitimpera.models.weights import fill

FOLDER = Path(tempfile.mkdtemp())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("count", torch.tensor(1))


def written(state: object, kind: str) -> bytes:
    if kind == "safetensors":
        return save(state)
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=kind == "pt")
    return buffer.getvalue()


FILES = {kind: written(Net().state_dict(), kind) for kind in ("pt", "old", "safetensors")}

changes = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 1 << 20), st.integers(0, 255)),
        st.tuples(st.just("cut"), st.integers(0, 1 << 20), st.just(0)),
        st.tuples(st.just("insert"), st.integers(0, 1 << 20), st.binary(max_size=9)),
        st.tuples(st.just("remove"), st.integers(0, 1 << 20), st.integers(1, 200)),
        st.tuples(st.just("repeat"), st.integers(0, 1 << 20), st.integers(1, 200)),
        st.tuples(st.just("number"), st.integers(0, 1 << 20), st.sampled_from([b"\xff" * 8, b"\x7f" * 4, b"\0" * 8])),
    ),
    max_size=6,
)


def mutated(data: bytes, steps: list[tuple[str, int, object]]) -> bytes:
    for kind, place, value in steps:
        at = place % (len(data) + 1)
        if kind == "set":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + value + data[at:]
        elif kind == "number":
            data = data[:at] + value + data[at + len(value) :]
        elif kind == "remove":
            data = data[:at] + data[at + value :]
        else:
            data = data[: at + value] + data[at:]
    return data


def taken(data: bytes, kind: str) -> None:
    """What is taken is finite, of the network's own kinds; a refusal changes nothing and warns of nothing."""
    path = FOLDER / f"{os.getpid()}.{'safetensors' if kind == 'safetensors' else 'pt'}"
    path.write_bytes(data)
    model = Net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = refused_or_taken(lambda: fill(model, path) or True)
    for key, value in model.state_dict().items():
        assert torch.isfinite(value).all()
        assert value.dtype == before[key].dtype
        assert done or torch.equal(value, before[key])


def check_bytes(kind: str, steps: list[tuple[str, int, object]]) -> None:
    taken(mutated(FILES[kind], steps), kind)


test_changed_bytes, test_changed_bytes_long = attack(check_bytes, st.sampled_from(list(FILES)), changes, long=650)


def tensors() -> st.SearchStrategy[Tensor]:
    shapes = st.lists(st.integers(0, 4), max_size=3) | st.just([2, 3]) | st.just([2]) | st.just([])
    dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.float8_e5m2, torch.complex64, torch.int64]
    dtypes += [torch.uint8, torch.bool, torch.uint64, torch.complex32, torch.int8, torch.float16]
    values = st.sampled_from([0.0, 1.0, -3.0, 1e300, float("nan"), float("inf"), 65504.0])

    def made(shape: list[int], dtype: torch.dtype, value: float) -> Tensor:
        whole = not (dtype.is_floating_point or dtype.is_complex)
        finite = value == value and abs(value) < 100
        return torch.full(shape, value if finite or not whole else 1.0, dtype=torch.float64).to(dtype)

    def strange(kind: str) -> Tensor:
        return {
            "sparse": lambda: torch.eye(3).to_sparse(),
            "csr": lambda: torch.eye(3).to_sparse_csr(),
            "meta": lambda: torch.ones(2, 3, device="meta"),
            "quantised": lambda: torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8),
            "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            "expanded": lambda: torch.zeros(1).expand(10**12),
            "turned": lambda: torch.ones(3, 2).t(),
            "parameter": lambda: nn.Parameter(torch.ones(2)),
            "conjugate": lambda: torch.ones(2, dtype=torch.complex64).conj(),
        }[kind]()

    kinds = st.sampled_from(
        ["sparse", "csr", "meta", "quantised", "nested", "expanded", "turned", "parameter", "conjugate"]
    )
    return st.builds(made, shapes, st.sampled_from(dtypes), values) | st.builds(strange, kinds)


keys = st.sampled_from(["layer.weight", "layer.bias", "count"]) | st.text(max_size=5) | st.integers() | st.none()
others = st.none() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9) | st.booleans()
entries = tensors() | others | st.lists(tensors(), max_size=2) | st.dictionaries(keys, others, max_size=2)
states = st.dictionaries(keys, entries, max_size=6) | entries
nearly = st.dictionaries(st.sampled_from(["layer.weight", "layer.bias", "count"]), entries, max_size=2)


def check_states(state: object, kind: str, near: dict[str, object] | None) -> None:
    if near is not None:
        state = OrderedDict(Net().state_dict()) | near
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of kinds that it will not know for long
        data = written(state, kind)
    taken(data, kind)


test_states, test_states_long = attack(
    check_states, states, st.sampled_from(["pt", "old"]), st.none() | nearly, long=650
)
