"""Batches on several threads: the same numbers on any number of cores, and no work after an error."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from bench.protocols.fewshot import FewShot
from bench.protocols.threads import for_batches, spread, torch_threads

from .conftest import MakeTask, subject


def test_numbers_do_not_depend_on_the_number_of_cores(make_task: MakeTask) -> None:
    """A run on a laptop and one on a server show the same linear few-shot table."""
    runs = []
    for threads in (1, 3):
        with torch_threads(threads):
            task = make_task(cache=f"cache-{threads}")
            runs.append(FewShot.evaluate(subject(), task, "4w10s", FewShot.Options(head="linear")))
    assert runs[0].metrics == runs[1].metrics
    np.testing.assert_array_equal(runs[0].predictions["logits"], runs[1].predictions["logits"])


def test_every_row_is_done_once_and_reported_in_order() -> None:
    """Progress counts up, and the last partial batch is not lost."""
    rows, reports = np.zeros(107, int), []
    modes: list[tuple[int, bool]] = []

    def work(start: int, stop: int) -> None:
        rows[start:stop] += 1
        modes.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))

    with torch_threads(4):
        for_batches(107, 10, "cpu", work, lambda done, total: reports.append((done, total)))
        assert torch.get_num_threads() == 4
    assert (rows == 1).all()
    assert reports == [(min(10 * i, 107), 107) for i in range(1, 12)]
    assert set(modes) == {(1, True)}


def test_an_error_stops_the_rest_and_restores_the_threads() -> None:
    """A broken batch is reported at once, not after an hour of the others."""
    started: list[int] = []
    release = threading.Event()

    def work(item: int) -> int:
        started.append(item)
        if item == 0:
            raise ValueError("broken")
        release.wait(0.2)
        return item

    with torch_threads(2):
        with pytest.raises(ValueError, match="broken"):
            list(spread(work, range(500)))
        assert torch.get_num_threads() == 2
    assert len(started) < 50
