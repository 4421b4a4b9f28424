"""Parts of the data and pairs of data sets in reports: cells kept apart, curves and matrices drawn from them."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.report import contents, scaling, transfer
from bench.report.html import to_html
from bench.report.markdown import to_markdown
from bench.report.model import ReportModel, build_model
from bench.report.plots import svg
from bench.report.records import to_csv
from bench.store.queries import by_run
from tests.report.conftest import Maker, Results

PARTS = (0.1, 0.25, 1.0)


def relabelled(results: Results, spec: dict[str, object], **label: str) -> Results:
    """The same runs under another name and with other fields in their specs."""
    for run in results.runs:
        run.label |= label
        for path, value in spec.items():
            *above, last = path.split(".")
            place = run.spec
            for name in above:
                place = place[name]  # type: ignore[index,call-overload,assignment]
            place[last] = value  # type: ignore[call-overload,index]
        key = f"{run.key[:40]}{abs(hash((tuple(sorted(label.items())), str(spec)))):024x}"
        results.rows = [replace(row, run_key=key, **label) if row.run_key == run.key else row for row in results.rows]
        run.key = key
    return results


def over_pretraining(preset: str = "nano") -> Results:
    """Two methods on three parts of the data, three seeds, scratch beside them."""
    found = Results()
    for seed in range(3):
        for method in ("recon", "point-mae"):
            found += Maker(preset=preset).run("scratch", method, "linear", "shapes-scan", seed, "all")
            for part in PARTS:
                name = "shapes" if part == 1 else f"shapes ({100 * part:g} %)"
                spec: dict[str, object] = {} if part == 1 else {"encoder.fraction": part}
                one = Maker(preset=preset).run(method, method, "linear", "shapes-scan", seed, "all")
                found += relabelled(one, spec, pretrain_data=name)
    return found


def over_labels() -> Results:
    found = Results()
    for seed in range(2):
        for method, architecture in (("recon", "recon"), ("scratch", "recon")):
            for part in PARTS:
                setting = "all" if part == 1 else f"all, {100 * part:g} % of labels"
                spec: dict[str, object] = {} if part == 1 else {"label_fraction": part}
                one = Maker().run(method, architecture, "linear", "shapes-scan", seed, "all")
                found += relabelled(one, spec, setting=setting)
    return found


def across() -> Results:
    found = Results()
    for seed in range(2):
        for dataset in ("shapes-cad", "shapes-scan", "shapes-cad > shapes-scan", "shapes-scan > shapes-cad"):
            found += Maker().run("recon", "recon", "linear", dataset, seed, "all")
    found += Maker().run("recon", "recon", "linear", "ldraw40", 0, "all")
    return found


def model_of(results: Results) -> ReportModel:
    return build_model(by_run(results.rows), results.runs)


def test_parts_of_the_pretraining_data_never_share_a_cell() -> None:
    """A mean over 10 % and 100 % of the data would be a number about nothing."""
    model = model_of(over_pretraining())
    (section,) = model.sections
    cells = [row.cell for row in section.rows]
    assert len(cells) == 2 * (len(PARTS) + 1)
    assert all(cell.summary.n == 3 for cell in cells)
    assert {cell.label for cell in cells} == {"recon", "point-mae", "scratch (recon)", "scratch (point-mae)"}
    assert all(row.versus is not None for row in section.rows if not row.cell.is_scratch)


def test_one_figure_holds_every_method_beside_its_scratch() -> None:
    """The curve is there to compare methods, each with what no pretraining gives."""
    (figure,) = scaling.figures(model_of(over_pretraining()))
    assert (figure.axis, figure.parts) == ("pretraining data", PARTS)
    assert "optimiser steps" in figure.how
    assert [line.label for line in figure.lines] == ["point-mae", "recon"]
    for line in figure.lines:
        assert [part for part, _ in line.points] == list(PARTS)
        assert line.opponent is not None
        assert line.opponent.label == f"scratch ({line.label})"
        assert all(summary.low is not None for _, summary in line.points)
    table = scaling.table(figure, "parts")
    assert table.headings == ["method", "scratch", "10 %", "25 %", "100 %"]
    assert [len(row.cells) for row in table.rows] == [5, 5]
    drawn, alt = svg(lambda: scaling.draw(figure), "parts0")
    assert drawn.startswith("<svg")
    assert "recon, 25 percent:" in alt
    assert drawn == svg(lambda: scaling.draw(figure), "parts0")[0]


def test_budgets_are_figures_of_their_own() -> None:
    """Equal steps and equal epochs answer different questions; all the data belongs to both."""
    results = over_pretraining()
    for seed in range(3):
        one = Maker().run("recon", "recon", "linear", "shapes-scan", seed, "all")
        spec: dict[str, object] = {"encoder.fraction": 0.25, "encoder.budget": "epochs"}
        results += relabelled(one, spec, pretrain_data="shapes (25 %, same epochs)")
    steps, epochs = scaling.figures(model_of(results))
    assert "steps" in steps.how
    assert "epochs" in epochs.how
    assert [line.label for line in epochs.lines] == ["recon"]
    assert epochs.parts == (0.25, 1.0)


def test_labels_are_an_axis_and_settings_stay_apart() -> None:
    """At 10 % of the labels scratch is scored on 10 % too, in one table with a line for each part."""
    model = model_of(over_labels())
    (section,) = model.sections
    assert section.settings == ("all", "all, 10 % of labels", "all, 25 % of labels")
    (figure,) = scaling.figures(model)
    assert (figure.axis, figure.parts) == ("labels", PARTS)
    assert [line.label for line in figure.lines] == ["recon", "scratch (recon)"]
    assert "scratch" not in scaling.table(figure, "parts").headings


def test_a_part_of_the_labels_says_how_many_objects_it_is() -> None:
    """Every class keeps two objects, so that 1 % can be 5 % in truth; a curve over percents alone would hide it."""
    results = over_labels()
    for run in results.runs:
        if run.spec.get("label_fraction") == 0.1:
            run.provenance["notes"] = {"labels": "104 of 312 training objects are labelled (10 %)"}
    model = model_of(results)
    (figure,) = scaling.figures(model)
    assert figure.counts == ("104 of 312 training objects are labelled (10 %)",)
    page, text = to_html(contents.report(model)), to_markdown(contents.report(model))
    for shown in (page, text):
        assert shown.count("104 of 312 training objects are labelled (10 %).") >= 2, "below the table and the curve"


def test_encoders_along_a_pretraining_are_a_curve_and_pairs_of_their_own() -> None:
    """Which epoch? The answer would hide among comparisons of one method at 10 % with another at its end."""
    results = Results()
    for seed in range(3):
        for method in ("recon", "point-mae"):
            results += Maker().run("scratch", method, "linear", "shapes-scan", seed, "all")
            for at in PARTS:
                one = Maker().run(method, method, "linear", "shapes-scan", seed, "all")
                results += relabelled(one, {"encoder.at": at} if at < 1 else {"encoder.seed": seed}, method=method)
    model = model_of(results)
    (figure,) = scaling.figures(model)
    assert (figure.axis, figure.parts) == ("steps of pretraining", PARTS)
    assert {line.label for line in figure.lines} == {"recon", "point-mae"}
    assert all(line.opponent is not None for line in figure.lines)
    assert "schedule of the whole" in figure.explained
    assert "Course of pretraining" in to_html(contents.report(model))
    (pairs,) = (section.pairs for section in model.sections if section.main)
    named = {frozenset((pair.comparison.first, pair.comparison.second)) for pair in pairs}
    shares = [" [at=0.1]", " [at=0.25]", ""]
    expected = {frozenset((f"recon{share}", f"point-mae{share}")) for share in shares}
    for name in ("recon", "point-mae"):
        expected |= {frozenset((f"{name}{a}", f"{name}{b}")) for a in shares for b in shares if a != b}
    assert named == expected
    rows = list(csv.DictReader(io.StringIO(to_csv(model))))
    assert {row["evaluate_at"] for row in rows if row["method"] == "recon"} == {"0.1", "0.25", "1.0"}
    assert {row["evaluate_at"] for row in rows if row["method"] == "scratch"} == {""}


def test_a_teacher_alone_is_not_called_scratch() -> None:
    """Zero-shot has no untrained opponent: its level is what the teacher does without any 3D encoder."""
    results = Results()
    for seed in range(2):
        alone = Maker().run("scratch", "recon", "zeroshot", "shapes-scan", seed, "all")
        name = {"method": "render-classify", "architecture": "render-classify"}
        results += relabelled(alone, {"encoder.method": "render-classify"}, **name)
        for part in PARTS[1:]:
            one = Maker().run("recon", "recon", "zeroshot", "shapes-scan", seed, "all")
            name = {"pretrain_data": "shapes" if part == 1 else f"shapes ({100 * part:g} %)"}
            results += relabelled(one, {"encoder.fraction": part}, **name)
    (figure,) = scaling.figures(model_of(results))
    assert scaling.table(figure, "parts").headings[:2] == ["method", "render-classify"]
    (line,) = figure.lines
    assert line.opponent is not None
    assert line.opponent.label == "render-classify"
    assert "scratch" not in svg(lambda: scaling.draw(figure), "alone")[0]


def test_losses_are_compared_over_the_share_of_training() -> None:
    """Equal steps are different numbers of epochs; on an axis of epochs the curves could not be laid side by side."""
    panels = scaling.loss_panels(model_of(over_pretraining()).panels)
    assert {panel.method for panel in panels} == {"recon", "point-mae"}
    for panel in panels:
        assert [part for part, _ in panel.lines] == list(PARTS)
        assert all(points[-1][0] == pytest.approx(1.0) for _, points in panel.lines)
    assert "25 percent of the data ends at" in svg(lambda: scaling.draw_losses(panels), "loss0")[1]


def test_losses_of_two_recipes_are_never_averaged() -> None:
    """A mean over two learning rates is the loss of no training, and its panel would not say so."""
    results = over_pretraining()
    for part in PARTS:
        one = Maker(overrides=(("encoder.recipe", {"epochs": 50, "lr": 0.5}),))
        spec: dict[str, object] = {"encoder.fraction": part} if part < 1 else {}
        name = "shapes" if part == 1 else f"shapes ({100 * part:g} %)"
        results += relabelled(one.run("recon", "recon", "linear", "shapes-scan", 0, "all"), spec, pretrain_data=name)
    model = model_of(results)
    methods = {"point-mae", "recon [recipe.lr=0.001]", "recon [recipe.lr=0.5]"}
    assert {panel.method for panel in model.panels} == methods
    assert {panel.method for panel in scaling.loss_panels(model.panels)} == methods
    assert all(len(panel.lines) in (1, 3) for panel in model.panels), "three seeds, or the one of the other recipe"


def test_a_matrix_holds_pairs_and_what_lies_between() -> None:
    """Trained on clean, tested on scans: a reader wants the plain number in the same column."""
    (matrix,) = transfer.matrices(model_of(across()))
    assert matrix.trained == matrix.tested == ("shapes-cad", "shapes-scan")
    assert len(matrix.scores) == 4
    assert transfer.table(matrix, "m").headings[1:] == list(matrix.tested)
    assert "ldraw40" not in str(transfer.table(matrix, "m").rows)
    assert transfer.notes([matrix]) == []


def test_a_matrix_never_mixes_ways_of_judging_or_encoders() -> None:
    """The last table read overwrote the others: a tuned score stood in the column of scores as shipped, unmarked."""
    tuned = {"study": "s", "method": "recon", "trials": 20, "space": "d" * 64, "values": {"linear.feature": "cls"}}
    results = Results()
    for dataset in ("shapes-cad > shapes-scan", "shapes-cad", "shapes-scan"):
        results += Maker().run("recon", "recon", "linear", dataset, 0, "all")
    shipped = {run.label["dataset"]: run.key for run in results.runs}
    changes: list[tuple[tuple[str, object], ...]] = [(("tuned", tuned),), (("encoder.recipe", {"epochs": 5}),)]
    for overrides in changes:
        results += Maker(overrides=overrides).run("recon", "recon", "linear", "shapes-scan", 0, "all")
    (matrix,) = transfer.matrices(model_of(results))
    assert matrix.title.startswith("recon from shapes, linear [")
    assert "as shipped" in matrix.title
    assert "recipe.epochs=50" in matrix.title
    value = {row.run_key: row.value for row in results.rows if row.split == "test"}
    assert matrix.scores["shapes-scan", "shapes-scan"].mean == value[shipped["shapes-scan"]]
    assert len(matrix.scores) == 3


def test_sets_of_one_name_and_other_content_are_columns_of_their_own() -> None:
    """A set that was changed on disk: the score on the old files would stand where the new ones' belongs."""
    results = across()
    results += Maker(overrides=(("data.manifest", "e" * 64),)).run("recon", "recon", "linear", "shapes-scan", 0, "all")
    (matrix,) = transfer.matrices(model_of(results))
    assert len(matrix.scores) == 4
    assert any(name.startswith("shapes-scan [manifest=") for name in matrix.tested)


