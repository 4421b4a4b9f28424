"""Trains the toy in child processes that are killed (SIGKILL) at given moments; run as a script.

Usage: ``killed_children.py FOLDER PRECISION MOMENT:COUNT ...``. Each child trains in FOLDER until it kills itself
at its moment; one more then trains to the end. FOLDER/outcome.json is what that last one ends with,
FOLDER/kept-SHARE.json the weights after each of `SHARES`, which any of them wrote.

Forking from one process that has imported torch, and computed nothing, makes each child cost milliseconds.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, cast

from training_toy import ToyObjective, outcome, train, weights

from bench.spec import Precision
from bench.training.contract import FitResult, Kept

SHARES = (0.1, 0.25, 0.6)


def child(folder: Path, precision: Precision, moment: str) -> None:
    where, _, text = moment.partition(":")
    fsyncs = 0
    fsync = os.fsync

    def hook(name: str, count: int) -> None:
        if name == where and count == int(text):
            os.kill(os.getpid(), signal.SIGKILL)

    def counted_fsync(handle: int) -> None:
        nonlocal fsyncs
        fsyncs += 1
        hook("fsync", fsyncs)
        fsync(handle)

    os.fsync = cast(Any, counted_fsync)
    objective = ToyObjective(hook)

    def take(share: float, result: FitResult) -> None:
        hook("take", result.step)
        (folder / "unfinished").write_text(json.dumps([result.step, weights(objective)]))
        (folder / "unfinished").rename(folder / f"kept-{share:g}.json")
        hook("taken", result.step)

    missing = tuple(share for share in SHARES if not (folder / f"kept-{share:g}.json").exists())
    result = train(objective, folder / "work", precision, Kept((*missing, 1.0), take))
    text = json.dumps({**outcome(objective, result), "resumed_from": result.resumed_from})
    (folder / "outcome.json").write_text(text)


def main() -> None:
    folder, precision, *moments = sys.argv[1:]
    importlib.import_module("torch._dynamo")  # the first step of an optimiser loads it: seconds for each child
    for moment in [*moments, "none:0"]:
        process = os.fork()
        if process == 0:
            child(Path(folder), cast(Precision, precision), moment)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        ended = os.waitstatus_to_exitcode(status)
        expected = 0 if moment == "none:0" else -signal.SIGKILL
        if ended != expected:
            sys.exit(f"the child to be killed at {moment} ended with {ended}, expected {expected}")


if __name__ == "__main__":
    main()
