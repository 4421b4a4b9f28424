"""Interface of a pretraining method: network, loss and encoder."""

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
from bench.models.tower import Tower
from bench.options import Configured, OptionsT
from bench.recipes.row import published as published
from bench.spec import BackboneSpec, Frozen, Recipe, TransformerShape


@dataclass(frozen=True)
class Given:
    """Inputs of a network besides its options.

    Attributes:
        image: Width of the image teacher's features; None switches the term off.
        text: Width of the text teacher's features; None switches the term off.
        pixels: Channels of the data's own images (for `Batch.images`); None where there are none.
        transformer: A pretrained token transformer to build upon, for a method that uses one.
        first_stage: The trained encoder of the method's first stage, for a method that has one.
        image_tower: The image teacher as a trained part (`bench.models.tower.Tower`), for a method that tunes it.
        text_tower: The text teacher likewise.
    """

    image: int | None = None
    text: int | None = None
    pixels: int | None = None
    transformer: nn.Module | None = None
    first_stage: Encoder | None = None
    image_tower: Tower | None = None
    text_tower: Tower | None = None


class PretrainModel(nn.Module, ABC):
    """Network plus pretext loss, in two halves.

    `prepare` runs eagerly and does the discrete steps without gradient (cutting patches, drawing masks); `compute`
    is the differentiable rest with shapes that do not depend on the data, so that a training loop may replace it:
    ``model.compute = torch.compile(model.compute)``.
    """

    @abstractmethod
    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Return the tensors that `compute` needs.

        All random numbers are drawn here, except those of stochastic depth.
        """

    @abstractmethod
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return scalar losses by name; ``total`` is minimised."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``compute(prepare(batch))``."""
        return self.compute(self.prepare(batch))

    def aligned_heads(self) -> Mapping[str, tuple[str, nn.Linear]]:
        """Return projection heads into teachers' feature spaces.

        For each space (``image``, ``text``): the name of the encoder feature that the head reads, and the layer.
        """
        return {}

    def lr_factors(self) -> Mapping[str, float]:
        """Return factors on the learning rate of parts.

        By the beginning of their parameters' names; the rest has the recipe's rate.
        """
        return {}

    @abstractmethod
    def encoder(self) -> Encoder:
        """Return the transferred part, which shares this model's parameters."""


class MethodOptions(Frozen):
    """Base of every method's options: immutable, refuses unknown fields."""


class Method(Configured[OptionsT], ABC):
    """A pretraining method, implemented in one file.

    Third-party methods subclass this.
    """

    name: ClassVar[str]
    card: ClassVar[MethodCard]
    uses_images: ClassVar[bool] = False
    uses_text: ClassVar[bool] = False
    point_views: ClassVar[int] = 1
    """Number of augmented views of each cloud in a step; those after the first are `Batch.other_points`."""
    first_stage: ClassVar[str | None] = None
    """Name of the method that has to be trained first; its encoder arrives as `Given.first_stage`."""
    has_encoder: ClassVar[bool] = True
    """False for a method that consists of its teacher alone; only protocols for teachers evaluate it."""
    untrained: ClassVar[Mapping[str, str]] = {}
    """Trainable parameters without gradient from the loss: name (``*`` matches anything) and reason."""
    several_gpus: ClassVar[bool] = False
    """Whether several GPUs, each with its share of a batch, give the numbers of one; every class says so for itself.

    True where each loss is a mean over objects, or brings together those of all ranks
    (`bench.models.ranks.gathered`), and `prepare` returns rows of objects and single numbers.
    """
    recipes: ClassVar[Mapping[str, Recipe]] = {}
    """Recipe by preset: the authors' for ``tiny``, ``small``, ``base`` (`bench.recipes`), ours otherwise."""

    Options: ClassVar[type[BaseModel]] = MethodOptions
    """Options of the method; they enter the key."""

    @classmethod
    def defaults(cls, preset: str) -> OptionsT:
        """Return a preset's options, before the user's changes."""
        return cls.parse({})

    @classmethod
    def uses(cls, options: OptionsT) -> frozenset[str]:
        """Return the inputs of pretraining besides points.

        A subset of ``images`` and ``text`` (a frozen teacher's features), ``labels``, ``pixels`` (the images
        themselves), ``transformer`` (the teacher's token transformer, as a part of the network) and ``towers``: the
        teachers behind ``images`` and ``text`` are trained parts of the network and get pictures and token ids.
        """
        read = {"images": cls.uses_images, "text": cls.uses_text}
        return frozenset(name for name, used in read.items() if used)

    @classmethod
    def aligned(cls, options: OptionsT) -> frozenset[str]:
        """Return the teachers' spaces with a projection head.

        A subset of ``image`` and ``text``; the heads are `PretrainModel.aligned_heads`.
        """
        return frozenset()

    @classmethod
    def architecture(cls, options: OptionsT) -> tuple[str, dict[str, JsonValue]]:
        """Return the method and options that define the untrained network.

        A method that trains another method's network returns that method, so that both are compared with the same
        `scratch`.
        """
        return cls.name, options.model_dump(mode="json")

    @classmethod
    def width_step(cls, backbone: BackboneSpec, options: OptionsT) -> int:
        """Return the number that must divide the backbone's widths.

        It follows from the heads of encoder and decoder and from grouped norms.
        """
        return math.lcm(backbone.heads, getattr(options, "decoder_heads", None) or 1)

    @classmethod
    def parts_used(cls, backbone: BackboneSpec, options: OptionsT) -> frozenset[str]:
        """Return the backbone parts that the network uses.

        They are named by their field in `BackboneSpec`. By default all of them.
        """
        return frozenset({"block", "norm", "tokenizer"})

    @classmethod
    def complete(cls, options: OptionsT, teacher: TransformerShape | None) -> OptionsT:
        """Add facts about the teacher's token transformer to the options.

        The completed options alone are enough to rebuild the encoder.

        Args:
            options: As the user and the preset gave them.
            teacher: Shape of the teacher's token transformer; None for a method that uses none.
        """
        return options

    @classmethod
    def recipe(cls, preset: str) -> Recipe | None:
        """Return the recipe of a preset; None without training (`scratch`).

        Raises:
            UsageError: The method has recipes, but none for this preset.
        """
        if cls.recipes and preset not in cls.recipes:
            raise unknown_name(f"preset of {cls.name}", preset, cls.recipes)
        return cls.recipes.get(preset)

    @classmethod
    @abstractmethod
    def build(cls, backbone: BackboneSpec, options: OptionsT, given: Given) -> PretrainModel:
        """Build the pretraining network with the method's initialisation.

        Random weights come from torch's global generator. Frozen parameters keep ``requires_grad`` False; the model's
        `train` keeps frozen parts in evaluation mode.
        """

    @classmethod
    @abstractmethod
    def build_encoder(cls, backbone: BackboneSpec, options: OptionsT) -> Encoder:
        """Build the encoder alone with PyTorch's initialisation.

        Its architecture is that of `PretrainModel.encoder`.
        """


AnyMethod = Method[BaseModel]
"""A method whose class is known only at run time; its `parse` makes the options."""