def test_a_matrix_says_which_classes_its_pairs_share() -> None:
    """A score over 4 common classes beside one over 52 reads like a success of the training set."""
    results = across()
    for run in results.runs:
        if " > " in run.label["dataset"]:
            run.provenance["notes"] = {"classes": "4 classes in common, of 10 trained on and 52 tested on"}
    model = model_of(results)
    told = "shapes-cad > shapes-scan: 4 classes in common, of 10 trained on and 52 tested on."
    assert told in transfer.notes(transfer.matrices(model))
    assert told.replace(">", "&gt;") in to_html(contents.report(model))
    assert told in to_markdown(contents.report(model))


@pytest.mark.parametrize("make", [over_pretraining, over_labels, across])
def test_every_rendering_shows_them_and_names_points_of_older_code(make: Callable[[], Results]) -> None:
    """Half of the readers would miss a figure; a bend in a curve would be read as the data's, not as the code's."""
    results = make()
    changed = next(run for run in results.runs if run.label["method"] == "recon" and run.spec["seed"] == 0)
    results.rows = [replace(row, older_code=row.run_key == changed.key) for row in results.rows]
    model = model_of(results)
    document = contents.report(model)
    page, text = html.unescape(to_html(document)), to_markdown(document).replace("\\", "")
    marked = {over_pretraining: "recon at 10 %", over_labels: "recon at 10 %"}.get(
        make, "shapes-cad > shapes-cad, recon from shapes, linear"
    )
    line = f"Made by code that has changed since (older): {marked}."
    for shown in (page, text):
        assert (transfer.TITLE if make is across else scaling.TITLE) in shown
        assert line in shown
    records = list(csv.DictReader(io.StringIO(to_csv(model))))
    if make is over_labels:
        assert {record["label_fraction"] for record in records} == {"0.1", "0.25", "1.0"}
    if make is over_pretraining:
        fractions = {record["pretrain_fraction"] for record in records if record["method"] != "scratch"}
        assert fractions == {"0.1", "0.25", "1.0"}


