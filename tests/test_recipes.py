"""The table of recipes: every figure stands once, with its source, where a reader finds it."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.fingerprint import fingerprint
from bench.plan.presets import PRESETS
from bench.recipes.pretraining import PRETRAINING
from bench.recipes.row import Row
from bench.recipes.table import RECIPES
from bench.registry import METHODS, PROTOCOLS
from bench.spec import Recipe

ROOT = Path(__file__).resolve().parents[1]


def listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Call ``bench list recipes`` at 80 columns and return what it printed."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["bench", "list", "recipes", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_no_recipe_stands_beside_the_table() -> None:
    """Whoever changed a published figure had five places to look for it."""
    elsewhere = [
        path.relative_to(ROOT)
        for folder in ("methods", "protocols", "plan")
        for path in (ROOT / "bench" / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Recipe" and node.keywords
    ]
    assert elsewhere == []


@pytest.mark.parametrize("row", RECIPES, ids=lambda row: "-".join((*row.units, row.form, row.method, *row.presets)))
def test_every_row_has_a_source_and_units_that_exist(row: Row) -> None:
    """A figure without a source cannot be checked; a unit by another name would never take it."""
    known = METHODS if row.form == "pretraining" else PROTOCOLS
    assert all(unit in known for unit in row.units)
    assert "docs/" in row.source or row.presets == ("smoke",) or "not searched" in row.source
    if row.recipe is not None:
        assert Recipe.model_validate(row.recipe.model_dump()) == row.recipe, "changed without validation"


def test_methods_train_by_their_rows() -> None:
    """A second row of a preset would win in silence, a missing one stop `bench run`."""
    for name in (entry.name for entry in METHODS if entry.source == "built in"):
        recipes = METHODS.load(name).recipes
        rows = [row for row in PRETRAINING if name in row.units]
        presets = [preset for row in rows for preset in row.presets]
        assert sorted(presets) == sorted(set(presets))
        assert set(presets) in (set(), set(PRESETS)), name
        assert recipes == {preset: row.recipe for row in rows for preset in row.presets}


def test_a_recipe_of_one_method_leaves_the_others_results() -> None:
    """Pretraining recipes are in the key; in the fingerprint, too, one new figure would retrain every method."""
    modules = fingerprint(["bench.methods.recon"]).modules
    assert "bench.methods.recon" in modules
    assert "bench.recipes.pretraining" not in modules


def test_the_table_is_printed_and_handed_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """bench list recipes is the one page of all figures."""
    text = listed(monkeypatch, capsys)
    assert max(map(len, text.splitlines())) <= 80
    squeezed = " ".join(text.split())
    for words in ("recon, multitask, two-tower", "AdamW at 2e-05", "docs/nano.md#fine-tuning", "strength 0.075"):
        assert words in squeezed, words
    rows = json.loads(listed(monkeypatch, capsys, "--json"))
    plugins = {entry.name for entry in METHODS if entry.source != "built in"}  # which other tests have loaded
    rows = [row for row in rows if plugins.isdisjoint(row["units"])]
    assert len(rows) == len(RECIPES)
    assert [row["recipe"] and Recipe.model_validate(row["recipe"]) for row in rows] == [row.recipe for row in RECIPES]
