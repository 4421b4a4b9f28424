"""Pretraining of a method's network on clouds and teacher features.

Clouds are in memory or streamed; teacher features are cached or computed step by step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from bench.data.rows import placement
from bench.data.transforms import Transform, compose, subsample
from bench.errors import DataError, UsageError
from bench.models import roles
from bench.models.batch import Batch
from bench.models.ranks import Ranks
from bench.seeds import derive
from bench.spec import PretrainSpec, content_key
from bench.training.contract import FitResult, Kept, Objective, TrainingPlace
from bench.training.held_out import LossMeter
from bench.training.loop import fit
from bench.training.optim import Decays
from bench.training.streaming import StreamedRows
from bench.upload import upload


class PretrainNetwork(Protocol):
    """Interface of a method's network in pretraining (`bench.methods.base`)."""

    def prepare(self, batch: Batch) -> Any:
        """Group points and draw masks; eager, without gradient."""

    def compute(self, prepared: Any) -> dict[str, Tensor]:
        """Return scalar losses by name, with ``total``.

        Compiled where the spec says so.
        """


@runtime_checkable
class FeatureSource(Protocol):
    """Teacher features, pictures or tokens that are not held in memory.

    They are mapped from a file, or computed when they are drawn.

    Attributes:
        choices: Rows of each object, of which a step draws one; None where there is nothing to draw.
        width: Width of a row.
    """

    choices: int | None
    width: int

    def __len__(self) -> int:
        """Return the number of objects."""

    def pick(self, index: Tensor, choice: Tensor | None) -> Tensor:
        """Return rows of some objects, e.g. features ``[B, width]``.

        `index` and `choice` are int64 ``[B]`` on the CPU; the result is there, or already where the network is.
        """


Features = Tensor | FeatureSource
Rows = Tensor | StreamedRows


def feature_width(features: Features | None) -> int | None:
    """Return the width of features, or None without features."""
    if features is None:
        return None
    return int(features.shape[-1]) if isinstance(features, Tensor) else features.width


@dataclass(frozen=True)
class PretrainData:
    """Inputs of pretraining: tensors, or rows read step by step.

    Attributes:
        points: float32 ``[n, N, 3]``.
        image_features: float32 ``[n, V, D_image]``, teacher features of V views, or None.
        text_features: float32 ``[n, D_text]`` or, with T wordings of a caption, ``[n, T, D_text]``; or None.
        labels: int64 ``[n]`` class of each object for a method that is supervised by it, or None.
        images: uint8 ``[n, V, H, W, C]``, the images themselves for a method with an image branch or a tuned image
            teacher, or None.
        tokens: int64 ``[n, L]`` or, with T wordings of a caption, ``[n, T, L]``: token ids for a method with a tuned
            text teacher, or None.
    """

    points: Rows
    image_features: Features | None = None
    text_features: Features | None = None
    labels: Tensor | None = None
    images: Features | None = None
    tokens: Features | None = None

    def __len__(self) -> int:
        return len(self.points)

    @property
    def streamed(self) -> dict[str, StreamedRows]:
        """Return the fields that are read step by step."""
        fields = {name: getattr(self, name) for name in _SHAPES}
        return {name: rows for name, rows in fields.items() if isinstance(rows, StreamedRows)}

    def check(self) -> None:
        """Check that shapes agree and values are finite.

        Streamed rows are checked when they are read.

        Raises:
            DataError: One line naming the field.
        """
        for name, dims in _SHAPES.items():
            field: Features | None = getattr(self, name)
            if field is None:
                continue
            if not isinstance(field, Tensor | StreamedRows):
                if len(field) != len(self.points):
                    raise DataError(
                        f"pretraining data: {name} has {len(field)} objects, expected {len(self.points)} as of points"
                    )
                continue
            if field.ndim not in dims or len(field) != len(self.points) or 0 in field.shape:
                raise DataError(
                    f"pretraining data: {name} has shape {tuple(field.shape)}, expected {len(self.points)} objects "
                    f"in {' or '.join(map(str, dims))} non-empty dimension(s)"
                )
            if isinstance(field, Tensor) and field.is_floating_point() and not bool(torch.isfinite(field).all()):
                row = int((~torch.isfinite(field.flatten(1)).all(1)).nonzero()[0])
                raise DataError(f"pretraining data: {name} of object {row} is not finite; remove or repair that object")
        if self.points.shape[-1] != 3:
            raise DataError(f"pretraining data: points has shape {tuple(self.points.shape)}, expected [n, N, 3]")

    def resident(self, limit: int) -> PretrainData:
        """Read streamed fields into memory while they fit.

        Smallest first, up to `limit` bytes in all.
        """
        read: dict[str, Tensor] = {}
        left = limit
        for name, rows in sorted(self.streamed.items(), key=lambda item: item[1].nbytes):
            if placement(rows.nbytes, None, left) != "map":
                read[name] = rows.everything()
                left -= rows.nbytes
        return replace(self, **read)

    def to(self, device: torch.device) -> PretrainData:
        """Return the data on a device, floats as float32.

        On a GPU the data take at most half of the free memory; the rest stays in host memory, and each step moves its
        own rows.
        """
        tensors = {name: field for name in _SHAPES if isinstance(field := getattr(self, name), Tensor)}
        moved: dict[str, Rows] = {name: rows.to(device) for name, rows in self.streamed.items()}
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
        for name, tensor in sorted(tensors.items(), key=lambda item: item[1].nbytes):
            size = tensor.nbytes
            if tensor.device != device and placement(size, free, size) == "memory":
                moved[name] = StreamedRows(tensor.numpy(), name, device)
                continue
            moved[name] = tensor.to(device, torch.float32) if tensor.is_floating_point() else tensor.to(device)
            free = None if free is None else max(free - 2 * size, 0)
        return replace(self, **moved)  # type: ignore[arg-type]

    def part(self, index: Tensor) -> PretrainData:
        """Return the objects at `index` (int64 ``[m]``).

        Streamed fields are not read.
        """

        def pick(features: Features | None) -> Features | None:
            if isinstance(features, Tensor):
                return features.index_select(0, index)
            return features.part(index) if isinstance(features, StreamedRows) else _part(features, index)

        return PretrainData(**{name: pick(getattr(self, name)) for name in _SHAPES})  # type: ignore[arg-type]


