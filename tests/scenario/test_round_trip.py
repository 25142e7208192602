"""A scenario comes round: written as plain values, and read again, it is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT, SCENARIOS
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from splitimpera.core.bounds import BOUNDS
from splitimpera.core.errors import ScenarioError
from splitimpera.scenario import LinkSection, Scenario, load_run, load_scenario

EXAMPLES = SCENARIOS

names = st.text("abcXYZ019", min_size=1, max_size=8)
texts = st.sampled_from(
    ["digits", "mine.py:network", "größe/bild", "a b", "true", "1e3", "😀", "uint8+rans", "x" * 200]
)
paths = st.sampled_from(["w.pt", "../w.pt", "/data/w.safetensors", "größe/w.pt", "./a//b"])


def within(field, unit=""):
    """Numbers in a bound, with a unit, or whole ones."""
    bound = BOUNDS[field]
    low, high = max(bound.low, 1e-9), min(bound.high, 1e9)
    numbers = st.floats(low, high, exclude_min=True, exclude_max=True, allow_subnormal=False)
    return numbers.map(lambda number: f"{number!r} {unit}".rstrip())


def some(required, **optional):
    return st.fixed_dictionaries(required, optional=optional)


shares = st.floats(0, 0.49).map(lambda share: f"{100 * share!r} %") | st.floats(0, 0.49)
counts = st.integers(1, 100)
cuts = st.lists(texts | counts, max_size=4)
devices = some(
    {},
    profile=paths,
    slowdown=st.sampled_from([40, 0.5, "40", "2.5x"]),
    memory=st.sampled_from(["2.6 MB", 1000, "512 MiB"]),
    power=st.sampled_from(["5 W", "250 mW"]),
    radio=texts | some({"joule_per_byte": st.sampled_from([1e-6, 0.0])}, power=st.sampled_from(["1 W", "0.3 mW"])),
) | some({"queue": st.sampled_from(["drop-newest", "drop-oldest"])}, queue_frames=counts, preset=texts)
links = some(
    {"rate": within("rate_bps", "bit/s") | st.sampled_from(["100 Mbit/s", "1 kB/s"])}
    | {"delay": st.sampled_from(["5 ms", "0.1 us", 0, "1 h", "0.3 ms"])},
    name=names,
    preset=texts,
    loss=shares,
    loss_burst=st.sampled_from([2, 4.5]),
    downlink_rate=within("downlink_rate_bps", "bit/s"),
    downlink_delay=st.sampled_from(["7 us", "1.1 ms"]),
    downlink_loss=shares,
    jitter=st.sampled_from(["1 ms", 0]),
    jitter_distribution=st.sampled_from(["uniform", "normal"]),
    reorder=st.booleans(),
    queue=st.sampled_from(["64 kB", 1500]),
    queue_packets=counts,
    mtu=st.sampled_from([1500, "1280 B"]),
    link_header=st.sampled_from(["ethernet", 14, "2 B"]),
) | some({"trace": paths, "drops": paths}, name=names, trace_start=st.sampled_from(["0 s", "2.5 min"]))
requirements = st.sampled_from(
    [
        ["accuracy >= 90 %"],
        ["latency_p95 <= 50 ms", "fps >= 20 fps", {"prefer": "payload_bytes <= 500 B", "weight": 2}],
        [{"prefer": "energy   <=  1 mJ"}, "cut_depth >= 1 layer"],
    ]
)


@st.composite
def scenarios(draw):
    return draw(
        some(
            {
                "network": some({"model": texts}, weights=paths),
                "data": some({"source": texts}, validation=st.just("30 %"), test=st.just(0.5), seed=counts)
                | some({"source": texts}, size=st.just([8, 9]), mean=st.just([0.1, 0.2]), std=st.just([1.0]))
                | some({"source": texts}, audio=some({}, rate=st.just("8 kHz"), window=st.just("32 ms"), mels=counts)),
                "devices": st.tuples(devices, devices).map(
                    lambda pair: [{"name": "first"} | pair[0], {"name": "second"} | pair[1]]
                ),
                "links": links.map(lambda link: [link]),
                "workload": some(
                    {"fps": st.sampled_from([20, "0.5 Hz", "2 kHz"])},
                    frames=st.just(2000),
                    deadline=st.just("105 ms"),
                    senders=st.integers(1, 3),
                    response=st.sampled_from([0, "1 kB"]),
                ),
                "requirements": requirements,
            },
            name=names,
            seed=counts,
            plans=some({}, cuts=cuts | st.sampled_from(["all", "blocks"]), codecs=st.lists(texts, min_size=1)),
            bottlenecks=some(
                {}, ratios=st.just([2, "16x"]), cuts=cuts, epochs=st.just([1, 0]), bits=st.none() | st.just(4)
            )
            if draw(st.booleans())
            else st.just({}),
            objective=st.sampled_from(["balanced", "latency_p95"]),
            tolerance=shares,
        )
    )


def same(left, right):
    """Equal, and what was given is the same: what is left out has a meaning of its own."""
    pairs = [(left, right), (left.workload, right.workload), *zip(left.links, right.links, strict=True)]
    pairs += [*zip(left.devices, right.devices, strict=True), (left.data, right.data)]
    assert left == right
    assert all(one.model_fields_set | {"name"} == other.model_fields_set | {"name"} for one, other in pairs)
    assert [link.given() for link in left.links] == [link.given() for link in right.links]


def check_round_trip(scenario):
    same(Scenario.model_validate(scenario.model_dump()), scenario)
    same(Scenario.model_validate(scenario.document()), scenario)
    same(Scenario.model_validate(json.loads(json.dumps(scenario.document(), allow_nan=False))), scenario)
    same(Scenario.model_validate_json(scenario.model_dump_json()), scenario)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_comes_round(path):
    check_round_trip(load_scenario(path))


@given(scenarios())
def test_every_scenario_comes_round(content):
    check_round_trip(Scenario.model_validate(content))


def test_numbers_without_units_are_read_where_the_document_says_what_they_are():
    document = load_scenario(next(path for path in EXAMPLES if path.match("digits/scenario.yaml"))).document()
    assert document["links"][0]["delay"] == 0.02
    assert Scenario.model_validate(document).links[0].delay == 0.02
    del document["units"], document["folder"]
    with pytest.raises(ValidationError, match="the unit is missing"):
        Scenario.model_validate(document)
    with pytest.raises(ValidationError, match="the unit is missing"):  # also after one that said so
        LinkSection.model_validate({"rate": 1e6, "delay": "1 ms"})


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"units": "imperial"}, "units"),
        ({"units": None}, "units"),
        ({"folder": "here"}, "folder"),
        ({"folder": "/a\0b"}, "folder"),
        ({"folder": "/" + "x" * 5000}, "folder"),
        ({"folder": 5}, "folder"),
        ({"links": [{"rate": True, "delay": 0.1}]}, "links"),
        ({"links": [{"rate": "1e6", "delay": 0.1}]}, "links"),
        ({"workload": {"fps": 20, "deadline": float("inf")}}, "workload"),
    ],
)
def test_a_document_is_as_strict_as_a_file(changed, key):
    with pytest.raises(ValidationError) as caught:
        Scenario.model_validate(load_scenario(EXAMPLES[0]).document() | changed)
    assert {error["loc"][0] for error in caught.value.errors()} == {key}


def recorded(tmp_path, **changed):
    """A results file as far as a scenario's reader looks at it."""
    document = load_scenario(ROOT / "examples" / "digits" / "local.yaml").document()
    path = tmp_path / "results.json"
    values = {"schema_version": 5, "scenario": document, "seed": 3, "replications": 7} | changed
    path.write_text(json.dumps(values))
    return path


