"""Text files as windows of tokens: what is in them, what comes next, and how many bytes that is."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core.errors import DataError, MissingExtraError, ScenarioError, SplitImperaWarning
from splitimpera.models import texts
from splitimpera.models.datasets import is_source, load_data
from splitimpera.models.texts import Tokens, windows_of
from splitimpera.scenario import DataSection
from splitimpera.scenario.loading import load_scenario
from splitimpera.tasks.language import following


def load(place, tokens=None, kind="array", folder=None, **keys):
    given = {} if tokens is None else {"tokens": tokens}
    section = DataSection.model_validate({"source": str(place), **given, **keys})
    return load_data(section, folder or place.parent, kind)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def words(count, seed=0):
    rng = np.random.default_rng(seed)
    return " ".join("".join(rng.choice([*"abcdeäß"], 4)) for _ in range(count))


@pytest.fixture
def tokenizer(tmp_path):
    """A small byte-pair tokenizer, trained on a few words, in a folder."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>"],
        show_progress=False,
    )
    made.train_from_iterator([words(300)], trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made.enable_truncation(5)  # which must not cut texts
    (tmp_path / "tokenizer").mkdir()
    made.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    return made


def test_a_file_of_bytes(tmp_path):
    text = words(500)
    data = load(write(tmp_path / "all.txt", text), {"window": 16})
    everything = data.everything()
    assert len(everything) == len(text.encode()) // 16
    ids = data.test.read(slice(None))
    assert (ids.dtype, ids.shape[1]) == (torch.int64, 16)
    for place, (target,) in enumerate(data.test.targets.rows(range(len(data.test)))):
        assert target[:-1].tolist() == ids[place, 1:].tolist()
        assert bytes([*ids[place].tolist(), int(target[-1])]) in text.encode()
    assert is_source("all.txt", tmp_path)
    assert not is_source("some.txt", tmp_path)


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(2, 9))
def test_windows_hold_each_text_in_order_and_the_last_knows_what_follows(parts, window):
    made = windows_of([Tokens(np.frombuffer(part, np.uint8).astype(np.int64)) for part in parts], window)
    rows, place = made.read(slice(None)).tolist(), 0
    targets = [row.tolist() for (row,) in made.targets.rows(range(len(made)))]
    for part in parts:
        for first in range(0, len(part) - window + 1, window):
            assert rows[place] == [*part[first : first + window]]
            following_ones = [*part[first + 1 : first + window + 1]]
            assert targets[place] == following_ones + [-1] * (window - len(following_ones))
            place += 1
    assert place == len(rows)


def test_folders_of_parts_and_those_below_them(tmp_path):
    write(tmp_path / "texts" / "train" / "deep" / "a.txt", "a" * 40)
    write(tmp_path / "texts" / "val" / "b.txt", "b" * 20)
    write(tmp_path / "texts" / "test" / "c.txt", "c" * 10)
    write(tmp_path / "texts" / "test" / "notes.md", "x" * 10)
    data = load(tmp_path / "texts", {"window": 10})
    assert [len(part) for part in (data.train, data.validation, data.test)] == [4, 2, 1]
    assert set(data.test.read(slice(None)).flatten().tolist()) == {ord("c")}
    assert data.test.targets.rows([0])[0][0][-1] == -1
    with pytest.raises(DataError, match=r"data\.validation: .* comes with its own parts"):
        load(tmp_path / "texts", {"window": 10}, validation=0.2)