_SHAPES = {
    "points": (3,),
    "image_features": (3,),
    "text_features": (2, 3),
    "labels": (1,),
    "images": (5,),
    "tokens": (2, 3),
}
"""Number of axes of each field."""


class _PartSource:
    """Some of the objects of a feature source."""

    def __init__(self, source: FeatureSource, index: Tensor) -> None:
        self._source, self._index = source, index
        self.choices, self.width = source.choices, source.width

    def __len__(self) -> int:
        return len(self._index)

    def pick(self, index: Tensor, choice: Tensor | None) -> Tensor:
        """See `FeatureSource.pick`."""
        return self._source.pick(self._index.index_select(0, index), choice)


def _part(source: FeatureSource | None, index: Tensor) -> FeatureSource | None:
    return None if source is None else _PartSource(source, index)


class PretrainObjective(Objective):
    """Sample points and views, augment, and compute the method's losses.

    Every object draws its own points and view in every step.

    Args:
        model: A method's network; both an `nn.Module` and a `PretrainNetwork`.
        data: On the device the model runs on.
        points: Points drawn from each cloud in each step.
        augment: Applied to the drawn points, normalisation included (docs/data-formats.md#shapenet-55).
        point_views: Augmented copies of each cloud, every one with its own random points.
        ranks: This process among several, of which each prepares the whole batch: the random numbers are then those of
            one process. A live teacher sees each rank's share.

    Attributes:
        step: Optimiser steps taken before the last one that was prepared.
    """

    def __init__(
        self,
        model: nn.Module,
        data: PretrainData,
        points: int,
        augment: Transform,
        point_views: int = 1,
        ranks: Ranks | None = None,
    ) -> None:
        self.model = model
        self._network = cast(PretrainNetwork, model)
        self._data = data
        self._points = points
        self._augment = augment
        self._point_views = point_views
        self._ranks = ranks
        self._streamed = tuple(data.streamed.values())
        self.step = 0

    def prepare(self, index: Tensor, generator: torch.Generator, step: int) -> Any:
        """See `Objective.prepare`."""
        self.step = step
        data = self._data
        there = upload(index, data.points.device)
        clouds = data.points.index_select(0, there) if isinstance(data.points, Tensor) else data.points.pick(index)
        first, *others = (
            self._augment(subsample(clouds, self._points, generator), generator) for _ in range(self._point_views)
        )
        batch = Batch(
            points=first,
            image_features=self._pick(data.image_features, index, there, generator),
            text_features=self._pick(data.text_features, index, there, generator),
            labels=None if data.labels is None else data.labels.index_select(0, there),
            other_points=tuple(others),
            images=self._pick(data.images, index, there, generator),
            tokens=self._pick(data.tokens, index, there, generator),
            step=step,
            generator=generator,
        )
        return self._network.prepare(batch)

    def _pick(
        self, features: Features | None, index: Tensor, there: Tensor, generator: torch.Generator
    ) -> Tensor | None:
        """Return the features of objects, each from one random view.

        Draws alike for a tensor, a file and a live teacher, so that all see the same views and crops. `index` is on the
        CPU, `there` the same on the device.
        """
        if features is None:
            return None
        choices, choice = _choices(features), None
        if choices is not None:
            choice = torch.randint(choices, (len(index),), generator=generator)
        if isinstance(features, Tensor):
            return features.index_select(0, there) if choice is None else features[there, upload(choice, there.device)]
        if self._ranks is None or isinstance(features, StreamedRows):
            return upload(features.pick(index, choice), there.device)
        own = self._ranks.own_rows
        rows = features.pick(own(index), None if choice is None else own(choice))
        return self._ranks.gather(upload(rows, there.device))

    def compute(self, prepared: Any) -> dict[str, Tensor]:
        """See `Objective.compute`."""
        return self._network.compute(prepared)

    def expect(self, index: Tensor) -> None:
        """See `Objective.expect`."""
        for rows in self._streamed:
            rows.expect(index)


