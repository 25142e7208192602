"""Files of weights: every number is the parameter's kind of number, and nothing else is read, run or waited for."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from splitimpera.core.errors import ModelError
from splitimpera.models.weights import fill, read_state


class Net(nn.Module):
    """Parameters and buffers of every kind."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.narrow = nn.Parameter(torch.zeros(2, dtype=torch.float16))
        self.turn = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("small", torch.zeros(2, dtype=torch.int8))
        self.register_buffer("known", torch.zeros(2, dtype=torch.bool))
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))


def state(changes=None):
    return {key: value.clone() for key, value in Net().state_dict().items()} | (changes or {})


def filled(tmp_path, content, name="w.pt"):
    torch.save(content, tmp_path / name)
    model = Net()
    fill(model, tmp_path / name)
    return model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_floats_of_another_width_are_taken(dtype, tmp_path):
    model = filled(tmp_path, state({"weight": torch.full((2, 3), 1.5).to(dtype)}))
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, torch.full((2, 3), 1.5))


def test_integers_of_another_width_are_taken(tmp_path):
    assert filled(tmp_path, state({"count": torch.tensor(7, dtype=torch.int32)})).count == 7


def test_a_mask_that_is_infinite_in_the_network_may_be_so_in_its_file(tmp_path):
    assert filled(tmp_path, state()).mask[1] == float("-inf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": torch.ones(2, 3, dtype=torch.complex64)}, r"weight holds complex numbers \(complex64\), floating"),
        ({"weight": torch.ones(2, 3, dtype=torch.int64)}, r"weight holds integers \(int64\), floating-point numbers"),
        ({"weight": torch.ones(2, 3, dtype=torch.bool)}, "weight holds truth values"),
        ({"turn": torch.ones(2)}, r"turn holds floating-point numbers \(float32\), complex numbers"),
        ({"count": torch.tensor(1.0)}, "count holds floating-point numbers"),
        ({"count": torch.tensor(True)}, "count holds truth values"),
        ({"known": torch.ones(2, dtype=torch.uint8)}, "known holds integers"),
        ({"small": torch.tensor([1, 300])}, "small holds numbers beyond int8"),
        ({"weight": torch.full((2, 3), 1e300, dtype=torch.float64)}, "weight holds numbers beyond float32"),
        ({"narrow": torch.tensor([1.0, 1e6])}, "narrow holds numbers beyond float16"),
        ({"weight": torch.full((2, 3), float("nan"))}, "weight holds NaN or infinite numbers"),
        ({"weight": torch.full((2, 3), float("inf"))}, "weight holds NaN or infinite numbers"),
        ({"mask": torch.tensor([float("-inf"), 0.0])}, "mask holds NaN or infinite numbers"),
        ({"mask": torch.tensor([0.0, float("nan")])}, "mask holds NaN or infinite numbers"),
        ({"weight": torch.ones(3, 2)}, r"weight has shape \(3, 2\), \(2, 3\) is expected"),
        ({"weight": torch.zeros(1).expand(10**15)}, r"weight has shape \(1000000000000000,\)"),
        ({"weight": torch.eye(3).to_sparse()}, r"'weight' is sparse \(sparse_coo\), a plain tensor"),
        ({"weight": torch.eye(3).to_sparse_csr()}, r"'weight' is sparse \(sparse_csr\), a plain tensor"),
        ({"weight": torch.ones(2, 3, device="meta")}, "'weight' is on the device 'meta'"),
        ({"weight": torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8)}, "'weight' is quantised"),
        ({"weight": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}, "'weight' is a nested tensor"),
        ({7: torch.ones(1)}, "names a tensor 7, a text is expected"),
        ({("a", 1): torch.ones(1)}, r"names a tensor \('a', 1\), a text is expected"),
        ({"epoch": 3}, "'epoch' is int, a plain tensor is expected"),
        ({"inner": {"weight": torch.ones(1)}}, "'inner' is dict, a plain tensor is expected"),
        ({f"k{i}": torch.ones(1) for i in range(5000)}, r"it adds k0, k1, k10 and 4997 more$"),
        ({"x\x1b[2J" + "y" * 500: torch.ones(1)}, r"it adds x\\x1b\[2Jyyy"),
    ],
)
def test_other_kinds_are_refused_by_name_and_nothing_is_changed(changes, message, tmp_path):
    torch.save(state(changes), tmp_path / "w.pt")
    model = Net()
    with pytest.raises(ModelError, match=message) as caught:
        fill(model, tmp_path / "w.pt")
    assert len(str(caught.value)) < 1000
    assert str(caught.value).startswith("network.weights: ")
    assert all(torch.equal(value, Net().state_dict()[key]) for key, value in model.state_dict().items())


