"""Zero-shot cells are compared with their own teacher, since an untrained network has no words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.report.model import build_model
from bench.report.scores import scores
from bench.report.summary import summarise_report
from bench.stats.cells import group_cells
from bench.stats.opponents import opponent
from bench.store.queries import MetricRow, RunNumbers, by_run


def spec(method: str, seed: int, teacher: str = "clip", texts: str | None = None) -> dict[str, Any]:
    return {
        "seed": seed,
        "encoder": {
            "method": method,
            "seed": seed,
            "backbone": {"width": 24},
            "teacher": {"name": "t", "identity": teacher},
            "text_teacher": None if texts is None else {"name": "s", "identity": texts},
        },
        "protocol": {"name": "zeroshot", "options": {"kind": "chosen"}},
    }


@pytest.fixture
def table(row: Callable[..., MetricRow]) -> Callable[..., tuple[list[RunNumbers], dict[str, dict[str, Any]]]]:
    def make(**teachers: str) -> tuple[list[RunNumbers], dict[str, dict[str, Any]]]:
        rows, specs = [], {}
        for method, value in (("recon", 0.6), ("render-classify", 0.4)):
            for seed in (0, 1, 2):
                key = f"{method}-{seed}"
                noise = 0.01 * seed if method == "recon" else 0.0
                where = {"protocol": "zeroshot", "setting": "all", "architecture": method, "method": method}
                rows.append(row(run_key=key, seed=seed, value=value + noise, **where))
                specs[key] = spec(method, seed, **(teachers if method == "recon" else {}))
        return by_run(rows), specs

    return make


def test_the_teacher_is_the_opponent_of_what_it_taught(
    table: Callable[..., tuple[list[RunNumbers], dict[str, dict[str, Any]]]],
) -> None:
    """A zero-shot number would stand alone, or beside another network's."""
    recon, alone = group_cells(*table())
    assert opponent(recon, [recon, alone]) is alone
    recon, alone = group_cells(*table(teacher="another"))
    assert opponent(recon, [recon, alone]) is None
    recon, alone = group_cells(*table(teacher="blind", texts="clip"))
    assert opponent(recon, [recon, alone]) is alone, "texts decide, wherever the pictures come from"


def test_tables_say_who_the_opponent_is(
    table: Callable[..., tuple[list[RunNumbers], dict[str, dict[str, Any]]]],
) -> None:
    """A difference to the teacher would be read as one to an untrained network."""
    from bench.store.records import RunRecord

    rows, specs = table()
    records = [RunRecord(key, "f0", "done", spec, {"method": spec["encoder"]["method"]}) for key, spec in specs.items()]
    model = build_model(rows, records)
    section = model.sections[0]
    table = scores(section)
    assert "difference to render-classify" in table.headings
    texts = {text["method"]: text for text in table.texts()}
    assert texts["recon"]["difference"].startswith("+21.0 [")
    assert "above render-classify" in texts["recon"]["verdict"]
    assert texts["render-classify"]["verdict"] == ""
    assert texts["render-classify"]["score"] == "40.0", "it answers alike under every seed: ± 0.0 would be made up"
    said = [sentence.text for sentence in summarise_report(model)]
    assert any("recon" in text and "above render-classify, +21.0" in text for text in said)
    assert not any(text.startswith("render-classify") for text in said)
