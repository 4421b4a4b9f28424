"""Heads, targets and losses of methods guided by teachers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from bench.errors import BenchError
from bench.models.batch import Batch
from bench.models.heads import contrast_head
from bench.models.init import released_projection, truncated_normal_trunk
from bench.models.losses import CrossModalLoss, cross_modal
from bench.models.ranks import gathered
from bench.models.tower import Tower

Modalities = Literal["both", "image", "text", "none"]

_READ: dict[Modalities, tuple[str, ...]] = {
    "both": ("images", "text"),
    "image": ("images",),
    "text": ("text",),
    "none": (),
}


def teachers_read(modalities: Modalities) -> tuple[str, ...]:
    """Return the required teacher features: ``images``, ``text``, or both.

    See `bench.methods.base.Method.uses`.
    """
    return _READ[modalities]


def spaces_read(modalities: Modalities) -> frozenset[str]:
    """Return the spaces of the chosen teachers: ``image``, ``text``.

    See `bench.methods.base.Method.aligned`.
    """
    return frozenset({"images": "image"}.get(name, name) for name in _READ[modalities])


def aligned_heads(
    image: nn.Linear | None, text: nn.Linear | None, features: Mapping[str, str] | None = None
) -> dict[str, tuple[str, nn.Linear]]:
    """Arrange heads as `PretrainModel.aligned_heads` returns them.

    Args:
        image: Head into the image teacher's space; None where that term is off.
        text: The same for texts.
        features: Encoder feature that each head reads, by space; default: the feature with the space's name.
    """
    heads = {"image": image, "text": text}
    named = features or {}
    return {space: (named.get(space, space), head) for space, head in heads.items() if head is not None}


def projection_heads(
    width: int,
    image: int | None,
    text: int | None,
    modalities: Modalities,
    *,
    reference: bool,
    contrast: bool = False,
) -> tuple[nn.Linear | None, nn.Linear | None, nn.Sequential | None]:
    """Build the heads onto teachers' features, and ReCon's self-contrast head.

    Args:
        width: Width C of the tokens.
        image: Width of the image teacher's features; None where the data has none.
        text: The same of the text teacher.
        modalities: Chosen teachers; the others get no head.
        reference: Draw weights with mean 0.02 and std 0.01, as the release does, instead of N(0, 0.02).
        contrast: Build the self-contrast head.

    Returns:
        Image, text and self-contrast head; None for a term that is off.

    Source: docs/reference.md#recon-losses and docs/reference.md#initialisation.
    """
    read = teachers_read(modalities)
    image_head = nn.Linear(width, image) if image is not None and "images" in read else None
    text_head = nn.Linear(width, text) if text is not None and "text" in read else None
    own_head = contrast_head(width) if contrast else None
    for head in (image_head, text_head, own_head):
        if head is not None:
            (released_projection if reference else truncated_normal_trunk)(head)
    return image_head, text_head, own_head


class TunedTeachers(nn.Module):
    """Towers of teachers that are trained along; none if all are frozen.

    Args:
        image: Tower of the image teacher; None if it is frozen or its term is off.
        text: The same of the text teacher.
        lr_factor: Factor on the recipe's learning rate; 0 keeps their weights.
    """

    def __init__(self, image: Tower | None = None, text: Tower | None = None, lr_factor: float = 1.0) -> None:
        super().__init__()
        self.lr_factor = lr_factor
        towers = {"image": image, "text": text}
        self.towers = nn.ModuleDict({space: tower for space, tower in towers.items() if tower is not None})
        self.towers.requires_grad_(lr_factor > 0)

    def inputs(self, space: str, batch: Batch) -> Tensor | None:
        """Return a tower's input, or None if the batch lacks it.

        Runs without gradient.
        """
        if space == "text":
            return batch.tokens
        return None if batch.images is None else self._tower(space).inputs(batch.images)

    def forward(self, prepared: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add the features of what `targets` prepared."""
        features = {f"{space}_features": self._tower(space)(prepared[f"{space}_inputs"]) for space in self.towers}
        return {**prepared, **features}

    def spread(self, prepared: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return how far the towers' features differ in the batch.

        ``spread_image`` and ``spread_text``: standard deviation over the objects, mean over the features. It goes to
        zero where a tower collapses to one feature for all objects.
        """
        features = {space: gathered(prepared[f"{space}_features"].detach()) for space in self.towers}
        return {f"spread_{space}": values.std(0, unbiased=False).mean() for space, values in features.items()}

    def _tower(self, space: str) -> Tower:
        tower = self.towers[space]
        assert isinstance(tower, Tower)
        return tower


def targets(method: str, batch: Batch, tuned: TunedTeachers, **heads: nn.Module | None) -> dict[str, Tensor]:
    """Return the targets of the heads, or what gives them.

    Args:
        method: Name of the method, for messages.
        batch: The step's input.
        tuned: Towers whose features are targets.
        heads: Head by the batch's field, e.g. ``image_features``; None for a term that is off.

    Returns:
        Targets by the same names; for a space with a tower its input instead, e.g. ``image_inputs``.

    Raises:
        BenchError: A head has no target in this batch.
    """
    found: dict[str, Tensor] = {}
    for name, head in heads.items():
        if head is None:
            continue
        space = name.removesuffix("_features")
        by_tower = space in tuned.towers
        target: Tensor | None = tuned.inputs(space, batch) if by_tower else getattr(batch, name)
        if target is None:
            lacking = {"image": "images", "text": "tokens"}[space] if by_tower else name
            raise BenchError(
                f"{method} was built with a loss on {name}, but the batch has no {lacking}; add them, or switch that "
                "loss off"
            )
        found[f"{space}_inputs" if by_tower else name] = target
    return found


def cross_modal_terms(
    prepared: Mapping[str, Tensor],
    image: tuple[nn.Module | None, Tensor],
    text: tuple[nn.Module | None, Tensor],
    kind: CrossModalLoss,
    temperature: float,
) -> dict[str, Tensor]:
    """Return the active terms of ``csc_image`` and ``csc_text``.

    Args:
        prepared: Holds ``image_features`` and ``text_features`` ``[B, D]`` for the terms that are on.
        image: Head (None: off) and its input ``[B, C]``.
        text: The same for text.
        kind: Loss between a projection and the teacher's feature.
        temperature: Temperature of ``infonce``.
    """
    terms: dict[str, Tensor] = {}
    for name, (head, token) in (("image", image), ("text", text)):
        if head is not None:
            terms[f"csc_{name}"] = cross_modal(head(token), prepared[f"{name}_features"], kind, temperature)
    return terms
