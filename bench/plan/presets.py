"""Presets: sizes of networks, data and training."""

from __future__ import annotations

from pydantic import Field

from bench.errors import unknown_name
from bench.spec import BackboneSpec, Frozen, Options


class Preset(Frozen):
    """Sizes of a run.

    `data` and `teacher` hold options of the embedded data sets and teachers by name; sets that come as files
    have their own size.
    """

    name: str
    summary: str
    backbone: BackboneSpec
    data: dict[str, Options] = Field(default_factory=dict)
    teacher: dict[str, Options] = Field(default_factory=dict)
    comparable: bool = True
    """False for path checks: their numbers are never compared."""


_SMOKE_DATA: Options = {"train_per_class": 6, "test_per_class": 4}

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="smoke",
            summary="seconds; proves that every path works, its numbers mean nothing",
            backbone=BackboneSpec(
                points=128, groups=16, group_size=8, width=24, depth=2, heads=2, tokenizer_width=16, drop_path=0.0
            ),
            data={
                "shapes": {"objects": 96},
                "shapes-cad": _SMOKE_DATA,
                "shapes-scan": _SMOKE_DATA,
                "shapes-cad-novel": _SMOKE_DATA,
                "shapes-scan-novel": _SMOKE_DATA,
                "shapes-rooms": {"rooms_per_area": 1, "points_per_room": 8192},
            },
            teacher={"tiny-clip": {"objects": 128, "epochs": 2}},
            comparable=False,
        ),
        Preset(
            name="nano",
            summary="minutes on two CPU cores; the smallest size at which pretraining shows",
            backbone=BackboneSpec(
                points=512, groups=32, group_size=16, width=128, depth=4, heads=4, tokenizer_width=64, drop_path=0.0
            ),
        ),
        Preset(
            name="tiny",
            summary="ReCon-T, published recipes (one GPU)",
            backbone=BackboneSpec(width=192, heads=3),
            data={"shapes": {"objects": 50_000}},
        ),
        Preset(
            name="small",
            summary="ReCon-S, published recipes (one GPU)",
            backbone=BackboneSpec(width=256, heads=4),
            data={"shapes": {"objects": 50_000}},
        ),
        Preset(
            name="base",
            summary="ReCon-B, published recipes (one GPU)",
            backbone=BackboneSpec(width=384, heads=6),
            data={"shapes": {"objects": 50_000}},
        ),
    )
}


def preset(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        UsageError: Unknown name.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise unknown_name("preset", name, PRESETS) from None
