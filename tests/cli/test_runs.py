"""``bench runs``: what is stored, without the numbers that may not be looked at."""

from __future__ import annotations

import re
import time
from pathlib import Path

from compare_runs import Compare, reset, rows, shelf

from bench.store.store import Store


def test_the_score_of_a_trial_is_hidden_by_its_specification(call: Compare, results: Path, tmp_path: Path) -> None:
    """Who picks the trial with the best listed test score has tuned on the test split, with old records too."""
    place = shelf(tmp_path / "trials", results, lambda row, own: reset(own, "trial", True) if row.seed else own)
    assert all("trial" not in row.label for row in rows(place))
    code, output, _ = call("runs", "--results", place)
    assert code == 0
    assert output.count("trial of a search") == 2
    assert len(re.findall(r"\d\.\d accuracy", output)) == 2


def test_a_damaged_run_is_named_and_the_others_are_listed(call: Compare, results: Path, tmp_path: Path) -> None:
    """One broken file would hide every run of the folder."""
    place = shelf(tmp_path / "damaged", results, lambda row, own: own)
    (rows(place, method="scratch", seed=1)[0].stored.folder / "spec.json").write_text("{")
    (rows(place, method="scratch", seed=0)[0].stored.folder / "spec.json").unlink()
    code, output, error = call("runs", "--results", place)
    assert (code, error) == (0, "")
    assert output.count("damaged: bench db rebuild sets it aside") == 2
    assert len(re.findall(r"\d\.\d accuracy", output)) == 2


def test_specifications_are_read_without_the_rest_of_a_run(results: Path) -> None:
    """A thousand runs must be listed in seconds, so their predictions cannot be read for it."""
    store = Store(results)
    stored = rows(results)[0].stored
    before = time.perf_counter()
    for _ in range(1000):
        store.spec(stored)
    assert time.perf_counter() - before < 2
    assert store.spec(stored) == store.load(stored).spec
