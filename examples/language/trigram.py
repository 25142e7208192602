"""What a table of byte trigrams makes of a text: the bar that a small language model has to clear."""

from __future__ import annotations

import numpy as np

BYTES = 256


class Trigram:
    """The probability of each byte after the two before it, smoothed as Witten and Bell do.

    A context that was followed by `kinds` different bytes leaves the share kinds / (seen + kinds) to the context that
    is one byte shorter; the shortest leaves it to the uniform distribution. I. H. Witten, T. C. Bell: The
    zero-frequency problem, IEEE Transactions on Information Theory 37, 1991; interpolated as in S. F. Chen, J. Goodman:
    An empirical study of smoothing techniques for language modeling, 1998.

    >>> round(float(Trigram(b"abcabcabc").bits(b"abc")[-1]), 2)
    0.5
    """

    def __init__(self, text: bytes) -> None:
        ids = np.frombuffer(text, np.uint8).astype(np.int64)
        self.counts = [self._counted(ids, length) for length in range(3)]

    def bits(self, text: bytes) -> np.ndarray:
        """Bits that each byte of a text takes, float (bytes,); the first two have shorter contexts."""
        ids = np.frombuffer(text, np.uint8).astype(np.int64)
        probability = np.full(len(ids), 1 / BYTES)
        for length, counts in enumerate(self.counts):
            places = np.arange(length, len(ids))
            contexts = self._contexts(ids, length)
            of_context = counts[contexts]
            seen, kinds = of_context.sum(1), (of_context > 0).sum(1)
            known = seen > 0
            here, context = places[known], contexts[known]
            of_next = counts[context, ids[here]]
            left = kinds[known] * probability[here]
            probability[here] = (of_next + left) / (seen[known] + kinds[known])
        return np.asarray(-np.log2(probability))

    def _counted(self, ids: np.ndarray, length: int) -> np.ndarray:
        """How often each byte follows each context of a length, (contexts, 256)."""
        pairs = self._contexts(ids, length) * BYTES + ids[length:]
        return np.bincount(pairs, minlength=BYTES ** (length + 1)).reshape(-1, BYTES)

    @staticmethod
    def _contexts(ids: np.ndarray, length: int) -> np.ndarray:
        """The bytes before each place from `length` on, as one number."""
        number = np.zeros(len(ids) - length, np.int64)
        for back in range(length, 0, -1):
            number = number * BYTES + ids[length - back : len(ids) - back]
        return number
