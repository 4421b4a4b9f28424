"""Build the page of augmentations and building blocks.

``python -m bench.scaffold.building_blocks``.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable

from bench.data.transforms import TRANSFORMS

PUBLIC: dict[str, tuple[str, ...]] = {
    "Encoders": (
        "bench.models.encoder:Encoder",
        "bench.models.standard:StandardEncoder",
        "bench.models.standard:JointEncoder",
        "bench.models.two_stream:TwoStreamEncoder",
        "bench.models.dgcnn:DGCNN",
        "bench.models.pointnet:PointNet",
    ),
    "Patches and tokens": (
        "bench.models.grouping:cut_patches",
        "bench.models.grouping:Sampling",
        "bench.models.tokenizer:PatchTokenizer",
        "bench.models.tokenizer:PositionMLP",
        "bench.models.blocks:MLP",
    ),
    "Masking": (
        "bench.models.masked:prepare_masked",
        "bench.models.masked:embed_visible",
        "bench.models.masking:draw_mask",
        "bench.models.masking:block_mask",
        "bench.models.masking:mask_index",
        "bench.models.decoder:MaskedDecoder",
    ),
    "Losses": (
        "bench.models.losses:masked_reconstruction",
        "bench.models.losses:cross_modal",
        "bench.models.losses:self_contrast",
        "bench.models.contrast:nt_xent",
        "bench.models.distillation:distillation",
        "bench.models.distillation:redundancy_reduction",
        "bench.models.ops.chamfer:chamfer_l1",
        "bench.models.ops.chamfer:chamfer_l2",
    ),
    "Heads": (
        "bench.models.contrast:projection_head",
        "bench.models.heads:contrast_head",
        "bench.models.heads:classification_head",
        "bench.models.image_branch:ImageBranch",
    ),
    "Initialisation": (
        "bench.models.init:truncated_normal_trunk",
        "bench.models.init:xavier_uniform_decoder",
        "bench.models.init:free_token",
    ),
    "Operations on points": (
        "bench.models.ops.fps:farthest_point_sample",
        "bench.models.ops.knn:knn",
        "bench.models.ops.gather:gather_points",
        "bench.models.ops.interpolate:interpolation_matrix",
    ),
}
"""Public building blocks, by purpose; the rest of `bench.models` may change without notice."""

_HEAD = """# Building blocks

<!-- Written by `python -m bench.scaffold.building_blocks`; change the docstrings, not this page. -->

Augmentations, and what a method can be built from. Shapes, options and errors are in each docstring.

## Augmentations

Names for `Recipe(augmentation=(...))` and `--set recipe.augmentation=[...]`. They are done in the
order given, to every view of every step, with draws of the step's own generator.
"""


def page() -> str:
    """Return the page in Markdown."""
    parts = [_HEAD, _table((name, _summary(transform)) for name, transform in sorted(TRANSFORMS.items()))]
    for purpose, targets in PUBLIC.items():
        parts.append(f"\n## {purpose}\n")
        parts.append(_table((target.replace(":", "."), _summary(_load(target))) for target in targets))
    return "\n".join(parts) + "\n"


def _load(target: str) -> object:
    module, _, name = target.partition(":")
    found: object = getattr(importlib.import_module(module), name)
    return found


def _summary(thing: object) -> str:
    """Return a docstring's first sentence without its citation."""
    line = (inspect.getdoc(thing) or "").partition("\n")[0]
    return re.sub(r" \((docs/[^)]*|PointNet\+\+)\)", "", line).replace("``", "`").replace("|", "\\|")


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| `{name}` | {summary} |" for name, summary in rows]
    return "\n".join(["| name | what it does |", "|---|---|", *lines])


if __name__ == "__main__":
    print(page(), end="")
