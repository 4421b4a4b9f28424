"""Fitting and judging a small CLIP: open_clip's model class and contrastive loss on views and captions.

Runs on the CPU in fp32 with a fixed number of threads: where neither device, precision nor threads vary, one
identity means one set of weights. The image tower is CLIP's modified ResNet, because on a few thousand pictures
it learns from a fraction of the samples a vision transformer needs.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from pydantic import JsonValue
from torch import Tensor, nn

from bench.data.base import Progress
from bench.seeds import derive, torch_stream
from bench.teachers.tokenizer import WordTokenizer

HEAD_WIDTH = 32
MAX_LOGIT_SCALE = math.log(100.0)


@contextlib.contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Run torch with `threads` threads, and with the caller's number again afterwards.

    Sums split over another number of threads round differently, so the number is part of a teacher's options.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class ClipSize:
    """Size of both towers; the joint space has `embed` dimensions, and `view_size` is a multiple of 32."""

    embed: int
    view_size: int
    image_width: int
    image_blocks: tuple[int, int, int, int]
    text_width: int
    text_layers: int
    context: int


@dataclass(frozen=True)
class FitRecipe:
    """Hyperparameters of the contrastive fit (AdamW, linear warm-up, cosine to zero)."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup_fraction: float
    zoom: float
    shift: float
    word_dropout: float
    seed: int


