"""Trains tiny networks of all methods in one process and in two; run as a script.

Usage: ``ranks_of_methods.py FOLDER``. FOLDER/NAME-1.pt and FOLDER/NAME-2.pt hold what one and two processes end with;
FOLDER/killed.txt and FOLDER/continued.pt what is said when a rank is killed, and what a restart ends with. All are
forked from one process that has imported torch, as workers are, and meet through real sockets.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.conformance.method_kit import MethodKit
from bench.execution.ranks import FirstRank, OtherRank, fork_ranks
from bench.methods.base import Batch
from bench.models.ranks import RankLostError, Ranks
from bench.registry import METHODS
from bench.spec import BackboneSpec, PretrainSpec, RanksSpec, Recipe
from bench.training import optim
from bench.training.contract import TrainingPlace
from bench.training.precision import resolve_numerics
from bench.training.pretraining import PretrainData, pretrain

BACKBONE = BackboneSpec(points=48, groups=6, group_size=8, width=24, depth=2, heads=2, tokenizer_width=8, drop_path=0.2)
RECIPE = Recipe(epochs=3, batch_size=6, lr=2e-3, warmup_epochs=0, clip_norm=10.0, augmentation=("rotate_y",))
OBJECTS = 8  # the last, partial batch of an epoch is dropped
CONTRAST = {"cross_modal_loss": "infonce"}
SMALL_IMAGES = {"image_network": "resnet10t", "image_channels": (4, 4, 4, 4), "image_size": 16}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "point-mae": ("point-mae", {"tokenize": "all"}),
    "crosspoint": ("crosspoint", SMALL_IMAGES),
    "dgcnn": ("crosspoint", {"terms": "imid", "backbone": "dgcnn", "neighbours": 4, "embedding": 16}),
    "act-dvae": ("act-dvae", {}),
    "act": ("act", {"teacher_mode": "reference", "loss": "nt_xent"}),
    "multitask": ("multitask", CONTRAST),
    "two-tower": ("two-tower", {}),
    "recon": ("recon", {**CONTRAST, "smc": True, "teachers": "tuned"}),
}
"""Method and options: every kind of BatchNorm, random draw and loss in which objects meet is among them."""


def data(kit: MethodKit) -> PretrainData:
    """Made-up inputs that a method reads."""
    draws = torch.Generator().manual_seed(1)
    tuned, uses = "towers" in kit.uses, kit.uses

    def features(kind: str, *choices: int) -> Tensor | None:
        width = {"images": kit.given().image, "text": kit.given().text}[kind]
        return torch.randn(OBJECTS, *choices, width or 1, generator=draws) if kind in uses and not tuned else None

    images = (tuned and "images" in uses) or "pixels" in uses
    return PretrainData(
        points=kit.clouds(count=OBJECTS, points=64),
        image_features=features("images", 3),
        text_features=features("text"),
        labels=torch.arange(OBJECTS) % 4 if "labels" in uses else None,
        images=torch.randint(256, (OBJECTS, 2, 16, 16, 3), generator=draws).byte() if images else None,
        tokens=torch.randint(16, (OBJECTS, 6), generator=draws) if tuned else None,
    )


def spec(name: str, ranks: RanksSpec | None) -> PretrainSpec:
    numerics = resolve_numerics("cpu", "fp32", compile=False)
    return PretrainSpec(
        method=name, backbone=BACKBONE, recipe=RECIPE, data=None, numerics=numerics, seed=5, ranks=ranks
    )


def trained(case: str, ranks: Ranks | None, folder: Path | None = None, last: int = 1 << 30) -> dict[str, Any]:
    """Train, and return everything that several ranks must not change.

    The process kills itself when it prepares its step number `last`.
    """
    name, options = CASES[case]
    method = METHODS.load(name)
    asked = method.parse({**method.defaults("smoke").model_dump(mode="json"), **options})
    kit = MethodKit(method, BACKBONE, asked, preset="smoke")
    model = kit.model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prepare, steps = model.prepare, iter(range(1 << 30))

    def prepare_or_die(batch: Batch) -> dict[str, Tensor]:
        if next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return prepare(batch)

    model.prepare = prepare_or_die  # type: ignore[method-assign]
    found = pretrain(
        model,
        data(kit),
        spec(name, None if ranks is None else ranks.spec),
        TrainingPlace(folder=folder, checkpoint_seconds=0.0),
        point_views=method.point_views,
        lr_factors=model.lr_factors(),
        ranks=ranks,
    )
    facts = {"curves": found.curves, "samples": found.samples, "resumed": found.resumed_from}
    return facts | {"before": before, "after": model.state_dict()}


def joined() -> tuple[Ranks, FirstRank | OtherRank]:
    """Fork another rank, and connect with it."""
    asked, own = spec("", RanksSpec(count=2)), fork_ranks(2)
    if isinstance(own, FirstRank):
        return own.join(asked, sys.exit), own
    own.begins()
    return own.join(asked), own


def compare(folder: Path) -> None:
    """Train all cases with two ranks and with one process."""
    ranks, own = joined()
    for case in CASES:
        several = trained(case, ranks)
        if isinstance(own, FirstRank):
            torch.save(several, folder / f"{case}-2.pt")
            torch.save(trained(case, None), folder / f"{case}-1.pt")
    finish(own)


def kill(folder: Path) -> None:
    """Kill the second rank in its last step, and keep what the first says."""
    ranks, own = joined()
    try:
        trained("point-mae", ranks, folder / "work", RECIPE.epochs - 1 if ranks.rank else 1 << 30)
    except RankLostError:
        assert isinstance(own, FirstRank)
        began = time.monotonic()
        reason = own.reason()
        own.end(now=True)
        (folder / "killed.txt").write_text(f"{reason}\n{time.monotonic() - began}")


def go_on(folder: Path) -> None:
    """Continue from the checkpoint of `kill`."""
    ranks, own = joined()
    found = trained("point-mae", ranks, folder / "work")
    if isinstance(own, FirstRank):
        torch.save(found, folder / "continued.pt")
    finish(own)


def finish(own: FirstRank | OtherRank) -> None:
    if isinstance(own, FirstRank):
        own.end(now=False)


def main() -> None:
    torch.set_num_threads(1)
    # Adam divides by the size of a gradient: where the true one is 0, such as of a bias before a norm, it would make
    # whole steps of rounding errors. A larger epsilon leaves small steps small.
    optim.EPS = 1e-3
    for name in ("torch._dynamo", "timm"):  # needed later, and loaded here once for all
        importlib.import_module(name)
    for part in (compare, kill, go_on):
        process = os.fork()
        if process == 0:
            part(Path(sys.argv[1]))
            sys.stderr.flush()
            os._exit(0)
        if code := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
            sys.exit(f"{part.__name__} ended with {code}")


if __name__ == "__main__":
    main()