def test_a_results_file_is_read_as_its_scenario(tmp_path):
    run = load_run(recorded(tmp_path))
    assert run.scenario == load_scenario(ROOT / "examples" / "digits" / "local.yaml")
    assert (run.seed, run.replications) == (3, 7)
    assert run.scenario.folder == ROOT / "examples" / "digits"
    assert load_run(ROOT / "examples" / "digits" / "local.yaml").seed is None


def test_relative_paths_start_from_the_first_files_folder(tmp_path):
    folder = tmp_path / "first"
    folder.mkdir()
    text = (ROOT / "examples" / "digits" / "local.yaml").read_text()
    (folder / "a.yaml").write_text(text.replace("digits-vgg16", "mine.py:network"))
    document = load_scenario(folder / "a.yaml").document()
    assert load_scenario(recorded(tmp_path, scenario=document)).folder == folder


DOCUMENT = load_scenario(ROOT / "examples" / "digits" / "local.yaml").document()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scenario": 5}, "its scenario is not a mapping of keys"),
        ({"scenario": {"name": "x"}}, "did not keep the whole scenario; run the scenario file itself"),
        ({"seed": -1}, "results.json: seed: this results file is damaged: a whole number from 0"),
        ({"seed": True}, "results.json: seed"),
        ({"replications": 1001}, "results.json: replications: this results file is damaged: a whole number from 1"),
        ({"replications": [1]}, "given list"),
        ({"scenario": DOCUMENT | {"sede": 5}}, "results.json: sede: this key is unknown; did you mean 'seed'"),
        (
            {"scenario": DOCUMENT | {"links": [{"rate": -1, "delay": 0.1}]}},
            "results.json: links[0].rate: -1 is out of range",
        ),
        ({"scenario": DOCUMENT | {"name": list(range(10_000))}}, "has more than 10000 values"),
        ({"scenario": DOCUMENT | {"name": json.loads("[" * 30 + "]" * 30)}}, "nested deeper than 20 levels"),
    ],
)
def test_a_damaged_results_file_is_refused(changed, message, tmp_path):
    with pytest.raises(ScenarioError) as caught:
        load_scenario(recorded(tmp_path, **changed))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema_version": 5, "scenario": {', "this is not valid JSON"),
        ('{"schema_version": NaN, "scenario": {}}', "NaN is no number in JSON"),
        ('{"schema_version": 5, "scenario": ' + "[" * 200_000, "it is nested too deeply"),
        ('{"schema_version": 5, "scenario": [' + "1," * 4_000_001, "more than 4000000 values"),
    ],
    ids=["cut off", "NaN", "deep", "many"],
)
def test_what_is_no_results_file_is_refused(text, message, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=message):
        load_scenario(path)


def test_a_scenario_file_may_be_json(tmp_path):
    path = tmp_path / "case.json"
    path.write_text(json.dumps(DOCUMENT))
    scenario = load_scenario(path)
    assert scenario.folder == Path(DOCUMENT["folder"])
    assert scenario.document() == DOCUMENT
