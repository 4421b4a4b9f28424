"""``bench list``: what there is, what it needs, and whether it is usable here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from rich.markup import escape

from bench.cli.common import PluginOption, console, load_plugins
from bench.errors import UsageError
from bench.registry import METHODS, REGISTRIES
from bench.spec import BackboneSpec, TransformerShape

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from bench.methods.base import AnyMethod, Deviation
    from bench.models.encoder import Encoder

VIT_BASE = TransformerShape(width=768, depth=12, heads=12, mlp_width=3072)
"""Stands for a teacher's transformer where parameters are counted."""


class Kind(StrEnum):
    """Kinds of things that can be listed."""

    methods = "methods"
    protocols = "protocols"
    datasets = "datasets"
    teachers = "teachers"
    backbones = "backbones"
    blocks = "blocks"
    norms = "norms"
    tokenizers = "tokenizers"
    presets = "presets"
    recipes = "recipes"


PARTS = ("blocks", "norms", "tokenizers")
"""Kinds that ``backbones`` stands for."""


def show(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; all but recipes when left out.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Metadata of each entry too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print recipes as JSON.")] = False,
    plugin: PluginOption = None,
) -> None:
    """List methods, protocols, data sets and other units.

    Also teachers, parts of the backbone, presets and recipes.
    """
    if as_json and kind is not Kind.recipes:
        raise UsageError("--json is for recipes: bench list recipes --json")
    load_plugins(plugin)
    if kind is Kind.recipes:
        _recipes(as_json)
        return
    every = [k.value for k in Kind if k not in (Kind.backbones, Kind.recipes)]
    for name in PARTS if kind is Kind.backbones else [kind.value] if kind else every:
        if name == "presets":
            _presets()
        else:
            _entries(name, verbose)


def _recipes(as_json: bool) -> None:
    import json

    from bench.cli.recipes import print_recipes, recipes_as_json

    if as_json:
        print(json.dumps(recipes_as_json(), indent=1))
    else:
        print_recipes()


def _entries(kind: str, verbose: bool) -> None:
    from rich.text import Text

    from bench.report.plain import TextTable

    rows = []
    for entry in REGISTRIES[kind]:
        reason = entry.unusable()
        told = [entry.summary]
        told += [f"(stage of {entry.part_of})"] if entry.part_of else []
        told += [f"(from {entry.source})"] if entry.source != "built in" else []
        missing = "" if reason is None else f"not usable here: {reason}"
        rows.append((Text(entry.name, style="bold"), " ".join(told), entry.needs, Text(missing, style="yellow")))
    screen = console()
    screen.print(Text(kind, style="bold italic"))
    screen.print(TextTable(("name", "what it is", "needs", "here"), rows, whole=("name",), below=("here",)))
    if kind in PARTS:
        field = kind.removesuffix("s")
        used = f"used with --set backbone.{field}=NAME, its options with --set backbone.{field}_options.OPTION=VALUE"
        screen.print(Text(used, style="dim"))
    screen.print()
    if verbose:
        _metadata(kind)


def _metadata(kind: str) -> None:
    """Print the typed metadata, which means importing the classes."""
    screen = console()
    for entry in REGISTRIES[kind]:
        if entry.unusable() is not None:
            continue
        loaded = REGISTRIES[kind].load(entry.name)
        stage = f"  [dim]stage of {entry.part_of}[/dim]" if entry.part_of else ""
        screen.print(f"[bold]{escape(entry.name)}[/bold]{stage}", highlight=False)
        facts: list[tuple[str, Sequence[str]]] = list(_card(loaded))
        if kind == "methods":
            facts += _sizes(METHODS.load(entry.name))
        facts.append(("options", [_option(name, info) for name, info in loaded.Options.model_fields.items()]))
        _print_facts([fact for fact in facts if fact[1]])
        screen.print()


def _print_facts(facts: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Print names and values in two columns, values wrapped, several values one below the other."""
    from bench.report.plain import facts_table

    lines = [(name if number == 0 else "", value) for name, values in facts for number, value in enumerate(values)]
    console().print(facts_table(lines))


def _card(loaded: Any) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the fields of a card, whatever kind of plugin it belongs to."""
    card = getattr(loaded, "card", None)
    if not isinstance(card, BaseModel):
        return
    for field in type(card).model_fields:
        value = getattr(card, field)
        name = field.replace("_", " ")
        if field == "deviations":
            yield "differs from release", [_deviation(deviation) for deviation in value] or ["nothing"]
        elif field == "stages":
            yield name, [", then ".join(value) or "none: nothing is trained"]
        elif isinstance(value, tuple):
            yield name, [", ".join(map(str, value))]
        elif isinstance(value, bool):
            yield name, ["yes" if value else "no"]
        elif isinstance(value, dict):
            counts = ", ".join(f"{count:,} {part}" for part, count in value.items())
            yield name, [counts or getattr(card, "unstated", "none")]
        else:
            yield name, [str(value) or getattr(card, "unstated", "none")]


def _deviation(deviation: Deviation) -> str:
    nothing = deviation.restored_by == "nothing"
    return f"- {deviation.what} [{'nothing restores it' if nothing else deviation.restored_by}]"


def _option(name: str, info: FieldInfo) -> str:
    """An option with its default, and what else it may be."""
    default = info.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        default = default.model_dump(mode="json", exclude_defaults=True)
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    others = [str(choice) for choice in choices if choice != default]
    return f"{name} = {default!r}" + (f"  (or {', '.join(others)})" if others else "")


def _sizes(method: type[AnyMethod]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the features a method's encoder offers, and its parameters at every size."""
    from bench.plan.presets import PRESETS

    if method.name == "scratch" or not method.has_encoder:
        yield "parameters", ["those of the architecture it takes" if method.has_encoder else "none of its own"]
        return
    if not method.has_encoder:
        yield "parameters", ["none: it is its teacher alone"]
        return
    options: BaseModel = method.Options()
    note = ""
    if "transformer" in method.uses(options):
        options = method.complete(options, VIT_BASE)
        note = ", with a ViT-Base as the token transformer"
    built = {preset.name: _outline(method, preset.backbone, options) for preset in PRESETS.values()}
    encoder = built["base"]
    yield "features", [f"{name}: {words}" for name, words in encoder.feature_descriptions.items()]
    counts = ", ".join(f"{preset} {one.parameter_count:,}" for preset, one in built.items())
    yield "parameters", [f"{counts} (encoder{note})"]


def _outline(method: type[AnyMethod], backbone: BackboneSpec, options: BaseModel) -> Encoder:
    """Build an encoder without memory for its weights; with it, for a plugin whose code needs real ones."""
    import torch

    try:
        with torch.device("meta"):
            return method.build_encoder(backbone, options)
    except (NotImplementedError, RuntimeError):
        return method.build_encoder(backbone, options)


def _presets() -> None:
    from rich.text import Text

    from bench.plan.presets import PRESETS
    from bench.report.plain import plain_table

    rows = []
    for preset in PRESETS.values():
        size = preset.backbone
        backbone = f"{size.points} points, {size.groups} x {size.group_size}, width {size.width}, depth {size.depth}"
        rows.append((Text(preset.name, style="bold"), preset.summary, backbone))
    console().print(Text("presets", style="bold italic"))
    console().print(plain_table(("name", "what it is", "backbone"), rows))
