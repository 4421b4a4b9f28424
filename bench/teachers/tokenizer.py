"""Word-level tokenizer with a small vocabulary.

Captions have a few hundred different words, so embeddings stay small.
"""

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
    """Return case-folded words.

    Punctuation and underscores separate words.
    """
    return _WORD.findall(sentence.casefold().replace("_", " "))


class WordTokenizer:
    """Encode sentences as rows of token ids.

    The ids are, in this order: padding, start, hash buckets for unknown words, known words, end. The end token has the
    highest id because open_clip's default text pooling takes the position of the largest id. A word outside the
    vocabulary falls into one of the buckets by its SHA-256, so every sentence encodes, and the same word always encodes
    alike.

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
        """Build the vocabulary from all words of `captions`, sorted."""
        return cls(sorted({word for caption in captions for word in words_of(caption)}), context, buckets)

    def bucket(self, word: str) -> int:
        """Return the id of an unknown word."""
        digest = hashlib.sha256(word.encode()).digest()
        return FIRST_BUCKET + int.from_bytes(digest[:8], "big") % self.buckets

    def bucket_table(self) -> npt.NDArray[np.int64]:
        """Return the replacement of every id, int64 ``[vocab_size]``.

        A known word maps to its hash bucket, any other id to itself. Training replaces some known words by their
        buckets, so that the buckets' embeddings are trained.
        """
        table = np.arange(self.vocab_size, dtype=np.int64)
        for word, index in self._ids.items():
            table[index] = self.bucket(word)
        return table

    def encode(self, sentences: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return token ids, int64 ``[n, context]``.

        A sentence that is too long loses its last words, but not the end token.
        """
        ids = np.full((len(sentences), self.context), PAD, dtype=np.int64)
        for row, sentence in zip(ids, sentences, strict=True):
            known = [self._ids[w] if w in self._ids else self.bucket(w) for w in words_of(sentence)]
            tokens = [START, *known[: self.context - 2], self.end]
            row[: len(tokens)] = tokens
        return ids
