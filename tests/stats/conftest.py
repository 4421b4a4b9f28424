"""Rows as the store's queries give them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.store.queries import MetricRow

DEFAULTS: dict[str, Any] = {
    "run_key": "k0",
    "fingerprint": "f0",
    "preset": "nano",
    "method": "recon",
    "architecture": "recon",
    "protocol": "fewshot",
    "form": "fair",
    "setting": "5w10s",
    "dataset": "shapes-scan",
    "pretrain_data": "shapes",
    "seed": 0,
    "split": "test",
    "selection": "val",
    "variant": "",
    "headline": True,
    "fold": None,
    "epoch": None,
    "votes": 1,
    "name": "accuracy",
    "value": 0.5,
    "n_objects": 100,
    "seen": (),
    "seen_total": 40,
    "status": "done",
    "older_code": False,
    "created_at": "2025-06-01T00:00:00+00:00",
    "folder": Path("runs/k0"),
}


@pytest.fixture
def row() -> Callable[..., MetricRow]:
    """Make a row; what is not given is a plain few-shot accuracy of recon."""
    return lambda **given: MetricRow(**(DEFAULTS | given))
