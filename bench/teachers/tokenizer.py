"""A word-level tokenizer: the caption vocabulary is a few hundred words, so embeddings stay small."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

PAD, START = 0, 1
FIRST_BUCKET = 2
_WORD = re.compile(r"\w+")


def words_of(sentence: str) -> list[str]:
    """Split into case-folded words; punctuation and underscores separate them."""
    return _WORD.findall(sentence.casefold().replace("_", " "))


class WordTokenizer:
    """Sentences to ids: padding, start, hash buckets for unknown words, known words, end.

    The end token has the highest id because open_clip's default text pooling takes the position of the
    largest id. A word outside the vocabulary falls into one of the buckets by its SHA-256, so every
    sentence encodes, and the same word always encodes alike.

    Args:
        words: Known words; order fixes the ids.
        context: Length of every id row, start and end included (at least 3).
        buckets: Number of hash buckets (at least 1).
    """

    def __init__(self, words: Sequence[str], context: int, buckets: int) -> None:
        if context < 3 or buckets < 1:
            raise ValueError(f"a tokenizer needs context >= 3 and buckets >= 1, not {context} and {buckets}")
        self.words = tuple(words)
        self.context = context
        self.buckets = buckets
        first = FIRST_BUCKET + buckets
        self._ids = {word: first + i for i, word in enumerate(self.words)}
        self.end = first + len(self.words)
        self.vocab_size = self.end + 1

    @classmethod
    def from_captions(cls, captions: Iterable[str], context: int, buckets: int) -> WordTokenizer:
        """Build the vocabulary from every word that occurs in `captions`, sorted."""
        return cls(sorted({word for caption in captions for word in words_of(caption)}), context, buckets)

    def bucket(self, word: str) -> int:
        """Id an unknown `word` gets."""
        digest = hashlib.sha256(word.encode()).digest()
        return FIRST_BUCKET + int.from_bytes(digest[:8], "big") % self.buckets

    def bucket_table(self) -> npt.NDArray[np.int64]:
        """Map every id to itself, or to its bucket where it is a known word: int64 ``[vocab_size]``.

        Training swaps some known words for their buckets, so that the buckets' embeddings are not left random.
        """
        table = np.arange(self.vocab_size, dtype=np.int64)
        for word, index in self._ids.items():
            table[index] = self.bucket(word)
        return table

    def encode(self, sentences: Sequence[str]) -> npt.NDArray[np.int64]:
        """Ids, int64 ``[n, context]``; a sentence that is too long loses its last words, never its end token."""
        ids = np.full((len(sentences), self.context), PAD, dtype=np.int64)
        for row, sentence in zip(ids, sentences, strict=True):
            known = [self._ids[w] if w in self._ids else self.bucket(w) for w in words_of(sentence)]
            tokens = [START, *known[: self.context - 2], self.end]
            row[: len(tokens)] = tokens
        return ids
