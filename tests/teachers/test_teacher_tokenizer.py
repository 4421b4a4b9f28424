"""Captions to ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.teachers.tokenizer import FIRST_BUCKET, PAD, START, WordTokenizer, words_of

TOKENIZER = WordTokenizer.from_captions(["A tall chair with four legs.", "a low table"], context=8, buckets=4)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=60))
def test_every_sentence_ends_where_the_text_tower_looks(sentence: str) -> None:
    """open_clip pools at the largest id; if that is not the end token, the feature is of a random word."""
    row = TOKENIZER.encode([sentence])[0]
    assert row.shape == (8,)
    assert row[0] == START
    assert row.max() == TOKENIZER.end == TOKENIZER.vocab_size - 1
    assert (row == TOKENIZER.end).sum() == 1
    end = int(row.argmax())
    assert (row[end + 1 :] == PAD).all()
    assert (row[1:end] >= FIRST_BUCKET).all()


def test_case_punctuation_and_underscores_do_not_matter() -> None:
    one, two = TOKENIZER.encode(["A tall_chair!", "a TALL, chair"])
    assert np.array_equal(one, two)
    assert words_of("Night_Stand, 2 drawers") == ["night", "stand", "2", "drawers"]


def test_unknown_words_are_stable_and_apart_from_known_ones() -> None:
    """A teacher read back in another process must see the same ids."""
    row = TOKENIZER.encode(["zeppelin chair"])[0]
    assert FIRST_BUCKET <= row[1] < FIRST_BUCKET + 4
    assert row[1] == TOKENIZER.bucket("zeppelin")
    assert row[2] >= FIRST_BUCKET + 4
    assert len({TOKENIZER.bucket(f"word{i}") for i in range(100)}) == 4


def test_known_words_swap_for_their_own_bucket() -> None:
    table = TOKENIZER.bucket_table()
    chair = TOKENIZER.encode(["chair"])[0][1]
    assert table[chair] == TOKENIZER.bucket("chair")
    unchanged = [PAD, START, *range(FIRST_BUCKET, FIRST_BUCKET + 4), TOKENIZER.end]
    assert table[unchanged].tolist() == unchanged


@pytest.mark.parametrize(("context", "buckets"), [(2, 4), (8, 0)])
def test_impossible_sizes_are_refused(context: int, buckets: int) -> None:
    with pytest.raises(ValueError, match="context >= 3 and buckets >= 1"):
        WordTokenizer(["a"], context, buckets)
