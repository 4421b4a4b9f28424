"""Stored runs beside published figures: only where both answer one question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.published.correspondence import OFFICIAL, TABLE, corresponding, corresponds
from bench.published.figures import figures
from bench.report.document import Document
from bench.report.literature import beside, part
from bench.report.markdown import to_markdown
from bench.report.model import ReportModel, build_model
from bench.store.queries import MetricRow, by_run
from tests.conftest import bench_here


def stored(**changes: object) -> ReportModel:
    """Three runs of ReCon, fine-tuned on what looks like ModelNet40."""
    told = {
        "preset": "base", "method": "recon", "architecture": "recon", "protocol": "finetune", "form": "published",
        "setting": "all", "dataset": "modelnet-h5:ModelNet40", "pretrain_data": "shapenet", "split": "test",
        "variant": "", "headline": True, "fold": None, "epoch": 3, "votes": 1, "name": "accuracy", "n_objects": 2468,
        "seen": (), "seen_total": 40, "status": "done", "older_code": False, "created_at": "2026-01-01",
        "folder": Path("runs"), "fingerprint": "f",
    } | changes  # fmt: skip
    rows = [
        MetricRow(run_key=f"k{seed}", seed=seed, selection=rule, value=value + added, **told)  # type: ignore[arg-type]
        for seed, value in enumerate((0.935, 0.938, 0.941))
        for rule, added in (("val", 0.0), ("test", 0.006))
    ]
    return build_model(by_run(rows), [])


def cell_of(model: ReportModel, **fields: str):
    cell = model.sections[0].rows[0].cell
    flat = {
        "protocol.name": "finetune", "data.name": "modelnet-h5", "encoder.method": "recon",
        "encoder.backbone.width": "384", "encoder.backbone.depth": "12", "encoder.backbone.points": "1024",
    }  # fmt: skip
    return replace(cell, spec=flat | fields)


def values(cell: object) -> set[float]:
    return {one.value for one in figures() if corresponds(one, cell)}  # type: ignore[arg-type]


def test_only_the_same_question_corresponds() -> None:
    """A figure of 8k points, of another variant or of a set in the same layout would stand beside our run."""
    cell = cell_of(stored())
    assert {94.5} <= values(cell)
    assert 94.7 not in values(cell)  # 8k points
    assert 94.7 in values(cell_of(stored(), **{"encoder.backbone.points": "8192"}))
    assert 91.26 not in values(cell)  # ScanObjectNN
    assert values(cell_of(stored(), **{"encoder.backbone.width": "128"})) == set()
    assert values(cell_of(stored(n_objects=200))) == set()  # another set in ModelNet40's layout
    assert values(cell_of(stored(seen_total=12))) == set()
    assert values(cell_of(stored(), **{"encoder.method": "multitask"})) == set()
    assert values(cell_of(stored(), **{"train_data.name": "shapes-cad"})) == set()
    assert values(cell_of(stored(protocol="linear"))) & values(cell) == set()
    assert {one.variant for one in figures() if corresponds(one, cell)} == {"Base (384 wide)"}


def test_the_table_of_correspondences_names_what_exists() -> None:
    """A pattern with a slip would silently match nothing."""
    for row in TABLE:
        assert any(row in corresponding(one) for one in figures()), row
    known = {(one.dataset, one.split) for one in figures()}
    assert set(OFFICIAL) <= known
    ablations = [one for one in figures() if "ablation" in one.setting or "rotation" in one.setting]
    assert ablations
    assert not any(map(corresponding, ablations))


def test_a_report_sets_ours_beside_with_inflation_and_interval() -> None:
    """Best of eight voted seeds would be read as reproduced or refuted by a mean chosen on validation."""
    model = stored()
    cell = cell_of(model)
    section = model.sections[0]
    section = replace(section, rows=(replace(section.rows[0], cell=cell),))
    ledger = tuple(replace(line, cell=cell) for line in model.ledger)
    model = replace(model, sections=(section,), ledger=ledger)
    (best,) = [one for one in beside(model) if one.figure.value == 94.5 and one.figure.standing == "authors"]
    assert best.fair is None
    assert best.inside is (cell.summary.low <= 0.945 <= cell.summary.high)  # type: ignore[operator]
    assert best.line is not None
    assert best.line.inflation is not None
    assert best.line.inflation.mean == pytest.approx(0.006)
    assert not any(one.figure.doubtful for one in beside(model))
    text = to_markdown(Document("x", (part(model),)))
    assert "best epoch on test, best of 8 seeds, maximum of votes" in text
    assert "the authors' own figure" in text
    assert "third party's table" in text
    assert "+0.6" in text


def test_a_report_says_where_nothing_corresponds(tmp_path: Path) -> None:
    assert "No stored run corresponds" in to_markdown(Document("x", (part(stored(n_objects=5)),)))
    done = bench_here("report", "--published", "--page", tmp_path / "x.yaml", "--results", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "--published" in done.stderr
