"""What runs warn of stands in the report: choices at the edge of a grid, and heads that were not solved."""

from __future__ import annotations

from typing import Any

import pytest

from bench.protocols.selection import UNSOLVED
from bench.report.runs import RunFacts


@pytest.mark.parametrize(
    ("strength", "grid", "said"),
    [
        (0.1, [0.1, 1.0, 10.0], "validation chose the smallest C of its grid (0.1)"),
        (10.0, [10.0, 0.1, 1.0], "validation chose the largest C of its grid (10)"),
        (1.0, [0.1, 1.0, 10.0], ""),
        (1.0, [1.0], ""),  # nothing was chosen
        (None, [0.1, 1.0], ""),
        (0.1, None, ""),
    ],
)
def test_a_choice_at_the_edge_of_its_grid_is_warned_of(maker: Any, strength: Any, grid: Any, said: str) -> None:
    """The best C may lie beyond the grid, and the method looks worse than it is."""
    runs = [maker().run("recon", "recon", "linear", "shapes-cad", seed, "all").runs[0] for seed in range(3)]
    for seed, run in enumerate(runs):
        run.spec["protocol"] = {**run.spec["protocol"], "options": {} if grid is None else {"strengths": grid}}
        run.provenance["notes"] = {"strength": strength, "warnings": [UNSOLVED] * (seed == 0)}
    expected = [(said, 3)] if said else []
    assert sorted(RunFacts.of(runs).warnings) == sorted([*expected, (UNSOLVED, 1)])
