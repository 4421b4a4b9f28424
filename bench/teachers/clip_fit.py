"""Fit `tiny-clip` with open_clip's contrastive loss."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor, nn

from bench.progress import Progress
from bench.seeds import torch_stream
from bench.teachers.clip_model import on_white, to_pixels
from bench.teachers.tokenizer import WordTokenizer

MAX_LOGIT_SCALE = math.log(100.0)


@dataclass(frozen=True)
class FitRecipe:
    """Hyperparameters of the fit: AdamW, linear warm-up, cosine decay."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup_fraction: float
    zoom: float
    shift: float
    word_dropout: float
    seed: int


class FitData:
    """Pictures and captions of the fit, for drawing batches.

    Args:
        views: uint8 ``[n, V, H, W, C]``.
        weights: How often each of the V views is drawn, relative to the others.
        captions: One sentence per object.
        tokenizer: Vocabulary of the model.
        view_size: Side of the images the model takes.
    """

    def __init__(
        self,
        views: npt.NDArray[np.uint8],
        weights: Sequence[float],
        captions: Sequence[str],
        tokenizer: WordTokenizer,
        view_size: int,
    ) -> None:
        self.pictures = on_white(torch.from_numpy(views).flatten(0, 1)).view(views.shape)
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.ids = torch.from_numpy(tokenizer.encode(captions))
        self.buckets = torch.from_numpy(tokenizer.bucket_table())
        self.view_size = view_size

    def __len__(self) -> int:
        return len(self.ids)

    def draw(self, chosen: Tensor, recipe: FitRecipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw an augmented view and caption of chosen objects.

        The objects are int64 ``[B]``.

        Returns:
            Network input ``[B, 3, view_size, view_size]`` and token ids ``[B, context]``.
        """
        view = torch.multinomial(self.weights, len(chosen), replacement=True, generator=generator)
        images = augment(self.pictures[chosen, view], recipe.zoom, recipe.shift, generator)
        ids = self.ids[chosen]
        dropped = torch.rand(ids.shape, generator=generator) < recipe.word_dropout
        return to_pixels(images, self.view_size), torch.where(dropped, self.buckets[ids], ids)


def augment(images: Tensor, zoom: float, shift: float, generator: torch.Generator) -> Tensor:
    """Zoom, shift and mirror every image independently.

    Values come from the nearest pixels.

    Args:
        images: uint8 ``[B, H, W, C]``.
        zoom: Log-range of the isotropic zoom, drawn uniformly in ``exp(-zoom)..exp(zoom)``.
        shift: Range of the shift per axis, as a fraction of the side.
        generator: Source of all random numbers.

    Returns:
        uint8 ``[B, H, W, C]``; beyond the border the border pixel is repeated.
    """
    batch, height, width = images.shape[:3]
    draw = torch.rand(4, batch, 1, generator=generator)
    scale = torch.exp((2 * draw[0] - 1) * zoom)

    def source(side: int, moved: Tensor) -> Tensor:
        centred = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
        at = centred / scale + (2 * moved - 1) * shift * side + (side - 1) / 2
        return at.round().clamp(0, side - 1).long()

    rows, columns = source(height, draw[1]), source(width, draw[2])
    columns = torch.where(draw[3] < 0.5, columns.flip(1), columns)
    return images[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def fit(model: nn.Module, data: FitData, recipe: FitRecipe, progress: Progress) -> dict[str, JsonValue]:
    """Train the model in place.

    Every object occurs once per epoch, in one of its views.

    Args:
        model: From `bench.teachers.clip_model.build`.
        data: Pictures and captions.
        recipe: Hyperparameters; the batch is clipped to the number of objects.
        progress: Called with (steps done, steps in all).

    Returns:
        Figures of the fit: losses, samples, seconds, threads.
    """
    from open_clip import ClipLoss  # takes seconds to load

    batch = min(recipe.batch_size, len(data))
    steps_per_epoch = len(data) // batch
    total = recipe.epochs * steps_per_epoch
    optimizer = _optimizer(model, recipe)
    criterion = ClipLoss()
    losses: list[float] = []
    began = time.perf_counter()
    model.train()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(data), generator=torch_stream(recipe.seed, "teacher", "order", epoch))
        generator = torch_stream(recipe.seed, "teacher", "augmentation", epoch)
        for step in range(steps_per_epoch):
            _set_lr(optimizer, recipe, len(losses), total)
            pixels, ids = data.draw(order[step * batch : (step + 1) * batch], recipe, generator)
            out = model(pixels, ids)
            loss = criterion(out["image_features"], out["text_features"], out["logit_scale"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.get_parameter("logit_scale").clamp_(0.0, MAX_LOGIT_SCALE)
            losses.append(loss.item())
            progress(len(losses), total)
    model.eval()
    tenth = max(len(losses) // 10, 1)
    seconds = time.perf_counter() - began
    return {
        "objects": len(data),
        "views_per_object": data.pictures.shape[1],
        "steps": total,
        "samples": total * batch,
        "seconds": round(seconds, 2),
        "samples_per_second": round(total * batch / max(seconds, 1e-9), 1),
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss_first_tenth": sum(losses[:tenth]) / tenth,
        "loss_last_tenth": sum(losses[-tenth:]) / tenth,
    }


def _optimizer(model: nn.Module, recipe: FitRecipe) -> torch.optim.AdamW:
    """Return AdamW with CLIP's groups.

    No weight decay on gains, biases and the logit scale.
    """
    named = list(model.named_parameters())
    plain = [p for _, p in named if p.ndim < 2]
    decayed = [p for _, p in named if p.ndim >= 2]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), eps=1e-6, fused=True)


def _set_lr(optimizer: torch.optim.Optimizer, recipe: FitRecipe, step: int, total: int) -> None:
    """Set the learning rate: linear warm-up, then cosine to zero."""
    warmup = max(round(recipe.warmup_fraction * total), 1)
    if step < warmup:
        factor = (step + 1) / warmup
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr * factor
