"""Combinations that do not apply: said in few lines, none lost."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import bench
from bench.plan.skips import FILE, LONGEST, MOST, Skipped, decoded, encoded, remember, remembered, skip_lines, take_in

METHODS, PROTOCOLS, DATASETS, REASONS = ("a", "b", "c"), ("p", "q"), ("x", "y", "z"), ("no parts", "no rooms")
combinations = st.builds(
    Skipped, st.sampled_from(METHODS), st.sampled_from(PROTOCOLS), st.sampled_from(DATASETS), st.sampled_from(REASONS)
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(combinations, unique=True, max_size=36))
def test_lines_name_every_combination_and_no_other(skipped: list[Skipped]) -> None:
    """A user would look for a number that was left out without a word, or miss one that was not."""
    named = set()
    for line in skip_lines(skipped, METHODS):
        what, _, reason = line.partition("): ")
        protocols, _, rest = what.partition(" on ")
        datasets, _, who = rest.partition(" (")
        methods = METHODS if who == "every method" else tuple(who.split(", "))
        named |= {
            Skipped(m, p, d, reason) for m in methods for p in protocols.split(", ") for d in datasets.split(", ")
        }
    assert named == set(skipped)


def test_a_grid_is_one_line() -> None:
    """Nine methods without rooms would push the plan off the screen."""
    grid = [Skipped(m, p, d, "no rooms") for m in METHODS for p in PROTOCOLS for d in DATASETS]
    assert skip_lines(grid, METHODS) == ["p, q on x, y, z (every method): no rooms"]
    assert skip_lines(grid[:1], METHODS) == ["p on x (a): no rooms"]


def test_a_report_learns_what_a_plan_skipped(tmp_path: Path) -> None:
    """A reader of a report was told that a method was not run, and not why."""
    asked = {"datasets": ["shapes-scan-novel"], "preset": "smoke", "seeds": 1, "results": tmp_path}
    study = bench.study(methods=["recon", "point-mae"], protocols=["retrieval", "linear"], **asked)  # type: ignore[arg-type]
    study.plan()
    assert remembered(tmp_path) == [], "looking must write nothing"
    plan = study.prepare()
    found = remembered(tmp_path)
    assert found == plan.skipped
    assert ("recon", "retrieval") in {(one.method, one.protocol) for one in found}
    newer = Skipped("recon", "retrieval", "shapes-scan-novel", "another reason")
    remember(tmp_path, [newer])
    assert [one for one in remembered(tmp_path) if one.method == "recon"] == [newer]
    for harm in (b"", b"[[1]]", b"{}", b"[" * 100_000, b"\xff"):
        (tmp_path / "skipped.json").write_bytes(harm)
        assert remembered(tmp_path) == []


def test_what_another_folder_knows_is_added_once(tmp_path: Path) -> None:
    """Merging every evening must neither repeat a reason nor replace the one that was found here."""
    own, other = Skipped("a", "p", "x", "no parts"), Skipped("a", "p", "x", "no rooms")
    remember(tmp_path, [own])
    assert take_in(tmp_path, [other, own, other]) == 1
    assert take_in(tmp_path, [other]) == 0
    assert remembered(tmp_path) == [own, other]


def test_what_is_kept_can_be_read_again(tmp_path: Path) -> None:
    """A plugin's long reason, or one combination too many, must not cost all of them."""
    many = [Skipped("a", "p", f"x{at}", "r" * 2 * LONGEST) for at in range(MOST + 5)]
    remember(tmp_path, many)
    found = remembered(tmp_path)
    assert [one.dataset for one in found] == [one.dataset for one in many[5:]]
    assert {len(one.reason) for one in found} == {LONGEST}
    assert decoded(encoded(found)) == found
    assert take_in(tmp_path, [Skipped("b", "p", "x", "r")]) == 0
    assert (tmp_path / FILE).stat().st_size < 32 << 20