def test_a_folder_is_divided_by_windows_and_short_texts_are_said(tmp_path):
    for number in range(6):
        write(tmp_path / "texts" / f"{number}.txt", words(40, number) if number else "short")
    with pytest.warns(SplitImperaWarning, match=r"1 of 6 text files have fewer than 16 tokens .*: texts/0\.txt"):
        data = load(tmp_path / "texts", {"window": 16})
    assert len(data.everything()) == sum(len(words(40, number).encode()) // 16 for number in range(1, 6))
    assert {len(data.validation), len(data.test)} <= {*range(10, 50)}


def test_without_targets(tmp_path):
    data = load(write(tmp_path / "all.txt", words(100)), {"window": 16}, kind="none")
    assert not data.test.known


def test_a_tokenizer_of_a_local_folder(tmp_path, tokenizer):
    text = words(400, 1)
    write(tmp_path / "all.txt", text)
    data = load(tmp_path / "all.txt", {"window": 8, "tokenizer": "tokenizer"}, seed=3)
    tokenizer.no_truncation()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert len(data.everything()) == len(ids) // 8
    assert 0 not in data.everything().read(slice(None))  # no special token
    assert data.everything().read(slice(None)).max() >= 256


def test_bytes_of_tokens_add_up_to_the_text(tmp_path, tokenizer):
    text = words(60, 2)
    path = write(tmp_path / "all.txt", text)
    made = texts.Tokenizer("tokenizer", tmp_path)(path.read_bytes(), path)
    assert made.sizes.sum() == len(text.encode())
    samples = windows_of([made], 8)
    rows = samples.targets.rows(range(len(samples)))
    sizes = sum(following(row)[1].sum() for row in rows)
    behind = made.sizes[len(samples) * 8 + 1 :].sum()
    assert sizes + made.sizes[0] + behind == len(text.encode())
    taken = samples.take(torch.tensor([2, 0]))
    np.testing.assert_array_equal(taken.targets.rows([1])[0][0], rows[0][0])


@pytest.mark.filterwarnings("ignore::splitimpera.core.errors.SplitImperaWarning")
def test_faults_are_told(tmp_path, tokenizer, monkeypatch):
    path = write(tmp_path / "all.txt", words(100))
    broken = write(tmp_path / "broken" / "tokenizer.json", "{}").parent
    folder = tmp_path / "nothing"
    folder.mkdir()
    (tmp_path / "latin.txt").write_bytes("ä".encode("latin-1") * 100)
    for place, tokens, said in (
        (path, {"window": 4096}, r"data\.tokens\.window: no text of '.*all\.txt' has 4096 tokens"),
        (path, {"tokenizer": "none"}, r"data\.tokens\.tokenizer: the tokenizer '.*none' does not exist.*'bytes'"),
        (path, {"tokenizer": str(broken)}, r"data\.tokens\.tokenizer: '.*' is no tokenizer: "),
        (folder, {"window": 8}, r"has no text files \(\*\.txt\)"),
        (tmp_path / "latin.txt", {"tokenizer": "tokenizer"}, r"is no UTF-8 \(byte 0\)"),
    ):
        with pytest.raises(DataError, match=said):
            load(place, tokens)
    with pytest.raises(DataError, match=r"data\.tokens: 'digits' is no text"):
        load_data(DataSection.model_validate({"source": "digits", "tokens": {"window": 8}}), tmp_path)
    with pytest.raises(DataError, match=r"data\.size: texts are no images"):
        load(path, size=[4, 4])
    with pytest.raises(DataError, match=r"has arrays of numbers; the task needs class labels"):
        load(path, kind="class")
    monkeypatch.setattr(texts, "MOST_TEXT_BYTES", 50)
    with pytest.raises(DataError, match="larger than 50 B"):
        load(path)
    write(tmp_path / "two" / "a.txt", "a" * 30)
    write(tmp_path / "two" / "b.txt", "a" * 30)
    with pytest.raises(DataError, match="are more than 50 B"):
        load(tmp_path / "two", {"window": 8})
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match="tokenizers"):
        load(path, {"tokenizer": "tokenizer"})


def test_keys_of_the_section_are_known(tmp_path):
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("data:\n  source: x\n  tokens:\n    windw: 3\n")
    with pytest.raises(ScenarioError, match=r"yaml:4: data\.tokens\.windw: .*Known: tokenizer, window"):
        load_scenario(scenario)
