from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import splits
import torch

import splitimpera as sei
from splitimpera.core.cache import write_cached
from splitimpera.core.errors import SplitImperaWarning
from splitimpera.core.files import STALE_S, TEMPORARY_SUFFIX
from splitimpera.training.cached import trained_split
from splitimpera.training.split import train_split

SAMPLES = splits.samples_of(64)
QUICK = {"epochs": (1, 1), "batch": 16}


def files(folder):
    """What is kept there, beside the locks."""
    return [path for path in folder.iterdir() if path.name != ".locks"]


@pytest.fixture(scope="module")
def graph():
    return splits.traced()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def epochs():
    """Counts the epochs that are trained."""

    class Counter(list):
        def track(self, steps, description, total):
            for step in steps:
                self.append(step)
                yield step

    return Counter()


def same(first, second):
    first, second = first.parts.state_dict(), second.parts.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_two_who_ask_at_once_train_it_once(folder, epochs):
    """Both find nothing at first: whoever waits for the lock then finds what the other has made."""
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(trained_split, splits.traced(), splits.CUT, SAMPLES, track=epochs.track, **QUICK) for _ in "ab"
        ]
        first, second = (future.result() for future in asked)
    assert len(epochs) == 2
    assert same(first, second)


def test_the_same_split_is_trained_once(graph, folder, epochs):
    first = trained_split(graph, splits.CUT, SAMPLES, track=epochs.track, **QUICK)
    again = trained_split(splits.traced(), graph.cut(splits.CUT), SAMPLES, track=epochs.track, **QUICK)
    assert len(epochs) == 2
    assert same(first, again)
    assert first.history == again.history
    assert [path.suffix for path in files(folder)] == [".weights"]  # no checkpoint is left


def test_where_the_inputs_are_does_not_matter(graph, folder, epochs):
    class Elsewhere:
        def __len__(self):
            return len(SAMPLES)

        def read(self, rows):
            return SAMPLES.inputs[rows]

    first = trained_split(graph, splits.CUT, SAMPLES, track=epochs.track, **QUICK)
    again = trained_split(graph, splits.CUT, type(SAMPLES)(Elsewhere(), SAMPLES.labels), track=epochs.track, **QUICK)
    assert len(epochs) == 2
    assert same(first, again)


def test_what_decides_the_weights_decides_the_file(graph, folder, epochs):
    trained_split(graph, splits.CUT, SAMPLES, **QUICK)
    other_network = splits.trained_network()
    with torch.no_grad():
        other_network.head.bias[0] += 1
    labels = SAMPLES.labels.clone()
    labels[0] = (labels[0] + 1) % splits.CLASSES
    for network, cut, samples, more in (
        (sei.trace(other_network, SAMPLES.inputs[:2]), splits.CUT, SAMPLES, {}),
        (graph, "body.0", SAMPLES, {}),
        (graph, splits.CUT, SAMPLES.take(slice(60)), {}),
        (graph, splits.CUT, type(SAMPLES)(SAMPLES.inputs, labels), {}),
        (graph, splits.CUT, SAMPLES, {"seed": 1}),
        (graph, splits.CUT, SAMPLES, {"bits": 8}),
        (graph, splits.CUT, SAMPLES, {"packet_elements": 2, "packet_loss": 0.1}),
        (graph, splits.CUT, SAMPLES, {"packet_elements": 2, "packet_loss": 0.1, "order": torch.arange(8).flip(0)}),
    ):
        before = len(epochs)
        trained_split(network, cut, samples, track=epochs.track, **QUICK, **more)
        assert len(epochs) == before + 2


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:0], lambda b: b[:-9] + b"x" + b[-8:]])
def test_a_damaged_file_is_made_anew(graph, folder, epochs, damage):
    first = trained_split(graph, splits.CUT, SAMPLES, **QUICK)
    (path,) = files(folder)
    path.write_bytes(damage(path.read_bytes()))
    again = trained_split(graph, splits.CUT, SAMPLES, track=epochs.track, **QUICK)
    assert len(epochs) == 2
    assert same(first, again)


