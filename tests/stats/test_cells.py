"""Cells. If these fail, numbers that do not belong together are averaged or compared."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bench.stats.cells import FailedRun, flatten, group_cells, judging, natural
from bench.stats.intervals import Unit
from bench.stats.opponents import opponent
from bench.store.queries import MetricRow, by_run

Row = Callable[..., MetricRow]


def spec(seed: int, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "encoder": {"backbone": {"width": 128}, "recipe": {"epochs": 50}, "seed": seed},
        "protocol": {"name": "fewshot", "revision": 1, "options": {"head": "linear"}},
        "data": {"manifest": "a" * 64},
        "setting": "5w10s",
        "split_seed": 0,
        "seed": seed,
    }
    for path, value in changes.items():
        *above, last = path.split("__")
        place = found
        for name in above:
            place = place[name]
        place[last] = value
    return found


def test_runs_that_differ_in_the_seed_only_are_one_cell(row: Row) -> None:
    """Otherwise five seeds show up as five methods."""
    rows = [row(run_key=f"k{s}", seed=s, fold=f, value=0.5 + 0.1 * s) for s in range(3) for f in range(2)]
    (cell,) = group_cells(by_run(rows), {f"k{s}": spec(s) for s in range(3)})
    assert cell.scores == {Unit(s): {0: 0.5 + 0.1 * s, 1: 0.5 + 0.1 * s} for s in range(3)}
    assert cell.difference == ""
    assert cell.summary.n == 3


def test_runs_whose_specs_differ_are_told_apart_by_name(row: Row) -> None:
    """An option changed with --set must never be averaged into the unchanged runs."""
    rows = [row(run_key="k0"), row(run_key="k1", value=0.9)]
    cells = group_cells(by_run(rows), {"k0": spec(0), "k1": spec(0, encoder__recipe__epochs=20)})
    assert [cell.label for cell in cells] == ["recon [recipe.epochs=20]", "recon [recipe.epochs=50]"]
    assert [cell.summary.mean for cell in cells] == [0.9, 0.5]


def test_only_the_validation_chosen_headline_on_test_counts(row: Row) -> None:
    """Validation scores, other candidates and test-selected numbers have places of their own."""
    rows = [
        row(value=0.6, variant="trunc"),
        row(value=0.9, variant="default", headline=False),
        row(value=0.95, variant="trunc", selection="test"),
        row(value=0.7, variant="trunc", split="val"),
        row(value=0.65, variant="default", split="val", headline=False),
    ]
    (cell,) = group_cells(by_run(rows))
    assert cell.summary.mean == 0.6
    assert list(cell.by_selection["test"].values()) == [{None: 0.95}]
    listed = [(c.variant, c.validation, c.test, c.chosen) for c in cell.candidates]
    assert listed == [("default", 0.65, 0.9, 0), ("trunc", 0.7, 0.6, 1)]


def test_candidates_without_a_test_score_are_listed_too(row: Row) -> None:
    """All four initialisations of scratch are in the report, also where only the chosen one is fine-tuned."""
    rows = [row(variant="trunc")] + [
        row(variant=v, split="val", headline=v == "trunc", fold=0) for v in ("default", "trunc")
    ]
    (cell,) = group_cells(by_run(rows))
    assert [(c.variant, c.test is None) for c in cell.candidates] == [("default", True), ("trunc", False)]


def test_a_seed_run_twice_counts_once(row: Row) -> None:
    """The same seed under older and newer code is one pretraining, not two; the current code's number stands."""
    old = row(fingerprint="old", older_code=True, value=0.1, created_at="2025-06-03")
    new = row(fingerprint="new", value=0.8, created_at="2025-06-02")
    newest = row(fingerprint="newest", value=0.9, created_at="2025-06-04")
    for rows in ([old, new, newest], [newest, new, old]):
        (cell,) = group_cells(by_run(rows))
        assert cell.scores == {Unit(0): {None: 0.9}}
        assert not cell.older_code