def test_several_faults_and_keys_that_are_missing(tmp_path):
    content = state()
    del content["narrow"]
    with pytest.raises(ModelError, match="it lacks narrow and adds more"):
        filled(tmp_path, content | {"more": torch.ones(1)})


def test_safetensors_are_held_to_the_same(tmp_path):
    save_file(state({"weight": torch.ones(2, 3, dtype=torch.int32)}), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="weight holds integers"):
        fill(Net(), tmp_path / "w.safetensors")


def test_files_of_an_older_torch_are_read_without_a_word(tmp_path):
    torch.save(state({"weight": torch.ones(2, 3)}), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    model = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fill(model, tmp_path / "w.pt")
    assert model.weight.sum() == 6


class Large:
    def __reduce__(self):
        return bytearray, (10**10,)


class Runs:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("harm", [Large(), Runs(), print])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_that_hold_more_than_tensors_are_refused_before_they_are_read(harm, zipped, tmp_path):
    torch.save({"weight": torch.ones(1), "harm": harm}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"no state dict of tensors: it holds (__builtin__|posix|builtins)"):
        read_state(tmp_path / "w.pt")


def test_archives_that_unpack_to_more_are_refused_before_they_are_unpacked(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as whole, zipfile.ZipFile(tmp_path / "bomb.pt", "w", 8) as bomb:
        for entry in whole.infolist():
            bomb.writestr(entry.filename, whole.read(entry))
        bomb.writestr("w/data/1", b"\0" * 50_000_000)
    with pytest.raises(ModelError, match="compressed"):
        read_state(tmp_path / "bomb.pt")


def test_what_is_no_state_dict_is_refused_with_what_to_do(tmp_path):
    files = {
        "list.pt": lambda path: torch.save([torch.ones(1)], path),
        "tensor.pt": lambda path: torch.save(torch.ones(1), path),
        "module.pt": lambda path: torch.save(nn.Linear(1, 1), path),
        "plain.pt": lambda path: path.write_bytes(pickle.dumps({"w": 1})),
        "text.pt": lambda path: path.write_text("weights"),
        "empty.pt": lambda path: path.write_bytes(b""),
        "empty.safetensors": lambda path: path.write_bytes(b""),
        "zip.pt": lambda path: zipfile.ZipFile(path, "w").close(),
    }
    for name, write in files.items():
        write(tmp_path / name)
        with pytest.raises(ModelError, match=r"save model\.state_dict") as caught:
            read_state(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_files_cut_short_anywhere_are_refused(tmp_path):
    torch.save(state(), tmp_path / "w.pt")
    torch.save(state(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(state(), tmp_path / "w.safetensors")
    for name in ("w.pt", "old.pt", "w.safetensors"):
        whole = (tmp_path / name).read_bytes()
        path = tmp_path / f"cut-{name}"
        for size in range(0, len(whole), 97):
            path.write_bytes(whole[:size])
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(ModelError):
                    read_state(path)


def test_pipes_folders_and_what_is_not_there(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.pt").mkdir()
    for name, message in (
        ("pipe.pt", "is a pipe or a device"),
        ("pipe.safetensors", "is a pipe or a device"),
        ("folder.pt", "is a folder"),
        ("none.pt", "the weights file '.*none.pt' does not exist"),
        ("x" * 300, "cannot be read: File name too long"),
        ("nul\0l", "cannot be read"),
    ):
        with pytest.raises(ModelError, match=message):
            read_state(tmp_path / name)


@pytest.mark.slow
def test_the_command_line_ends_in_one_line(tmp_path):
    (tmp_path / "net.py").write_text("from torch import nn\ndef network(): return nn.Linear(64, 10)")
    torch.save({"weight": torch.ones(10, 64, dtype=torch.complex64), "bias": torch.ones(10)}, tmp_path / "w.pt")
    run = subprocess.run(
        [sys.executable, "-m", "splitimpera", "profile", "net.py:network", "--input", "1,64", "--weights", "w.pt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr == (
        "error: network.weights: 'w.pt' does not fit the network: weight holds complex numbers (complex64), "
        "floating-point numbers (float32) are expected\n"
    )