def _choices(features: Features) -> int | None:
    """Return the number of features per object to choose from.

    None for a single feature, for which nothing is drawn.
    """
    if not isinstance(features, Tensor):
        return features.choices
    return features.shape[1] if features.ndim > 2 else None


def pretrain(
    model: nn.Module,
    data: PretrainData,
    spec: PretrainSpec,
    place: TrainingPlace | None = None,
    *,
    decays: Decays = roles.decays,
    stage: str | None = None,
    point_views: int = 1,
    measured: Mapping[str, PretrainData] | None = None,
    lr_factors: Mapping[str, float] | None = None,
    ranks: Ranks | None = None,
    kept: Kept | None = None,
) -> FitResult:
    """Pretrain a method's network in place.

    Args:
        model: Built and initialised by the method from the spec; also a `PretrainNetwork`.
        data: In memory, moved to the device where it fits, or streamed.
        spec: Recipe, backbone, numerics and seed. The whole spec is part of a checkpoint's identity.
        place: Work folder, compile cache and progress.
        decays: Whether a parameter decays.
        stage: Name of the stage in words; default ``pretrain METHOD``.
        point_views: Augmented views of each cloud that a step of the method needs.
        measured: Sets on which the losses are measured after each epoch, by name (`bench.training.held_out`); they
            enter the curves as ``SET_LOSS`` and nothing else.
        lr_factors: Factors on the learning rate of parts, by the beginning of their parameters' names.
        ranks: This process among those of ``spec.ranks``, see `fit`.
        kept: Places at which the network is handed out, see `fit`.

    Returns:
        Curves and costs; the model is in its last state (pretraining selects nothing).

    Raises:
        UsageError: The spec has no recipe (an untrained encoder), or the network lacks the two parts.
        DataError: Shapes disagree, values are not finite, or clouds have too few points.
        BenchError, SetupError, Interrupted: See `fit`.
    """
    if spec.recipe is None:
        raise UsageError(f"method {spec.method} has no recipe: there is nothing to pretrain")
    if spec.at != 1:
        raise ValueError("a pretraining is trained as a whole; `kept` says at which shares it is handed out")
    if spec.ranks != (None if ranks is None else ranks.spec):
        raise UsageError(f"method {spec.method}: the specification names other ranks than those that train")
    if not (hasattr(model, "prepare") and hasattr(model, "compute")):
        raise UsageError(f"method {spec.method}: its network needs prepare(batch) and compute(prepared)")
    data.check()
    if data.points.shape[1] < spec.backbone.points:
        raise DataError(
            f"pretraining clouds have {data.points.shape[1]} points, backbone.points asks for "
            f"{spec.backbone.points}: lower backbone.points or use denser clouds"
        )
    device, augment = torch.device(spec.numerics.device), compose(spec.recipe.augmentation)

    def objective_on(part: PretrainData, ranks: Ranks | None = None) -> PretrainObjective:
        return PretrainObjective(model, part.to(device), spec.backbone.points, augment, point_views, ranks)

    objective = objective_on(data, ranks)
    meter = LossMeter(
        {name: objective_on(part) for name, part in (measured or {}).items()},
        {name: len(part) for name, part in (measured or {}).items()},
        min(spec.recipe.batch_size, len(data)),
        spec.numerics,
        lambda: objective.step,
    )
    return fit(
        objective,
        len(data),
        spec.recipe,
        spec.numerics,
        derive(spec.seed, "pretrain"),
        stage=stage or f"pretrain {spec.method}",
        place=place,
        decays=decays,
        lr_factors=lr_factors,
        validate=meter if measured else None,
        select=None,
        identity=content_key(spec),
        ranks=ranks,
        kept=kept,
    )
