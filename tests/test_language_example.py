"""The example's language model, its data, its optimizer, and the table of trigrams that it has to be better than."""

from __future__ import annotations

import ast
import importlib
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from conftest import ROOT

import splitimpera as sei
from splitimpera.core.errors import DataError, ModelError
from splitimpera.language.block_runs import runs_between
from splitimpera.language.decoder import decoder_of
from splitimpera.language.greedy import write_greedily
from splitimpera.models.imports import run_factory

FOLDER = ROOT / "examples" / "language"
MODULES = ("network", "data", "muon", "trigram")


@pytest.fixture
def example(monkeypatch):
    """A module of the example; those of another example bear the same names."""
    for each in MODULES:
        sys.modules.pop(each, None)
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for each in MODULES:
        sys.modules.pop(each, None)


@pytest.fixture
def few(example, monkeypatch):
    """The example's data, of a few small packages."""
    data = example("data")
    packages = {"abc", "asyncore", "bisect", "calendar", "filecmp", "heapq", "posixpath", "queue", "shlex", "string"}
    monkeypatch.setattr(data, "LEFT_OUT", sys.stdlib_module_names - packages - {"wave", "textwrap", "pprint"})
    data._by_part.cache_clear()
    return data


@pytest.fixture
def untrained(example):
    """A network whose blocks do something: new ones change nothing."""
    torch.manual_seed(1)
    model = example("network").Decoder().eval()
    for block in model.blocks:
        for layer in (block.out, block.narrow):
            torch.nn.init.normal_(layer.weight, std=0.1)
    return model.requires_grad_(False)


def ids_of(rows, tokens):
    return torch.randint(0, 256, (rows, tokens), generator=torch.Generator().manual_seed(tokens))


# Data


def test_docstrings_are_those_that_python_finds(example):
    source = (
        '"""A module."""\nclass A:\n    """A class.\n\n    More.\n    """\n    async def f(self):\n        "F."\nx = 1'
    )
    assert example("data").docstrings(source) == ["A module.", "A class.\n\nMore.", "F."]
    assert example("data").docstrings("x = 1\n'no docstring'") == []


def test_windows_are_of_texts_with_the_next_byte_for_a_target(few):
    parts = few.windows()
    assert [*parts] == ["train", "validation", "test"]
    for part, (ids, targets) in parts.items():
        assert ids.shape == targets.shape
        assert (ids.shape[1], ids.dtype, targets.dtype) == (256, np.int64, np.int64)
        assert 0 < len(ids) <= few.COUNTS[part]
        np.testing.assert_array_equal(ids[:, 1:], targets[:, :-1])
        text = few.text(part)
        assert all(bytes(row.tolist()) in text for row in np.c_[ids, targets[:, -1]][::7])


def test_windows_do_not_overlap_and_are_spread_over_the_text(example):
    text = bytes(range(250)) * 20
    ids, _ = example("data").cut_up(text, 5)
    every, _ = example("data").cut_up(text, 1000)
    assert (len(ids), len(every)) == (5, 19)
    assert bytes(every.ravel().tolist()) == text[: 19 * 256]
    places = [np.flatnonzero((every == row).all(1))[0] for row in ids]
    assert places == [0, 3, 7, 11, 15]


def test_no_package_and_no_docstring_is_in_two_parts(few):
    packages = {few.part_of(top) for top, _ in few._files()}
    assert packages == {"train", "validation", "test"}
    docstrings = [each for part in few.COUNTS for each in few._by_part()[part]]
    assert len({*docstrings}) == len(docstrings) > 100
    assert few.part_of("email") == few.part_of("email") == "test"


def test_what_is_left_out_is_no_docstring_of_the_rest(few):
    files = [path for _, path in few._files()]
    assert files == sorted(files, key=lambda path: path.relative_to(files[0].parent).parts)
    wanted = {ast.get_docstring(ast.parse(path.read_text())) for path in files} - {None}
    assert wanted <= {each for part in few.COUNTS for each in few._by_part()[part]}


# Trigrams


def test_trigrams_are_smoothed_as_witten_and_bell_say(example):
    text, asked = b"abracadabra", b"abrc"
    bits = example("trigram").Trigram(text).bits(asked)
    assert bits == pytest.approx([-math.log2(probability) for probability in by_hand(text, asked)])


def by_hand(text, asked):
    """Exact probabilities of each byte after the two before it."""
    for place in range(len(asked)):
        probability = Fraction(1, 256)
        for length in range(min(place, 2) + 1):
            context = asked[place - length : place]
            following = [text[at + length] for at in range(len(text) - length) if text[at : at + length] == context]
            if following:
                kinds = len({*following})
                probability = (following.count(asked[place]) + kinds * probability) / (len(following) + kinds)
        yield probability


def test_the_probabilities_of_all_bytes_come_to_one(example):
    trigram = example("trigram").Trigram(b"the cat sat on the mat")
    for context in (b"th", b"zz", b"t "):
        total = sum(2.0 ** -trigram.bits(context + bytes([last]))[-1] for last in range(256))
        assert total == pytest.approx(1)


# The optimizer


@pytest.mark.parametrize("shape", [(2, 6, 6), (2, 12, 5), (1, 5, 12)])
def test_steps_are_orthogonal_and_point_where_gradients_do(example, shape):
    torch.manual_seed(0)
    gradients = torch.randn(shape)
    directions = example("muon").orthogonal(gradients)
    assert directions.shape == shape
    left, singular, right = torch.linalg.svd(gradients, full_matrices=False)
    between = left.mT @ directions @ right.mT  # their singular vectors are the gradients'
    own = torch.diagonal(between, dim1=1, dim2=2)
    torch.testing.assert_close(between, torch.diag_embed(own), atol=1e-4, rtol=0)
    large = singular > 0.1 * singular[:, :1]
    assert ((own > 0.6) & (own < 1.3))[large].all()


