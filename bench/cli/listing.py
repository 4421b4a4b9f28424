"""``bench list``: what there is, what it needs, and whether it is usable here."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.markup import escape

from bench.cli.common import PluginOption, console, load_plugins
from bench.registry import METHODS, REGISTRIES


class Kind(StrEnum):
    """What can be listed."""

    methods = "methods"
    protocols = "protocols"
    datasets = "datasets"
    teachers = "teachers"
    presets = "presets"


def show(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; everything when left out.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Metadata of each entry too.")] = False,
    plugin: PluginOption = None,
) -> None:
    """List methods, protocols, data sets, teachers or presets."""
    load_plugins(plugin)
    for name in [kind.value] if kind else [k.value for k in Kind]:
        if name == "presets":
            _presets()
        else:
            _entries(name, verbose)


def _entries(kind: str, verbose: bool) -> None:
    from rich.table import Table

    table = Table(title=kind, title_justify="left", box=None, pad_edge=False)
    for column in ("name", "what it is", "needs", "here"):
        table.add_column(column, overflow="fold")
    for entry in REGISTRIES[kind]:
        reason = entry.unusable()
        source = "" if entry.source == "built in" else f" [dim]({escape(entry.source)})[/dim]"
        table.add_row(
            f"[bold]{entry.name}[/bold]{source}",
            escape(entry.summary),
            escape(entry.needs),
            "[green]usable[/green]" if reason is None else f"[yellow]no: {reason}[/yellow]",
        )
    console().print(table)
    console().print()
    if verbose:
        _metadata(kind)


def _metadata(kind: str) -> None:
    """Print the typed metadata, which means importing the classes."""
    screen = console()
    for entry in REGISTRIES[kind]:
        if entry.unusable() is not None:
            continue
        loaded = REGISTRIES[kind].load(entry.name)
        screen.print(f"[bold]{entry.name}[/bold]")
        card = getattr(loaded, "card", None)
        if isinstance(card, BaseModel):
            for field, value in card.model_dump().items():
                screen.print(f"  {field.replace('_', ' ')}: {value}", highlight=False, markup=False)
        for field, info in loaded.Options.model_fields.items():
            screen.print(f"  option {field} = {info.default!r}", highlight=False, markup=False)
        if kind == "methods" and entry.name in METHODS:
            _sizes(entry.name)
        screen.print()


def _sizes(name: str) -> None:
    """Print the transfer feature and the encoder's parameters at every size."""
    from bench.plan.presets import PRESETS

    method = METHODS.load(name)
    if name == "scratch":
        return
    counts = []
    for preset in PRESETS.values():
        encoder = method.build_encoder(preset.backbone, method.Options())
        counts.append(f"{preset.name} {encoder.parameter_count:,}")
    screen = console()
    for feature, words in encoder.feature_descriptions.items():
        screen.print(f"  feature {feature}: {words}", highlight=False, markup=False)
    screen.print(f"  encoder parameters: {', '.join(counts)}", highlight=False, markup=False)


def _presets() -> None:
    from rich.table import Table

    from bench.plan.presets import PRESETS

    table = Table(title="presets", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "what it is", "backbone"):
        table.add_column(column, overflow="fold")
    for preset in PRESETS.values():
        size = preset.backbone
        table.add_row(
            f"[bold]{preset.name}[/bold]",
            preset.summary,
            f"{size.points} points, {size.groups} x {size.group_size}, width {size.width}, depth {size.depth}",
        )
    console().print(table)
