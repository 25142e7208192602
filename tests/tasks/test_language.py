"""Language models: bits, perplexity and equal tokens, as sums that do not depend on how text is cut into windows."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from splitimpera.core.errors import ModelError
from splitimpera.tasks.language import MOST_BITS, Language, following
from splitimpera.tasks.making import make_task
from splitimpera.tasks.quality import value_of
from splitimpera.tasks.task import Output, numbers_of

TOKENS, WORDS = 6, 11
LOGITS = Output("logits", (TOKENS, WORDS))


def fitted(metric="bits_per_byte", kind="language", **options):
    return make_task(kind, options).fitted([LOGITS], metric)


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, TOKENS, WORDS)).astype(np.float32) * 3
    targets = rng.integers(-1, WORDS, (5, TOKENS))
    targets[:, 0] = 3
    return [(row,) for row in logits], [(row,) for row in targets]


def value(task, rows, targets):
    counts = np.array([numbers_of(task, row, target) for row, target in zip(rows, targets, strict=True)])
    return value_of(task.quality, task.quality.vectors(counts))


def test_bits_and_perplexity_are_those_of_cross_entropy(windows):
    rows, targets = windows
    logits, wanted = (np.stack([each for (each,) in some]) for some in windows)
    nats = torch.nn.functional.cross_entropy(
        torch.tensor(logits).double().flatten(0, 1), torch.tensor(wanted).flatten(), ignore_index=-1
    ).item()
    assert value(fitted(), rows, targets) == pytest.approx(nats / np.log(2), rel=1e-12)
    assert value(fitted("perplexity"), rows, targets) == pytest.approx(np.exp(nats), rel=1e-12)


def test_a_token_may_stand_for_several_bytes(windows):
    rows, targets = windows
    wide = [(np.stack([row, np.full(TOKENS, 4)]),) for (row,) in targets]
    assert value(fitted(), rows, wide) == pytest.approx(value(fitted(), rows, targets) / 4)
    assert value(fitted("perplexity"), rows, wide) == pytest.approx(value(fitted("perplexity"), rows, targets))
    floats = [(row.astype(np.float32),) for (row,) in targets]  # as factories' targets come
    assert value(fitted(), rows, floats) == value(fitted(), rows, targets)


def test_a_lost_window_is_one_of_which_every_token_is_as_likely():
    target = (np.array([1, 2, 3, -1, -1, 0]),)
    even = (np.zeros((TOKENS, WORDS), np.float32),)
    for metric in ("bits_per_byte", "perplexity"):
        task = fitted(metric)
        np.testing.assert_allclose(task.quality.count_lost(target), numbers_of(task, even, target))
    assert fitted("agreement").quality.count_lost(target).tolist() == [0, 4]


def test_logits_that_are_none_or_rule_the_token_out_leave_the_sum_finite():
    target = (np.zeros(TOKENS, np.int64),)
    for bad, bits in ((np.nan, np.log2(WORDS)), (-np.inf, MOST_BITS)):
        logits = np.zeros((TOKENS, WORDS), np.float32)
        logits[2, 0] = bad
        found = numbers_of(fitted(), (logits,), target)[0]
        assert found == pytest.approx(5 * np.log2(WORDS) + bits)


def test_large_vocabularies_are_looked_at_in_parts(monkeypatch, windows):
    rows, targets = windows
    whole = value(fitted(), rows, targets)
    monkeypatch.setattr("splitimpera.tasks.language.AT_ONCE", 2 * WORDS)
    assert value(fitted(), rows, targets) == whole


@pytest.mark.parametrize("task", [fitted("agreement"), fitted("agreement", "agreement", of="language")])
def test_agreement_is_the_share_of_equal_next_tokens(task, windows):
    rows, _ = windows
    assert task.targets == "none"
    expected = [task.expected(task.answer(row)) for row in rows]
    assert value(task, rows, expected) == 1
    other = [(row.copy(),) for (row,) in rows]
    for (row,) in other:
        row[:2, row.argmax(1)[:2]] = -99
    assert value(task, other, expected) == pytest.approx(4 / 6)
    assert task.quality.name == "agreement"


def test_answers_are_few_bytes_and_are_held_to_the_vocabulary(windows):
    task = fitted()
    (answer,) = task.answer(windows[0][0])
    assert (answer.dtype, answer.shape) == (np.uint8, (TOKENS,))
    assert task.response().arrays == (("tokens", (TOKENS,), "uint8"),)
    assert not task.problem((answer,))
    assert "the vocabulary has 11" in task.problem((np.array([11], np.uint8),))
    assert Language().fitted([Output("0", (4, 50000))]).response().arrays[0][2] == "int32"
    assert task.judging(None) is None  # tokens alone do not tell bits
    assert fitted("agreement").judging(None) is not None


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (np.zeros(5, np.int64), r"next tokens of shape \(5,\), the network predicts 6"),
        (np.full(TOKENS, WORDS), r"token 11, the network's vocabulary has 11 \(0 to 10\)"),
        (np.full(TOKENS, -2), "token -2"),
        (np.full(TOKENS, -1), "no next token at any position"),
        (np.full(TOKENS, 1.5), "no whole number"),
        (np.full(TOKENS, np.nan), "not finite"),
        (np.stack([np.ones(TOKENS), -np.ones(TOKENS)]), "fewer than 0 bytes"),
    ],
)
def test_targets_that_do_not_fit_are_said(target, said):
    assert re.search(said, fitted().check((target,)))


def test_targets_that_fit():
    assert not fitted().check((np.arange(TOKENS) - 1,))
    assert not fitted().check((np.ones((2, TOKENS)),))


def test_other_outputs_are_refused():
    for outputs, said in (
        ([Output("0", (10,))], "one logit a token"),
        ([Output("0", (10, 1))], "two tokens or more"),
        ([Output("0", (4, 9), "int64")], "floating-point"),
    ):
        with pytest.raises(ModelError, match=said):
            Language().fitted(outputs)


def test_the_scalar_is_the_mean_log_probability(windows):
    logits, targets = torch.tensor(np.stack([row for (row,) in windows[0]])), windows[1]
    task = fitted()
    logs = logits.log_softmax(2)
    torch.testing.assert_close(task.scalar([logits], None, "predicted"), logs.amax(2).mean(1))
    for place, found in enumerate(task.scalar([logits], targets, "label")):
        wanted, _ = following(targets[place])
        known = wanted >= 0
        torch.testing.assert_close(found, logs[place][np.flatnonzero(known), wanted[known]].mean())


def test_the_loss_is_smallest_for_the_network_itself_and_the_right_tokens(windows):
    logits, targets = torch.tensor(np.stack([row for (row,) in windows[0]])), windows[1]
    task = fitted()
    assert task.loss([logits], [logits], None, 1.0).item() == pytest.approx(0, abs=1e-6)
    assert task.loss([logits.roll(1, 2)], [logits], None, 1.0).item() > 0.1
    own = task.loss([logits], [logits], targets, 0.0).item()
    assert own == pytest.approx(value(task, *windows) * np.log(2), rel=1e-5)


def test_results_beside_others():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(TOKENS, WORDS))
    task = fitted()
    compared = task.sameness()
    compared.take((logits,), (logits + 1e-9,), task.answer((logits,)))
    assert compared.equal == 1
    compared.take((logits,), (-logits,), task.answer((-logits,)))
    assert compared.equal == pytest.approx(0.5, abs=0.1)
