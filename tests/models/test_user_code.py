"""Users' code that ends the process, changes it, or fails in ways of its own: one message, and nothing changed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import splitimpera as sei
from splitimpera.core.errors import DataError, ModelError, SplitImperaError
from splitimpera.models.datasets import load_data
from splitimpera.models.imports import contained, run_factory
from splitimpera.models.networks import load_network
from splitimpera.scenario import DataSection, NetworkSection

HEAD = """
import os, sys, torch
from torch import nn

class Bad(Exception):
    def __str__(self):
        raise RuntimeError("no text")

class Worse(BaseException):
    def __str__(self):
        sys.exit(0)

class Empty(Exception):
    def __str__(self):
        return 7

class Painted(Exception):
    def __str__(self):
        return "\\x1b]0;title\\x07" + "long " * 100000 + "\\nsecond line"

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)
    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))
"""

ENDS = {
    "sys.exit(0)": "SystemExit: 0",
    "sys.exit()": "SystemExit",
    "exit()": "SystemExit",
    "raise SystemExit(3)": "SystemExit: 3",
    "raise GeneratorExit": "GeneratorExit",
    "raise BaseException('end')": "BaseException: end",
    "raise Bad": "Bad: without a text",
    "raise Worse": "Worse: without a text",
    "raise Empty": "Empty: without a text",
    "raise Painted": r"Painted: \\x1b]0;title\\x07long long",
    "raise MemoryError": "MemoryError",
    "raise FileNotFoundError('weights.bin')": "FileNotFoundError: weights.bin",
    "(lambda f: f(f))(lambda f: f(f))": "RecursionError",
    "1 / 0": "ZeroDivisionError",
    "raise StopIteration": "StopIteration",
}

PLACES = {
    "at the import": "{end}\ndef network(): return Net()",
    "in the factory": "def network():\n    {end}",
    "in forward": "class Ends(Net):\n    def forward(self, x):\n        {end}\ndef network(): return Ends()",
    "in a trace": (
        "class Ends(Net):\n    calls = 0\n    def forward(self, x):\n        Ends.calls += 1\n"
        "        if Ends.calls > 1:\n            {end}\n        return super().forward(x)\ndef network(): return Ends()"
    ),
    "in a hook": (
        "def hook(module, inputs, output):\n    {end}\ndef network():\n    net = Net()\n"
        "    net.conv.register_forward_hook(hook)\n    return net"
    ),
    "in eval()": "class Ends(Net):\n    def train(self, mode=True):\n        {end}\ndef network(): return Ends()",
    "in modules()": "class Ends(Net):\n    def modules(self):\n        {end}\ndef network(): return Ends()",
}


def loaded(folder, code, *, weights=None):
    (folder / "mine.py").write_text(HEAD + code)
    network = load_network(NetworkSection(model="mine.py:network", weights=weights), folder)
    return sei.trace(network, torch.zeros(2, 3, 8, 8))


def readable(error):
    message = str(error)
    assert len(message) < 2000
    assert "\n" not in message
    assert message.isprintable()
    return message


QUICK = {"at the import", "in the factory"}


@pytest.mark.parametrize(
    ("place", "end"),
    [
        # those that trace take longer; what they raise is told in one place
        pytest.param(place, end, marks=() if place in QUICK or number % 5 == 0 else pytest.mark.slow)
        for place in PLACES
        for number, end in enumerate(ENDS)
    ],
)
def test_whatever_a_network_raises_is_an_error_with_its_line(place, end, tmp_path):
    with pytest.raises(ModelError) as caught:
        loaded(tmp_path, PLACES[place].format(end=end))
    message = readable(caught.value)
    if place != "in a trace" or end not in ("raise Bad", "raise Empty"):  # torch asks for the text while it traces
        assert ENDS[end].replace("\\\\", "\\") in message
    assert "(mine.py, line " in message


@pytest.mark.parametrize(
    "code",
    [
        "def data():\n    {end}",
        "class Rows:\n    def __len__(self):\n        {end}\n    def __getitem__(self, row): return 1.0\n"
        "def data(): return Rows(), torch.arange(40) % 3",
        "class Rows:\n    def __len__(self): return 40\n    def __getitem__(self, row):\n        {end}\n"
        "def data(): return Rows(), torch.arange(40) % 3",
        "from collections.abc import Mapping\nclass Parts(Mapping):\n    def __len__(self): return 2\n"
        "    def __iter__(self): return iter(['validation', 'test'])\n"
        "    def __getitem__(self, key):\n        {end}\ndef data(): return Parts()",
    ],
)
@pytest.mark.parametrize("end", [end for end in ENDS if "Iteration" not in end])
def test_whatever_data_raise_is_an_error(code, end, tmp_path):
    (tmp_path / "mine.py").write_text(HEAD + code.format(end=end))
    with pytest.raises(DataError) as caught:
        load_data(DataSection(source="mine.py:data"), tmp_path)
    readable(caught.value)


@pytest.mark.parametrize("method", ["state_dict", "load_state_dict", "named_parameters", "named_modules"])
def test_a_network_that_refuses_its_weights_is_an_error(method, tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "w.pt")
    code = f"class Ends(Net):\n    def {method}(self, *a, **b):\n        sys.exit(0)\ndef network(): return Ends()"
    if method == "load_state_dict":
        torch.save(
            {
                **{"conv.weight": torch.ones(4, 3, 3, 3), "conv.bias": torch.ones(4)},
                **{"head.weight": torch.ones(5, 4), "head.bias": torch.ones(5)},
            },
            tmp_path / "w.pt",
        )
    with pytest.raises(ModelError, match=r"SystemExit: 0 \(mine\.py, line \d+"):
        loaded(tmp_path, code, weights="w.pt")


def test_ctrl_c_passes(tmp_path):
    (tmp_path / "mine.py").write_text("def network(): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        run_factory("mine.py:network", tmp_path, ModelError)


def test_long_and_strange_names_of_files_and_functions_are_errors(tmp_path):
    (tmp_path / "mine.py").write_text(HEAD + "globals()['\\x1b[2J'] = print")
    for name in (
        "x" * 300 + ".py:network",
        "mine.py:netwrok",
        ".mine:network",
        "..:network",
        "a\0b.py:network",
        "a.py:b",
    ):
        with pytest.raises(ModelError) as caught:
            load_network(NetworkSection.model_construct(model=name, weights=None), tmp_path)
        readable(caught.value)


# What is put back -----------------------------------------------------------------------------------------------------

DEEDS = {
    "os.chdir": "os.chdir(os.path.dirname(os.getcwd()))",
    "a folder that is gone": "import tempfile\nd = tempfile.mkdtemp()\nos.chdir(d)\nos.rmdir(d)",
    "sys.path": "sys.path.append('/nowhere')",
    "another sys.path": "sys.path = []",
    "random": "import random\nrandom.seed(7)",
    "numpy's random": "import numpy\nnumpy.random.seed(7)",
    "torch's random": "torch.manual_seed(7)\ntorch.rand(3)",
    "default type": "torch.set_default_dtype(torch.float64)",
    "default device": "torch.set_default_device('meta')",
    "gradients": "torch.set_grad_enabled(False)",
    "inference mode": "mode = torch.inference_mode()\nmode.__enter__()",
    "autocast": "auto = torch.autocast('cpu')\nauto.__enter__()",
    "deterministic": "torch.use_deterministic_algorithms(True, warn_only=True)",
    "precision": "torch.set_float32_matmul_precision('medium')",
    "threads": "torch.set_num_threads(torch.get_num_threads() + 1)",
    "warnings": "import warnings\nwarnings.simplefilter('error')",
    "numpy's errors": "import numpy\nnumpy.seterr(all='raise')",
    "locale": "import locale\nlocale.setlocale(locale.LC_ALL, 'C')",
    "recursion": "sys.setrecursionlimit(5000)",
    "Ctrl-C": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)",
    "standard output": "import io\nsys.stdout = io.StringIO()",
    "standard error": "sys.stderr = None",
}


def process():
    """What the rest of the program relies on."""
    import locale
    import signal

    return {
        "cwd": str(Path.cwd()),
        "path": (id(sys.path), tuple(sys.path)),
        "random": random.getstate(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "warnings": list(warnings.filters),
        "errors": np.geterr(),
        "locale": locale.setlocale(locale.LC_ALL),
        "recursion": sys.getrecursionlimit(),
        "interrupt": signal.getsignal(signal.SIGINT),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
    }


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("place", ["at the import", "in the factory", "in forward"])
def test_what_a_network_does_to_the_process_is_put_back(deed, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = {
        "at the import": "{}\ndef network(): return Net()",
        "in the factory": "def network():\n    {}\n    return Net()",
        "in forward": "class Does(Net):\n    def forward(self, x):\n        {}\n        return super().forward(x)\n"
        "def network(): return Does()",
    }[place]
    indent = {"at the import": "", "in the factory": " " * 4, "in forward": " " * 8}[place]
    before = process()
    try:
        loaded(tmp_path, body.format(DEEDS[deed].replace("\n", "\n" + indent)))
    except SplitImperaError as error:
        readable(error)  # a network on no device, for instance
    assert process() == before


def test_it_is_put_back_after_an_exception_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = process()
    # an inference mode that a failed frame holds ends when the frame does
    deeds = "\n".join(deed for name, deed in DEEDS.items() if name not in ("standard error", "inference mode"))
    (tmp_path / "mine.py").write_text(
        HEAD + f"def network():\n    {deeds.replace(chr(10), chr(10) + ' ' * 4)}\n    1 / 0"
    )
    with pytest.raises(ModelError, match="ZeroDivisionError"):
        load_network(NetworkSection(model="mine.py:network"), tmp_path)
    assert process() == before


def test_a_seed_set_at_the_import_holds_in_the_factory(tmp_path):
    (tmp_path / "mine.py").write_text("import torch\ntorch.manual_seed(4)\ndef network(): return torch.nn.Linear(3, 3)")
    first, second = (load_network(NetworkSection(model="mine.py:network"), tmp_path) for _ in range(2))
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize(
    "deed",
    [
        "sys.__stdout__.close(); os.close(2)",
        *(pytest.param(deed, marks=pytest.mark.slow) for deed in ("sys.stdout.close()", "os.close(1)", "exit()")),
    ],
)
def test_closed_standard_streams_are_open_again(deed, tmp_path):
    (tmp_path / "mine.py").write_text(HEAD + f"def network():\n    {deed}\n    return Net()")
    code = (
        "import sys\nfrom pathlib import Path\nfrom splitimpera.core.errors import ModelError\n"
        "from splitimpera.models.imports import run_factory\nprint('before')\n"
        "try:\n    run_factory('mine.py:network', Path.cwd(), ModelError)\nexcept ModelError as error:\n    pass\n"
        "print('after')\nprint('errors', file=sys.stderr)\nassert not sys.stdin.closed\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "before\nafter\n", "errors\n")


def test_a_process_without_standard_streams_is_served_too():
    streams = sys.stdin, sys.stdout, sys.stderr
    try:
        sys.stdin = sys.stdout = sys.stderr = None
        with contained():
            pass
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["net.py:network", "net:network"])
def test_files_of_one_name_in_two_folders_are_two_modules(name, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for width, folder in enumerate(folders, 3):
        folder.mkdir()
        (folder / "net.py").write_text(
            "import neighbour\nfrom torch import nn\ndef network():\n    import later\n"
            "    return nn.Linear(neighbour.WIDTH, later.WIDTH)\nclass Kept: pass\n"
        )
        for file in ("neighbour", "later"):
            (folder / f"{file}.py").write_text(f"WIDTH = {width}")
    before = set(sys.modules)
    for folder, width in [*zip(folders, (3, 4), strict=True), (folders[0], 3)]:
        assert load_network(NetworkSection(model=name), folder).weight.shape == (width, width)
    new = {key for key in sys.modules.keys() - before if key.startswith("splitimpera_user_net_")}
    assert len(new) == (2 if name.startswith("net.py") else 0)


def test_installed_modules_are_not_forgotten(tmp_path):
    import json

    (tmp_path / "mine.py").write_text("import json\nfrom torch import nn\ndef network(): return nn.Linear(1, 1)")
    (tmp_path / "json.py").write_text("raise RuntimeError")
    load_network(NetworkSection(model="mine.py:network"), tmp_path)
    assert sys.modules["json"] is json


# Kinds of networks ----------------------------------------------------------------------------------------------------


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))


class Lazy(Small):
    def __init__(self):
        super().__init__()
        self.head = nn.LazyLinear(5)


def inside(module):
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return self.inner(x)

    return Around()


def exported():
    return torch.export.export(Small().eval(), (torch.zeros(2, 3, 8, 8),))


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(Small(), {nn.Linear}, torch.qint8)


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(Small())


def sparse():
    model = Small()
    model.register_buffer("table", torch.eye(3).to_sparse())
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (exported, "is an exported program.*return the nn.Module that was exported"),
        (lambda: exported().module(), "is an exported program"),
        (scripted, "is a scripted module; return the nn.Module"),
        (lambda: inside(scripted()), "layer 'inner' of the network is a scripted module"),
        (quantised, "layer 'head' of the network is quantised.*in floating point"),
        (Lazy, "'head.weight' of the network is not initialised"),
        (lambda: Small().to("meta"), "'conv.weight' of the network is on the device 'meta'"),
        (sparse, r"'table' of the network is sparse \(sparse_coo\)"),
        (lambda: Small, "is type, an nn.Module is expected"),
        (lambda: None, "is NoneType, an nn.Module is expected"),
    ],
)
def test_networks_of_other_kinds_are_refused_by_name(make, message):
    with pytest.raises(ModelError, match=message):
        sei.trace(make(), torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize(
    "make", [lambda: nn.DataParallel(Small()), lambda: torch.compile(Small()), lambda: torch.fx.symbolic_trace(Small())]
)
def test_what_only_runs_a_network_is_looked_through(make):
    graph = sei.trace(make(), torch.zeros(2, 3, 8, 8))
    assert [layer.name for layer in graph.layers] == ["conv", "mean", "head"]
    assert sum(layer.parameters for layer in graph.layers) == sum(p.numel() for p in Small().parameters())


@pytest.mark.parametrize(
    "result",
    [
        *("None", "[]", "'text'", "7", "(v for v in y)", "y.detach().numpy()", "object()", "y.to_sparse()", "Net"),
        *("torch.zeros(2, 5)", "y.to(torch.uint16)", "y.to(torch.float8_e4m3fn)", "y.to('meta')", "{1: y, 'a': y}"),
        *("(y, 3, None, 'k')", "y.to(torch.complex64)", "[[y], {'a': (y,)}]", "y > 0", "y.squeeze()", "y.nonzero()"),
        *("y.sum()", "y[:, :0]"),
    ],
)
def test_results_of_any_kind_are_traced_or_refused(result, tmp_path):
    code = f"class Odd(Net):\n    def forward(self, x):\n        y = super().forward(x)\n        return {result}\n"
    try:
        graph = loaded(tmp_path, code + "def network(): return Odd()")
    except SplitImperaError as error:
        readable(error)
    else:
        assert graph.layers
