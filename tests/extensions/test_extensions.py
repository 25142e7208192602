"""The extensions of examples/extensions, found by their entry points, and each held to the laws of its seam."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from installed import install

from splitimpera.bundle.entries import TensorEntry
from splitimpera.bundle.segments import SegmentEntry
from splitimpera.codec.codec_names import CODECS
from splitimpera.codec.codecs import Calibration, calibrate, codec_from, make_codec
from splitimpera.core import extensions
from splitimpera.core.errors import CodecError, ExtensionError, ScenarioError, UnknownNameError
from splitimpera.core.registry import Registry
from splitimpera.cost.codec_model import modelled_s, reference
from splitimpera.deploy.inference import ENGINES, load_program
from splitimpera.export.engine_files import FILES, file_of
from splitimpera.export.part_modules import Part
from splitimpera.net.transports import TRANSPORTS, simulate
from splitimpera.records.graph import TensorSpec
from splitimpera.records.link import Link
from splitimpera.records.traffic import Frames, Workload
from splitimpera.saliency.scores import SCORES
from splitimpera.tasks.making import TASKS, make_task
from splitimpera.tasks.task import Output

NAMES = {
    "ordered": TASKS,
    "mulaw8": CODECS,
    "udp-coap": TRANSPORTS,
    "gradient_rms": SCORES,
    "onnx-reference": ENGINES,
}
SPEC = TensorSpec("relu", (4, 5, 5))


def _forget():
    for name, registry in (*NAMES.items(), ("onnx-reference", FILES)):
        registry._entries.pop(name, None)
    for module in [name for name in sys.modules if name.split(".")[0] in ("splitimpera_examples", "broken_extension")]:
        del sys.modules[module]


@pytest.fixture
def clean(monkeypatch):
    monkeypatch.setattr(extensions, "_imported", {})
    extensions._named.cache_clear()
    yield
    _forget()
    extensions._named.cache_clear()


@pytest.fixture
def installed(clean, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path)))


@pytest.mark.parametrize("name", NAMES)
def test_nobody_knows_the_name_before(clean, name):
    assert name not in NAMES[name]
    with pytest.raises(UnknownNameError):
        NAMES[name][name]


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_points_bring_it(installed, name):
    assert NAMES[name][name] is not None
    assert name in NAMES[name].names()


@pytest.mark.slow
def test_a_command_in_another_process_finds_it(tmp_path):
    arguments = "simulate --transport udp-coap --bytes 3000 --fps 1 --frames 20 --rate 1Mbit/s --delay 10ms".split()
    code = f"import sys; sys.path.insert(0, {str(install(tmp_path))!r}); sys.argv[1:] = {arguments!r}\n"
    code += "from splitimpera.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "udp-coap over point-to-point" in done.stdout


def test_what_cannot_be_imported_is_named_and_stops_no_other(clean, tmp_path, monkeypatch):
    entries = {"broken": "broken_extension"}
    monkeypatch.syspath_prepend(str(install(tmp_path, entries)))
    (tmp_path / "broken_extension.py").write_text("raise RuntimeError('no licence')")
    assert TRANSPORTS["udp"] is not None
    for _ in range(2):  # it is not tried again, and is told again
        with pytest.raises(ExtensionError, match="'broken' cannot be imported: RuntimeError: no licence"):
            TRANSPORTS["udp-coap"]


def test_an_extension_may_ask_for_names_itself(clean, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path, {"asking": "broken_extension"})))
    (tmp_path / "broken_extension.py").write_text(
        "from splitimpera.net.transports import TRANSPORTS\nassert 'udp-coap' not in TRANSPORTS\n"
    )
    assert "udp-coap" not in TRANSPORTS


def test_other_registries_are_as_before():
    shapes: Registry[int] = Registry("shape")
    shapes.register("triangle")(3)
    with pytest.raises(UnknownNameError, match="did you mean 'triangle'"):
        shapes["triangel"]


# the codec


def calibration(packet_bytes=1400):
    examples = np.random.default_rng(0).laplace(size=(50, *SPEC.shape)).astype(np.float32)
    return Calibration((SPEC,), (examples,), packet_bytes=packet_bytes)


def test_the_codec_is_finer_near_zero(installed):
    given = calibration()
    frame = given.tensors[0][0]
    (found,) = make_codec("mulaw8", given).decode(make_codec("mulaw8", given).encode([frame]).data)
    peak = float(np.abs(given.tensors[0]).max())
    small = np.abs(frame) < peak / 50
    (even,) = make_codec("uint8", given).decode(make_codec("uint8", given).encode([frame]).data)
    assert small.sum() > 10
    assert np.abs(found - frame)[small].mean() < np.abs(even - frame)[small].mean() / 4
    # half a step of the bent scale is half of ln(256) / 127 of |x| + peak / 255, to first order
    bound = 0.51 * np.log(256) / 127 * (np.abs(frame) + peak / 255)
    assert (np.abs(found - frame) <= bound * 1.05).all()


@pytest.mark.parametrize("name", ["mulaw8", "mulaw8+mean", "mulaw8+interleaved", "mulaw8+fec:50"])
def test_a_lost_packet_costs_only_what_it_carried(installed, name):
    given = calibration(packet_bytes=10)
    codec = make_codec(name, given)
    payload = codec.encode([given.tensors[0][1]])
    (whole,) = codec.decode(payload.data)
    (gaps,) = codec.decode(payload.data[:10] + bytes(10) + payload.data[20:], erased=[(10, 20)])
    differ = int((whole != gaps).sum())
    assert differ == 0 if "fec" in name else 1 <= differ <= 10


@pytest.mark.parametrize("name", ["mulaw8+zstd", "mulaw8+rans"])
def test_the_modifiers_work_on_its_numbers(installed, name):
    given = calibration()
    frame = given.tensors[0][2]
    (plain,) = make_codec("mulaw8", given).decode(make_codec("mulaw8", given).encode([frame]).data)
    (found,) = make_codec(name, given).decode(make_codec(name, given).encode([frame]).data)
    assert (found == plain).all()


def test_foreign_constants_are_refused(installed):
    constants = calibrate("mulaw8", calibration())
    for wrong in (np.float32([1, 2]), np.float32(-1), np.float32(np.nan), np.int32(1)):
        with pytest.raises(CodecError):
            codec_from(replace(constants, arrays={"0.peak": np.asarray(wrong)}))


def test_its_time_on_other_machines_is_that_of_what_it_is_like(installed, monkeypatch):
    assert modelled_s("mulaw8", "encode", 4e4, reference()) == modelled_s("uint8", "encode", 4e4, reference())
    monkeypatch.setitem(CODECS._entries, "mulaw8", replace(CODECS["mulaw8"], like=""))
    with pytest.raises(CodecError, match="nobody measured how long 'mulaw8' takes"):
        modelled_s("mulaw8", "encode", 4e4, reference())


# the transport


def test_without_loss_a_frame_takes_a_round_trip_a_block(installed):
    link = Link(rate_bps=1e6, delay_s=0.01)
    found = simulate(link, Workload(1.0, 20, frame_bytes=2500, element_bytes=4), "udp-coap", np.random.default_rng(0))
    wire_s = [(size + 40 + link.link_header_bytes) * 8 / 1e6 for size in (1024, 1024, 452)]
    assert found.complete_s - found.sent_s == pytest.approx(sum(wire_s) + 5 * 0.01)
    assert (found.packets == 3).all()
    assert not found.missing_bytes.any()


def test_with_loss_what_is_missing_is_the_end_of_a_frame(installed):
    link = Link(rate_bps=1e6, delay_s=0.01, loss=0.5)
    load = Workload(0.001, 1000, frame_bytes=2500, element_bytes=4)
    one, again = (simulate(link, load, "udp-coap", np.random.default_rng(3)) for _ in range(2))
    assert one.complete_s.tobytes() == again.complete_s.tobytes()
    gaps = [gap for gap in one.erased if gap]
    assert gaps
    assert {start % 1024 for ((start, stop),) in gaps} == {0}
    assert {stop for ((start, stop),) in gaps} == {2500}
    # a block fails where five times it or its acknowledgement is lost: 0.75^5
    lost_first = np.mean([not there for there in one.arrived])
    assert lost_first == pytest.approx(0.5**5, abs=0.02)
    assert one.lost_packet_rate == pytest.approx(0.5, abs=0.02)


def test_frames_wait_for_those_before_in_any_order(installed):
    ready_s = np.array([0.02, 0.0, 0.01])
    frames = Frames(ready_s, np.full(3, 1024), ready_s + 9)
    found = TRANSPORTS["udp-coap"](Link(rate_bps=1e5, delay_s=0.01), np.random.default_rng(0)).transfer(frames)
    assert np.argsort(found.complete_s).tolist() == [1, 2, 0]
    assert (np.diff(np.sort(found.sent_s)) >= 0.1).all()


# the score


def test_the_score_is_of_all_elements_together(installed):
    g = [torch.randn(6, 3, 4, 4), torch.randn(6, 5, 2, 2)]
    score = SCORES["gradient_rms"]
    found = score.together([score.formula(each, each) for each in g], [(3, 16), (5, 4)])
    wanted = torch.cat([each.flatten(1) for each in g], 1).square().mean(1).sqrt()
    assert torch.allclose(found, wanted, atol=1e-6)
    assert torch.allclose(score(g[0], g[0]), g[0].flatten(1).square().mean(1).sqrt(), atol=1e-6)


# the task


def test_the_task_forgives_a_step(installed):
    task = make_task("ordered", {"steps": 1}).fitted([Output("logits", (5,))])
    logits = np.eye(5, dtype=np.float32)
    counts = [task.quality.count(task.answer((logits[2],)), (np.array(label),)) for label in range(5)]
    assert task.quality.value(np.sum(counts, axis=0)) == 0.6
    assert task.quality.count_lost((np.array(0),)).tolist() == [0.0, 1.0]
    assert task.options() == {}
    assert make_task("ordered", {"steps": 2}).options() == {"steps": 2}
    with pytest.raises(ScenarioError, match="has no such key"):
        make_task("ordered", {"stepps": 1})


# the engine


@pytest.mark.slow
def test_the_engine_computes_what_onnx_runtime_does(installed):
    class Tail(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.Linear(3, 4)

        def forward(self, *tensors):
            return (self.linear(self.conv(tensors[0]).relu().mean((2, 3))),)

    x = torch.randn(2, 2, 6, 6)
    specs = (TensorSpec("x", (2, 6, 6), batch_dim=0),), (TensorSpec("y", (4,), batch_dim=0),)
    part = Part(Tail().eval(), *specs, (x,))
    content = file_of(part, "onnx-reference")
    (found,), (wanted,) = (load_program(engine, content)([x.numpy()]) for engine in ("onnx-reference", "onnx"))
    assert np.allclose(found, wanted, atol=1e-5)


def test_a_bundle_may_name_any_engine_that_could_be_one():
    x = [TensorEntry(name="x", shape=[4], dtype="float32", batch_dim=0, channel_dim=0)]

    def entry(engine):
        return SegmentEntry(
            start=0, end=1, arriving=0.0, leaving=0.0, engine=engine, file="a.onnx", inputs=x, outputs=x
        )

    for wrong in ("", "../x", "A", "x" * 40):
        with pytest.raises(ValueError, match="engine"):
            entry(wrong)
    assert entry("onnx-reference").engine == "onnx-reference"
