"""`splitimpera simulate` with any values: numbers of any size, garbage, names that are too long, markup."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from harness import attack, bounded, command, commanded, readable
from hypothesis import strategies as st

from splitimpera.core import units
from splitimpera.core.bounds import BOUNDS
from splitimpera.core.errors import UnitError

HUGE = ["1e300", "-1", "0", "nan", "inf", "9" * 20, "9" * 5000, "-" + "9" * 5000, "1e-300", "", " ", "٣", "x", "-+0"]
garbage = st.one_of(
    st.sampled_from(HUGE),
    st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.text(alphabet="0123456789.eE+- ", max_size=30),
)


def quantities(names: list[str], *usual: str, field: str = "") -> st.SearchStrategy[str]:
    """Garbage, bounds and a little beyond them, and what is usual, twice as often."""
    ends: list[str] = []
    if field:
        low, high = BOUNDS[field].low, BOUNDS[field].high
        ends = [f"{value!r} {names[0]}".strip() for value in (low, high, high * 1.001, low - 1e-9)]
    number = st.tuples(garbage, st.sampled_from(names)).map(lambda pair: f"{pair[0]} {pair[1]}".strip())
    return st.one_of(st.sampled_from(list(usual)), st.sampled_from([*usual, *ends]), number, garbage)


def sizes(*usual: str, field: str) -> st.SearchStrategy[str]:
    """Sizes that are small, or refused."""

    def small(text: str) -> bool:
        try:
            return not 50_000 < units.parse(text, units.SIZE) <= BOUNDS[field].high
        except UnitError:
            return True

    return quantities(["B", "kB", "GB", ""], *usual, field=field).filter(small)


# what is accepted stays small, as none of these is large and within the bounds
counts = st.sampled_from(["1", "2", "5", "5"]) | garbage.filter(
    lambda text: text.strip() in HUGE or not text.strip().isdecimal()
)
paths = st.sampled_from(
    ["out.x", "m[/bold]x", "n" * 300, "a/b/c.png", ".", "\x1b[2Jx", "nowhere/\n/x", "pipe", "\udc80x", "", "file/x"]
)
times, rates = ["s", "ms", "h", "m", ""], ["bit/s", "Mbit/s", "B/s", "Mbit", ""]
OPTIONS: dict[str, st.SearchStrategy[str]] = {
    "--delay": quantities(times, "5 ms", "0 s", field="delay_s"),
    "--loss": quantities(["%", ""], "1 %", "0.5", "99 %", field="loss"),
    "--loss-burst": quantities([""], "2", "1", field="loss_burst"),
    "--downlink-loss": quantities(["%", ""], "1 %", "0.9", field="downlink_loss"),
    "--jitter": quantities(times, "1 ms", field="jitter_s"),
    "--mtu": quantities(["B", "kB", ""], "1500", "576 B", field="mtu_bytes"),
    "--link-header": quantities(["B", ""], "2", "ethernet", "ethernot", field="link_header_bytes"),
    "--queue-packets": counts | st.sampled_from(["10000000", "10000001"]),
    "--senders": counts,
    "--seed": counts,
    "--deadline": quantities(times, "20 ms", field="deadline_s"),
    "--response": sizes("100", "0", field="response_bytes"),
    "--transport": st.sampled_from(
        ["udp", "udp-interleaved", "udp-arq", "tcp", "tcp-reno", "upd", "", "\x1b[31m", "t" * 9999]
    ),
    "--preset": st.sampled_from(["lte", "lora-sf7", "satellite-geo", "wifi-7", "[/bold]", "\x1b]0;x\x07"]),
    "--trace": st.sampled_from(["steps.csv", "[bold]t\x1b[2J.csv"]) | paths,
    "--drops": st.sampled_from(["drops.json"]) | paths,
    "--engine": st.sampled_from(["native", "ns4", "e" * 9999]),
    "--json": paths,
    "--plot": paths.filter(lambda path: path not in ("out.x", "m[/bold]x")),
}
NEEDED = {
    "--rate": quantities(rates, "100 Mbit/s", "1 Gbit/s", field="rate_bps"),
    "--bytes": sizes("3 kB", "1", "20000", field="size_bytes"),
    "--fps": quantities(["fps", "Hz", ""], "20", "1e-5", "1e6", field="fps"),
    "--frames": counts,
    "--replications": st.sampled_from(["1", "2"]) | counts,
}
calls = st.fixed_dictionaries(NEEDED, optional=OPTIONS)


def files(folder: Path) -> None:
    (folder / "steps.csv").write_text("time_s,rate_bps\n0,1e7\n1,2e7\n")
    (folder / "[bold]t\x1b[2J.csv").write_text("time_s,delay_s,loss\n0,0.1,0.2\n1,0.2,0\n")
    (folder / "drops.json").write_text("[0, 3]")
    (folder / "file").write_text("mine")
    os.mkfifo(folder / "pipe")


def check(options: dict[str, str]) -> None:
    origin = Path.cwd()
    with TemporaryDirectory() as name:
        files(Path(name))
        os.chdir(name)
        try:
            commanded("simulate", *(f"{option}={value}" for option, value in options.items()))
            assert Path("file").read_text() == "mine"
        finally:
            os.chdir(origin)


GOOD = {"--rate": "10 Mbit/s", "--bytes": "3 kB", "--fps": "20", "--frames": "5", "--replications": "1"}
one_wrong = st.sampled_from([*NEEDED, *OPTIONS]).flatmap(
    lambda option: (NEEDED | OPTIONS)[option].map(lambda value: GOOD | {option: value})
)

test_one_value, test_one_value_long = attack(check, one_wrong, quick=25, long=600)
test_all_values, test_all_values_long = attack(check, calls, quick=12, long=600)


@pytest.mark.parametrize(
    "option", [*NEEDED, "--senders", "--seed", "--queue-packets", "--delay", "--rate", "--response"]
)
@pytest.mark.parametrize("value", ["9" * 5000, "-" + "9" * 5000, "9" * 20, "1e300", "1e300s"])
def test_numbers_of_any_length_in_any_option(option, value):
    with bounded():
        code, _, errors = command("simulate", *(f"{name}={given}" for name, given in (GOOD | {option: value}).items()))
    assert code == 2
    readable(errors)
    assert len(errors) < 400
    assert option in errors