def test_a_matrix_is_found_by_its_steps(example):
    torch.manual_seed(0)
    wanted, found, tall = (
        torch.randn(6, 6),
        torch.zeros(6, 6, requires_grad=True),
        torch.zeros(9, 6, requires_grad=True),
    )
    optimizer = example("muon").Muon([found, tall], lr=0.1)
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 150)
        optimizer.zero_grad()
        ((found - wanted).square().sum() + (tall[:6] - wanted).square().sum()).backward()
        optimizer.step()
    torch.testing.assert_close(found.detach(), wanted, atol=0.05, rtol=0)
    torch.testing.assert_close(tall[:6].detach(), wanted, atol=0.05, rtol=0)


# The network


def test_a_new_block_changes_nothing(example):
    model = example("network").Decoder()
    ids = ids_of(2, 9)
    torch.testing.assert_close(model(ids), model.head(model.embed(ids)), rtol=0, atol=0)
    assert 0.8e6 < sum(parameter.numel() for parameter in model.parameters()) < 1e6


def test_no_token_sees_those_behind_it(untrained):
    ids = ids_of(1, 40)
    changed = ids.clone()
    changed[0, 25:] = 7
    before, after = untrained(ids), untrained(changed)
    torch.testing.assert_close(before[:, :25], after[:, :25])
    assert not torch.allclose(before[:, 25:], after[:, 25:])


def test_attention_knows_how_far_apart_tokens_are_and_not_where(untrained):
    block, x = untrained.blocks[0], untrained.embed(ids_of(1, 12))
    none, positions = torch.zeros(1, 4, 0, 32), torch.arange(12)
    here, moved, apart = (block(x, each, none, none)[0][:, -1] for each in (positions, positions + 90, positions * 3))
    torch.testing.assert_close(moved, here, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(apart, here, atol=1e-3)


@pytest.mark.parametrize("ends", [(1, 2, 3, 4, 5, 6), (4, 6), (5, 11)])
def test_text_in_pieces_with_its_past_is_as_in_one(untrained, ends):
    ids = ids_of(2, ends[-1])
    whole = untrained(ids)
    pasts = [(torch.zeros(2, 4, 0, 32),) * 2 for _ in untrained.blocks]
    start, pieces = 0, []
    for end in ends:
        x = untrained.embed(ids[:, start:end])
        for number, block in enumerate(untrained.blocks):
            x, *pasts[number] = block(x, torch.arange(start, end), *pasts[number])
        pieces.append(untrained.head(x))
        start = end
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-5)
    assert all(keys.shape == values.shape == (2, 4, ends[-1], 32) for keys, values in pasts)


@pytest.mark.slow
def test_it_is_split_behind_every_block_where_one_tensor_crosses(untrained):
    ids = ids_of(3, 32)
    graph, whole = sei.trace(untrained, ids[:2]), untrained(ids)
    for number in range(len(untrained.blocks)):
        cut = graph.cut(f"blocks.{number}")
        assert [(tensor.shape, tensor.dtype) for tensor in cut.tensors] == [((32, 128), "float32")]
        partition = sei.split(graph, cut)
        torch.testing.assert_close(partition.tail(partition.head(ids)), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cut", range(6))
def test_its_parts_write_what_it_writes(untrained, cut):
    decoder, ids = decoder_of(untrained), ids_of(1, 7)
    assert (decoder.vocabulary, decoder.width, decoder.context, decoder.key_value_shape) == (256, 128, 256, (4, 32))
    assert not decoder.tied
    whole = ids
    for _ in range(12):
        whole = torch.cat([whole, untrained(whole)[:, -1:].argmax(2)], 1)
    assert write_greedily(runs_between(decoder, cut), ids, 12) == whole[0, 7:].tolist()


def test_weights_are_the_same_from_the_cache_and_on_one_core(few, example, monkeypatch, tmp_path):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path))
    network, ids = example("network"), ids_of(2, 20)
    for name in ("STEPS", "BATCH"):
        monkeypatch.setattr(network, name, 2)
    with torch.no_grad():
        trained = network.build()(ids)
        with monkeypatch.context() as patch:
            patch.setattr(network, "fit", pytest.fail)
            torch.testing.assert_close(network.build()(ids), trained, rtol=0, atol=0)
        monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / "other"))
        monkeypatch.setattr(network, "ThreadPoolExecutor", lambda _: ThreadPoolExecutor(1))
        torch.testing.assert_close(network.build()(ids), trained, rtol=0, atol=0)


@pytest.mark.slow
def test_it_takes_15_percent_fewer_bits_than_trigrams_on_text_of_other_packages(example):
    data, trigram = example("data"), example("trigram").Trigram(example("data").text("train"))
    model = run_factory("network.py:build", FOLDER, ModelError)
    parts = run_factory("data.py:windows", FOLDER, DataError)
    text = data.text("test")
    bar = trigram.bits(text).mean()
    ids, targets = (torch.from_numpy(each) for each in data.cut_up(text, len(text)))
    with torch.no_grad():
        loss = [
            F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")
            for x, y in zip(ids.split(64), targets.split(64), strict=True)
        ]
    bits = float(sum(loss)) / targets.numel() / math.log(2)
    assert bits < 0.85 * bar
    assert len(parts["test"][0]) == data.COUNTS["test"]
