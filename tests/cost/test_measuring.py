"""Measuring: what is timed computes what the network computes, and a profile gives back what it measured."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import NETWORKS, inputs, make
from torch.utils._pytree import tree_leaves

from splitimpera.core.errors import CutError, ModelError, UnknownNameError
from splitimpera.cost import measuring as profiling
from splitimpera.cost.coding import coded_s, coding, fitted
from splitimpera.cost.devices import Cost, codec_cost, network_cost
from splitimpera.cost.engines import ENGINES
from splitimpera.cost.measuring import LayerTimer, in_rounds, layer_times, profile_network, spread
from splitimpera.cost.pacing import FRAMES
from splitimpera.cost.profiles import check_profile, read_profile, write_profile
from splitimpera.cost.spread import spread_of
from splitimpera.cost.timing import copied_bytes_per_s, keep_freed_memory
from splitimpera.cost.work import NetworkWork
from splitimpera.graph.tracing import trace
from splitimpera.records.device import Device

pytestmark = pytest.mark.alone


def not_asked():
    raise AssertionError("measured here, though the device is known")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_timed_program_computes_what_the_network_computes(name):
    network, x = make(name).eval(), inputs(name, 1)
    timer = LayerTimer(trace(network, x), x)
    with torch.inference_mode():
        results, stamps = timer.program(*x)
        expected = tree_leaves(network(*x))
        seconds = timer()
    assert all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(results, expected, strict=True))
    assert list(stamps) == sorted(stamps)
    assert (
        len(seconds)
        == len(stamps) - 1
        == len(timer.program.graph.find_nodes(op="call_function", target=time.perf_counter)) - 1
    )
    assert (seconds >= 0).all()


_library = torch.library.Library("splitimpera_cost_tests", "DEF")
_library.define("soften(Tensor x) -> Tensor")
_library.impl("soften", lambda x: x / 2, "CPU")


class Opaque(torch.nn.Module):
    """An operator that nobody has described to torch: `torch.fx` traces it, and modules stay calls of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.ops.splitimpera_cost_tests.soften(self.norm(self.conv(x)).relu()).mean((2, 3)))


def test_what_torch_export_cannot_follow_is_timed_too():
    network, x = Opaque().eval(), (torch.randn(1, 3, 8, 8),)
    graph = trace(network, x)
    assert any(node.op == "call_module" for node in graph.program.graph.nodes)
    with torch.inference_mode():
        results, _ = LayerTimer(graph, x).program(*x)
        assert torch.allclose(results[0], network(*x), atol=1e-5)
    work = NetworkWork(graph)
    whole = work.between(0, len(work.nodes))
    assert whole.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert work.layers[0].weight_bytes == (4 * 27 + 4 + 4 * 4) * 4 + 8  # BatchNorm counts its batches, too
    assert work.uncosted() == ("soften",)


@pytest.fixture(scope="module")
def measured():
    graph, x = trace(make("Chain"), inputs("Chain", 1)), inputs("Chain", 1)
    return graph, profile_network(graph, x, network="chain", cuts=[1, 3], codecs=["float32", "uint8"], rounds=3)


def test_a_profile_reproduces_what_it_measured(measured, tmp_path):
    graph, profile = measured
    write_profile(profile, tmp_path / "p.json")
    read = read_profile(tmp_path / "p.json")
    assert read == profile
    check_profile(read, graph)
    device, work = Device("d", profile=read), NetworkWork(graph)
    assert [cut.cut for cut in profile.cuts] == [0, 1, 3, 5]
    for cut in profile.cuts:
        head = network_cost(device, work.between(0, cut.cut), not_asked)
        assert head == Cost(cut.head_s, "measured", spread_of(cut.head_samples_s))
        if cut.cut:
            tail = network_cost(device, work.between(cut.cut, 5), not_asked)
            assert tail == Cost(cut.tail_s, "measured", spread_of(cut.tail_samples_s))
    untimed = network_cost(device, work.between(0, 2), not_asked)
    assert untimed.how == "estimated"
    passes_s = np.sum([layer.samples_s for layer in profile.layers[:2]], axis=0) + profile.call_s
    assert untimed.seconds == pytest.approx(np.median(passes_s))
    np.testing.assert_allclose(untimed.spread, spread_of(passes_s), rtol=1e-6)
    coded = codec_cost(device, "uint8", "encode", 576, not_asked)
    assert (coded.how, coded.spread) == ("measured", profile.codecs[1].encode_spread)


