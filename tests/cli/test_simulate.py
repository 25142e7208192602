"""`splitimpera simulate`: a link by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image
from test_cli import here, splitimpera

from splitimpera.core.errors import SimulationError
from splitimpera.net.link_presets import link_preset
from splitimpera.net.transports import simulate
from splitimpera.records.link import Link
from splitimpera.records.traffic import Workload
from splitimpera.scenario import load_scenario

SETTING = ("--rate", "100 Mbit/s", "--delay", "5 ms", "--bytes", "20 kB", "--fps", "20", "--frames", "50")


def numbers(tmp_path, *arguments):
    path = tmp_path / "s.json"
    run = here("simulate", *arguments, "--json", path)
    assert run.returncode == 0, run.stderr
    return json.loads(path.read_text()), run


def test_the_numbers_are_the_simulators(tmp_path):
    values, _ = numbers(tmp_path, *SETTING, "--transport", "udp", "--loss", "2 %", "--replications", "3", "--seed", "4")
    link = Link(rate_bps=1e8, delay_s=0.005, loss=0.02)
    workload = Workload(20.0, 50, frame_bytes=20000)
    runs = [simulate(link, workload, "udp", np.random.default_rng([4, i])) for i in range(3)]
    latencies = [run.complete_s - workload.due_s() for run in runs]
    np.testing.assert_array_equal(values["latency_s"], latencies)
    np.testing.assert_allclose(values["p95_s"], np.percentile(latencies, 95, axis=1))
    assert values["lost_packets"] == [int(run.lost_packets.sum()) for run in runs]
    assert values["packets"] == [int(run.packets.sum()) for run in runs]
    assert values["retransmissions"] == [0, 0, 0]
    assert values["stable"] == [True, True, True]
    assert values["schema_version"] == 1
    assert values["link"]["mtu_bytes"] == 1500
    assert values["link"]["link_header_bytes"] == 2
    assert values["link"]["queue_packets"] is None
    assert values["workload"]["frame_bytes"] == 20000


def test_tcp_means_tcp_cubic_and_the_same_seed_gives_the_same_file(tmp_path):
    first, _ = numbers(tmp_path, *SETTING, "--transport", "tcp", "--loss", "1 %")
    again, _ = numbers(tmp_path, *SETTING, "--transport", "tcp-cubic", "--loss", "1 %")
    other, _ = numbers(tmp_path, *SETTING, "--transport", "tcp", "--loss", "1 %", "--seed", "2")
    assert first == again
    assert first["transport"] == "tcp-cubic"
    assert first["lost_packets"] != other["lost_packets"]
    assert len(first["latency_s"]) == 5


def test_the_account_ends_in_a_plain_sentence(tmp_path):
    _, run = numbers(tmp_path, *SETTING, "--transport", "udp", "--loss", "2 %")
    setting, *_ = run.stdout.splitlines()
    for words in ("udp", "100 Mbit/s", "5 ms one way", "2 % loss", "20 kB a frame", "20 a second", "5 runs"):
        assert words in setting
    words = " ".join(run.stdout.split())
    assert "95 % of the frames arrive within" in words
    assert "of the frames have gaps when they are used" in words
    lossless = here("simulate", *SETTING, "--transport", "tcp", "--replications", "1")
    assert "gaps" not in lossless.stdout
    assert "mean" not in lossless.stdout  # of one run


def test_a_deadline_is_answered_for_any_transport():
    for transport in ("tcp", "udp"):
        run = here("simulate", *SETTING, "--transport", transport, "--deadline", "6 ms", "--replications", "2")
        assert "0 % of the frames are whole within 6 ms." in run.stdout
        run = here("simulate", *SETTING, "--transport", transport, "--deadline", "30 ms", "--replications", "2")
        assert "100 % of the frames are whole within 30 ms." in run.stdout


def test_an_overload_is_called_unstable_and_gets_no_averages(tmp_path):
    arguments = ("--rate", "1 Mbit/s", "--bytes", "20 kB", "--fps", "20", "--frames", "300", "--transport", "tcp")
    values, run = numbers(tmp_path, *arguments)
    assert values["stable"] == [False] * 5
    assert not values["sustained"]
    assert values["p95_mean_s"] is None
    assert values["p95_ci_s"] is None
    words = " ".join(run.stdout.split())
    assert "the load exceeds what the link carries" in words
    assert "arrive within" not in words
    assert "mean" not in run.stdout.splitlines()[3:-6]


@pytest.mark.parametrize("rate", ["100 Mbit/s", "1 Mbit/s"])
def test_the_picture_is_a_picture(tmp_path, rate):
    picture = tmp_path / "s.png"
    run = here("simulate", *SETTING[2:], "--rate", rate, "--plot", picture)
    assert run.returncode == 0, run.stderr
    with Image.open(picture) as image:
        assert image.width > 600


SMALL = ("--bytes", "2 kB", "--fps", "20", "--frames", "50", "--transport", "udp")


def test_a_preset_is_a_start_that_options_change(tmp_path):
    values, run = numbers(tmp_path, *SMALL, "--preset", "lte", "--loss", "1 %", "--queue-packets", "100")
    base = link_preset("lte")
    assert "lte: " in run.stdout
    link = values["link"]
    assert (link["rate_bps"], link["delay_s"], link["mtu_bytes"]) == (base.rate_bps, base.delay_s, base.mtu_bytes)
    assert (link["loss"], link["queue_packets"], link["queue_bytes"]) == (0.01, 100, None)


def test_a_link_layer_by_name(tmp_path):
    values, _ = numbers(tmp_path, *SMALL, "--rate", "1 Gbit/s", "--link-header", "ethernet")
    assert values["link"]["link_header_bytes"] == 14


def test_traces_and_drops_come_from_files(tmp_path):
    trace, drops = tmp_path / "steps.csv", tmp_path / "drops.json"
    trace.write_text("time_s,rate_bps\n0,1e7\n1,2e7\n")
    drops.write_text("[0, 3]")
    values, run = numbers(tmp_path, *SMALL, "--trace", trace, "--drops", drops, "--replications", "2")
    assert "rate from the trace steps.csv" in run.stdout
    assert "2 packets dropped" in run.stdout
    assert values["link"]["trace"] == "steps.csv"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "lti"], "--preset: no link preset is called 'lti'; did you mean 'lte'?"),
        (["--rate", "1 Mbit/s", "--link-header", "ethernot"], "--link-header: no link layer is called 'ethernot'"),
        (["--trace", "steps.csv", "--rate", "1 Mbit/s"], "--rate: the trace steps.csv gives it; leave it out"),
        (["--trace", "delays.csv"], "--rate: the link's rate is missing"),
        (["--trace", "nothing.csv"], "--trace: the trace 'nothing.csv' does not exist"),
        (["--trace", "broken.csv"], "--trace: broken.csv:2: rate_bps: a plain number is expected, given 'x'"),
        (["--rate", "1 Mbit/s", "--drops", "steps.csv"], "--drops: steps.csv:1: this is not valid JSON"),
        (
            ["--rate", "1 Mbit/s", "--drops", "d.json", "--loss", "1 %"],
            "--drops: this file already says which packets are lost",
        ),
    ],
)
def test_files_and_names_that_do_not_fit(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "steps.csv").write_text("time_s,rate_bps\n0,1e7\n1,2e7\n")
    (tmp_path / "delays.csv").write_text("time_s,delay_s\n0,0.1\n1,0.2\n")
    (tmp_path / "broken.csv").write_text("time_s,rate_bps\n0,x\n")
    (tmp_path / "d.json").write_text("[0]")
    run = here("simulate", *SMALL, *arguments)
    assert run.returncode == 2
    assert run.stderr.startswith(f"error: {message}")
    assert len(run.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--rate": "100 Mbit"}, "--rate: '100 Mbit' is not a bit rate; write '100 Mbit/s'"),
        ({"--rate": None}, "--rate: the link's rate is missing"),
        ({"--rate": "0 bit/s"}, "--rate: 0.0 is out of range, it must be 1 to 1e+16"),
        ({"--delay": "5"}, "--delay: '5' is not a time: the unit is missing"),
        ({"--delay": "-5 ms"}, "--delay: -0.005 is out of range"),
        ({"--loss": "120 %"}, "--loss: 1.2 is out of range, it must be at least 0 and below 1"),
        ({"--downlink-loss": "x"}, "--downlink-loss: 'x' is not a fraction"),
        ({"--loss": "10 %", "--loss-burst": "0.2"}, "--loss-burst: 0.2 is out of range, it must be 1 to 1e+06"),
        ({"--jitter": "-1 ms"}, "--jitter: -0.001 is out of range"),
        ({"--bytes": "0"}, "--bytes: 0 is out of range, it must be 1 or more"),
        ({"--bytes": "1.5 B"}, "--bytes: '1.5 B' is not a whole number of bytes"),
        ({"--bytes": "1 TB"}, "--bytes: '1 TB' is not a size in bytes"),
        ({"--bytes": "900 GB"}, "--bytes: 900000000000 is out of range, it must be 0 to 1e+09"),
        ({"--bytes": "1 GB"}, "--bytes: 172,652,000 packets in 5 runs are too many, at most 50,000,000"),
        ({"--fps": "0"}, "--fps: 0.0 is out of range, it must be 1e-05 to 1e+06"),
        ({"--frames": "0"}, "--frames: 0 is out of range"),
        ({"--frames": "9" * 30}, "--frames: 9"),
        ({"--senders": "0"}, "--senders: 0 is out of range, it must be 1 to 1000"),
        ({"--queue-packets": "0"}, "--queue-packets: 0 is out of range, it must be 1 to 1e+07"),
        ({"--mtu": "20 B"}, "--mtu: 20 is out of range, it must be 68 to 65535"),
        ({"--link-header": "-1"}, "--link-header: -1 is out of range"),
        ({"--deadline": "0 s"}, "--deadline: 0.0 is out of range"),
        ({"--response": "-1"}, "--response: -1 is out of range"),
        ({"--transport": "upd"}, "--transport: no transport is called 'upd'; did you mean 'udp'?"),
        ({"--engine": "ns2"}, "--engine: no engine is called 'ns2'; did you mean 'ns3'?"),
        ({"--json": "/proc/x.json"}, "--json: '/proc' cannot be written"),
        ({"--plot": "."}, "--plot: '.' is a folder, a file is expected"),
    ],
)
def test_bad_input_gives_one_message_that_names_the_option(changes, message):
    options = dict(zip(SETTING[::2], SETTING[1::2], strict=True)) | changes
    arguments = [part for pair in options.items() if pair[1] is not None for part in pair]
    run = here("simulate", *arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert run.stdout == ""


def test_the_command_line_and_a_scenario_ask_the_same(tmp_path):
    arguments = ("--rate", "1 Gbit/s", "--bytes", "1 kB", "--fps", "10", "--response", "1 GB")
    run = here("simulate", *arguments)
    assert run.returncode == 2
    assert "--response: 3,453,045,000 packets in 5 runs are too many" in run.stderr
    (tmp_path / "still.csv").write_text("time_s,rate_bps\n0,1\n0.000001,0\n10000000,0\n")
    text = """
