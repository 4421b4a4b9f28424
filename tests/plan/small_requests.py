"""A small request, of which tests change some fields."""

from __future__ import annotations

from pathlib import Path

from bench.paths import Workspace
from bench.plan.request import RunRequest
from bench.plan.resolve import Resolution, resolve


def resolved(tmp_path: Path, **fields: object) -> Resolution:
    """Resolve the request in an empty results folder."""
    values = {
        "methods": ["point-mae"],
        "protocols": ["linear"],
        "datasets": ["shapes-scan"],
        "preset": "smoke",
        "device": "cpu",
        **fields,
    }
    return resolve(RunRequest.model_validate(values), Workspace(tmp_path / "results", tmp_path / "cache"))
