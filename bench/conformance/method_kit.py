"""Inputs, networks and training steps for checks of methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from bench.methods.base import AnyMethod, Batch, Given, PretrainModel
from bench.models.tower import Tower
from bench.plan.presets import PRESETS
from bench.registry import METHODS
from bench.seeds import seed_torch
from bench.spec import BackboneSpec, Precision, Recipe, TransformerShape
from bench.training.optim import build_optimiser, parameter_groups
from bench.training.precision import Device, autocast

if TYPE_CHECKING:
    from bench.models.encoder import Encoder

M = TypeVar("M", bound=nn.Module)

NANO = PRESETS["nano"].backbone
SHAPE = TransformerShape(width=48, depth=2, heads=4, mlp_width=96)
"""Stands for a teacher's token transformer."""
WIDTHS = {"images": 24, "text": 20}
"""Stand for the widths of a teacher's features; different, so that confusing them shows."""
CLASSES = 4
VOCABULARY = 16
"""Token ids that stand for a tuned text teacher's."""


@dataclass
class MethodKit:
    """A method under test, with made-up inputs.

    Attributes:
        method: The method's class.
        size: Sizes of the backbone.
        options: The method's options; None takes its defaults for the preset.
        preset: Preset whose options and recipe are taken.
        batch_size: Objects in a batch.
        steps: Steps of training on one fixed batch; memory is watched over about twice as many.
        image_size: Height and width of made-up images.
        device: ``auto`` compares with a GPU where there is one, ``cpu`` does not, ``cuda`` insists on it.
    """

    method: type[AnyMethod]
    size: BackboneSpec = NANO
    options: BaseModel | None = None
    preset: str = "nano"
    batch_size: int = 8
    steps: int = 30
    image_size: int = 64
    device: str = "auto"
    _parts: dict[str, nn.Module] = field(default_factory=dict)

    @cached_property
    def resolved(self) -> BaseModel:
        """Options as a run stores them.

        Read from JSON, completed by the teacher's transformer.
        """
        asked = self.options if self.options is not None else self.method.defaults(self.preset)
        return self.completed(asked)

    def completed(self, asked: BaseModel) -> BaseModel:
        """Return options as a run would store them."""
        options = self.method.parse(asked.model_dump(mode="json"))
        if "transformer" in self.method.uses(options):
            completed = self.method.complete(options, SHAPE)
            options = self.method.parse(completed.model_dump(mode="json"))
        return options

    @cached_property
    def uses(self) -> frozenset[str]:
        """Inputs that pretraining reads besides points."""
        return self.method.uses(self.resolved)

    @property
    def recipe(self) -> Recipe:
        """The method's recipe of the preset."""
        return self.method.recipe(self.preset) or Recipe(lr=1e-3)

    def given(self, *, captions: bool = True) -> Given:
        """Make up what a network is built from (`Given`).

        Args:
            captions: False for data without captions.
        """
        if "transformer" in self.uses and "transformer" not in self._parts:
            from bench.models.token_transformer import TokenTransformer

            self._parts["transformer"] = _seeded(lambda: TokenTransformer(SHAPE)).requires_grad_(False).eval()
        tuned = "towers" in self.uses
        image, text = "images" in self.uses, "text" in self.uses and captions
        return Given(
            image_tower=_seeded(_image_tower) if tuned and image else None,
            text_tower=_seeded(_text_tower) if tuned and text else None,
            image=WIDTHS["images"] if image else None,
            text=WIDTHS["text"] if text else None,
            pixels=3 if "pixels" in self.uses else None,
            transformer=self._parts.get("transformer"),
            first_stage=self._first_stage(),
        )

    def _first_stage(self) -> Encoder | None:
        """Build the untrained encoder of the method's first stage."""
        if self.method.first_stage is None:
            return None
        first = MethodKit(METHODS.load(self.method.first_stage), self.size, preset=self.preset)
        return _seeded(first.encoder).eval()

    def model(self, seed: int = 0, *, captions: bool = True) -> PretrainModel:
        """Build the pretraining network from a seed, in training mode."""
        given = self.given(captions=captions)
        seed_torch(seed)
        return self.method.build(self.size, self.resolved, given).train()

    def encoder(self, seed: int = 0) -> Encoder:
        """Build just the encoder from a seed, in training mode."""
        seed_torch(seed)
        return self.method.build_encoder(self.size, self.resolved).train()

    def clouds(self, seed: int = 0, count: int | None = None, points: int | None = None) -> Tensor:
        """Make up different clouds ``[B, N, 3]``, in the unit sphere."""
        generator = torch.Generator().manual_seed(seed)
        count, points = count or self.batch_size, points or self.size.points
        ball = torch.nn.functional.normalize(torch.randn(count, points, 3, generator=generator), dim=-1)
        box = torch.rand(count, points, 3, generator=generator) * 2 - 1
        share = (torch.rand(count, 1, 1, generator=generator) > 0.5).float()
        clouds = (share * ball + (1 - share) * box) * (0.2 + torch.rand(count, 1, 3, generator=generator))
        clouds = clouds - clouds.mean(1, keepdim=True)
        radius: Tensor = clouds.norm(dim=-1).amax(1)[:, None, None]
        return clouds / radius

    def batch(self, seed: int = 0, *, step: int = 0, captions: bool = True) -> Batch:
        """Make up one step's batch of what the method reads."""
        generator = torch.Generator().manual_seed(1000 + seed)
        n, uses = self.batch_size, self.uses
        points = self.clouds(seed)

        def features(kind: str) -> Tensor:
            return torch.nn.functional.normalize(torch.randn(n, WIDTHS[kind], generator=generator), dim=-1)

        def view() -> Tensor:
            scale = 0.8 + 0.4 * torch.rand(n, 1, 3, generator=generator)
            return points[:, torch.randperm(points.shape[1], generator=generator)] * scale

        tuned = "towers" in uses
        image, text = "images" in uses, "text" in uses and captions
        pixels = (n, self.image_size, self.image_size, 3)
        pictures = "pixels" in uses or (tuned and image)
        return Batch(
            points=points,
            image_features=features("images") if image and not tuned else None,
            text_features=features("text") if text and not tuned else None,
            labels=torch.arange(n) % CLASSES if "labels" in uses else None,
            other_points=tuple(view() for _ in range(self.method.point_views - 1)),
            images=torch.randint(256, pixels, generator=generator, dtype=torch.uint8) if pictures else None,
            tokens=torch.randint(VOCABULARY, (n, 5), generator=generator) if text and tuned else None,
            step=step,
            generator=generator,
        )

    def losses(
        self, model: PretrainModel, batch: Batch, seed: int = 0, precision: Precision = "fp32"
    ) -> dict[str, Tensor]:
        """Compute losses as the training loop does.

        Preparation without gradient, then seeded computation.
        """
        with torch.no_grad():
            prepared = model.prepare(batch)
        seed_torch(seed)
        device: Device = "cuda" if batch.points.is_cuda else "cpu"
        with autocast(device, precision):
            return model.compute(prepared)

    def train(self, model: PretrainModel, batches: Iterator[Batch]) -> Iterator[dict[str, Tensor]]:
        """Train on batches with the recipe's optimiser and base rate.

        Yields:
            The losses of each step, after the backward pass and before the optimiser's step.
        """
        recipe = self.recipe
        optimiser = build_optimiser(parameter_groups(model, recipe, lr_factors=model.lr_factors()), recipe)
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * group["lr_scale"] * group["lr_factor"]
        model.train()
        for number, batch in enumerate(batches):
            optimiser.zero_grad(set_to_none=True)
            losses = self.losses(model, batch, seed=number)
            losses["total"].backward()  # type: ignore[no-untyped-call]
            yield losses
            del losses
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            optimiser.step()

    def batches(self, count: int, start: int = 0) -> Iterator[Batch]:
        """Make up different batches."""
        return (self.batch(seed, step=seed) for seed in range(start, start + count))


def _image_tower() -> Tower:
    """Build a network that stands for a tuned image teacher."""

    def pixels(images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2).float() / 255

    network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, WIDTHS["images"]))
    return Tower(network, WIDTHS["images"], pixels, length=1.0)


def _text_tower() -> Tower:
    """Build a network that stands for a tuned text teacher."""
    return Tower(nn.EmbeddingBag(VOCABULARY, WIDTHS["text"]), WIDTHS["text"], torch.as_tensor)


def _seeded(build: Callable[[], M]) -> M:
    """Build something from a seed; leave torch's generator unchanged."""
    with torch.random.fork_rng(devices=[]):
        seed_torch(20)
        return build()
