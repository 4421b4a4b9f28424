"""``bench protocols``: what each protocol does and changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue
from rich.markup import escape

from bench.api import units
from bench.api.common import Form
from bench.api.results import load
from bench.cli.common import PluginOption, ResultsOption, StoreOption, console
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.protocols.cards import ProtocolCard

app = typer.Typer(help="Print what each protocol does, and where papers differ.", no_args_is_help=True)


@app.command("list")
def list_(
    preset: Annotated[str, typer.Option(help="smoke, nano, tiny, small or base.")] = "nano",
    plugin: PluginOption = None,
) -> None:
    """List protocols with forms, revision and card hash."""
    from bench.report.plain import TextTable

    found = units.cards(preset=preset, plugins=plugin or ())
    known = {entry.name: entry.summary for entry in units.entries("protocols")}
    rows = [(one.name, one.form, str(one.revision), one.metric, one.hash[:12], known[one.name]) for one in found]
    headings = ("protocol", "form", "revision", "metric", "card", "what it is")
    console().print(TextTable(headings, rows, whole=headings[:5]))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Protocol, see bench protocols list.")],
    preset: Annotated[str, typer.Option(help="smoke, nano, tiny, small or base.")] = "nano",
    form: Annotated[Form, typer.Option(help="fair, or as published.")] = "fair",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="protocol.FIELD=VALUE, e.g. protocol.head=linear; repeatable.")
    ] = None,
    plugin: PluginOption = None,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Print a protocol's card and its deviations from papers.

    Where runs of exactly this card are stored, the digests of their splits are listed too.
    """
    card = units.card(name, preset=preset, form=form, assignments=assignments or (), plugins=plugin or ())
    screen = console()
    screen.print(
        f"[bold]{escape(card.name)}[/bold], {card.form} form, revision {card.revision}, preset {escape(preset)}",
        highlight=False,
    )
    screen.print(f"headline: {escape(card.metric)} on the test split", highlight=False)
    screen.print()
    _print_pairs(list(card.points.items()))
    screen.print("[bold]what is done[/bold]", highlight=False)
    _print_pairs([("", card.statement.strip())])
    screen.print("[bold]what the papers do instead[/bold]", highlight=False)
    _print_pairs(list(card.deviations.items()) or [("–", "nothing is stated")])
    screen.print("[bold]options[/bold]", highlight=False)
    unused = _other_forms_options(name, card.form)
    shown = {name: value for name, value in card.options.items() if name not in (*unused, "form")}
    _print_pairs([(option, _shown(value)) for option, value in shown.items()])
    if digests := _split_digests(card, results, store_url):
        screen.print("[bold]splits of stored runs of this card[/bold]", highlight=False)
        _print_pairs(list(digests.items()))
    screen.print(f"card {card.hash}", highlight=False, soft_wrap=True)


@app.command()
def docs(
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("docs/protocols.md"),
) -> None:
    """Write every card as one Markdown file."""
    console().print(f"wrote {units.write_cards(out)}", highlight=False, markup=False)


def _split_digests(card: ProtocolCard, results: Path | None, store_url: str | None) -> dict[str, str]:
    """Return split digests of stored runs; empty without any."""
    try:
        return load(results, store_url=store_url).split_digests(card)
    except BenchError:
        return {}


def _other_forms_options(name: str, form: Form) -> tuple[str, ...]:
    """Return options that have no effect in a form."""
    from bench.registry import PROTOCOLS

    unused = getattr(PROTOCOLS.load(name).Options, "fair_only" if form == "published" else "published_only", ())
    return tuple(unused)


def _shown(value: JsonValue) -> str:
    """Format an option's value as ``--set`` takes it.

    A recipe becomes one line of fields.
    """
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _print_pairs(pairs: list[tuple[str, str]]) -> None:
    """Print names and texts in two columns, wrapped."""
    from bench.report.plain import facts_table

    console().print(facts_table(pairs))
    console().print()