def test_a_design_takes_paced_times_where_there_are_any(tmp_path):
    graph, x = trace(make("Chain"), inputs("Chain", 1)), inputs("Chain", 1)
    profile = profile_network(graph, x, network="chain", cuts=[1], codecs=["uint8"], rounds=2, fps=100.0, budget_s=1.0)
    write_profile(profile, tmp_path / "p.json")
    read, paced = read_profile(tmp_path / "p.json"), profile.paced
    assert read == profile
    assert paced.fps == 100.0
    assert all(len(layer.samples_s) >= FRAMES for layer in paced.layers)
    device, work = Device("d", profile=read), NetworkWork(graph)
    head = network_cost(device, work.between(0, 1), not_asked)
    assert head == Cost(paced.cuts[1].head_s, "measured", spread_of(paced.cuts[1].head_samples_s))
    assert codec_cost(device, "uint8", "decode", 576, not_asked).spread == paced.codecs[0].decode_spread
    # a head and its tail are one pass, and one more waking
    assert paced.wake_s >= 0
    whole = np.array(paced.cuts[0].tail_samples_s)
    parts = np.add(paced.cuts[1].head_samples_s, paced.cuts[1].tail_samples_s)
    np.testing.assert_allclose(parts - paced.call_s - paced.wake_s, whole, rtol=3e-3, atol=1e-9)
    woken = replace(read, paced=replace(paced, wake_s=0.5, cuts=()))
    last = len(graph.cuts) - 1
    for start, end, extra_s in ((0, 1, 0.0), (0, last, 0.0), (1, 3, 0.5), (2, last, 0.5), (0, 0, 0.0)):
        layers_s = np.sum([np.zeros(len(whole)), *(layer.samples_s for layer in paced.layers[start:end])], axis=0)
        found = network_cost(Device("d", profile=woken), work.between(start, end), not_asked)
        assert found.seconds == pytest.approx(paced.call_s + np.median(layers_s) + extra_s)


def test_what_a_profile_says_of_its_network(measured):
    graph, profile = measured
    assert (profile.network, profile.input_shape, profile.engine) == ("chain", (3, 8, 8), "eager")
    assert [(layer.name, layer.operation) for layer in profile.layers] == [
        (layer.name, layer.operation) for layer in graph.layers
    ]
    assert all(layer.seconds > 0 for layer in profile.layers)
    assert profile.call_s > 0
    assert profile.peak_bytes > 50_000_000  # an interpreter with torch
    assert "cores" in profile.machine
    assert [codec.codec for codec in profile.codecs] == ["float32", "uint8"]


def test_threads_are_put_back():
    graph, x = trace(make("Chain"), inputs("Chain", 1)), inputs("Chain", 1)
    before = torch.get_num_threads()
    profile = profile_network(graph, x, network="chain", cuts=[], codecs=[], threads=before + 1, rounds=1)
    assert (profile.threads, torch.get_num_threads()) == (before + 1, before)


def test_medians_of_layers_add_up_to_the_median_pass():
    """Three passes of 2 s and 3 s, in each of which something else was disturbed for 1 s."""
    graph = trace(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.MaxPool1d(1)), torch.zeros(1, 2, 2))
    first, second = layer_times(graph, np.array([[3.0, 3.0], [2.0, 4.0], [2.0, 3.0], [2.0, 4.0], [3.0, 3.0]]))
    assert first.seconds + second.seconds == pytest.approx(6.0)
    assert first.seconds / second.seconds == pytest.approx(2 / 3)


def test_rounds_take_everything_in_turn_behind_a_warm_up():
    said = []
    taken = in_rounds({"a": lambda: said.append("a") or len(said), "b": lambda: said.append("b") or [0, 1]}, 2)
    assert "".join(said) == "ab" * (profiling.WARM_UP + 2)
    assert taken["a"].tolist() == [5, 7]
    assert taken["b"].shape == (2, 2)


def test_measurements_are_spread_evenly():
    some, among = (dict.fromkeys(keys, len) for keys in ("xy", "abcd"))
    assert "".join(spread(some, among)) == "axbcyd"
    assert "".join(spread({}, among)) == "abcd"


