"""What a reader would lose: corrupted accuracies in the wrong row, or a name that only released files may carry."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.corruptions import CLEAN, CONDITIONS
from bench.protocols.robustness import corrupted_rows
from bench.report import robustness
from bench.report.document import Document
from bench.report.markdown import to_markdown
from bench.report.model import ReportModel, build_model
from bench.report.plots import svg
from bench.report.robustness import robust_tables
from bench.stats.robustness import DGCNN
from bench.store.queries import by_run
from tests.report.conftest import Maker, Results

OBJECTS = 1000
LOSS = {"recon": 0.05, "point-mae": 0.10, "scratch": 0.20}
"""Accuracy that a method loses by each level."""


def corrupted(kinds: tuple[str, ...], official: bool = False) -> tuple[ReportModel, tuple[robustness.RobustTable, ...]]:
    """Three methods that lose a known part by each level, the same for every type."""
    found = Results()
    for seed in range(3):
        for method, architecture in (("recon", "recon"), ("point-mae", "point-mae"), ("scratch", "recon")):
            one = Maker().run(method, architecture, "linear", "shapes-scan", seed, "all")
            run = one.runs[0]
            clean = next(
                row.value for row in one.rows if row.name == "accuracy" and row.split == "test" and row.headline
            )
            conditions = [str(c) for c in CONDITIONS if c.kind in kinds]
            right = np.zeros(((official + len(conditions)), OBJECTS), int)
            for at, name in enumerate([CLEAN] * official + conditions):
                share = 0.9 if name == CLEAN else max(clean - LOSS[method] * int(name[-1]) / 5, 0)
                right[at, : round(OBJECTS * share)] = 1
            names = [CLEAN] * official + conditions
            for metric in corrupted_rows(right, names, np.ones(OBJECTS, int), None, "", OBJECTS):
                run.metrics.append(metric)
                told = {name: getattr(metric, name) for name in type(metric).model_fields}
                one.rows.append(type(one.rows[0])(**{**vars_of(one.rows[0]), **told}))
            found += one
    numbers = list(by_run(found.rows))
    model = build_model(numbers, found.runs)
    return model, robust_tables(model.sections, numbers)


def vars_of(row: object) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}  # type: ignore[attr-defined]


def test_every_method_has_its_own_losses() -> None:
    _, (table,) = corrupted(("jitter", "scale"))
    by_method = {line.cell.method: line for line in table.lines}
    assert set(by_method) == set(LOSS)
    for method, line in by_method.items():
        assert set(line.robust.kinds) == {"jitter", "scale"}
        assert line.robust.clean - line.robust.overall == pytest.approx(LOSS[method] * 0.6, abs=2e-3)
        assert [line.robust.clean - one for one in line.levels["jitter"]] == pytest.approx(
            [LOSS[method] * level / 5 for level in range(1, 6)], abs=2e-3
        )
    scratch, recon = by_method["scratch"], by_method["recon"]
    assert scratch.mce == scratch.rmce == 1
    assert recon.rmce == pytest.approx(LOSS["recon"] / LOSS["scratch"], abs=0.02)
    assert recon.mce is not None
    assert recon.mce < 1
    assert by_method["point-mae"].mce is None  # no untrained network of its architecture was run


def test_only_released_files_are_compared_with_the_published_reference() -> None:
    _, tables = corrupted(tuple(DGCNN.kinds))
    told = to_markdown(Document("x", tuple(robustness.parts(tables))))
    assert "They are not ModelNet-C" in told
    assert "DGCNN" not in told
    _, (table,) = corrupted(tuple(DGCNN.kinds), official=True)
    assert all(line.robust.clean == pytest.approx(0.9) for line in table.lines)
    assert all(line.mce is not None for line in table.lines)
    told = to_markdown(Document("x", tuple(robustness.parts((table,)))))
    assert "DGCNN" in told
    assert "not ModelNet-C" not in told


def test_the_figure_shows_every_type_and_method() -> None:
    _, (table,) = corrupted(tuple(DGCNN.kinds))
    drawn, _ = svg(lambda: robustness.draw(table), "x")
    for text in ("dropout local", "add global", "recon", "scratch"):
        assert text in drawn


def test_without_corrupted_clouds_there_is_no_part() -> None:
    assert robustness.parts(()) == []
