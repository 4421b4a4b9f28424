"""The stored baseline. If these fail, CI compares with numbers that nobody accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.errors import SetupError, UsageError
from bench.gate.baseline import HISTORY, make_baseline, read_baseline, write_baseline
from bench.stats.gate import CellResult

VALUES = {0: 0.70, 1: 0.72, 2: 0.71}


def result(name: str, values: Mapping[int, float] = VALUES) -> CellResult:
    return CellResult(name, values, options={"protocol.revision": "1"}, splits=dict.fromkeys(values, "s"))


def test_baseline_survives_the_disk_and_reads_well_in_a_diff(tmp_path: Path) -> None:
    """One changed score must show as one changed line."""
    path = tmp_path / "baselines" / "ci.json"
    made = make_baseline([result("b"), result("a")], "ci", "2 cores", "abc")
    write_baseline(made, path)
    assert read_baseline(path) == made
    before = path.read_text().splitlines()
    write_baseline(make_baseline([result("a"), result("b", VALUES | {1: 0.7201})], "ci", "2 cores", "abc"), path)
    changed = [line for line, other in zip(before, path.read_text().splitlines(), strict=True) if line != other]
    assert len(changed) == 1
    assert list(path.parent.iterdir()) == [path]


def test_earlier_states_are_kept_with_the_reason_they_were_replaced() -> None:
    """Whoever asks in a year why CI accepted a drop finds it beside the number."""
    first = make_baseline([result("a")], "ci", "m", "c1")
    second = make_baseline([result("a", {0: 0.5, 1: 0.6})], "ci", "m", "c2", first.replaced("a shorter recipe"))
    third = make_baseline([result("a")], "other suite", "m", "c3", second.replaced("another suite"))
    assert [(old.commit, old.replaced_because) for old in third.history] == [
        ("c2", "another suite"),
        ("c1", "a shorter recipe"),
    ]
    assert third.history[0].cells[0].values == {0: 0.5, 1: 0.6}
    assert [len(cells) for cells in second.earlier()] == [1]
    assert third.earlier() == [], "numbers of another suite say nothing about this one's deviation"
    many = first
    for _ in range(HISTORY + 5):
        many = make_baseline([result("a")], "ci", "m", "c", many.replaced("again"))
    assert len(many.history) == HISTORY


def test_more_seeds_than_the_baseline_has_are_refused() -> None:
    made = make_baseline([result("a")], "ci", "m", "c")
    assert made.first(2) == (0, 1)
    with pytest.raises(UsageError, match="the baseline has 3"):
        made.first(4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "no baseline at"),
        ("{", "is no baseline"),
        ({"version": 2}, "version"),
        ({"cells": []}, "cells"),
        ({"cells": "twice"}, "occurs twice"),
        ({"cells": "nan"}, "finite"),
        ({"cells": "seeds"}, "has seeds"),
        ({"cells": "scratch"}, "which is no cell"),
    ],
)
def test_a_bad_baseline_is_one_clear_line(tmp_path: Path, change: str | dict[str, object] | None, says: str) -> None:
    """CI shows this line and nothing else."""
    path = tmp_path / "ci.json"
    if change is not None:
        whole = make_baseline([result("a"), result("b")], "ci", "m", "c").model_dump(mode="json")
        first = whole["cells"][0]
        damaged: Mapping[object, object] = {
            "twice": [first, first],
            "nan": [{**first, "values": {"0": float("nan")}}],
            "seeds": [first, {**whole["cells"][1], "values": {"0": 0.5}}],
            "scratch": [{**first, "scratch": "nothing"}],
        }
        new = change if isinstance(change, str) else {k: damaged.get(str(v), v) for k, v in change.items()}
        path.write_text(new if isinstance(new, str) else json.dumps({**whole, **new}))
    with pytest.raises(SetupError, match=says) as caught:
        read_baseline(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
