"""Units by name: methods, protocols, data sets and teachers, and their cards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from bench.api.common import PathLike, looking, registered, workspace_at
from bench.errors import UsageError, unknown_name

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue

    from bench.protocols.cards import ProtocolCard


def available(kind: Literal["methods", "protocols", "datasets", "teachers"]) -> pd.DataFrame:
    """Return what can be named: ``name``, ``what``, ``needs``, ``source``, ``unusable`` (why not here, or None).

    Raises:
        UsageError: There is no such kind.
    """
    import pandas as pd

    from bench.registry import REGISTRIES

    registered()
    if kind not in REGISTRIES:
        raise unknown_name("kind", kind, REGISTRIES)
    rows = [(one.name, one.summary, one.needs, one.source, one.unusable()) for one in REGISTRIES[kind]]
    return pd.DataFrame(rows, columns=["name", "what", "needs", "source", "unusable"])


def card(
    protocol: str, *, preset: str = "base", form: Literal["fair", "published"] = "fair", assignments: Sequence[str] = ()
) -> ProtocolCard:
    """Return a protocol's card: what is done, and where papers differ (``bench protocols show``).

    Args:
        protocol: Its name.
        preset: Preset its options are taken from.
        form: ``fair`` or ``published``.
        assignments: ``protocol.FIELD=VALUE`` texts.

    Raises:
        UsageError: A name or an option is wrong, or the protocol has no such form.
    """
    from bench.plan.overrides import Overrides
    from bench.plan.presets import preset as preset_of
    from bench.plan.request import parse_assignment, validated
    from bench.protocols.cards import card_of
    from bench.protocols.trained_options import refuse_other_form
    from bench.registry import PROTOCOLS

    registered()
    preset_of(preset)
    loaded = PROTOCOLS.load(protocol)
    if form not in loaded.forms:
        raise UsageError(f"protocol '{protocol}' has no {form} form, only {', '.join(loaded.forms)}")
    overrides = Overrides(dict(map(parse_assignment, assignments)), frozenset({"protocol", protocol}))
    values = overrides.merge(loaded.defaults(preset, form).model_dump(mode="json"), "protocol", protocol)
    options = validated(loaded.Options, values, protocol)
    refuse_other_form(protocol, options, form)
    return card_of(loaded, options, form)


def teacher(name: str, *, results: PathLike | None = None, assignments: Sequence[str] = ()) -> dict[str, JsonValue]:
    """Say what a teacher is and whether it is ready (``bench teachers show``); nothing is fetched.

    Raises:
        UsageError: Unknown name or option.
    """
    registered()
    from bench.inspection.teachers import describe_teacher

    return describe_teacher(name, list(assignments), looking(workspace_at(results)))


def fit_teacher(name: str, *, results: PathLike | None = None, assignments: Sequence[str] = ()) -> dict[str, JsonValue]:
    """Fit the embedded teacher, or fetch the weights of another (``bench teachers fit``).

    Raises:
        UsageError: Unknown name or option.
        SetupError: Its weights cannot be had here.
    """
    registered()
    from bench.inspection.teachers import fit_teacher as fit
    from bench.texts import screen

    place = workspace_at(results)
    place.prepare()
    return fit(name, list(assignments), place, screen())