network: {{model: digits-vgg16}}
data: {{source: digits}}
devices: [{{name: camera}}, {{name: server}}]
links: [{{{link}, delay: 5 ms}}]
workload: {{fps: 10{more}}}
requirements: [accuracy >= 50 %]
"""
    from splitimpera.setting import resolve

    for link, more, message in (
        ("rate: 1 Gbit/s", ", response: 1 GB", "workload.response: 690,609,000 packets are too many"),
        (
            "trace: still.csv",
            "",
            "still.csv: rate_bps: 5e-14 bit/s is out of range, it must be 1 to 1e+16 bit/s in the",
        ),
        ("rate: 1 bit/s", ", response: 10 MB", "links[0].rate: these frames may take"),
    ):
        (tmp_path / "s.yaml").write_text(text.format(link=link, more=more))
        with pytest.raises(SimulationError) as caught:
            resolve(load_scenario(tmp_path / "s.yaml"))
        assert message in str(caught.value)


def test_a_mistake_leaves_an_earlier_file_whole(tmp_path):
    earlier = tmp_path / "s.json"
    earlier.write_text("earlier")
    run = here("simulate", *SETTING, "--loss", "2", "--json", earlier)
    assert run.returncode == 2
    assert earlier.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


def test_an_engine_that_is_not_installed_says_what_to_install(monkeypatch):
    module = types.SimpleNamespace(available=lambda: False, Ns3Link=None)
    monkeypatch.setitem(sys.modules, "splitimpera.net.ns3", module)
    run = here("simulate", *SETTING, "--engine", "ns3")
    assert run.returncode == 2
    assert "--engine: ns-3 is not installed here; pip install" in run.stderr


def test_another_engine_has_the_same_call(monkeypatch):
    class Ns3Link:
        def __init__(self, link, rng, transport):
            self.setting = link, rng, transport

        def transfer(self, frames):
            from splitimpera.net.transports import TRANSPORTS

            link, rng, transport = self.setting
            return TRANSPORTS[transport](link, rng).transfer(frames)

    module = types.SimpleNamespace(available=lambda: True, Ns3Link=Ns3Link)
    monkeypatch.setitem(sys.modules, "splitimpera.net.ns3", module)
    run = here("simulate", *SETTING, "--engine", "ns3")
    assert run.returncode == 0, run.stderr
    assert "by ns3" in run.stdout
    native = here("simulate", *SETTING)
    assert run.stdout.splitlines()[1:] == native.stdout.splitlines()[1:]


def test_it_imports_nothing_that_it_does_not_need():
    heavy = ("torch", "plotly", "splitimpera.scenario", "matplotlib", "sklearn")
    code = (
        "import sys; from splitimpera.cli.app import app\n"
        f"try: app({['simulate', *SETTING]!r})\n"
        "except SystemExit: pass\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_in_a_process_of_its_own():
    run = splitimpera("simulate", *SETTING, "--transport", "udp")
    assert run.returncode == 0, run.stderr
    assert "arrive within" in run.stdout
    assert splitimpera("simulate", "--help").returncode == 0
    assert splitimpera("simulate", "--bytes", "1").returncode == 2  # frames a second are missing
