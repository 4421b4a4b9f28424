"""Recipes of the protocols, by method and data set.

The fair ones are ours; the published ones are recorded from the released configurations and train fewer epochs at
``smoke`` and ``nano`` (`Row.shortened`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from bench.errors import BenchError
from bench.recipes.row import AUTHORS, NANO, SMOKE, Row
from bench.spec import Recipe

Kind = Literal["scanobjectnn", "modelnet"]

SCALE_TRANSLATE = ("scale_translate",)
ROTATE = ("rotate_y",)
PARTS_AUGMENTATION = ("isotropic_scale", "shift_tenth")

VOTES, VOTE_REPEATS = 10, 299
"""A prediction is the mean over 10 random draws of points; the whole is repeated and the best repeat is reported
(docs/reference.md#voting)."""

MANY = 8192
"""Points of the 8k variants."""

_ALL = (*SMOKE, *NANO, *AUTHORS)
_PATH = "a path check: its numbers mean nothing"
_FINETUNE = "docs/reference.md#fine-tuning"
_PROBES = "docs/reference.md#linear-and-mlp-probes"
_FEWSHOT = "docs/reference.md#few-shot"
_PARTS = "docs/reference.md#part-segmentation"
_ROOMS = "docs/reference.md#semantic-segmentation"

_CLASSIFICATION = Recipe(
    epochs=300,
    batch_size=32,
    lr=5e-4,
    weight_decay=0.05,
    warmup_epochs=10,
    clip_norm=10.0,
    reference_schedule=True,
)
"""Fields that the classification recipes of all releases share."""
_FEW = _CLASSIFICATION.model_copy(update={"epochs": 150})
_SEGMENTATION = Recipe(
    epochs=300,
    batch_size=16,
    lr=2e-4,
    weight_decay=0.05,
    warmup_epochs=10,
    clip_norm=10.0,
    augmentation=PARTS_AUGMENTATION,
)
_FAIR_FINETUNE = _CLASSIFICATION.model_copy(
    update={"reference_schedule": False, "augmentation": (*ROTATE, *SCALE_TRANSLATE)}
)
_FAIR_FEW = _FEW.model_copy(update={"reference_schedule": False, "augmentation": SCALE_TRANSLATE})
_FAIR_MLP = Recipe(epochs=100, batch_size=128, lr=1e-3, weight_decay=0.05, warmup_epochs=5, clip_norm=10.0)


def _changed(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update=changes)


@dataclass(frozen=True, kw_only=True)
class Released(Row):
    """Published recipe of a classifier.

    Attributes:
        recipe: Its recipe; the schedule is the released loop's, 301 epochs for 300.
        from_points: Least points per cloud for which the recipe holds.
        drop_path: Largest rate of stochastic depth, rising linearly over the blocks.
        normalise: Whether the release centres clouds and scales them into the unit sphere.
        vote_augmentation: Augmentation of the points of each vote.
    """

    recipe: Recipe
    from_points: int = 0
    drop_path: float
    normalise: bool
    vote_augmentation: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return method and data set, e.g. ``recon on modelnet``."""
        kind = "scanobjectnn" if self.data == "pb_t50_rs" else self.data
        return f"{self.method} on {kind}" if kind else f"{self.method}, few-shot"


def _finetuned(method: str, data: str, recipe: Recipe, votes: tuple[str, ...], *, source: str = _FINETUNE) -> Released:
    return Released(
        units=("finetune",),
        source=f"{source}, docs/reference.md#voting",
        recipe=recipe,
        form="published",
        method=method,
        others=method == "point-mae",
        data=data,
        shortened={"smoke": 2, "nano": 8},
        drop_path=0.2 if method in ("recon", "two-tower") else 0.1,
        normalise=data == "modelnet",
        vote_augmentation=votes,
    )


def _probed(method: str, data: str, recipe: Recipe, from_points: int = 0) -> Released:
    return Released(
        units=("linear", "mlp"),
        source=_PROBES,
        recipe=recipe,
        form="published",
        method=method,
        others=method == "act",
        data=data,
        shortened={"smoke": 2, "nano": 8},
        from_points=from_points,
        drop_path=0.2 if method == "recon" else 0.1,
        normalise=data == "modelnet",
    )


def _few_shot(method: str, stage: str, recipe: Recipe, *, others: bool = False) -> Released:
    return Released(
        units=("fewshot",),
        source=_FEWSHOT,
        recipe=recipe,
        stage=stage,
        form="published",
        method=method,
        others=others,
        shortened={"smoke": 2, "nano": 40},
        drop_path=0.1,
        normalise=True,
    )


def _recon(base: Recipe, lr: float, augmentation: tuple[str, ...]) -> Recipe:
    return _changed(base, lr=lr, head_lr_scale=10.0, augmentation=augmentation)


_MAE = _changed(_CLASSIFICATION, augmentation=SCALE_TRANSLATE)
_ACT = _changed(_CLASSIFICATION, augmentation=ROTATE)
_ACT_PROBE = _changed(_ACT, lr=1e-3)
_TWO_TOWER = "docs/reference.md#two-tower"

RELEASED: tuple[Released, ...] = (
    _finetuned("point-mae", "scanobjectnn", _MAE, SCALE_TRANSLATE),
    _finetuned("point-mae", "modelnet", _MAE, SCALE_TRANSLATE),
    _finetuned("act", "scanobjectnn", _ACT, SCALE_TRANSLATE),
    _finetuned("act", "modelnet", _ACT, SCALE_TRANSLATE),
    _finetuned("recon", "scanobjectnn", _recon(_CLASSIFICATION, 2e-5, ROTATE), ()),
    _finetuned("recon", "pb_t50_rs", _recon(_CLASSIFICATION, 2e-5, ROTATE), ROTATE),
    _finetuned("recon", "modelnet", _recon(_CLASSIFICATION, 1e-5, SCALE_TRANSLATE), ("scale_axes",)),
    _finetuned("two-tower", "scanobjectnn", _recon(_CLASSIFICATION, 5e-5, ROTATE), (), source=_TWO_TOWER),
    _finetuned("two-tower", "pb_t50_rs", _recon(_CLASSIFICATION, 5e-5, ROTATE), ROTATE, source=_TWO_TOWER),
    _finetuned(
        "two-tower", "modelnet", _recon(_CLASSIFICATION, 5e-5, SCALE_TRANSLATE), ("scale_axes",), source=_TWO_TOWER
    ),
    _probed("act", "scanobjectnn", _ACT_PROBE),
    _probed("act", "modelnet", _ACT_PROBE),
    _probed("recon", "scanobjectnn", _recon(_CLASSIFICATION, 1e-4, ROTATE)),
    _probed("recon", "scanobjectnn", _recon(_CLASSIFICATION, 5e-5, ROTATE), MANY),
    _probed("recon", "modelnet", _recon(_CLASSIFICATION, 1e-4, SCALE_TRANSLATE)),
    _probed("recon", "modelnet", _recon(_CLASSIFICATION, 5e-5, SCALE_TRANSLATE), MANY),
    _few_shot("point-mae", "full", _changed(_FEW, augmentation=SCALE_TRANSLATE), others=True),
    _few_shot("act", "full", _changed(_FEW, augmentation=ROTATE)),
    _few_shot("recon", "full", _recon(_FEW, 5e-4, ROTATE)),
    _few_shot("two-tower", "full", _recon(_FEW, 5e-4, ROTATE)),
    _few_shot("act", "probe", _changed(_FEW, lr=1e-3, augmentation=ROTATE), others=True),
    _few_shot("recon", "probe", _recon(_FEW, 1e-3, ROTATE)),
    _few_shot("two-tower", "probe", _recon(_FEW, 1e-3, ROTATE)),
)
"""Published recipes of classifiers; the papers' "from scratch" rows take Point-MAE's, probes ACT's."""


@dataclass(frozen=True, kw_only=True)
class Machine(Row):
    """Published support vector machine.

    Attributes:
        strength: Penalty C on features that are not normalised.
    """

    recipe: None = None
    strength: float


MACHINES: tuple[Machine, ...] = (
    Machine(
        units=("svm",),
        source="docs/reference.md#linear-svm",
        form="published",
        presets=_ALL,
        method="recon",
        others=True,
        strength=0.075,
    ),
    Machine(
        units=("svm",),
        source="docs/reference.md#linear-svm",
        form="published",
        presets=_ALL,
        method="crosspoint",
        strength=0.1,
    ),
    Machine(
        units=("fewshot",),
        source="docs/reference.md#crosspoint-episodes",
        stage="episodes=crosspoint",
        form="published",
        presets=_ALL,
        method="crosspoint",
        others=True,
        strength=1.0,
    ),
)


@dataclass(frozen=True, kw_only=True)
class ZeroShot(Row):
    """ReCon's zero-shot choices for one data set.

    They look tuned on the evaluated data.

    Attributes:
        ratio: Weight of the text projection.
        points: Points of a cloud.
        groups: Patches of a cloud.
        group_size: Points of a patch.
        normalise: Whether clouds are brought to the unit sphere; else they stay as stored.
    """

    recipe: None = None
    ratio: float
    points: int
    groups: int
    group_size: int
    normalise: bool


def _zero_shot(data: str, ratio: float, points: int, groups: int, group_size: int, *, normalise: bool) -> ZeroShot:
    return ZeroShot(
        units=("zeroshot",),
        source="docs/reference.md#zero-shot",
        form="published",
        presets=_ALL,
        method="recon",
        others=True,
        data=data,
        ratio=ratio,
        points=points,
        groups=groups,
        group_size=group_size,
        normalise=normalise,
    )


ZERO_SHOT: tuple[ZeroShot, ...] = (
    _zero_shot("modelnet40", 0.25, 1024, 64, 32, normalise=True),
    _zero_shot("modelnet10", 0.2, 1024, 64, 32, normalise=True),
    _zero_shot("obj_bg", 0.1, 2048, 64, 64, normalise=False),
    _zero_shot("obj_only", 0.15, 2048, 32, 128, normalise=False),
    _zero_shot("pb_t50_rs", 0.05, 2048, 64, 64, normalise=False),
    _zero_shot("", 0.25, 1024, 64, 32, normalise=True),
)
"""Last, for data sets that the paper did not evaluate, what its release does by default."""


def _segmented(unit: str, method: str, source: str, recipe: Recipe, epochs: Mapping[str, int], others: bool) -> Row:
    return Row(
        units=(unit,),
        source=source,
        recipe=recipe,
        form="published",
        method=method,
        others=others,
        shortened=epochs,
    )


def _fair(unit: str, presets: tuple[str, ...], source: str, recipe: Recipe, stage: str = "", **changes: object) -> Row:
    return Row(
        units=(unit,),
        source=source,
        recipe=_changed(recipe, **changes),
        stage=stage,
        form="fair",
        presets=presets,
    )


_PARTS_EPOCHS = {"smoke": 2, "nano": 8}
_ROOMS_EPOCHS = {"smoke": 1, "nano": 6}
_SCENES = _changed(_SEGMENTATION, epochs=60, batch_size=32)
_LATE: dict[str, object] = {"reference_schedule": "late"}

SEGMENTATION: tuple[Row, ...] = (
    _segmented("partseg", "point-mae", _PARTS, _changed(_SEGMENTATION, **_LATE), _PARTS_EPOCHS, others=True),
    _segmented(
        "partseg",
        "recon",
        _PARTS,
        _changed(_SEGMENTATION, lr=1e-4, head_lr_scale=10.0, **_LATE),
        _PARTS_EPOCHS,
        others=False,
    ),
    _segmented("semseg", "act", _ROOMS, _changed(_SCENES, **_LATE), _ROOMS_EPOCHS, others=True),
)
"""Releases' training of segmentation, on the released loops' schedule; ACT's parts are Point-MAE's."""

_OURS = "one for every method and data set; "
FAIR: tuple[Row, ...] = (
    _fair("finetune", AUTHORS, f"{_OURS}Point-MAE's, with ACT's augmentation too: {_FINETUNE}", _FAIR_FINETUNE),
    _fair("finetune", NANO, "docs/nano.md#fine-tuning", _FAIR_FINETUNE, epochs=6, warmup_epochs=1, lr=2e-4),
    _fair("finetune", SMOKE, _PATH, _FAIR_FINETUNE, epochs=2, warmup_epochs=1),
    _fair("mlp", (*NANO, *AUTHORS), f"{_OURS}ours, not searched; rate and decay of ACT's probes: {_PROBES}", _FAIR_MLP),
    _fair("mlp", SMOKE, _PATH, _FAIR_MLP, epochs=2, warmup_epochs=1),
    _fair("fewshot", (*NANO, *AUTHORS), f"{_OURS}Point-MAE's: {_FEWSHOT}", _FAIR_FEW, "full"),
    _fair("fewshot", SMOKE, _PATH, _FAIR_FEW, "full", epochs=2, warmup_epochs=1),
    _fair(
        "fewshot",
        (*NANO, *AUTHORS),
        f"{_OURS}the probes' rate, nothing to augment on cached features: {_FEWSHOT}",
        _FAIR_FEW,
        "mlp",
        lr=1e-3,
        augmentation=(),
    ),
    _fair("fewshot", SMOKE, _PATH, _FAIR_FEW, "mlp", epochs=2, warmup_epochs=1, augmentation=()),
    _fair("partseg", AUTHORS, f"{_OURS}Point-MAE's: {_PARTS}", _SEGMENTATION),
    _fair("partseg", NANO, "ours, not searched", _SEGMENTATION, epochs=8, warmup_epochs=1, lr=2e-3),
    _fair("partseg", SMOKE, _PATH, _SEGMENTATION, epochs=2, warmup_epochs=1, lr=2e-3),
    _fair("semseg", AUTHORS, f"{_OURS}ACT's: {_ROOMS}", _SCENES),
    _fair("semseg", NANO, "ours, not searched", _SCENES, epochs=6, batch_size=16, warmup_epochs=1, lr=2e-3),
    _fair("semseg", SMOKE, _PATH, _SCENES, epochs=1, batch_size=16, warmup_epochs=1, lr=2e-3),
)
"""Fair recipes, the same for every method."""

DOWNSTREAM: tuple[Row, ...] = (*FAIR, *RELEASED, *SEGMENTATION, *MACHINES, *ZERO_SHOT)


def fair_recipe(unit: str, preset: str = "base", stage: str = "") -> Recipe:
    """Return the recipe by which a protocol trains every method.

    Args:
        unit: Name of the protocol.
        preset: Size preset.
        stage: Part that is trained, for a protocol that trains several.
    """
    return _recipe(_only(FAIR, unit, preset=preset, stage=stage))


def released_epochs(unit: str, preset: str, stage: str = "") -> int | None:
    """Return the shortened number of epochs of a preset.

    None for the published number.
    """
    rows = [row for row in (*RELEASED, *SEGMENTATION) if unit in row.units and stage in ("", row.stage)]
    return rows[0].shortened.get(preset)


def released_training(unit: str, method: str, data: Sequence[str] = (), stage: str = "", points: int = 0) -> Released:
    """Return the published recipe of a classifier.

    Args:
        unit: Name of the protocol.
        method: Name of the method; without a recipe it takes that of `Row.others`.
        data: Names that the rows of the data set may have, the closest first; empty where rows have none.
        stage: Part that is trained, for a protocol that trains several.
        points: Points the encoder sees.
    """
    rows = [row for row in RELEASED if unit in row.units and row.stage == stage and row.from_points <= points]
    own = _of_method(rows, method)
    fitting = next(found for name in data or ("",) if (found := [row for row in own if row.data == name]))
    return max(fitting, key=lambda row: row.from_points)


def released_segmentation(unit: str, method: str) -> Recipe:
    """Return the published recipe of a segmentation network.

    It has the schedule of the released loops.

    Args:
        unit: ``partseg`` or ``semseg``.
        method: Name of the method.
    """
    return _recipe(_of_method([row for row in SEGMENTATION if unit in row.units], method)[0])


def released_strength(unit: str, method: str) -> float:
    """Return the published penalty C of a support vector machine.

    It holds for features that are not normalised.
    """
    return _of_method([row for row in MACHINES if unit in row.units], method)[0].strength


def zero_shot_choices(data: str) -> ZeroShot:
    """Return ReCon's zero-shot choices for a data set.

    Those of the last row if the data set has none of its own.
    """
    return next((row for row in ZERO_SHOT if row.data == data), ZERO_SHOT[-1])


R = TypeVar("R", bound=Row)


def _of_method(rows: Sequence[R], method: str) -> list[R]:
    """Return rows of a method, else rows for other methods."""
    return [row for row in rows if row.method == method] or [row for row in rows if row.others]


def _only(rows: Sequence[R], unit: str, *, preset: str, stage: str) -> R:
    found = [row for row in rows if unit in row.units and preset in row.presets and row.stage == stage]
    if len(found) != 1:
        raise BenchError(f"bench.recipes has {len(found)} recipes of {unit} for preset {preset}, expected one")
    return found[0]


def _recipe(row: Row) -> Recipe:
    assert row.recipe is not None, row
    return row.recipe
