"""The column 'saw evaluated class names': a missed mention would call a supervised number self-supervised."""

from __future__ import annotations

import time

import pytest

from bench.data.seen import class_names_seen


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chair", "A wooden Chair."),
        ("chair", "two chairs, side by side"),
        ("night_stand", "a small night stand"),
        ("night_stand", "NIGHT-STANDS with a drawer"),
        ("night_stand", "a nightstand"),
        ("nightstand", "a night_stand"),
        ("shelf", "three shelves"),
        ("knife", "knives"),
        ("box", "boxes of wood"),
        ("bench", "park benches"),
        ("battery", "batteries"),
        ("vase", "vases"),
        ("bus", "buses"),
        ("glass", "glasses"),
        ("person", "people in a row"),
        ("stairs", "a stair"),
        ("tv_stand", "a TV stand."),
        ("technic_beam", "a technic beam, long"),
        ("fenêtre", "FENÊTRE"),
        ("mouse", "mice"),
    ],
)
def test_mentions_are_found(name: str, text: str) -> None:
    assert class_names_seen(["unrelated", name], ["nothing here", text]) == (name,)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("car", "a cardboard box"),
        ("table", "a portable radio"),
        ("bar", "a bare wall"),
        ("tub", "a tube"),
        ("plan", "a plane"),
        ("night_stand", "a night at the stand"),
        ("technic_beam", "technic"),
        ("glass", "a glas"),
        ("", "anything"),
        ("_", "an _ underscore"),
    ],
)
def test_other_words_do_not_count(name: str, text: str) -> None:
    assert class_names_seen([name], [text]) == ()


def test_order_is_that_of_the_classes_and_nothing_gives_nothing() -> None:
    assert class_names_seen(["vase", "cup", "lamp"], ["a lamp", "a vase and a lamp"]) == ("vase", "lamp")
    assert class_names_seen(["vase"], []) == ()
    assert class_names_seen([], ["a vase"]) == ()


def test_ten_thousand_captions_take_no_noticeable_time() -> None:
    names = [f"thing{i}_part" for i in range(39)] + ["chair"]
    texts = [f"a tall chair with {i} legs and {i % 7} slats, seen from the left" for i in range(10_000)]
    started = time.process_time()
    assert class_names_seen(names, texts) == ("chair",)
    assert time.process_time() - started < 3
