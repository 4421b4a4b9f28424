"""Hyperparameter searches in a report."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report import quantities
from bench.report.document import (
    Block,
    Cell,
    Detail,
    Drawing,
    Field,
    Figure,
    Findings,
    Fold,
    Item,
    Notes,
    Paragraph,
    Part,
    Table,
)
from bench.report.plots import FAINT, INK, MARKERS, SERIES, canvas
from bench.report.studies import StudyFacts, TrialFacts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Tuning"
EXPLAINED = (
    "Every trial is scored on validation objects carved from the training split; its test score is in no table. All "
    "methods of one search get the same space and should get the same number of trials. No trial is cut short (no "
    "pruner). The first trial is the recipe as shipped, where it lies in the space. Runs with the values chosen here "
    "have their own tables, and are compared if space and number of trials agree."
)
FEW = "Too few trials to say which parameter mattered."


@dataclass(frozen=True)
class StudyGroup:
    """Searches under the same protocol, data and preset.

    Attributes:
        anchor: Name for links.
        studies: One per method and seed, by name.
    """

    anchor: str
    studies: tuple[StudyFacts, ...]

    @property
    def title(self) -> str:
        """Heading."""
        first = self.studies[0]
        return f"{first.protocol} on {first.dataset}: {_WHAT.get(first.what, first.what)}"

    @property
    def preset(self) -> str:
        """Preset of all of them."""
        return self.studies[0].preset

    @property
    def how(self) -> str:
        """Describe how trials are scored."""
        first = self.studies[0]
        settings = "" if first.settings in ((), ("all",)) else f", mean over {', '.join(first.settings)}"
        return f"Score: {first.metric.replace('_', ' ')} on validation in percent{settings}."

    @property
    def spaces(self) -> list[list[str]]:
        """Search spaces; one, if all methods had the same."""
        longest: dict[str, tuple[str, ...]] = {}
        for study in self.studies:  # scratch has no pretraining to search: the longest list is the whole space
            kept = longest.get(study.space, ())
            longest[study.space] = max(kept, study.dimensions, key=len)
        return [list(lines) for lines in longest.values()]

    @property
    def warnings(self) -> list[str]:
        """Name what makes methods of this group incomparable."""
        found = []
        budgets: dict[int, list[str]] = {}
        for study in self.studies:
            budgets.setdefault(len(study.trials), []).append(_name(study, self.studies))
        if len(budgets) > 1:
            shown = "; ".join(f"{count}: {', '.join(names)}" for count, names in sorted(budgets.items()))
            found.append(
                f"Tuned with different budgets (trials: {shown}). Give all of them the same --trials before comparing."
            )
        if len({study.space for study in self.studies}) > 1:
            found.append("Tuned in different search spaces: they are not comparable.")
        return found


_WHAT = {"downstream": "training of the protocol", "pretrain": "pretraining", "both": "pretraining and protocol"}


def groups(studies: Iterable[StudyFacts]) -> tuple[StudyGroup, ...]:
    """Arrange searches into groups, ordered by name."""

    def key(study: StudyFacts) -> tuple[object, ...]:
        return (study.preset == "smoke", study.preset, study.dataset, study.protocol, study.what, study.settings)

    ordered = sorted(studies, key=lambda study: (key(study), _scratch(study), study.method, study.seed, study.name))
    return tuple(
        StudyGroup(f"tuning-{index}", tuple(members))
        for index, (_, members) in enumerate(itertools.groupby(ordered, key=key), start=1)
    )


@dataclass(frozen=True)
class _Line:
    """A search, named within its group."""

    study: StudyFacts
    beside: tuple[StudyFacts, ...]

    @property
    def best(self) -> TrialFacts | None:
        return self.study.trial(self.study.best)

    @property
    def shipped(self) -> TrialFacts | None:
        return self.study.trial(self.study.shipped)


FIELDS: tuple[Field[_Line], ...] = (
    Field("method", "method", lambda one: _name(one.study, one.beside), whole=True),
    Field("trials", "trials", lambda one: Cell(str(len(one.study.trials)), len(one.study.trials))),
    Field("failed", "failed", lambda one: _failed(one.study)),
    Field("best", "best on validation", lambda one: _score(one.best)),
    Field("trial", "trial", lambda one: _place(one.study, one.best)),
    Field(
        "values",
        "best values",
        lambda one: "–" if one.best is None else ", ".join(f"{path}={value}" for path, value in one.best.values),
        sink=1,
    ),
    Field("shipped", "as shipped", lambda one: Cell("not tried") if one.shipped is None else _score(one.shipped)),
)


def table(group: StudyGroup) -> Table:
    """Return the searches of a group, one line each."""
    return Table.of(group.anchor, FIELDS, [_Line(study, group.studies) for study in group.studies])


def part(group: StudyGroup) -> Part:
    """Return a group of searches as a document part."""
    smoke = group.preset == "smoke"
    blocks: list[Block] = [Paragraph(EXPLAINED, "soft", detail=Detail.FILES), Paragraph(group.how, "soft")]
    if group.warnings:
        blocks.append(Findings(tuple(Item(text, "warning") for text in group.warnings)))
    blocks += [
        table(group),
        Figure(
            f"{group.anchor}-history", lambda: draw_history(group), "Dots: trials. Line: best so far on validation."
        ),
    ]
    if any(study.importance for study in group.studies):
        told = "Share of each parameter in what sets the best trials apart from the others, on validation."
        blocks.append(Figure(f"{group.anchor}-importance", lambda: draw_importance(group), told))
    else:
        blocks.append(Paragraph(FEW, "soft", detail=Detail.PAGE))
    spaces = tuple(Notes(tuple(lines)) for lines in group.spaces)
    blocks.append(Fold("The space that was searched", spaces, detail=Detail.PAGE))
    title = f"{TITLE}: {group.title}"
    return Part(title, tuple(blocks), group.anchor, f"preset {group.preset}", "SMOKE" if smoke else "")


def draw_history(group: StudyGroup) -> Drawing:
    """Draw trials as dots, the best so far as lines.

    One colour per method.
    """
    from matplotlib.ticker import MaxNLocator

    hints: dict[str, str] = {}
    figure = canvas(7.2, 2.9)
    axes = figure.subplots()
    for index, study in enumerate(group.studies):
        _draw_history(axes, study, index, _name(study, group.studies), hints)
    axes.set_xlabel("trial")
    axes.set_ylabel("validation, percent")
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    if any(trial.value is not None for study in group.studies for trial in study.trials):
        figure.legend(loc="outside right upper", frameon=False, labelcolor=INK)
    ends = "; ".join(f"{row['method']}: best {row['best']} of {row['trials']} trials" for row in table(group).texts())
    return Drawing(figure, f"History of tuning, {group.title}. {ends}.", hints)


def _draw_history(axes: Axes, study: StudyFacts, index: int, label: str, hints: dict[str, str]) -> None:
    scored = [(at, trial) for at, trial in enumerate(study.trials, start=1) if trial.value is not None]
    if not scored:
        return
    colour, marker = SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]
    values = [100 * (trial.value or 0.0) for _, trial in scored]
    best = list(itertools.accumulate(values, max))
    places = [at for at, _ in scored]
    axes.step([*places, len(study.trials)], [*best, best[-1]], where="post", color=colour, linewidth=1.4, label=label)
    for (at, trial), value in zip(scored, values, strict=True):
        identity = f"trial{len(hints)}"
        tried = ", ".join(f"{path}={text}" for path, text in trial.values)
        hints[identity] = f"{label}, trial {at}: {value:.1f} ({tried})"
        axes.plot([at], [value], marker, color=colour, markersize=5, gid=identity)


def draw_importance(group: StudyGroup) -> Drawing:
    """Draw the importance of parameters as bars.

    One colour per method that has enough trials.
    """
    told = [(index, study) for index, study in enumerate(group.studies) if study.importance]
    parameters = list(dict.fromkeys(path for _, study in told for path, _ in study.importance))
    thickness = 0.8 / len(told)
    figure = canvas(7.2, 0.9 + (0.12 + 0.16 * len(told)) * len(parameters))
    axes = figure.subplots()
    for line, (index, study) in enumerate(told):
        shares = dict(study.importance)
        places = [at - 0.4 + thickness * (line + 0.5) for at in range(len(parameters))]
        values = [100 * shares.get(path, 0.0) for path in parameters]
        label = _name(study, group.studies)
        axes.barh(places, values, height=0.85 * thickness, color=SERIES[index % len(SERIES)], label=label)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.set_yticks(range(len(parameters)), parameters)
    axes.set_ylim(len(parameters) - 0.5, -0.5)
    axes.set_xlabel("importance, percent (PED-ANOVA)")
    axes.grid(axis="x")
    figure.legend(loc="outside right upper", frameon=False, labelcolor=INK)
    parts = [
        f"{_name(study, group.studies)}: "
        + ", ".join(f"{path} {100 * share:.0f} percent" for path, share in study.importance)
        for _, study in told
    ]
    return Drawing(figure, f"Importance of parameters, {group.title}. {'. '.join(parts)}.")


def _name(study: StudyFacts, beside: Sequence[StudyFacts]) -> str:
    """Return the method's name, with seed or digest if needed."""
    same = [other for other in beside if other.method == study.method]
    name = study.method
    if len({other.seed for other in same}) > 1:
        name += f", seed {study.seed}"
    if sum(other.seed == study.seed for other in same) > 1:
        name += f", {study.name.rpartition(' ')[2]}"
    return name


def _score(trial: TrialFacts | None) -> Cell:
    return quantities.NONE if trial is None or trial.value is None else quantities.fraction(trial.value)


def _failed(study: StudyFacts) -> Cell:
    n = sum(trial.value is None for trial in study.trials)
    return Cell(str(n), n)


def _place(study: StudyFacts, best: TrialFacts | None) -> Cell:
    """Return the best trial's number."""
    return quantities.NONE if best is None else Cell(str(at := study.trials.index(best) + 1), at)


def _scratch(study: StudyFacts) -> bool:
    return study.method.startswith("scratch")
