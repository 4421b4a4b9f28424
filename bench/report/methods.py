"""The methods of a report, as their stored cards describe.

Cards lie in modules that import torch, so a run's record carries a copy: ``provenance["method_card"]``. Records of
older versions, with fields missing or deviations as plain sentences, are read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from bench.report.document import NOTHING, Cell, Detail, Field, Part, Table
from bench.report.runs import NOT_RECORDED
from bench.report.words import count

if TYPE_CHECKING:
    from bench.store.records import RunRecord


@dataclass(frozen=True)
class MethodLine:
    """Card of one method, for the report.

    Attributes:
        name: Name on the command line.
        paper: Publication.
        stages: Stages of training, in order.
        modalities: Inputs of pretraining.
        sees_class_names: Whether and how pretraining sees class names.
        release_splits: Pretraining splits of the authors' release.
        sizes: Parameters of its encoders by preset, and the feature that was judged.
        deviations: Differences of the defaults from the release, each with the option that restores it.
    """

    name: str
    paper: str
    stages: tuple[str, ...]
    modalities: tuple[str, ...]
    sees_class_names: str
    release_splits: str
    sizes: tuple[str, ...]
    deviations: tuple[tuple[str, str], ...]


def method_lines(runs: Iterable[RunRecord]) -> tuple[MethodLine, ...]:
    """Collect the methods of finished runs.

    Empty where no run carries a card.

    Where runs of a method carry different cards, the latest run's is shown.
    """
    by_method: dict[str, list[RunRecord]] = {}
    for run in runs:
        by_method.setdefault(run.label.get("method", "?"), []).append(run)
    if not any(_card(run) for own in by_method.values() for run in own):
        return ()
    return tuple(_line(name, by_method[name]) for name in sorted(by_method, key=lambda n: (n == "scratch", n)))


def _card(run: RunRecord) -> Mapping[str, JsonValue]:
    card = run.recorded("method_card")
    return card if isinstance(card, dict) else {}


def _line(name: str, runs: Sequence[RunRecord]) -> MethodLine:
    card = _latest_card(runs)
    return MethodLine(
        name=name,
        paper=_words(card.get("paper")),
        stages=_list(card.get("stages")),
        modalities=_list(card.get("modalities")),
        sees_class_names=_words(card.get("sees_class_names")),
        release_splits=_words(card.get("release_splits")),
        sizes=_sizes(name, runs),
        deviations=_deviations(card.get("deviations")),
    )


def _latest_card(runs: Sequence[RunRecord]) -> Mapping[str, JsonValue]:
    """Return the card of the latest run that carries one."""
    carded = [(card, run) for run in runs if (card := _card(run))]
    if len({id(card) for card, _ in carded}) > 1:  # Runs of a results folder share equal ones.
        return max(carded, key=lambda one: (str(one[1].recorded("finished")), one[1].key))[0]
    return carded[0][0] if carded else {}


def _sizes(name: str, runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return one phrase per architecture, preset and feature.

    ``nano 1.7 M (2.3 M in pretraining), class + max (2C)``.
    """
    found, equal = set(), dict[str, str]()
    for run in runs:
        cost, label = run.cost, run.label
        size, whole, flops = (cost.get(f) for f in ("parameters_encoder", "parameters_pretraining", "flops_forward"))
        if size is None:
            continue
        architecture = label.get("architecture", name)
        network = "" if whole is None else f" ({count(int(whole))} in pretraining)"
        place = label.get("preset", "?") if architecture == name else f"{architecture} {label.get('preset')}"
        feature = run.recorded("feature")
        told = f", {feature}" if isinstance(feature, str) and feature else ""
        work = "" if flops is None else f", {count(int(flops))} operations a cloud"
        if not run.alike or run.alike not in equal:
            matched = run.spec.get("matched")
            equal[run.alike] = f" (matched by {matched.get('by')})" if isinstance(matched, dict) else ""
        found.add((architecture, size, f"{place} {count(int(size))}{network}{work}{equal[run.alike]}{told}"))
    return tuple(text for _, _, text in sorted(found))


def _deviations(value: JsonValue) -> tuple[tuple[str, str], ...]:
    found = []
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict):
            found.append((_words(entry.get("what")), _words(entry.get("restored_by"))))
        else:
            found.append((_words(entry), ""))
    return tuple(found)


def _list(value: JsonValue) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _words(value: JsonValue) -> str:
    return value if isinstance(value, str) and value else NOT_RECORDED


def deviation_texts(line: MethodLine) -> tuple[str, ...]:
    """Return deviations as phrases: ``only visible patches are embedded [tokenize=all]``."""
    return tuple(
        what if not option else f"{what} [{'nothing restores it' if option == 'nothing' else option}]"
        for what, option in line.deviations
    )


FIELDS: tuple[Field[MethodLine], ...] = (
    Field("method", "method", lambda line: line.name, whole=True),
    Field("paper", "published in", lambda line: line.paper),
    Field("stages", "stages", lambda line: " → ".join(line.stages) or "none"),
    Field("modalities", "pretraining reads", lambda line: ", ".join(line.modalities)),
    Field("class_names", "class names in pretraining", lambda line: line.sees_class_names),
    Field("release_splits", "release pretrains on", lambda line: line.release_splits),
    Field("sizes", "parameters, feature", lambda line: _listed(line.sizes)),
    Field("deviations", "differs from the release [what restores it]", lambda line: _listed(deviation_texts(line))),
)


def _listed(items: tuple[str, ...]) -> Cell:
    return Cell("; ".join(items) or NOTHING, items=items)


def part(lines: Sequence[MethodLine]) -> Part:
    """Return the methods as a part of the document."""
    table = Table.of("methods", FIELDS, lines)
    return Part("Methods in this report", (table,), "methods", detail=Detail.FILES)
