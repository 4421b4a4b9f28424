"""The contract of a pretraining method: a network with a loss, and its encoder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, JsonValue
from torch import Tensor, nn

from bench.errors import unknown_name
from bench.methods.card import Deviation as Deviation
from bench.methods.card import MethodCard as MethodCard
from bench.models.batch import Batch as Batch
from bench.models.encoder import Encoder
from bench.options import Configured, OptionsT
from bench.recipes.row import published as published
from bench.spec import BackboneSpec, Frozen, Recipe, TransformerShape


@dataclass(frozen=True)
class Given:
    """Inputs of a network besides its own options.

    Attributes:
        image: Width of the image teacher's features; None switches the term off.
        text: Width of the text teacher's features; None switches the term off.
        pixels: Channels of the data's own images (for `Batch.images`); None where there are none.
        transformer: A pretrained token transformer to build upon, for a method that uses one.
        first_stage: The trained encoder of the method's first stage, for a method that has one.
    """

    image: int | None = None
    text: int | None = None
    pixels: int | None = None
    transformer: nn.Module | None = None
    first_stage: Encoder | None = None


class PretrainModel(nn.Module, ABC):
    """Network plus pretext loss, in two halves.

    `prepare` does what is discrete and has no gradient (cutting patches, drawing masks) and runs eagerly; `compute`
    is the differentiable rest with shapes that do not depend on the data, so that a training loop may replace it:
    ``model.compute = torch.compile(model.compute)``.
    """

    @abstractmethod
    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Turn a batch into the tensors `compute` needs; all random draws but stochastic depth happen here."""

    @abstractmethod
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return scalar losses by name; ``total`` is the one to minimise."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``compute(prepare(batch))``."""
        return self.compute(self.prepare(batch))

    def aligned_heads(self) -> Mapping[str, tuple[str, nn.Linear]]:
        """Return the heads into teachers' spaces: by space, the encoder feature it reads and the layer."""
        return {}

    @abstractmethod
    def encoder(self) -> Encoder:
        """The part that is transferred, sharing parameters with this model."""


class MethodOptions(Frozen):
    """Base of every method's options: immutable, refuses unknown fields."""


class Method(Configured[OptionsT], ABC):
    """A pretraining method. Third-party methods subclass this in one file."""

    name: ClassVar[str]
    card: ClassVar[MethodCard]
    uses_images: ClassVar[bool] = False
    uses_text: ClassVar[bool] = False
    point_views: ClassVar[int] = 1
    """Differently augmented views of each cloud that a step needs; the others are `Batch.other_points`."""
    first_stage: ClassVar[str | None] = None
    """Name of the method that has to be trained first; its encoder arrives as `Given.first_stage`."""
    has_encoder: ClassVar[bool] = True
    """False for a method that is its teacher alone, judged only by protocols that judge teachers."""
    untrained: ClassVar[Mapping[str, str]] = {}
    """Trainable parameters of the network that the loss does not reach: name (``*`` matches anything) and reason."""
    recipes: ClassVar[Mapping[str, Recipe]] = {}
    """By preset: the authors' for ``tiny``, ``small``, ``base`` (see `published`), ours for ``nano``, ``smoke``."""

    Options: ClassVar[type[BaseModel]] = MethodOptions
    """Options of the method; they enter the key."""

    @classmethod
    def defaults(cls, preset: str) -> OptionsT:
        """Options of a preset before the user's own: the method's defaults unless it says otherwise."""
        return cls.parse({})

    @classmethod
    def uses(cls, options: OptionsT) -> frozenset[str]:
        """Return what pretraining reads besides points.

        Of ``images`` and ``text`` (a frozen teacher's features), ``labels``, ``pixels`` (the images themselves) and
        ``transformer`` (the teacher's token transformer, as a part of the network).
        """
        read = {"images": cls.uses_images, "text": cls.uses_text}
        return frozenset(name for name, used in read.items() if used)

    @classmethod
    def aligned(cls, options: OptionsT) -> frozenset[str]:
        """Teachers' spaces (``image``, ``text``) that the trained network has heads into; see `aligned_heads`."""
        return frozenset()

    @classmethod
    def architecture(cls, options: OptionsT) -> tuple[str, dict[str, JsonValue]]:
        """Method, and its options, that `build_encoder` gives the same untrained network for.

        A method that trains another one's network names that one, so that both are compared with one `scratch`.
        """
        return cls.name, options.model_dump(mode="json")

    @classmethod
    def width_step(cls, backbone: BackboneSpec, options: OptionsT) -> int:
        """Return the number that widths of the backbone are multiples of: its heads, those of a decoder, and more."""
        return math.lcm(backbone.heads, getattr(options, "decoder_heads", None) or 1)

    @classmethod
    def parts_used(cls, backbone: BackboneSpec, options: OptionsT) -> frozenset[str]:
        """Return the parts of the backbone that the network is built of, by the field of `BackboneSpec`.

        A method whose network is not the shared backbone, or a piece of it, names those it takes.
        """
        return frozenset({"block", "norm", "tokenizer"})

    @classmethod
    def complete(cls, options: OptionsT, teacher: TransformerShape | None) -> OptionsT:
        """Fill in what hangs on the teacher's token transformer, so that the options alone rebuild the encoder.

        Args:
            options: As the user and the preset gave them.
            teacher: Shape of the teacher's token transformer; None for a method that uses none.
        """
        return options

    @classmethod
    def recipe(cls, preset: str) -> Recipe | None:
        """Return the recipe of a preset; None where there is nothing to train (`scratch`).

        Raises:
            UsageError: The method has recipes, but none for this preset.
        """
        if cls.recipes and preset not in cls.recipes:
            raise unknown_name(f"preset of {cls.name}", preset, cls.recipes)
        return cls.recipes.get(preset)

    @classmethod
    @abstractmethod
    def build(cls, backbone: BackboneSpec, options: OptionsT, given: Given) -> PretrainModel:
        """Build the pretraining network with its own initialisation (draws from torch's global generator).

        Frozen parts keep ``requires_grad`` False on their parameters, and stay in evaluation mode by the model's
        own `train`.
        """

    @classmethod
    @abstractmethod
    def build_encoder(cls, backbone: BackboneSpec, options: OptionsT) -> Encoder:
        """Build just the encoder (same architecture as `PretrainModel.encoder`), PyTorch default initialisation."""


AnyMethod = Method[BaseModel]
"""A method of which only its name is known: options are made by its `parse`."""
