"""The paper's set-up as jobs: images and texts from different networks, drawn anew in each step."""

from __future__ import annotations

import os
from pathlib import Path

from bench.execution.events import Channel
from bench.execution.worker import Worker
from bench.paths import Workspace
from bench.plan.planning import make_plan
from bench.plan.request import RunRequest
from bench.store.queries import metric_rows
from bench.store.store import Store
from tests.teachers.foreign_toys import TIMM, clip_file, clip_model, timm_file


def test_a_whole_run_with_two_live_teachers(tmp_path: Path, toy_modelnet: Path) -> None:
    """A worker that forgets the second teacher, or the files behind the digests, fails after everything else worked."""
    overrides = {
        "teacher.model": TIMM,
        "teacher.checkpoint": str(timm_file(tmp_path)),
        "text_teacher.checkpoint": str(clip_file(tmp_path, clip_model())),
        "recipe.teacher_crops": 2,
        "recipe.teacher_prompts": 3,
    }
    request = RunRequest.model_validate(
        {
            "protocols": ["linear"],
            "datasets": [f"modelnet-h5:{toy_modelnet}"],
            "pretrain_data": f"modelnet-h5:{toy_modelnet}",
            "preset": "smoke",
            "captions": "class-names",
            "teacher": "timm",
            "text_teacher": "open-clip",
            "live_teacher": True,
            "baseline": False,
            "device": "cpu",
            "compile": "off",
            "overrides": overrides,
        }
    )
    workspace = Workspace(tmp_path / "results", tmp_path / "cache")
    workspace.prepare()
    plan = make_plan(request, workspace, None)
    assert [job.kind for job in plan.jobs] == ["encoder", "evaluate"], "weights from elsewhere need no fitting"
    channel = Channel(os.open(os.devnull, os.O_WRONLY))
    for job in plan.jobs:
        payload = {"job": job.model_dump(mode="json"), "results": str(workspace.results), "cache": str(workspace.cache)}
        assert Worker({**payload, "store_url": None, "indexes": True, "plugins": [], "command": []}, channel).perform()
    rows = metric_rows(Store(workspace.results))
    assert {(len(row.seen or ()), row.seen_total) for row in rows} == {(6, 6)}, "captions state the evaluated classes"
    assert not list(workspace.cache.glob("features/timm-*")), "a live teacher keeps nothing"
    again = make_plan(request, workspace, None)
    assert not again.jobs, "the key finds what was stored, wherever the files lie"