def test_reports_without_parts_have_no_empty_figures(one_seed: Results) -> None:
    """An empty card would make readers look for what is not there."""
    model = model_of(one_seed)
    assert not scaling.figures(model)
    assert not transfer.matrices(model)
    assert scaling.TITLE not in to_markdown(contents.report(model))


def test_smoke_figures_have_no_intervals() -> None:
    """Smoke numbers mean nothing, and an interval would say that they do."""
    (figure,) = scaling.figures(model_of(over_pretraining("smoke")))
    assert "±" not in str(scaling.table(figure, "parts"))
    assert "interval" not in figure.explained
    assert scaling.parts(model_of(over_pretraining("smoke")))[0].heading.startswith("SMOKE")


def test_folds_and_seeds_are_two_spreads_in_the_files(full_results: Results) -> None:
    """A reader must be able to tell the luck of the folds from the worth of a pretraining."""
    model = build_model(by_run(full_results.rows), full_results.runs)
    text = to_markdown(contents.report(model))
    assert "s.d. over folds / seeds" in text
    records = [r for r in csv.DictReader(io.StringIO(to_csv(model))) if r["preset"] == "nano"]
    fewshot = [r for r in records if r["protocol"] == "fewshot"]
    assert all(float(r["std_folds"]) > 0 and float(r["std_seeds"]) > 0 for r in fewshot)
    assert all(r["std_folds"] == "" for r in records if r["protocol"] == "linear")
