"""What a reader would lose: trained parameters beside the accuracy of another rung."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import ladder
from bench.report.document import Document
from bench.report.markdown import to_markdown
from bench.report.model import ReportModel, build_model
from bench.report.plots import svg
from bench.store.queries import by_run
from tests.report.conftest import Maker, Results

TRAINED = {"head": 1_000, "lora": 5_000, "full": 90_000}


def adapted(rungs: Sequence[str]) -> ReportModel:
    found = Results()
    for rung in rungs:
        for seed in range(3):
            for method in ("recon", "scratch"):
                changed = () if rung == "full" else (("protocol.options.adapt", rung),)
                one = Maker(overrides=changed).run(method, "recon", "finetune", "shapes-scan", seed, "all")
                one.runs[0].cost["parameters_trained"] = float(TRAINED[rung])
                found += one
    return build_model(list(by_run(found.rows)), found.runs)


def test_each_rung_stands_with_its_own_parameters() -> None:
    (found,) = ladder.ladders(adapted(tuple(TRAINED)))
    assert found.methods == ("recon", "scratch (recon)")
    assert {(ladder.adaptation(row), row.facts.trained) for row in found.rungs} == set(TRAINED.items())
    assert all(row.versus is not None for row in found.rungs if not row.cell.is_opponent)
    text = to_markdown(Document("x", tuple(ladder.parts(adapted(tuple(TRAINED))))))
    assert "90.0 k" in text
    drawn, _ = svg(lambda: ladder.draw(found), "x")
    assert "scratch (recon)" in drawn


def test_one_way_of_adapting_is_no_ladder() -> None:
    assert ladder.parts(adapted(("full",))) == []
