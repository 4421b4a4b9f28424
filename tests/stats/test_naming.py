"""Names of encoders. If these fail, two encoders share a name, and sentences and curves join what is not one method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bench.stats.cells import group_cells
from bench.stats.intervals import Unit
from bench.store.queries import MetricRow, by_run

Row = Callable[..., MetricRow]


def spec(lr: float = 1e-3, epochs: int = 50, setting: str = "5w10s", **more: Any) -> dict[str, Any]:
    return {
        "encoder": {"method": "recon", "recipe": {"lr": lr, "epochs": epochs}, **more},
        "protocol": {"name": "fewshot"},
        "setting": setting,
    }


def labels(row: Row, runs: Mapping[str, tuple[dict[str, Any], dict[str, str]]]) -> dict[str, str]:
    """Label of the cell of each run, by its key."""
    rows = [row(run_key=key, **given) for key, (_, given) in runs.items()]
    cells = group_cells(by_run(rows), {key: found for key, (found, _) in runs.items()})
    return {cell.runs[Unit(0)]: cell.label for cell in cells}


def test_encoders_are_told_apart_across_settings(row: Row) -> None:
    """Two learning rates, one per setting, were one method that is "above scratch in 2 of 2 settings"."""
    five, ten = {"setting": "5w10s"}, {"setting": "10w10s"}
    told = labels(row, {"a": (spec(1e-2), five), "b": (spec(1e-5, setting="10w10s"), ten)})
    assert told == {"a": "recon [recipe.lr=0.01]", "b": "recon [recipe.lr=1e-05]"}
    same = labels(row, {"a": (spec(), five), "b": (spec(setting="10w10s"), ten)})
    assert set(same.values()) == {"recon"}


def test_empty_fields_stand_in_no_name(row: Row) -> None:
    """A reader of "[numerics.plugins={}]" learns nothing."""
    own = spec()
    own["encoder"]["numerics"] = {"plugins": {"blocks.gated": "1"}}
    plain = spec()
    plain["encoder"]["numerics"] = {"plugins": {}}
    assert set(labels(row, {"a": (plain, {}), "b": (own, {})}).values()) == {
        "recon",
        "recon [numerics.plugins.blocks.gated=1]",
    }


def test_parts_of_the_labels_and_further_metrics_change_no_name(row: Row) -> None:
    """A curve over labels would fall into as many methods as it has points."""
    part = spec() | {"label_fraction": 0.1}
    told = labels(row, {"a": (spec(), {}), "b": (part, {"setting": "5w10s, 10 % of labels"})})
    assert set(told.values()) == {"recon"}


def test_parts_of_the_data_share_a_name_unless_their_recipes_differ(row: Row) -> None:
    """Equal steps change the epochs of a part, which is no other encoder; another learning rate is one."""
    tenth = {"pretrain_data": "shapes (10 %)"}
    scaled = spec(epochs=500, fraction=0.1)
    assert set(labels(row, {"a": (spec(), {}), "b": (scaled, tenth)}).values()) == {"recon"}
    other = labels(row, {"a": (spec(), {}), "b": (spec(lr=0.5, epochs=500, fraction=0.1), tenth)})
    assert other == {"a": "recon [recipe.lr=0.001]", "b": "recon [recipe.lr=0.5]"}


def test_epochs_of_a_part_never_look_like_those_of_all_the_data(row: Row) -> None:
    """50 epochs of a tenth are the short recipe, 50 of all the data the long one: a curve would join them."""
    tenth = {"pretrain_data": "shapes (10 %)"}
    runs = {"long": (spec(), {}), "short": (spec(epochs=5), {})}
    parts = {"l": (spec(epochs=500, fraction=0.1), tenth), "s": (spec(epochs=50, fraction=0.1), tenth)}
    told = labels(row, {**runs, **parts})
    assert told["long"] == "recon [recipe.epochs=50]"
    assert told["s"] == "recon [recipe.epochs=50 on 10 %]"
    assert len(set(told.values())) == 4


def test_two_encoders_never_share_a_shortened_name(row: Row) -> None:
    """Names say three fields; encoders that differ in a fourth were one line."""
    made = [spec(options={"a": x, "b": x, "c": x, "d": d}) for x, d in ((1, 1), (1, 2), (2, 3))]
    told = labels(row, {str(at): (one, {}) for at, one in enumerate(made)})
    assert len(set(told.values())) == 3
    assert told["2"] == "recon [options.a=2, options.b=2, options.c=2, and 1 more]"
