"""``bench protocols``: what each protocol does, point by point, and where it leaves the papers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue
from rich.markup import escape

from bench.cli.common import PluginOption, ResultsOption, StoreOption, console, load_plugins
from bench.errors import SetupError

if TYPE_CHECKING:
    from bench.protocols.base import Form
    from bench.protocols.cards import ProtocolCard

app = typer.Typer(help="Print what each protocol does, and where papers differ.", no_args_is_help=True)

DOCUMENTED_PRESET = "base"
_INTRO = (
    "What each protocol does, in both of its forms where it has two, with the options of preset `base` (the published "
    "sizes). Written by `bench protocols docs`; edit the protocols, not this file. `bench protocols show NAME` prints "
    "the card of any preset, with its options; every run carries the hash of its card."
)


@app.command("list")
def list_(
    preset: Annotated[str, typer.Option(help="smoke, nano, tiny, small or base.")] = DOCUMENTED_PRESET,
    plugin: PluginOption = None,
) -> None:
    """List protocols with their forms, revision and the hash of their cards."""
    from bench.report.plain import TextTable

    load_plugins(plugin)
    rows = []
    for name, summary in _protocols():
        for form in _forms(name):
            card = read_card(name, preset, form)
            rows.append((name, form, str(card.revision), card.metric, card.hash[:12], summary))
    headings = ("protocol", "form", "revision", "metric", "card", "what it is")
    console().print(TextTable(headings, rows, whole=headings[:5]))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Protocol, see bench protocols list.")],
    preset: Annotated[str, typer.Option(help="smoke, nano, tiny, small or base.")] = DOCUMENTED_PRESET,
    form: Annotated[str, typer.Option(help="fair or published.")] = "fair",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="protocol.FIELD=VALUE, e.g. protocol.head=linear; repeatable.")
    ] = None,
    plugin: PluginOption = None,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Print a protocol's card: what is done, point by point, and where it leaves each paper.

    Where runs of exactly this card are stored, the digests of their splits are listed too.
    """
    load_plugins(plugin)
    card = read_card(name, preset, form, assignments or [])
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
    digests = _split_digests(card, results, store_url)
    if digests:
        screen.print("[bold]splits of stored runs of this card[/bold]", highlight=False)
        _print_pairs(digests)
    screen.print(f"card {card.hash}", highlight=False, soft_wrap=True)


@app.command()
def docs(
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("docs/protocols.md"),
) -> None:
    """Write every card as one Markdown file."""
    try:
        out.write_text(cards_as_markdown(), encoding="utf-8")
    except OSError as error:
        raise SetupError(f"cannot write {out}: {error.strerror or error}; choose another file with --out") from error
    console().print(f"wrote {out}", highlight=False, markup=False)


def read_card(name: str, preset: str, form: str, assignments: list[str] | None = None) -> ProtocolCard:
    """Make a protocol's card.

    Args:
        name: Protocol.
        preset: Preset its options are taken from.
        form: ``fair`` or ``published``.
        assignments: Options changed with ``--set``.

    Raises:
        UsageError: A name or an option is wrong, or the protocol has no such form.
    """
    from bench.api.units import card

    return card(name, preset=preset, form=form, assignments=assignments or ())  # type: ignore[arg-type]


def cards_as_markdown() -> str:
    """Every built-in protocol's cards, one section each."""
    parts = ["# Protocols", "", _INTRO, ""]
    for name, summary in _protocols(built_in=True):
        parts += [f"## {name}", "", f"{summary}.", ""]
        for form in _forms(name):
            card = read_card(name, DOCUMENTED_PRESET, form)
            parts += [f"### {name}, {form} form (revision {card.revision})", "", card.statement.strip(), ""]
            parts += ["| point | what is done |", "|---|---|"]
            parts += [f"| {point} | {_cell(words)} |" for point, words in card.points.items()]
            parts += ["", "| paper | what it does instead |", "|---|---|"]
            parts += [f"| {paper} | {_cell(text)} |" for paper, text in card.deviations.items()]
            parts += [""]
    return "\n".join(parts).rstrip("\n") + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _protocols(*, built_in: bool = False) -> list[tuple[str, str]]:
    from bench.registry import PROTOCOLS

    entries = [entry for entry in PROTOCOLS if entry.source == "built in" or not built_in]
    return [(entry.name, entry.summary) for entry in entries if entry.unusable() is None]


def _other_forms_options(name: str, form: Form) -> tuple[str, ...]:
    """Options that mean nothing in a form: showing their defaults would say that they are used."""
    from bench.registry import PROTOCOLS

    unused = getattr(PROTOCOLS.load(name).Options, "fair_only" if form == "published" else "published_only", ())
    return tuple(unused)


def _forms(name: str) -> tuple[Form, ...]:
    from bench.registry import PROTOCOLS

    return PROTOCOLS.load(name).forms


def _shown(value: JsonValue) -> str:
    """Write the value of an option as ``--set`` takes it, a recipe as one line of fields."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _print_pairs(pairs: list[tuple[str, str]]) -> None:
    """Print names and texts in two columns, texts wrapped."""
    from bench.report.plain import facts_table

    console().print(facts_table(pairs))
    console().print()


def _split_digests(card: ProtocolCard, results: Path | None, store_url: str | None) -> list[tuple[str, str]]:
    """Digests of everything drawn, by data set, setting and split seed, of stored runs of a card."""
    from bench.errors import BenchError
    from bench.paths import Workspace
    from bench.store.queries import run_rows
    from bench.store.store import Store

    wanted = {"name": card.name, "revision": card.revision, "form": card.form, "options": card.options}
    found = set()
    try:
        store = Store.open_readonly(Workspace.at(results).results, store_url)
        for row in run_rows(store):
            if (row.protocol, row.form) != (card.name, card.form):
                continue
            judged = store.load(row.stored).spec.get("protocol")
            if isinstance(judged, dict) and {name: judged.get(name) for name in wanted} == wanted:
                split = f", split seed {row.split_seed}" if row.split_seed else ""
                found.add((f"{row.dataset}, {row.setting}{split}", str(row.provenance.get("split_digest", ""))))
    except BenchError:  # no store: there are no runs to list
        return []
    return sorted(found)
