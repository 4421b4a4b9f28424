"""Match data sets to those of the papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.recipes.downstream import Kind, ZeroShot, zero_shot_choices

if TYPE_CHECKING:
    from bench.data.base import Dataset


def data_kind(dataset: Dataset | None) -> Kind:
    """Return ModelNet or ScanObjectNN, whose recipe fits a data set.

    ModelNet by name, ScanObjectNN for every other.
    """
    return "modelnet" if dataset is not None and dataset.name.startswith("modelnet") else "scanobjectnn"


def data_rows(dataset: Dataset | None) -> tuple[str, ...]:
    """Return names under which recipes are looked up, closest first."""
    hardest = dataset is not None and getattr(dataset.options, "variant", "") == "pb_t50_rs"
    return ("pb_t50_rs", data_kind(dataset)) if hardest else (data_kind(dataset),)


def zero_shot_case(dataset: Dataset | None) -> ZeroShot:
    """Return the releases' zero-shot settings for a data set."""
    if dataset is None:
        return zero_shot_choices("")
    if dataset.name.startswith("modelnet"):
        return zero_shot_choices(f"modelnet{len(dataset.classes())}")
    if dataset.name.startswith("scanobjectnn"):
        variant = str(getattr(dataset.options, "variant", ""))
        return zero_shot_choices(variant if variant in ("obj_bg", "obj_only") else "pb_t50_rs")
    return zero_shot_choices("")