def test_imported_weights_are_one_seed_however_often_they_are_judged(row: Row) -> None:
    """One encoder judged under two seeds would read as two pretrainings that agree: 80.0 ± 0.0, and a verdict."""
    rows = [row(run_key=f"k{s}", seed=s, value=0.8, older_code=s == 0) for s in (0, 1, 2)]
    (cell,) = group_cells(by_run(rows), {f"k{s}": spec(s, encoder__imported="d" * 64) for s in (0, 1, 2)})
    assert cell.runs == {Unit(1): "k1"}, "the lowest seed of the current code"
    assert cell.summary.half_width is None
    (trained,) = group_cells(by_run(rows), {f"k{s}": spec(s, encoder__imported=None) for s in (0, 1, 2)})
    assert trained.summary.n == 3


def test_failed_runs_and_numbers_that_are_none_do_not_enter(row: Row) -> None:
    """A NaN or a failed run must not reach a mean."""
    assert group_cells(by_run([row(status="failed"), row(value=float("nan"))])) == []


def test_a_run_with_a_fold_that_is_no_number_has_no_mean(row: Row) -> None:
    """Folds .5, NaN, .9 would count as .7 over two folds, beside means over all three."""
    rows = [row(run_key=f"k{s}", seed=s, fold=f, value=0.5 + 0.2 * f) for s in (0, 1) for f in range(3)]
    rows[1] = row(run_key="k0", fold=1, value=float("nan"))
    rows += [row(run_key="k1", seed=1, fold=0, variant="diverged", headline=False, value=float("nan"))]
    (cell,) = group_cells(by_run(rows))
    assert list(cell.scores) == [Unit(1)]
    assert cell.summary.folds == 3


def test_settings_are_ordered_as_people_count(row: Row) -> None:
    """5w10s stands before 10w10s, pretrained methods before scratch."""
    rows = [row(run_key=s + m, setting=s, method=m) for s in ("10w10s", "5w20s", "5w10s") for m in ("scratch", "recon")]
    random.Random(0).shuffle(rows)
    ordered = [(cell.setting, cell.label) for cell in group_cells(by_run(rows))]
    assert ordered == [(s, m) for s in ("5w10s", "5w20s", "10w10s") for m in ("recon", "scratch (recon)")]
    assert natural("5w10s") < natural("10w5s")


def test_scratch_is_matched_by_architecture_backbone_and_judge(row: Row) -> None:
    """A method compared with the scratch of another network, size or protocol option is a false comparison."""
    rows = [
        row(run_key="recon"),
        row(run_key="same", method="scratch"),
        row(run_key="other", method="scratch", architecture="point-mae"),
        row(run_key="wide", method="scratch"),
        row(run_key="judged", method="scratch"),
    ]
    scratch = {"encoder__recipe": None}
    cells = group_cells(
        by_run(rows),
        {
            "recon": spec(0),
            "same": spec(0, **scratch),
            "other": spec(0, **scratch, encoder__options={"architecture": "point-mae"}),
            "wide": spec(0, **scratch, encoder__backbone__width=384),
            "judged": spec(0, **scratch, protocol__options={"head": "mlp"}),
        },
    )
    recon = next(cell for cell in cells if not cell.is_scratch)
    found = opponent(recon, cells)
    assert found is not None
    assert found.runs == {Unit(0): "same"}
    assert opponent(recon, [cell for cell in cells if cell.runs != {Unit(0): "same"}]) is None


def test_versions_of_plugins_that_judge_are_part_of_the_judge(row: Row) -> None:
    """recon judged by a protocol's 1.0 and scratch by its 2.0 would be compared; a method's own version is no judge."""
    rows = [row(run_key="recon"), row(run_key="scratch", method="scratch")]

    def found(recon: dict[str, str], scratch: dict[str, str]) -> bool:
        numerics = {"plugins": {"methods.recon": "0.1"}}
        specs = {"recon": spec(0, encoder__numerics=numerics, plugins=recon), "scratch": spec(0, plugins=scratch)}
        cells = group_cells(by_run(rows), specs)
        assert [cell.label for cell in cells] == ["recon", "scratch (recon)"]
        return opponent(cells[0], cells) is not None

    assert found({}, {})
    for kind in ("protocols.mine", "datasets.mine"):
        assert found({kind: "1.0"}, {kind: "1.0"})
        assert not found({kind: "1.0"}, {kind: "2.0"})
        assert not found({kind: "1.0"}, {})


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.lists(st.integers() | st.text()))
def test_flat_values_are_json(value: Any) -> None:
    """Stored specs are compared by these texts; 1.0 and 1, or true and 1, are two values."""
    assert flatten({"field": value}) == {"field": json.dumps(value)}


