"""Fine-tuning of a classifier, with the epoch selected on validation.

Trains a whole network on labelled clouds, or a head on cached features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.data.transforms import Transform, compose, subsample
from bench.errors import DataError
from bench.models import roles
from bench.spec import Numerics, Recipe
from bench.training.contract import FitResult, Objective, TrainingPlace, Validate
from bench.training.loop import fit
from bench.training.precision import autocast
from bench.upload import upload


class ClassificationObjective(Objective):
    """Cross-entropy without label smoothing (docs/reference.md#fine-tuning).

    Args:
        classifier: Maps inputs to logits ``[B, classes]``.
        inputs: Clouds ``[n, M, 3]`` or features ``[n, F]``, on the device; features are taken as they are.
        labels: ``[n]``, on the device.
        points: Points drawn from each cloud in each step, at the same positions in the whole batch as in the
            releases; None takes all.
        augment: Applied after drawing points.
        cut: Applied before drawing points; None: points are drawn from the whole cloud.

    Attributes:
        steps: Optimiser steps of the whole training, the one under way included.
    """

    def __init__(
        self,
        classifier: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        points: int | None,
        augment: Transform,
        cut: Transform | None = None,
    ) -> None:
        self.model = classifier
        self._inputs = inputs.float()
        self._labels = labels.long()
        self._points = points
        self._augment = augment
        self._cut = cut
        self.steps = 0

    def __len__(self) -> int:
        """Return the number of training objects."""
        return len(self._labels)

    def prepare(self, index: Tensor, generator: torch.Generator, step: int) -> Any:
        """See `Objective.prepare`."""
        self.steps = step + 1
        index = upload(index, self._inputs.device)
        inputs = self._inputs.index_select(0, index)
        if inputs.ndim == 3:
            if self._cut is not None:
                inputs = self._cut(inputs, generator)
            if self._points is not None:
                inputs = subsample(inputs, self._points, generator, common=True)
            inputs = self._augment(inputs, generator)
        return inputs, self._labels.index_select(0, index)

    def compute(self, prepared: Any) -> dict[str, Tensor]:
        """See `Objective.compute`."""
        inputs, labels = prepared
        return {"total": functional.cross_entropy(self.model(inputs).float(), labels)}


def predict(classifier: nn.Module, inputs: Tensor, numerics: Numerics, batch_size: int = 128) -> Tensor:
    """Return classifier logits, float32 ``[n, classes]`` on the CPU.

    The classifier is run in evaluation mode and left in the mode it came in; every input is used as it is.

    Args:
        classifier: Moved to the device of `numerics`.
        inputs: Clouds ``[n, N, 3]`` or features ``[n, F]``.
        numerics: Device and precision.
        batch_size: Inputs at a time.
    """
    device = torch.device(numerics.device)
    classifier.to(device)
    training = classifier.training
    classifier.eval()
    try:
        with torch.no_grad(), autocast(numerics.device, numerics.precision):
            parts = [
                classifier(part.to(device, torch.float32)).float().cpu() for part in torch.split(inputs, batch_size)
            ]
    finally:
        classifier.train(training)
    return torch.cat(parts)


def finetune(
    classifier: nn.Module,
    points: Tensor,
    labels: Tensor,
    val_points: Tensor | None,
    val_labels: Tensor | None,
    recipe: Recipe,
    numerics: Numerics,
    seed: int,
    *,
    n_points: int | None = None,
    cut: Transform | None = None,
    stage: str = "fine-tune",
    place: TrainingPlace | None = None,
    identity: str = "",
    after_epoch: Callable[[int], None] | None = None,
) -> FitResult:
    """Train a classifier in place and select the best epoch.

    Args:
        classifier: Maps inputs to logits; frozen parameters stay frozen.
        points: Clouds ``[n, M, 3]``, or cached features ``[n, F]`` for a head alone.
        labels: int64 ``[n]``.
        val_points: Clouds already brought to the evaluated number of points, or features. None: no selection.
        val_labels: Their labels.
        recipe: Recipe of the stage; its augmentation applies to clouds only.
        numerics: Device, precision, compilation.
        seed: Root seed of order and augmentation.
        n_points: Random points drawn from the M in each step; None takes all.
        cut: Transform of the clouds in each step, before points are drawn.
        stage: Name of the stage in words.
        place: Folders and progress.
        identity: Digest of what a checkpoint must agree in besides the starting weights and the training data.
        after_epoch: Called with the number of each finished epoch (from 1), after its validation and before it is
            saved: what it writes may be written again after an interruption. Needs a validation part.

    Returns:
        `best` holds the state of the epoch with the highest validation accuracy (the earliest of equals), for
        ``classifier.load_state_dict``. The classifier itself is in its last state.

    Raises:
        DataError: Inputs and labels disagree in number, a part is empty, or values are not finite.
        UsageError, BenchError, SetupError, Interrupted: See `fit`.
    """
    _check("training", points, labels)
    device = torch.device(numerics.device)
    augment = compose(recipe.augmentation)
    objective = ClassificationObjective(classifier, points.to(device), labels.to(device), n_points, augment, cut)
    return fit(
        objective,
        len(points),
        recipe,
        numerics,
        seed,
        stage=stage,
        place=place,
        in_head_group=roles.in_head_group,
        validate=_watched(_validation(classifier, val_points, val_labels, numerics), objective, recipe, after_epoch),
        identity=_digest(identity, classifier, points, labels) if place and place.folder else identity,
    )


def _validation(
    classifier: nn.Module, inputs: Tensor | None, labels: Tensor | None, numerics: Numerics
) -> Validate | None:
    """Return a function that measures held-out accuracy and loss.

    None without held-out objects.
    """
    if inputs is None or labels is None:
        return None
    _check("validation", inputs, labels)
    held, truth = inputs.to(torch.device(numerics.device)), labels.to(torch.int64).cpu()

    def measure() -> dict[str, float]:
        logits = predict(classifier, held, numerics)
        return {
            "accuracy": float((logits.argmax(1) == truth).double().mean()),
            "loss": float(functional.cross_entropy(logits.double(), truth)),
        }

    return measure


def _watched(
    validate: Validate | None,
    objective: ClassificationObjective,
    recipe: Recipe,
    after_epoch: Callable[[int], None] | None,
) -> Validate | None:
    """Call `after_epoch` with the epoch's number after each validation.

    The number is computed from the training step, so that it is right after a resume.
    """
    if validate is None or after_epoch is None:
        return validate
    per_epoch = len(objective) // min(recipe.batch_size, len(objective))

    def measure() -> dict[str, float]:
        metrics = validate()
        after_epoch(objective.steps // per_epoch)
        return metrics

    return measure


def _digest(identity: str, classifier: nn.Module, points: Tensor, labels: Tensor) -> str:
    """Return the digest of the starting weights and training data.

    It keeps a checkpoint of another encoder or fold from being continued.
    """
    digest = hashlib.sha256(identity.encode())
    for tensor in (points, labels, *classifier.state_dict().values()):
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check(part: str, inputs: Tensor, labels: Tensor) -> None:
    if len(inputs) == 0:
        raise DataError(f"fine-tuning: the {part} part is empty, expected at least one object")
    if inputs.ndim not in (2, 3) or labels.shape != inputs.shape[:1]:
        raise DataError(
            f"fine-tuning: {part} inputs have shape {tuple(inputs.shape)} and labels {tuple(labels.shape)}, expected "
            "[n, N, 3] or [n, F] and [n]"
        )
    if not bool(torch.isfinite(inputs).all()):
        row = int((~torch.isfinite(inputs.flatten(1)).all(1)).nonzero()[0])
        raise DataError(f"fine-tuning: {part} object {row} has values that are not finite; remove or repair it")
    if int(labels.min()) < 0:
        raise DataError(f"fine-tuning: a {part} label is negative ({int(labels.min())}), expected 0 or more")