def build(size: ClipSize, vocab_size: int, seed: int) -> nn.Module:
    """Build open_clip's CLIP from our configuration, initialised from the seed's own stream.

    Args:
        size: Widths and depths.
        vocab_size: Number of token ids; the highest is the end token.
        seed: Root seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "teacher", "init"))
        model = open_clip.CLIP(
            size.embed,
            vision_cfg=open_clip.CLIPVisionCfg(
                layers=size.image_blocks,
                width=size.image_width,
                head_width=HEAD_WIDTH,
                image_size=size.view_size,
            ),
            text_cfg=open_clip.CLIPTextCfg(
                context_length=size.context,
                vocab_size=vocab_size,
                width=size.text_width,
                heads=size.text_width // HEAD_WIDTH,
                layers=size.text_layers,
            ),
            output_dict=True,
        )
    assert isinstance(model, nn.Module)
    # Convolutions on the CPU are about 1.6 times faster in this layout.
    return model.to(memory_format=torch.channels_last)


def to_pixels(images: Tensor, view_size: int) -> Tensor:
    """Turn uint8 ``[B, H, W, C]`` (C 1 or 3) into the network's float32 ``[B, 3, view_size, view_size]`` in -1..1."""
    pixels = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1.0)
    if pixels.shape[2:] != (view_size, view_size):
        pixels = nn.functional.interpolate(
            pixels, size=(view_size, view_size), mode="bilinear", align_corners=False, antialias=True
        )
    return pixels.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, zoom: float, shift: float, generator: torch.Generator) -> Tensor:
    """Zoom, shift and mirror every image on its own, by one gather of nearest pixels.

    Args:
        images: uint8 ``[B, H, W, C]``.
        zoom: Log-range of the isotropic zoom, drawn uniformly in ``exp(-zoom)..exp(zoom)``.
        shift: Range of the shift per axis, as a fraction of the side.
        generator: Draws everything.

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


def fit(
    model: nn.Module,
    tokenizer: WordTokenizer,
    views: npt.NDArray[np.uint8],
    captions: Sequence[str],
    view_size: int,
    recipe: FitRecipe,
    progress: Progress,
) -> dict[str, JsonValue]:
    """Train in place with open_clip's contrastive loss; every object is seen once an epoch, in one of its views.

    Args:
        model: From `build`.
        tokenizer: Its vocabulary.
        views: uint8 ``[n, V, H, W, C]``.
        captions: One sentence per object.
        view_size: Side of the images the model takes.
        recipe: Hyperparameters; the batch is clipped to the number of objects.
        progress: Called with (steps done, steps in all).

    Returns:
        Figures of the fit: losses, samples, seconds, threads.
    """
    n, per_object = views.shape[:2]
    batch = min(recipe.batch_size, n)
    steps_per_epoch = n // batch
    total = recipe.epochs * steps_per_epoch
    pictures = torch.from_numpy(np.ascontiguousarray(views))
    texts = torch.from_numpy(tokenizer.encode(captions))
    buckets = torch.from_numpy(tokenizer.bucket_table())
    optimizer = _optimizer(model, recipe)
    criterion = open_clip.ClipLoss()
    losses: list[float] = []
    began = time.perf_counter()
    model.train()
    for epoch in range(recipe.epochs):
        order = torch.randperm(n, generator=torch_stream(recipe.seed, "teacher", "order", epoch))
        generator = torch_stream(recipe.seed, "teacher", "augmentation", epoch)
        for step in range(steps_per_epoch):
            chosen = order[step * batch : (step + 1) * batch]
            _set_lr(optimizer, recipe, len(losses), total)
            view = torch.randint(per_object, (batch,), generator=generator)
            images = augment(pictures[chosen, view], recipe.zoom, recipe.shift, generator)
            ids = texts[chosen]
            dropped = torch.rand(ids.shape, generator=generator) < recipe.word_dropout
            ids = torch.where(dropped, buckets[ids], ids)
            out = model(to_pixels(images, view_size), ids)
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
        "objects": n,
        "views_per_object": per_object,
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
    """AdamW as in CLIP: no weight decay on gains, biases and the logit scale."""
    named = list(model.named_parameters())
    plain = [p for _, p in named if p.ndim < 2]
    decayed = [p for _, p in named if p.ndim >= 2]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), eps=1e-6, fused=True)


def _set_lr(optimizer: torch.optim.Optimizer, recipe: FitRecipe, step: int, total: int) -> None:
    """Linear warm-up, then cosine to zero."""
    warmup = max(round(recipe.warmup_fraction * total), 1)
    if step < warmup:
        factor = (step + 1) / warmup
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr * factor


def retrieval(
    images: npt.NDArray[np.float32], texts: npt.NDArray[np.float32], captions: Sequence[str], ks: Sequence[int] = (1, 5)
) -> dict[str, JsonValue]:
    """Image-to-caption retrieval among the objects given, with its exact chance level.

    Several objects may carry the same sentence; an image is served by any copy of its own. So its chance of
    a hit in k guesses without replacement among n captions with m copies is ``1 - C(n-m, k) / C(n, k)``.

    Args:
        images: Image features ``[n, D]``.
        texts: Text features ``[n, D]`` of the same objects.
        captions: Their sentences.
        ks: Ranks to report.

    Returns:
        ``objects``, ``distinct_captions``, and per k ``recall_at_k`` and ``chance_at_k``.
    """
    n = len(captions)
    _, meaning = np.unique(np.asarray(captions), return_inverse=True)
    similar = _unit(images) @ _unit(texts).T
    ranked = np.argsort(-similar, axis=1, kind="stable")
    hits = meaning[ranked] == meaning[:, None]
    copies = np.bincount(meaning)[meaning]
    figures: dict[str, JsonValue] = {"objects": n, "distinct_captions": int(meaning.max()) + 1}
    for k in ks:
        k_in_set = min(k, n)
        chance = [1 - math.comb(n - int(m), k_in_set) / math.comb(n, k_in_set) for m in copies]
        figures[f"recall_at_{k}"] = float(hits[:, :k_in_set].any(axis=1).mean())
        figures[f"chance_at_{k}"] = float(np.mean(chance))
    return figures


def named_accuracy(
    images: npt.NDArray[np.float32], names: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> float:
    """Fraction of images ``[n, D]`` whose most similar class-name feature ``[C, D]`` is that of their label."""
    return float((np.argmax(_unit(images) @ _unit(names).T, axis=1) == labels).mean())


def _unit(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = features / np.maximum(norms, np.float32(1e-12))
    return unit