def test_flatten_leaves_the_seeds_out_and_nothing_else() -> None:
    """A field that is dropped by mistake would merge runs that differ in it."""
    encoder = {"seed": 2, "options": {"seed": 3}, "first_stage": {"seed": 2, "width": 5}}
    assert flatten({"seed": 1, "encoder": encoder, "list": [1, 2], "empty": {}}) == {
        "encoder.options.seed": "3",
        "encoder.first_stage.width": "5",
        "list": "[1, 2]",
        "empty": "{}",
    }


def test_a_search_over_pretraining_leaves_the_protocol_as_it_is() -> None:
    """Tuned pretrainings fine-tuned at different learning rates would be compared as if judged alike."""
    options = {"protocol.name": "finetune", "protocol.options.recipe.lr": "0.1"}
    assert "protocol.options.recipe.lr" in judging({**options, "tuned.values.recipe.lr": "0.001"})
    assert "protocol.options.recipe.lr" not in judging({**options, "tuned.values.finetune.recipe.lr": "0.1"})


def test_labels_carry_no_data(row: Row) -> None:
    """All of a folder called "toys (25 %)" was reported as a quarter of the data."""
    odd = {"pretrain_data": "toys (25 %)", "setting": "all, 10 % of labels", "dataset": "a > b"}
    (cell,) = group_cells(by_run([row(**odd)]), {"k0": spec(0, setting="all, 10 % of labels")})
    assert (cell.fraction, cell.whole_pretrain_data) == (1.0, "toys (25 %)")
    assert (cell.label_fraction, cell.whole_setting) == (1.0, "all, 10 % of labels")
    part = {"pretrain_data": "toys (25 %) (50 %)"}
    (half,) = group_cells(by_run([row(**part)]), {"k0": spec(0, encoder__fraction=0.5)})
    assert (half.fraction, half.whole_pretrain_data) == (0.5, "toys (25 %)")


def test_one_spec_is_one_cell_whatever_it_was_called(row: Row) -> None:
    """The same data under two names would be two methods with half of the seeds each."""
    rows = [row(run_key=f"k{s}", seed=s, dataset=("toys", "my-toys")[s]) for s in range(2)]
    (cell,) = group_cells(by_run(rows), {f"k{s}": spec(s, data__name="toys") for s in range(2)})
    assert cell.summary.n == 2


def test_split_seeds_are_runs_of_one_cell_and_failures_are_outcomes(row: Row) -> None:
    """A split seed in the cell's identity would make six cells of one run each; a lost run must not vanish."""

    def whole(seed: int, split: int = 0) -> dict[str, Any]:
        named = {"preset": "nano", "encoder__method": "recon", "protocol__form": "fair", "data__name": "shapes-scan"}
        return spec(seed, split_seed=split, **named)

    runs = {f"k{s}{p}": whole(s, p) for s in range(2) for p in range(3)}
    rows = [row(run_key=key, seed=int(key[1]), split_seed=int(key[2]), value=0.1 * int(key[2])) for key in runs]
    (cell,) = group_cells(by_run(rows), runs, [FailedRun(whole(7), "diverged"), FailedRun(whole(0), "failed")])
    assert (cell.summary.n, cell.summary.splits, len(cell.runs)) == (2, 3, 6)
    assert cell.lost == {Unit(7): "diverged"}, "seed 0 was made good"
    rows[0] = row(run_key="k00", value=float("nan"))
    (cell,) = group_cells(by_run(rows), runs)
    assert cell.lost == {Unit(0): "without a number"}