def test_sizes_of_tensors_for_codecs_are_around_those_of_the_cuts():
    graph = trace(make("Tokens"), inputs("Tokens", 1))
    sizes = profiling.codec_sizes(graph)
    assert sizes == sorted(set(sizes))
    assert sizes[0] <= 256 < max(cut.bytes for cut in graph.cuts) < sizes[-1]


def test_a_line_through_times():
    time = fitted("c", [100, 200, 400], [2.0, 3.0, 5.0], [1.0, 2.0, 4.0])
    assert coded_s(time, "encode", 300) == pytest.approx(4.0)
    assert coded_s(time, "decode", 300) == pytest.approx(3.0)
    assert (time.encode_start_s, time.decode_start_s) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-9))


def test_a_line_never_goes_below_zero():
    steep = fitted("c", [100, 200], [1.0, 3.0], [3.0, 1.0])
    assert steep.encode_start_s == 0
    assert steep.encode_per_byte_s > 0
    assert steep.decode_per_byte_s == 0
    assert steep.decode_start_s > 0


@pytest.mark.parametrize("codec", ["float32", "uint8:channel", "uint8+rans", "float16+zstd+fec:20"])
def test_codecs_for_tensors_of_any_size(codec):
    calls = coding(codec, 6400)
    assert calls["encode"]().data
    (tensor,) = calls["decode"]()
    assert tensor.nbytes == 6400


def test_which_cuts():
    graph = trace(make("Skip"), inputs("Skip", 1))
    single = [cut.index for cut in graph.cuts if cut.single]
    assert profiling.chosen_cuts(graph, "single") == single
    assert single != list(range(len(graph.cuts)))
    assert profiling.chosen_cuts(graph, [2]) == [0, 2, len(graph.cuts) - 1]
    with pytest.raises(CutError, match="there is no cut 99"):
        profiling.chosen_cuts(graph, [99])


def test_unknown_engines_and_codecs():
    graph, x = trace(make("Chain"), inputs("Chain", 1)), inputs("Chain", 1)
    with pytest.raises(UnknownNameError, match="no engine is called 'onnx'"):
        profile_network(graph, x, network="chain", engine="onnx")
    with pytest.raises(UnknownNameError, match="no codec is called 'uint9'; did you mean 'uint"):
        profile_network(graph, x, network="chain", codecs=["uint9"], cuts=[], rounds=1)


def test_an_engine_that_is_not_installed_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    graph, x = trace(make("Chain"), inputs("Chain", 1)), inputs("Chain", 1)
    with pytest.raises(ModelError, match=r"ONNX Runtime is not installed here \(onnxruntime is missing\); pip install"):
        profile_network(graph, x, network="chain", cuts=[1], codecs=[], rounds=1, engine="onnxruntime")


def test_an_engine_that_fails_says_so(monkeypatch):
    def broken(program):
        def run(*inputs):
            raise RuntimeError("no compiler\nmore")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    graph, x = trace(make("Chain"), inputs("Chain", 1)), inputs("Chain", 1)
    with pytest.raises(ModelError, match=r"^engine: torch\.compile cannot compile this network: no compiler; it needs"):
        profile_network(graph, x, network="chain", cuts=[1], codecs=[], rounds=1, engine="compile")


def test_with_another_engine_layers_are_shares_of_its_whole():
    name = "twice"

    @ENGINES.register(name)
    def _twice(program, x, threads):
        return lambda: (program(*x), time.sleep(0.02))

    try:
        graph, x = trace(make("Chain"), inputs("Chain", 1)), inputs("Chain", 1)
        profile = profile_network(graph, x, network="chain", cuts=[], codecs=[], rounds=3, engine=name)
    finally:
        ENGINES.remove(name)
    layers_s = sum(layer.seconds for layer in profile.layers)
    assert layers_s == pytest.approx(profile.cuts[-1].head_s, rel=0.2)
    assert layers_s > 0.015


@pytest.mark.slow
def test_onnx_runtime_where_it_is_installed():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    graph, x = trace(make("Chain"), inputs("Chain", 1)), inputs("Chain", 1)
    profile = profile_network(graph, x, network="chain", cuts=[1], codecs=[], rounds=1, engine="onnxruntime")
    assert (profile.engine, len(profile.cuts)) == ("onnxruntime", 3)


def test_memory_that_is_freed_can_be_kept_on_linux():
    import platform

    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
    assert copied_bytes_per_s(1 << 20) > 1e6
