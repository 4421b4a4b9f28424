"""``bench list``: units, their requirements, and whether they are usable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

import typer
from rich.markup import escape

from bench.api import units
from bench.api.common import registered
from bench.api.units import UnitKind
from bench.cli.common import PluginOption, console, print_json
from bench.cli.recipes import print_recipes
from bench.errors import UsageError

Listed = Literal[
    "methods",
    "encoders",
    "protocols",
    "datasets",
    "teachers",
    "backbones",
    "blocks",
    "norms",
    "tokenizers",
    "engines",
    "presets",
    "recipes",
]
"""Kinds of things that can be listed."""
PARTS: tuple[UnitKind, ...] = ("blocks", "norms", "tokenizers")
"""Kinds that ``backbones`` stands for."""


def show(
    kind: Annotated[Listed | None, typer.Argument(help="Kind to list; all but recipes by default.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Metadata of each entry too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print recipes as JSON.")] = False,
    plugin: PluginOption = None,
) -> None:
    """List methods, protocols, data sets and other units.

    Also teachers, parts of the backbone, presets and recipes.
    """
    if as_json and kind != "recipes":
        raise UsageError("--json is for recipes: bench list recipes --json")
    registered(*plugin or ())
    if kind == "recipes":
        if as_json:
            print_json(units.recipes())
        else:
            print_recipes()
        return
    every = [name for name in get_args(Listed) if name not in ("backbones", "recipes")]
    for name in PARTS if kind == "backbones" else [kind] if kind else every:
        if name == "presets":
            _presets()
        else:
            _entries(name, verbose)


def _entries(kind: UnitKind, verbose: bool) -> None:
    from rich.text import Text

    from bench.report.plain import TextTable

    rows = []
    for entry in units.entries(kind):
        reason = entry.unusable()
        told = [entry.summary]
        told += [f"(stage of {entry.part_of})"] if entry.part_of else []
        told += [f"(from {entry.source})"] if entry.source != "built in" else []
        missing = "" if reason is None else f"not usable here: {reason}"
        rows.append((Text(entry.name, style="bold"), " ".join(told), entry.needs, Text(missing, style="yellow")))
    screen = console()
    screen.print(Text(kind, style="bold italic"))
    screen.print(TextTable(("name", "what it is", "needs", "here"), rows, whole=("name",), below=("here",)))
    if kind == "encoders":
        screen.print(Text("judged with --encoder NAME[:FILE] (docs/add-an-encoder.md)", style="dim"))
    if kind in PARTS:
        field = kind.removesuffix("s")
        used = f"used with --set backbone.{field}=NAME, its options with --set backbone.{field}_options.OPTION=VALUE"
        screen.print(Text(used, style="dim"))
    screen.print()
    if verbose:
        _metadata(kind)


def _metadata(kind: UnitKind) -> None:
    """Print typed metadata, which imports the classes."""
    screen = console()
    for entry in units.entries(kind):
        if entry.unusable() is not None:
            continue
        stage = f"  [dim]stage of {entry.part_of}[/dim]" if entry.part_of else ""
        screen.print(f"[bold]{escape(entry.name)}[/bold]{stage}", highlight=False)
        _print_facts(units.describe(kind, entry.name))
        screen.print()


def _print_facts(facts: Mapping[str, Sequence[str]]) -> None:
    """Print names and values in two columns, wrapped.

    Several values stand one below the other.
    """
    from bench.report.plain import facts_table

    lines = [(name if at == 0 else "", value) for name, values in facts.items() for at, value in enumerate(values)]
    console().print(facts_table(lines))


def _presets() -> None:
    from rich.text import Text

    from bench.report.plain import plain_table

    rows = []
    for preset in units.presets():
        size = preset.backbone
        backbone = f"{size.points} points, {size.groups} x {size.group_size}, width {size.width}, depth {size.depth}"
        rows.append((Text(preset.name, style="bold"), preset.summary, backbone))
    console().print(Text("presets", style="bold italic"))
    console().print(plain_table(("name", "what it is", "backbone"), rows))
