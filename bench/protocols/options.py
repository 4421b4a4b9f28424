"""Options shared by protocols on frozen features."""

from __future__ import annotations

from pydantic import Field, field_validator

from bench.protocols.base import ProtocolOptions
from bench.spec import Recipe

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Inverse penalties C tried, on features scaled to squared norm 1 (`bench.protocols.logistic.Scaling`)."""

CANDIDATES = (
    "candidate: the encoder as it is, or with BatchNorm statistics measured on up to 512 unlabelled training clouds, "
    "for every method alike (scratch: in two initialisations each)"
)
"""Sentence for cards about the candidates that validation chooses from."""


def idle_on_features(recipe: str) -> dict[str, str]:
    """Return recipe fields that have no effect on frozen features.

    See `bench.protocols.base.Protocol.idle`.

    Args:
        recipe: Option that holds the recipe.
    """
    return {
        f"{recipe}.augmentation": "on frozen features, which are computed once",
        f"{recipe}.head_lr_scale": "on frozen features, where the head alone is trained; set lr",
    }


def recipe_words(recipe: Recipe) -> str:
    """Describe for a card how a network is trained."""
    scale = f", times {recipe.head_lr_scale:g} in the head's linear layers" if recipe.head_lr_scale != 1 else ""
    clip = "not clipped" if recipe.clip_norm is None else f"clipped at {recipe.clip_norm:g}"
    return (
        f"AdamW, {recipe.epochs} epochs, batch {recipe.batch_size}, learning rate {recipe.lr:g}{scale}, weight decay "
        f"{recipe.weight_decay:g}, {recipe.warmup_epochs} epochs of warm-up, cosine, gradients {clip}"
    )


class FrozenOptions(ProtocolOptions):
    """Options shared by all heads on frozen features."""

    feature: str = "transfer"
    """Feature of the encoder the head sees; fixed by the protocol, never tuned per method."""
    normalise: bool = True
    """Centre each cloud and scale it into the unit sphere."""
    strengths: tuple[float, ...] = Field(STRENGTHS, min_length=1)
    """Inverse penalties of the logistic regression that validation chooses from."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of every training class set aside for choices."""

    @field_validator("strengths")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < strength < float("inf") for strength in value) or len(set(value)) < len(value):
            raise ValueError("strengths must be positive, finite and different")
        return value
