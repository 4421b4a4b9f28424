"""``bench power``, as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from compare_runs import Compare


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--effect", "0"), "effect 0: expected points of accuracy above 0 and below 100"),
        (("--effect", "nan"), "effect nan: expected points"),
        (("--effect", "one"), "invalid value for '--effect'"),
        (("--power", "0.8"), "power 0.8: expected percent from 50 to below 100, e.g. 80"),
        (("--power", "100"), "power 100: expected percent"),
        (("--seeds", "1"), "invalid value for '--seeds'"),
        (("-m", "recn"), "unknown method of a stored run 'recn'"),
        (("-p", "linaer"), "did you mean linear"),
        ((), "no stored comparison varies over seeds: store two seeds or more"),
    ],
)
def test_wrong_input_is_one_line(call: Compare, results: Path, arguments: tuple[str, ...], line: str) -> None:
    """The user would get a traceback, or seeds for another question; smoke runs are no basis for a plan."""
    code, output, error = call("power", *arguments, "--results", results)
    assert line in error
    assert (code, output) == (2, "")
    assert len(error.strip().splitlines()) == 1