def test_a_file_of_that_name_by_another_hand_is_made_anew(graph, folder, epochs):
    trained_split(graph, splits.CUT, SAMPLES, **QUICK)
    (path,) = files(folder)
    write_cached(path.name, b"something else")
    trained_split(graph, splits.CUT, SAMPLES, track=epochs.track, **QUICK)
    assert len(epochs) == 2


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:0], lambda b: b[:9] + b"other" * 100])
def test_a_damaged_checkpoint_is_no_obstacle(graph, folder, epochs, damage):
    arguments = {"epochs": (2, 1), "batch": 16}

    def interrupt(steps, description, total):
        yield next(iter(steps))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained_split(graph, splits.CUT, SAMPLES, track=interrupt, **arguments)
    (checkpoint,) = files(folder)
    assert checkpoint.suffix == ".checkpoint"
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    result = trained_split(graph, splits.CUT, SAMPLES, track=epochs.track, **arguments)
    assert len(epochs) == 3
    assert same(result, train_split(graph, splits.CUT, SAMPLES, **arguments))


def test_with_a_constant_rate_an_interrupted_training_goes_on(graph, folder, epochs):
    arguments = {"epochs": (2, 1), "batch": 16, "schedule": "constant"}

    def interrupt(steps, description, total):
        yield next(iter(steps))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained_split(graph, splits.CUT, SAMPLES, track=interrupt, **arguments)
    result = trained_split(graph, splits.CUT, SAMPLES, track=epochs.track, **arguments)
    assert len(epochs) == 2
    assert same(result, train_split(graph, splits.CUT, SAMPLES, **arguments))
    assert [path.suffix for path in files(folder)] == [".weights"]


def test_half_written_files_of_killed_processes_go_and_those_of_living_ones_stay(graph, folder):
    trained_split(graph, splits.CUT, SAMPLES, **QUICK)
    (stored,) = files(folder)
    stored.unlink()
    old, young, other = folder / f".1-a{TEMPORARY_SUFFIX}", folder / f".2-b{TEMPORARY_SUFFIX}", folder / ".else.c"
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (time.time() - 2 * STALE_S,) * 2)
    trained_split(graph, splits.CUT, SAMPLES, **QUICK)
    assert {path.name for path in files(folder)} == {stored.name, young.name, other.name}


def test_where_the_cache_cannot_be_written_a_split_is_trained_for_this_run(graph, tmp_path, monkeypatch, epochs):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / "cache"))
    with pytest.warns(SplitImperaWarning, match="SPLITIMPERA_CACHE"):
        result = trained_split(graph, splits.CUT, SAMPLES, track=epochs.track, **QUICK)
    assert len(epochs) == 2
    assert same(result, train_split(graph, splits.CUT, SAMPLES, **QUICK))
    assert (tmp_path / "cache").read_text() == "a file"


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 4])
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been_killed(folder, tmp_path, epochs, after):
    ready = tmp_path / "ready"
    program = subprocess.Popen([sys.executable, splits.__file__, str(after), str(ready)], env=os.environ.copy())
    try:
        while not ready.exists():
            assert program.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
    finally:
        program.kill()
        program.wait()
    assert [path.suffix for path in files(folder)] == [".checkpoint"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as there: sums in another order would be other weights
    try:
        graph = splits.traced()
        result = trained_split(graph, splits.CUT, SAMPLES, track=epochs.track, **splits.ARGUMENTS)
        assert len(epochs) == 6 - after
        assert same(result, train_split(graph, splits.CUT, SAMPLES, **splits.ARGUMENTS))
        assert same(result, trained_split(graph, splits.CUT, SAMPLES, track=epochs.track, **splits.ARGUMENTS))
    finally:
        torch.set_num_threads(threads)
    assert len(epochs) == 6 - after
    assert [path.suffix for path in files(folder)] == [".weights"]
