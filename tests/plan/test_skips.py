"""Combinations that do not apply: said in few lines, none lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plan.skips import Skipped, skip_lines

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
