"""Link conditions as people write them."""

from __future__ import annotations

import pytest
import yaml

from splitimpera.core import units
from splitimpera.core.errors import ScenarioError
from splitimpera.scenario.link_grid import OVER, LinkGrid, parse_grid, study_over

SCENARIO = """
name: small
network: {model: digits-vgg16}
data: {source: digits}
devices: [{name: camera, preset: cortex-m7}, {name: server, preset: t4}]
links: [{rate: 1 Mbit/s, delay: 5 ms, loss: 2 %}]
workload: {fps: 10}
requirements: [latency_p95 <= 40 ms]
"""


def test_the_default_goes_from_end_to_end():
    grid = parse_grid(OVER)
    assert (grid.rates_bps[0], grid.rates_bps[-1], len(grid.rates_bps)) == (0.03e6, 50e6, 8)
    assert (grid.delays_s[0], grid.delays_s[-1], len(grid.delays_s)) == (0.005, 0.1, 4)
    assert grid.losses == pytest.approx([0, 0.01, 0.0316228, 0.1])
    assert len(grid) == 8 * 4 * 4
    steps = [after / before for before, after in zip(grid.rates_bps, grid.rates_bps[1:], strict=False)]
    assert max(steps) == pytest.approx(min(steps))


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("rate=100 kbit/s..10 Mbit/s in 3", LinkGrid((1e5, 1e6, 1e7))),
        ("rate = 0.1 .. 10 Mbit/s in 3", LinkGrid((1e5, 1e6, 1e7))),
        ("delay=5 ms", LinkGrid(delays_s=(0.005,))),
        ("loss=0..10% in 2", LinkGrid(losses=(0.0, 0.1))),
        ("loss=1..100e-1 % in 2", LinkGrid(losses=(0.01, 0.1))),
        ("loss=0", LinkGrid(losses=(0.0,))),
        ("delay=0..40 ms in 2,loss=0.01..0.04 in 3", LinkGrid(delays_s=(0.0, 0.04), losses=(0.01, 0.02, 0.04))),
    ],
)
def test_what_is_written_is_read(text, grid):
    assert parse_grid(text) == grid


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--over: link conditions are expected, given ''; write for example 'rate=0.03..50 Mbit/s"),
        ("x" * 1000, "link conditions are expected"),
        ("rate", "a range is expected, given 'rate'"),
        ("rate=", "a range is expected"),
        ("rate=1..2 Mbit/s,", "a range is expected, given ''"),
        ("rates=1..2 Mbit/s", "links have no 'rates' here; did you mean 'rate'"),
        ("rate=1..2 Mbit/s, rate=3 Mbit/s", "'rate' stands there twice; name it once"),
        ("rate=1..2", "--over: rate: '1' is not a bit rate: the unit is missing"),
        ("rate=1..2 ms", "--over: rate: '1 ms' is not a bit rate"),
        ("rate=0..2 Mbit/s", "0 Mbit/s is out of range, it must be 1 to 1e\\+16 in SI units"),
        ("loss=0..100 %", "100 % is out of range, it must be at least 0 and below 1"),
        ("delay=-1..5 ms", "out of range"),
        ("delay=10..5 ms", "--over: delay: values that rise are expected, given 10 ms to 5 ms; write the smaller"),
        ("delay=5..5 ms", "values that rise are expected"),
        ("delay=5..6 ms in 1", "2 to 100 values are expected, given 1"),
        ("delay=5..6 ms in 101", "2 to 100 values are expected, given 101"),
        ("delay=5 ms in 3", "one value cannot become 3; write 'from..to'"),
        (
            "rate=1..2 Mbit/s in 100, delay=1..2 ms in 100, loss=1..2 % in 2",
            "100 x 100 x 2 = 20000 conditions, at most 10000",
        ),
    ],
)
def test_nonsense_is_refused_in_words(text, said):
    with pytest.raises(ScenarioError, match=said):
        parse_grid(text)


def test_a_study_sets_the_link_of_a_scenario_and_nothing_else(tmp_path):
    (tmp_path / "small.yaml").write_text(SCENARIO)
    study = study_over(tmp_path / "small.yaml", parse_grid("rate=1..4 Mbit/s in 3, delay=7 ms"))
    assert len(study) == 3
    assert study.folder == tmp_path
    found = [study.scenario(values) for values in study.values()]
    assert [each.links[0].rate for each in found] == [1e6, 2e6, 4e6]
    assert {(each.links[0].delay, each.links[0].loss) for each in found} == {(0.007, 0.02)}
    assert [units.parse(axis.values[0][0], units.TIME) for axis in study.axes[1:]] == [0.007]
    with pytest.raises(ScenarioError, match="no link condition is given"):
        study_over(tmp_path / "small.yaml", LinkGrid())


def test_policies_are_for_answers_along_the_way(tmp_path):
    document = yaml.safe_load(SCENARIO)
    document["devices"].append({"name": "far", "preset": "t4"})
    document["links"].append({"name": "fibre", "rate": "1 Gbit/s", "delay": "1 ms"})
    document["workload"] |= {"response": "runtime", "answers": {"direct": {"rate": "1 Mbit/s", "delay": "5 ms"}}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ScenarioError, match=r"workload\.answers: the plans of a policy have their answers along"):
        study_over(tmp_path / "small.yaml", parse_grid("rate=1..4 Mbit/s in 3"))
