"""Language models: at every position of a window of tokens, which token comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splitimpera.core.array_types import Array, FloatArray, IntArray, Row
from splitimpera.core.errors import ModelError
from splitimpera.tasks.quality import Quality, Sums
from splitimpera.tasks.sameness import ComparedAnswers, Comparison
from splitimpera.tasks.task import Chosen, Output, Plain, Response, TargetKind, only, real

if TYPE_CHECKING:
    from torch import Tensor

NO_TOKEN = -1
"""The target of a position behind which nobody knows what comes: it does not count."""
MOST_BITS = 1000.0
"""What a token counts for that the network holds for impossible."""
AT_ONCE = 1 << 22
"""Logits that are looked at together as float64."""


@dataclass(frozen=True)
class NextTokens(Sums):
    """Bits that the network needs for what really comes next, by each byte of text, or as perplexity of each token.

    Its numbers of a window are bits, tokens and bytes: sums that are exact whatever the windows. A window without a
    response counts as if every token of the vocabulary had been as likely as any other. They are made of logits: an
    answer, which has tokens alone, does not tell them.

    Attributes:
        name: "bits_per_byte", bits over bytes; "perplexity", 2 to the power of bits over tokens.
        vocabulary: How many tokens the network tells apart.
    """

    name: str = "bits_per_byte"
    vocabulary: int = 2

    def count(self, answer: Row, target: Row) -> FloatArray:
        raise NotImplementedError("bits are counted of logits: Language.counted")

    def count_logits(self, logits: Array, target: Row) -> FloatArray:
        """The numbers of a window, from its logits (tokens, vocabulary)."""
        wanted, _ = following(target)
        seen = wanted != NO_TOKEN
        bits = bits_of(logits, np.where(seen, wanted, 0))[seen]
        bits = np.where(np.isnan(bits), np.log2(self.vocabulary), np.minimum(bits, MOST_BITS))
        return self._numbers(float(bits.sum()), target)

    def count_lost(self, target: Row) -> FloatArray:
        wanted, _ = following(target)
        return self._numbers(float((wanted != NO_TOKEN).sum() * np.log2(self.vocabulary)), target)

    def value(self, total: Any) -> Any:
        bits, tokens, of_bytes = (np.asarray(total)[..., place] for place in range(3))
        with np.errstate(divide="ignore", invalid="ignore"):
            return bits / of_bytes if self.name == "bits_per_byte" else np.exp2(bits / tokens)

    @staticmethod
    def _numbers(bits: float, target: Row) -> FloatArray:
        wanted, sizes = following(target)
        seen = wanted != NO_TOKEN
        return np.array([bits, float(seen.sum()), float(sizes[seen].sum())])


@dataclass(frozen=True)
class SameTokens(Sums):
    """Share of positions with the next token that is expected; a window without a response has none right."""

    name: str = "agreement"

    def count(self, answer: Row, target: Row) -> FloatArray:
        wanted, _ = following(target)
        seen = wanted != NO_TOKEN
        return np.array([float((answer[0][seen] == wanted[seen]).sum()), float(seen.sum())])

    def count_lost(self, target: Row) -> FloatArray:
        return np.array([0.0, float((following(target)[0] != NO_TOKEN).sum())])

    def value(self, total: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(total)[..., 0] / np.asarray(total)[..., 1]


@dataclass(frozen=True)
class Language(Plain):
    """Which token comes next, at every position of a window: one sample is a window of T tokens.

    Targets are the next tokens' numbers (T,), -1 where nobody knows any; or (2, T), with the bytes of text that each of
    them stands for below them, where that is not one byte a token. Judged by "agreement", what the network unsplit
    would have said next takes the place of what is expected.

    Attributes:
        output: Key or position of the logits (T, vocabulary), where the network returns several tensors.
    """

    output: str | int | None = None
    place: int = 0
    shape: tuple[int, ...] = (1, 2)
    quality: Quality = field(default_factory=NextTokens)

    name = "language"
    metrics = ("bits_per_byte", "perplexity", "agreement")
    keys = ("output",)

    @property
    def targets(self) -> TargetKind:
        return "none" if self.quality.name == "agreement" else "array"

    def fitted(
        self,
        outputs: Sequence[Output],
        metric: str = "bits_per_byte",
        inputs: Sequence[Output] = (),
        example: Row | None = None,
    ) -> Language:
        place = only(outputs, self.output, (2,), "one logit a token and token of the vocabulary (tokens, vocabulary)")
        real(outputs[place])
        shape = outputs[place].shape
        if shape[1] < 2:
            raise ModelError(
                f"the network's result has shape {shape} a sample, logits of two tokens or more are expected",
                where="task",
            )
        quality = SameTokens() if metric == "agreement" else NextTokens(metric, shape[1])
        return replace(self, place=place, shape=shape, quality=quality)

    def check(self, target: Row) -> str:
        tokens, vocabulary = self.shape
        if target[0].shape not in ((tokens,), (2, tokens)):
            return f"next tokens of shape {target[0].shape}, the network predicts {tokens} of them"
        if not np.isfinite(target[0]).all():
            return "a next token that is not finite"
        wanted, sizes = following(target)
        if (wanted != (target[0] if target[0].ndim == 1 else target[0][0])).any():
            return "a next token that is no whole number"
        if int(wanted.max()) >= vocabulary:
            return f"token {int(wanted.max())}, the network's vocabulary has {vocabulary} (0 to {vocabulary - 1})"
        if int(wanted.min()) < NO_TOKEN:
            return f"token {int(wanted.min())}; {NO_TOKEN} says that there is none"
        if not (wanted != NO_TOKEN).any():
            return f"no next token at any position (all are {NO_TOKEN})"
        return "a token of fewer than 0 bytes" if sizes.min() < 0 else ""

    def answer(self, row: Row) -> Row:
        """The likeliest next tokens, uint8 (T,), int32 where there are more than 256 in the vocabulary."""
        return (row[self.place].argmax(1).astype(self._stored),)

    def counted(self, row: Row, target: Row) -> FloatArray:
        """The quality's numbers of a sample, from the network's outputs."""
        if isinstance(self.quality, NextTokens):
            return self.quality.count_logits(row[self.place], target)
        return self.quality.count(self.answer(row), target)

    def expected(self, answer: Row) -> Row:
        return (answer[0].astype(np.int64),)

    def response(self) -> Response:
        return Response((("tokens", self.shape[:1], self._stored),))

    def judging(self, near: Array | None) -> Quality | None:
        """Tokens alone do not tell how likely others were."""
        return None if isinstance(self.quality, NextTokens) else self.quality

    def problem(self, answer: Row) -> str:
        found = int(answer[0].min(initial=0)), int(answer[0].max(initial=0))
        if found[0] < 0 or found[1] >= self.shape[1]:
            return f"tokens from {found[0]} to {found[1]}, the vocabulary has {self.shape[1]}"
        return ""

    def sameness(self) -> Comparison:
        return ComparedAnswers("equal next tokens", self.answer, SameTokens())

    def scalar(self, outputs: Sequence[Tensor], targets: Sequence[Row] | None, chosen: Chosen) -> Tensor:
        """The log-probability of the next token, predicted or true: the mean over the positions."""
        logits = outputs[self.place].log_softmax(2)
        if chosen == "predicted":
            return logits.amax(2).mean(1)
        wanted = self._wanted(logits, targets)
        seen = wanted != NO_TOKEN
        found = logits.gather(2, wanted.where(seen, 0)[..., None])[..., 0]
        return (found * seen).sum(1) / seen.sum(1).clamp(min=1)

    def loss(
        self, outputs: Sequence[Tensor], wanted: Sequence[Tensor], targets: Sequence[Row] | None, distill: float
    ) -> Tensor:
        """Cross-entropy, and the Kullback-Leibler divergence of the unsplit network's probabilities, means over the
        positions."""
        from torch.nn.functional import cross_entropy, kl_div

        given, before = (some[self.place].log_softmax(2).flatten(0, 1) for some in (outputs, wanted))
        distance = kl_div(given, before, reduction="batchmean", log_target=True)
        if targets is None:
            return distance
        on_targets = cross_entropy(given, self._wanted(given, targets).flatten(), ignore_index=NO_TOKEN)
        return (1 - distill) * on_targets + distill * distance

    @property
    def _stored(self) -> str:
        return "uint8" if self.shape[1] <= 256 else "int32"

    def _wanted(self, logits: Tensor, targets: Sequence[Row] | None) -> Tensor:
        import torch

        return torch.from_numpy(np.stack([following(target)[0] for target in targets or ()])).to(logits.device)


def following(target: Row) -> tuple[IntArray, FloatArray]:
    """A target's next tokens int64 (T,), and the bytes that each of them stands for.

    >>> following((np.array([[7, 9], [4, 1]]),))
    (array([7, 9]), array([4., 1.]))
    """
    (given,) = target
    wanted, sizes = given if given.ndim == 2 else (given, np.ones(given.shape))
    return wanted.astype(np.int64), sizes.astype(np.float64)


def bits_of(logits: Array, wanted: IntArray) -> FloatArray:
    """-log2 of the probability of a token at each position, (T,); NaN where the logits are none.

    Args:
        logits: (T, vocabulary).
        wanted: which token, int64 (T,).

    >>> bits_of(np.log(np.array([[0.5, 0.25, 0.25], [1.0, 1.0, 2.0]])), np.array([0, 1])).round(6).tolist()
    [1.0, 2.0]
    """
    found = np.empty(len(logits))
    rows = max(1, AT_ONCE // logits.shape[1])
    for first in range(0, len(logits), rows):
        some = slice(first, first + rows)
        wide = logits[some].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            wide -= wide.max(1, keepdims=True)
            chosen = wide[np.arange(len(wide)), wanted[some]]
            found[some] = (np.log(np.exp(wide).sum(1)) - chosen) / np.log(2)
    return found
