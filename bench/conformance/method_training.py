"""Checks of a method in training: learning, resuming, memory."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from itertools import islice

import torch
from torch import Tensor

from bench.conformance.checks import Checks, fail, listed, skip
from bench.conformance.growth import growing, usage, watching
from bench.conformance.method_checks import CONTRACT
from bench.conformance.method_kit import MethodKit
from bench.conformance.two_ranks import asked_of
from bench.methods.base import Batch
from bench.training.precision import resolve_device

TRAINING: Checks[MethodKit] = Checks(CONTRACT)
"""Checks of the declarations, networks and training."""

TOLERANCE = 1e-3
"""Relative difference between a CPU and a GPU."""


@TRAINING.add("finite", "losses", "recipes")
def finite(kit: MethodKit) -> str:
    """Losses and gradients are finite on three different batches."""
    model = kit.model()
    for number, batch in enumerate(kit.batches(3)):
        found = kit.losses(model, batch)
        if bad := [name for name, value in found.items() if not bool(torch.isfinite(value))]:
            fail(f"loss {listed(bad)} of batch {number} is not finite")
        model.zero_grad(set_to_none=True)
        found["total"].backward()  # type: ignore[no-untyped-call]
        broken = [n for n, p in model.named_parameters() if p.grad is not None and not bool(p.grad.isfinite().all())]
        if broken:
            fail(f"the gradient of {listed(broken)} is not finite in batch {number}")
    return f"total {found['total'].item():.4g}"


@TRAINING.add("learns", "finite")
def learns(kit: MethodKit) -> str:
    """The loss falls on one fixed batch."""
    fixed: list[Batch] = [kit.batch() for _ in range(kit.steps)]
    totals = []
    for losses in kit.train(kit.model(), iter(fixed)):
        totals.append(losses["total"].item())
        if not torch.isfinite(torch.tensor(totals[-1])):
            fail(f"the loss is {totals[-1]} after {len(totals) - 1} steps on one fixed batch at the recipe's rate")
    start, end = sum(totals[:2]) / 2, sum(totals[-5:]) / 5
    text = f"total {start:.4g} to {end:.4g} in {kit.steps} steps on one batch"
    if not end < start - 0.01 * abs(start):
        fail(f"{text} at the recipe's rate {kit.recipe.lr:g}: it does not fall")
    return text


@TRAINING.add("gradients", "finite")
def gradients(kit: MethodKit) -> str:
    """Every parameter gets a gradient, or is declared not to."""
    model = kit.model()
    waiting = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    count = len(waiting)
    linked: set[str] = set()
    for losses in kit.train(model, kit.batches(3)):
        del losses
        linked |= {name for name, p in waiting.items() if p.grad is not None}
        waiting = {name: p for name, p in waiting.items() if p.grad is None or not bool(p.grad.any())}
    excused = {n for n in waiting if any(fnmatchcase(n, pattern) for pattern in kit.method.untrained)}
    if missed := sorted(waiting.keys() - excused):
        zero = [name for name in missed if name in linked]
        reason = f"{listed(zero)} only ever get zero" if len(zero) == len(missed) else f"none reaches {listed(missed)}"
        fail(
            f"gradients: {reason}; freeze what is not meant to learn (requires_grad_(False)), or name it with the "
            f"reason in {kit.method.__name__}.untrained"
        )
    frozen = sum(1 for p in model.parameters() if not p.requires_grad)
    return ", ".join(
        [f"all {count - len(excused)} reached"]
        + [f"{frozen} frozen"] * bool(frozen)
        + [f"{len(excused)} left out on purpose"] * bool(excused)
    )


@TRAINING.add("resume", "same seed", "finite")
def resume(kit: MethodKit) -> str:
    """A restored network continues with bitwise the same loss."""
    model = kit.model(seed=1)
    for _ in islice(kit.train(model, kit.batches(3)), 3):
        pass
    state = {name: value.clone() for name, value in model.state_dict().items()}
    other = kit.model(seed=2)
    other.load_state_dict(state)
    batch = 7
    for one, two in zip(kit.train(model, kit.batches(2, batch)), kit.train(other, kit.batches(2, batch)), strict=True):
        if differing := [name for name, value in one.items() if value.item() != two[name].item()]:
            fail(
                f"after load_state_dict the loss {listed(differing)} differs: some state is no parameter and no "
                "registered buffer, so a resumed run would go on with other numbers"
            )
    return "two steps after restoring, bitwise"


@TRAINING.add("devices", "losses")
def devices(kit: MethodKit) -> str:
    """CPU and GPU give the same losses and features."""
    if kit.device == "cpu":
        skip("asked for the CPU alone (--device cpu)")
    device = resolve_device(kit.device)
    if device == "cpu":
        skip("no GPU here")
    return compare_devices(kit, torch.device(device))


def compare_devices(kit: MethodKit, device: torch.device) -> str:
    """Fail unless another device gives the CPU's losses and features.

    Returns the largest difference.
    """
    model = kit.model()
    there = copy.deepcopy(model).to(device)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # its rounding would hide the difference
    try:
        pairs = _values(kit, model, torch.device("cpu")), _values(kit, there, device)
    finally:
        torch.backends.cudnn.allow_tf32 = before
    worst, where = 0.0, ""
    for name, value in pairs[0].items():
        scale = max(float(value.abs().max()), 1e-6)
        error = float((value - pairs[1][name]).abs().max()) / scale
        if not error <= worst:
            worst, where = error, name
    if not worst <= TOLERANCE:
        fail(f"{where} differs by {worst:.2g} (relative) between the CPU and {device}, more than {TOLERANCE:g}")
    return f"largest relative difference {worst:.1g}"


def _values(kit: MethodKit, model: torch.nn.Module, device: torch.device) -> dict[str, Tensor]:
    """Return losses in training mode and features in evaluation mode."""
    from bench.methods.base import PretrainModel

    assert isinstance(model, PretrainModel)
    batch = kit.batch()
    for name in ("points", "image_features", "text_features", "labels", "images", "tokens"):
        value = getattr(batch, name)
        setattr(batch, name, None if value is None else value.to(device))
    batch.other_points = tuple(view.to(device) for view in batch.other_points)
    found = {f"loss '{name}'": value for name, value in kit.losses(model, batch).items()}
    encoder = model.encoder().eval()
    with torch.no_grad():
        features = encoder.features(encoder(kit.clouds().to(device)))
    found |= {f"feature '{name}'": value for name, value in features.items()}
    return {name: value.detach().float().cpu() for name, value in found.items()}


@TRAINING.add("several gpus", "finite")
def several_gpus(kit: MethodKit) -> str:
    """Two processes, each with half a batch, give the step of one."""
    if not vars(kit.method).get("several_gpus", False):
        skip("does not say several_gpus = True")
    asked = asked_of(kit)
    if asked is None:
        skip("defined in no file, so another process cannot import it")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.conformance.two_ranks"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    if done.returncode or not done.stdout.strip():
        fail(f"two processes: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        fail(found["error"])
    if wrong := [f"{part} '{name}' by {apart:.0%}" for part, all_ in found.items() for name, apart in all_.items()]:
        fail(
            f"two processes with half a batch each differ from one in {listed(wrong)}: bring objects of all ranks "
            "together where they meet (bench.models.ranks.gathered), draw in prepare(), or leave several_gpus out"
        )
    return "losses, gradients and buffers of one step"


@TRAINING.add("memory", "finite")
def memory(kit: MethodKit) -> str:
    """Memory does not grow from step to step."""
    warm_up, measured = kit.steps // 3, 2 * kit.steps // 3
    count = warm_up + 2 * measured
    looks = []
    with watching():
        # Every count includes the running step, so counts are comparable.
        for number, _ in enumerate(kit.train(kit.model(), kit.batches(count)), start=1):
            if number in (warm_up, warm_up + measured, count):
                looks.append(usage())
    if found := growing(looks[0], looks[1], looks[2], measured):
        fail(
            f"every step leaves something behind: {found}; keep no tensors or lists from step to step "
            "(detach() and overwrite what has to be kept)"
        )
    return f"the same after {warm_up} and {count} steps"
