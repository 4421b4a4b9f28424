"""Use several cores by giving each its own batch.

An operator that is split over threads waits for the slowest of them thousands of times a second; on a machine that
is busy with something else, that wait is most of the time. Batches in parallel wait once, and as every operator runs
on one thread, the numbers do not depend on how many cores there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from bench.environment import cores_for_batches
from bench.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Run torch's operators on `count` threads; None leaves the setting."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Process items on all usable cores; yield results in order.

    Runs under inference mode, with torch's operators on one thread. What is not started is dropped when the caller
    stops asking (an error, Ctrl-C).
    """

    def run(item: Item) -> Result:
        with torch.inference_mode():
            return work(item)

    workers = max(torch.get_num_threads(), cores_for_batches() or 1)
    # Threads started inside inherit one thread per operator.
    with torch_threads(1):
        pool = ThreadPoolExecutor(workers)
        try:
            yield from pool.map(run, items)
        finally:
            pool.shutdown(cancel_futures=True)


def for_batches(total: int, size: int, device: str, work: Callable[[int, int], None], report: Progress) -> None:
    """Call ``work(start, stop)`` for every batch, in inference mode.

    On the CPU several batches run at a time.

    Args:
        total: Number of rows.
        size: Rows of a batch.
        device: Torch device the work runs on; batches share it one by one unless it is the CPU.
        work: Must write to rows of its own only.
        report: Called with (rows done, total) after every batch, in order, from the calling thread.
    """
    spans = [(start, min(start + size, total)) for start in range(0, total, size)]

    def run(span: tuple[int, int]) -> int:
        work(*span)
        return span[1]

    if torch.device(device).type == "cpu":
        for done in spread(run, spans):
            report(done, total)
        return
    with torch.inference_mode():
        for span in spans:
            report(run(span), total)
