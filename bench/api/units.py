"""Methods, protocols, data sets and teachers by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.api.common import Form, PathLike, looking, registered, workspace_at
from bench.errors import SetupError, UsageError, unknown_name
from bench.registry import METHODS, PROTOCOLS, REGISTRIES, TEACHERS

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue

    from bench.plan.presets import Preset
    from bench.protocols.cards import ProtocolCard
    from bench.recipes.row import Row
    from bench.registry import Entry


NewKind = Literal["method", "encoder", "protocol", "dataset", "teacher", "block"]
Style = Literal["masked", "contrastive"]
UnitKind = Literal[
    "methods", "encoders", "protocols", "datasets", "teachers", "blocks", "norms", "tokenizers", "engines"
]


def available(
    kind: Literal[
        "methods",
        "encoders",
        "protocols",
        "datasets",
        "teachers",
        "blocks",
        "norms",
        "tokenizers",
        "engines",
        "presets",
        "recipes",
    ],
    *,
    plugins: Sequence[PathLike] = (),
) -> pd.DataFrame:
    """Return a table of units, as ``bench list`` prints.

    Args:
        kind: A kind of unit: ``name``, ``what``, ``needs``, ``source`` and ``unusable`` (why not here, or None);
            ``presets``: ``name``, ``what`` and the sizes of the backbone; ``recipes``: see `recipes`.
        plugins: Plugin files.

    Raises:
        UsageError: There is no such kind.
    """
    import pandas as pd

    registered(*plugins)
    if kind == "recipes":
        return pd.DataFrame(recipes())
    if kind == "presets":
        return pd.DataFrame([{"name": one.name, "what": one.summary, **one.backbone.model_dump()} for one in presets()])
    rows = [(one.name, one.summary, one.needs, one.source, one.unusable()) for one in entries(kind)]
    return pd.DataFrame(rows, columns=["name", "what", "needs", "source", "unusable"])


def describe(kind: UnitKind, name: str) -> dict[str, tuple[str, ...]]:
    """Return a unit's card, features, parameters and options.

    As ``bench list --verbose``.

    Raises:
        UsageError: There is no such kind or unit, or it is not usable here.
    """
    registered()
    entries(kind)
    REGISTRIES[kind].entry(name)
    from bench.inspection.units import describe_unit

    return describe_unit(kind, name)


def entries(kind: UnitKind) -> tuple[Entry, ...]:
    """Return the registered units of a kind.

    Raises:
        UsageError: There is no such kind.
    """
    if kind not in REGISTRIES:
        raise unknown_name("kind", kind, (*REGISTRIES, "presets", "recipes"))
    return tuple(REGISTRIES[kind])


def presets() -> tuple[Preset, ...]:
    """Return the presets, smallest first."""
    from bench.plan.presets import PRESETS

    return tuple(PRESETS.values())


def recipe_rows() -> list[Row]:
    """Return all recipes, those of plugins included."""
    from bench.recipes.row import Row
    from bench.recipes.table import RECIPES

    brought = [
        Row(units=(entry.name,), source=entry.source, recipe=recipe, form="pretraining", presets=(preset,))
        for entry in METHODS
        if entry.source != "built in" and entry.unusable() is None
        for preset, recipe in METHODS.load(entry.name).recipes.items()
    ]
    return [*RECIPES, *brought]


def recipes() -> list[dict[str, JsonValue]]:
    """Return every recipe with its source.

    As ``bench list recipes --json``.
    """
    registered()
    return [
        {
            "units": list(row.units),
            "form": row.form,
            "presets": list(row.presets),
            "stage": row.stage,
            "method": row.method,
            "others": row.others,
            "data": row.data,
            "recipe": None if row.recipe is None else row.recipe.model_dump(mode="json"),
            "shortened": dict(row.shortened),
            "figures": row.figures,
            "source": row.source,
        }
        for row in recipe_rows()
    ]


def card(
    protocol: str,
    *,
    preset: str = "nano",
    form: Form = "fair",
    assignments: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
) -> ProtocolCard:
    """Return a protocol's card.

    As ``bench protocols show``: what is done, and where papers differ.

    Args:
        protocol: Its name.
        preset: Preset its options are taken from.
        form: ``fair`` or ``published``.
        assignments: ``protocol.FIELD=VALUE`` texts.
        plugins: Plugin files.

    Raises:
        UsageError: A name or an option is wrong, or the protocol has no such form.
    """
    from bench.plan.presets import preset as preset_of
    from bench.plan.request import parse_assignments, validated

    registered(*plugins)
    preset_of(preset)
    PROTOCOLS.entry(protocol)
    given = parse_assignments(assignments)
    from bench.plan.overrides import Overrides
    from bench.protocols.cards import card_of
    from bench.protocols.trained_options import refuse_other_form

    loaded = PROTOCOLS.load(protocol)
    if form not in loaded.forms:
        raise UsageError(f"protocol '{protocol}' has no {form} form, only {', '.join(loaded.forms)}")
    overrides = Overrides(given, frozenset({"protocol", protocol}))
    values = overrides.merge(loaded.defaults(preset, form).model_dump(mode="json"), "protocol", protocol)
    options = validated(loaded.Options, values, protocol)
    refuse_other_form(protocol, options, form)
    return card_of(loaded, options, form)


def cards(*, preset: str = "nano", plugins: Sequence[PathLike] = ()) -> list[ProtocolCard]:
    """Return the cards of all usable protocols and forms.

    As ``bench protocols list``.
    """
    registered(*plugins)
    usable = [entry.name for entry in PROTOCOLS if entry.unusable() is None]
    return [card(name, preset=preset, form=form) for name in usable for form in PROTOCOLS.load(name).forms]


def write_cards(out: PathLike = "docs/protocols.md") -> Path:
    """Write the built-in protocols' cards as Markdown.

    As ``bench protocols docs``, at the published sizes.

    Raises:
        SetupError: The file cannot be written.
    """
    from bench.inspection.protocol_page import protocol_page

    built_in = {entry.name: entry.summary for entry in PROTOCOLS if entry.source == "built in"}
    found = [one for one in cards(preset="base") if one.name in built_in]
    try:
        Path(out).write_text(protocol_page(found, built_in), encoding="utf-8")
    except OSError as error:
        raise SetupError(f"cannot write {out}: {error.strerror or error}; choose another file with --out") from error
    return Path(out)


def new_plugin(
    kind: NewKind, name: str, *, style: Style | None = None, out: PathLike | None = None
) -> tuple[Path, Path]:
    """Write a working plugin file and its test.

    As ``bench new``.

    Args:
        kind: Kind of plugin.
        name: Its name on the command line, such as ``my-method``.
        style: Example that a method starts from: ``masked`` (default) or ``contrastive``.
        out: File to write; the name with underscores, in the current folder, when left out.

    Returns:
        The plugin file, and the test beside it.

    Raises:
        UsageError: The name or the file's name cannot be used, or one of the files exists.
    """
    registered()
    from bench.scaffold.writing import scaffold

    if style and kind != "method":
        raise UsageError(f"--style {style} is for methods; a {kind} has one example")
    return scaffold(kind, name, style or "masked", None if out is None else Path(out))


def teacher(
    name: str, *, results: PathLike | None = None, assignments: Sequence[str] = (), plugins: Sequence[PathLike] = ()
) -> dict[str, JsonValue]:
    """Describe a teacher and whether it is ready.

    As ``bench teachers show``; nothing is fetched.

    Raises:
        UsageError: Unknown name or option.
    """
    registered(*plugins)
    TEACHERS.entry(name)
    from bench.inspection.teachers import describe_teacher

    return describe_teacher(name, list(assignments), looking(workspace_at(results)))


def fit_teacher(
    name: str, *, results: PathLike | None = None, assignments: Sequence[str] = (), plugins: Sequence[PathLike] = ()
) -> dict[str, JsonValue]:
    """Fit or fetch a teacher, and return its report.

    As ``bench teachers fit``.

    Raises:
        UsageError: Unknown name or option.
        SetupError: Its weights cannot be had here.
    """
    registered(*plugins)
    TEACHERS.entry(name)
    from bench.inspection.teachers import fit_teacher as fit
    from bench.texts import screen

    place = workspace_at(results)
    place.prepare()
    return fit(name, list(assignments), place, screen())
