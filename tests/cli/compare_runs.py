"""Stored runs to compare: one results folder that this code made, and copies of it with changes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py

from bench.execution.events import Channel
from bench.execution.worker import Worker
from bench.paths import Workspace
from bench.plan.planning import make_plan
from bench.plan.request import RunRequest
from bench.protocols.threads import torch_threads
from bench.spec import content_key
from bench.store.queries import RunRow, run_rows
from bench.store.records import RunRecord
from bench.store.store import Store
from tests.conftest import CLASSES, write_modelnet

Compare = Callable[..., tuple[int, str, str]]


def make_runs(folder: Path) -> Path:
    """Point-MAE and scratch, two seeds, a linear probe, an SVM and few-shot, where a third of the labels are wrong."""
    place = Workspace.at(folder / "results")
    place.prepare()
    for file in write_modelnet(folder / "toyset").glob("*.h5"):
        with h5py.File(file, "r+") as content:
            content["label"][::3] = (content["label"][::3] + 1) % len(CLASSES)
    data = f"modelnet-h5:{folder / 'toyset'}"
    request = RunRequest(
        methods=("point-mae",), protocols=("linear", "svm", "fewshot"), datasets=(data,), pretrain_data=data,
        preset="smoke", seeds=(0, 1), compile="off", overrides={"fewshot.head": "linear"},
    )  # fmt: skip
    perform(place, request)
    return place.results


def perform(place: Workspace, request: RunRequest, *plugins: Path) -> None:
    """Do what a request asks for, as jobs do it, in this process."""
    payload: dict[str, object] = {
        "results": str(place.results),
        "cache": str(place.cache),
        "store_url": None,
        "indexes": True,
        "plugins": [str(plugin) for plugin in plugins],
        "command": [],
    }
    plan = make_plan(request, place, None)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with torch_threads(1):
        for job in sorted(plan.jobs, key=lambda job: len(job.needs)):
            assert Worker({**payload, "job": job.model_dump(mode="json")}, Channel(nowhere)).perform(), job.title
    os.close(nowhere)


def rows(results: Path, **labels: object) -> list[RunRow]:
    found = run_rows(Store(results))
    return [row for row in found if all(getattr(row, name) == value for name, value in labels.items())]


def record(results: Path, row: RunRow) -> RunRecord:
    return Store(results).load(row.stored)


def shelf(place: Path, results: Path, change: Callable[[RunRow, RunRecord], RunRecord | None]) -> Path:
    """A results folder with the linear runs as `change` makes them; None leaves one out."""
    store = Store(place)
    for row in rows(results, protocol="linear"):
        own = change(row, record(results, row))
        if own is not None:
            store.publish(own)
    return place


def reset(own: RunRecord, path: str, value: object, **changes: Any) -> RunRecord:
    """A run whose specification says something else in one field, under a key of its own."""
    spec = json.loads(json.dumps(own.spec))
    *groups, last = path.split(".")
    inner = spec
    for name in groups:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return replace(own, spec=spec, **{"key": content_key(spec), **changes})
