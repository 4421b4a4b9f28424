"""Process that compares a step of two ranks with one: ``python -m bench.conformance.two_ranks``.

Reads the method and its kit (`asked_of`) as one line of JSON, and answers with one. It forks the second rank, so it
must not have started threads.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.conformance.declarations import plugin_file
from bench.conformance.method_kit import MethodKit
from bench.errors import BenchError
from bench.execution.ranks import FirstRank, fork_ranks
from bench.fingerprint import PLACE_MARK
from bench.models.ranks import Ranks, active
from bench.plugins import load_plugin_file
from bench.seeds import seed_torch
from bench.spec import BackboneSpec, PretrainSpec, RanksSpec
from bench.training.loop import share_of
from bench.training.precision import resolve_numerics

COUNT = 2
TOLERANCE = 2e-3
"""Relative difference; BatchNorm or negatives of one rank alone are off by 3 % and more, sums rounded in two parts by
1e-5."""
_SMALLEST = 1e-3
"""Part of the largest gradient below which one counts as small: a true zero is made of rounding alone."""


def asked_of(kit: MethodKit) -> dict[str, Any] | None:
    """Return what the process needs; None for a class that it cannot import."""
    method, file = kit.method, plugin_file(kit.method)
    if file is None or "<locals>" in method.__qualname__ or method.__module__ == "__main__":
        return None
    return {
        "file": str(file) if PLACE_MARK in method.__module__ else None,
        "module": method.__module__,
        "class": method.__qualname__,
        "size": kit.size.model_dump(mode="json"),
        "options": kit.resolved.model_dump(mode="json"),
        "preset": kit.preset,
        "batch_size": kit.batch_size,
        "image_size": kit.image_size,
    }


def kit_of(asked: dict[str, Any]) -> MethodKit:
    """Build the kit again (see `asked_of`)."""
    if asked["file"] is not None:
        load_plugin_file(Path(asked["file"]))
    method: Any = importlib.import_module(asked["module"])
    for name in asked["class"].split("."):
        method = getattr(method, name)
    return MethodKit(
        method,
        BackboneSpec.model_validate(asked["size"]),
        method.parse(asked["options"]),
        asked["preset"],
        batch_size=asked["batch_size"],
        image_size=asked["image_size"],
    )


def outcome(kit: MethodKit, ranks: Ranks | None) -> dict[str, dict[str, Tensor]]:
    """Take one step, without the optimiser, as the training loop does.

    Returns:
        Losses, gradients, and the buffers afterwards, each by name.
    """
    model = kit.model()
    if ranks is not None:
        ranks.objects = share_of(kit.batch_size, COUNT)
        ranks.adopt(model)
    with torch.no_grad():
        prepared: Any = model.prepare(kit.batch())
        if ranks is not None:
            prepared = ranks.share(prepared)
    seed_torch(0)
    with active(ranks):
        losses = model.compute(prepared)
        losses["total"].backward()  # type: ignore[no-untyped-call]
    if ranks is not None:
        ranks.average_gradients(model)
    return {
        "loss": {name: value.detach() for name, value in losses.items()} if ranks is None else ranks.mean(losses),
        "gradient": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
        "buffer": {name: value for name, value in model.named_buffers() if value.is_floating_point()},
    }


def differing(several: dict[str, Tensor], one: dict[str, Tensor]) -> dict[str, float]:
    """Return relative differences beyond the tolerance, by name."""
    largest = max((float(value.abs().max()) for value in one.values() if value.numel()), default=0.0)
    found = {}
    for name, value in one.items():
        scale = max(float(value.abs().max()) if value.numel() else 0.0, _SMALLEST * largest, 1e-12)
        apart = float((several[name] - value).abs().max()) / scale if value.numel() else 0.0
        if not apart <= TOLERANCE:
            found[name] = apart
    return found


def main() -> int:
    """Compare, and print what differs."""
    torch.set_num_threads(1)
    kit = kit_of(json.loads(sys.stdin.readline()))
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # prints of plugins go to the log
    numerics = resolve_numerics("cpu", "fp32", compile=False)
    spec = PretrainSpec(
        method="ranks", backbone=kit.size, recipe=kit.recipe, data=None, numerics=numerics, seed=0,
        ranks=RanksSpec(count=COUNT),
    )  # fmt: skip
    own = fork_ranks(COUNT)
    if not isinstance(own, FirstRank):
        if own.begins():
            outcome(kit, own.join(spec))
        os._exit(0)
    try:
        several = outcome(kit, own.join(spec, sys.exit))
    except BenchError as error:
        own.end(now=True)
        print(json.dumps({"error": str(error)}), file=replies)
        return 0
    own.end(now=False)
    one = outcome(kit, None)
    print(json.dumps({part: differing(several[part], values) for part, values in one.items()}), file=replies)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)
