"""A page of results from stored runs: prose and filters in YAML, tables, cost and provenance from the runs.

The page says first what does not hold. Its tables are those of `bench report`, over the runs that a section asks for:
differences, intervals and Holm's correction are over these runs and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import UsageError
from bench.report import tables, words
from bench.report.markdown import table
from bench.report.model import ReportModel, ReportRow, Section, build_model
from bench.report.runs import environment
from bench.stats.cells import SCRATCH, TEACHER_ALONE, flatten
from bench.stats.deviations import Deviations

if TYPE_CHECKING:
    from bench.store.queries import MetricRow
    from bench.store.records import RunRecord

_LABELS = ("preset", "method", "protocol", "form", "dataset", "setting", "pretrain_data")
MADE = "<!-- Written by `bench report --page {name}` from stored runs; change that file, not this one. -->"


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Filter(_Read):
    """Filter of the stored runs of a section.

    Every list holds names as `bench runs` shows them; an empty one means all.
    """

    preset: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    """The untrained networks of these methods, and the teacher alone, come with them."""
    protocol: tuple[str, ...] = ()
    form: tuple[str, ...] = ("fair",)
    dataset: tuple[str, ...] = ()
    setting: tuple[str, ...] = ()
    pretrain_data: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    split_seeds: tuple[int, ...] = ()
    where: dict[str, str] = Field(default_factory=dict)
    """Value of fields of the specification, e.g. ``encoder.recipe.epochs: 30``; ``absent`` for none. Runs that were not
    pretrained are not asked for fields of the encoder."""

    @field_validator(*_LABELS, "seeds", "split_seeds", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str | int) else value

    @field_validator("where", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {str(k): str(v).lower() if isinstance(v, bool | None) else str(v) for k, v in value.items()}

    def fits(self, record: RunRecord) -> bool:
        """Whether a run is asked for; untrained networks are looked at by themselves."""
        alone = record.label.get("method") in (SCRATCH, TEACHER_ALONE)
        for name in _LABELS:
            wanted = getattr(self, name)
            told = not (alone and name in ("method", "pretrain_data"))
            if wanted and told and record.label.get(name, "") not in wanted:
                return False
        spec = record.spec
        if (self.seeds and spec.get("seed") not in self.seeds) or (
            self.split_seeds and spec.get("split_seed", 0) not in self.split_seeds
        ):
            return False
        flat = flatten(spec)
        return all(
            (alone and name.startswith("encoder.")) or flat.get(name, "absent") == value
            for name, value in self.where.items()
        )


class PageSection(_Read):
    """A part of the page: a heading, prose, and tables of some runs (none without `runs`)."""

    title: str
    text: str = ""
    runs: Filter | None = None
    columns: Literal["none", "setting", "dataset"] = "none"
    """What stands side by side in one line per method; ``none``: a line per method and setting, with a verdict."""
    metrics: tuple[str, ...] = ()
    """Metrics to show; empty for the one each protocol is about."""
    pairs: bool = False
    """Whether the comparisons of pretrained methods with each other are listed, too."""


class Page(_Read):
    """A page as its YAML describes it."""

    title: str
    text: str = ""
    sections: tuple[PageSection, ...] = Field(min_length=1)


def read_page(path: Path) -> Page:
    """Read the description of a page.

    Raises:
        UsageError: The file is missing, is no YAML, or has a field that is not known.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Page.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{path} describes no page: {where}: {first['msg']}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read the page {path}: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class _Part:
    """A section with what its runs say."""

    section: PageSection
    model: ReportModel | None

    @property
    def shown(self) -> list[Section]:
        """Its tables: of the metrics asked for, else of each protocol's own."""
        found = [] if self.model is None else list(self.model.sections)
        wanted = self.section.metrics
        return [one for one in found if (one.metric in wanted if wanted else one.main)]


def render_page(
    page: Page,
    name: str,
    rows: Sequence[MetricRow],
    records: Sequence[RunRecord],
    deviations: Mapping[str, Deviations],
) -> str:
    """Write a page as Markdown.

    Args:
        page: What it shows.
        name: Path of the file that describes it, as typed.
        rows: Metric rows of the results folder.
        records: Records of its runs, of failed ones too.
        deviations: By run key, what a run has that its preset would not give it.

    Raises:
        UsageError: No stored run fits any section.
    """
    parts = [_part(section, rows, records, deviations) for section in page.sections]
    if not any(part.shown for part in parts):
        raise UsageError(f"no stored run fits a section of {name}; bench runs lists what there is")
    lines = [MADE.format(name=name), "", f"# {page.title}", ""]
    lines += [page.text.strip(), ""] if page.text else []
    lines += ["## What does not hold", "", *(f"- {line}" for line in _doubts(parts)), ""]
    for part in parts:
        lines += _section(part)
    lines += _cost([part.model for part in parts if part.model is not None], records)
    return "\n".join(lines).rstrip("\n") + "\n"


def _part(
    section: PageSection,
    rows: Sequence[MetricRow],
    records: Sequence[RunRecord],
    deviations: Mapping[str, Deviations],
) -> _Part:
    if section.runs is None:
        return _Part(section, None)
    fitting = [record for record in records if section.runs.fits(record)]
    trained = {r.label.get("architecture") for r in fitting if r.label.get("method") not in (SCRATCH, TEACHER_ALONE)}
    kept = [r for r in fitting if r.label.get("method") != SCRATCH or not trained or r.label["architecture"] in trained]
    keys = {record.key for record in kept}
    return _Part(section, build_model([row for row in rows if row.run_key in keys], kept, deviations))


def _doubts(parts: Iterable[_Part]) -> list[str]:
    """Return the limits of the page's evidence, counted over its tables."""
    found: list[str] = []
    for part in parts:
        if part.section.runs is not None and not part.shown:
            found.append(f"No stored run fits section “{part.section.title}”.")
        for section in part.shown:
            compared = [row for row in section.rows if row.versus is not None]
            shown = [row for row in compared if row.versus is not None and row.versus.shown]
            weak = [row for row in shown if row.versus is not None and not row.versus.survives_holm]
            where = f"{section.title}, {section.preset_words}"
            if weak:
                names = ", ".join(f"{row.cell.label} {row.cell.setting}" for row in weak)
                count = f"{len(weak)} of {len(shown)} verdicts"
                found.append(f"{where}: {count} do not survive Holm's correction ({names}).")
            lost = [row for row in section.rows if row.cell.lost]
            found += [f"{where}: {row.cell.label} {row.cell.setting}: {row.cell.losses.words}." for row in lost]
            found += [f"{where}: without a number: {line}." for line in section.lost]
    shown_tables = [section for part in parts for section in part.shown]
    given = [section for section in shown_tables if len(section.splits) == 1]
    if given:
        which = "Every table" if len(given) == len(shown_tables) else f"{len(given)} of {len(shown_tables)} tables"
        found.append(
            f"{which} holds for one draw of validation, folds and part of the labels (one split seed): another may "
            "give other differences."
        )
    rows = [row for section in shown_tables for row in section.rows]
    if any(row.cell.seen for row in rows):
        found.append("Rows whose pretraining saw evaluated class names carry no claim that pretraining helps.")
    if any(row.cell.older_code for row in rows):
        found.append("Rows marked older were made by code that has changed since.")
    return list(dict.fromkeys(found))


def _section(part: _Part) -> list[str]:
    lines = [f"## {part.section.title}", ""]
    lines += [part.section.text.strip(), ""] if part.section.text else []
    if part.section.columns == "none":
        for section in part.shown:
            lines += [f"### {section.title}", "", *_told(section), *_lines(section, part.section.pairs)]
        return lines
    grids: dict[tuple[str, ...], list[Section]] = {}
    for section in part.shown:
        key: tuple[str, ...] = (section.protocol, section.form, section.metric, section.difference)
        key += (section.dataset,) if part.section.columns == "setting" else ()
        grids.setdefault(key, []).append(section)
    for sections in grids.values():
        lines += _grid(sections, part.section.columns)
    return lines


def _told(section: Section) -> list[str]:
    lines = [*tables.told(section), *tables.changes(section)]
    return [text for line in lines for text in (line[0].upper() + line[1:], "")]


def _lines(section: Section, pairs: bool) -> list[str]:
    """One line per method and setting."""
    names = ("setting", "method", "seeds", "score", "difference", "verdict", "seen", "code")
    heads = [tables.columns(section).get(name, name) for name in names]
    texts = [tables.row_texts(row, section) for row in section.rows]
    body = [[text[name] for name in names] for text in texts]
    lines = [*_table(heads, body), ""]
    lines += [f"- {note}" for note in tables.notes(section)] + [""]
    if pairs and section.pairs:
        lines += [*table(tables.PAIR_HEADINGS, map(tables.pair_texts, section.pairs)), ""]
        lines += [f"- {note}" for note in tables.pair_notes(section)] + [""]
    return lines


def _grid(sections: Sequence[Section], columns: Literal["setting", "dataset"]) -> list[str]:
    """One line per method, settings or data sets side by side."""
    first = sections[0]
    form = "" if first.form == "fair" else f" ({first.form} form)"
    metric = "" if first.metric == "accuracy" else f", {first.metric.replace('_', ' ')}"
    where = f" on {first.dataset}" if columns == "setting" else ""
    lines = [f"### {first.protocol}{form}{where}{metric}", ""]
    for told in dict.fromkeys(line for section in sections for line in _told(section) if line):
        lines += [told, ""]
    places = list(dict.fromkeys(_place(row, s, columns) for s in sections for row in s.rows))
    by_method: dict[str, dict[str, ReportRow]] = {}
    for section in sections:
        for row in section.rows:
            by_method.setdefault(row.cell.label, {})[_place(row, section, columns)] = row
    ordered = sorted(by_method.items(), key=lambda item: next(iter(item[1].values())).cell.is_opponent)
    body = [[name, *(_entry(found.get(place)) for place in places), _seen(found.values())] for name, found in ordered]
    lines += [*table(["method", *places, "saw class names"], body), ""]
    notes = list(dict.fromkeys(note for section in sections for note in tables.notes(section)))
    return [*lines, *(f"- {note}" for note in notes), ""]


def _place(row: ReportRow, section: Section, columns: str) -> str:
    if columns == "setting":
        return row.cell.setting
    return section.dataset if row.cell.setting == "all" else f"{section.dataset} {row.cell.setting}"


def _entry(row: ReportRow | None) -> str:
    """Score, then difference and verdict: ``65.2 ± 5.8 (+15.4 [+6.4, +24.4] above scratch)``."""
    if row is None:
        return "–"
    lost = f", {words.seeds(row.cell)}" if row.cell.lost else ""
    text = f"{words.score(row.cell.summary)}{lost}{', older code' if row.cell.older_code else ''}"
    if row.versus is None:
        return text
    return f"{text} ({words.difference(row.versus)} {tables.verdict(row)})"


def _seen(rows: Iterable[ReportRow]) -> str:
    return " / ".join(dict.fromkeys(words.seen(row.cell) for row in rows))


def _table(heads: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table without its empty columns."""
    kept = [at for at in range(len(heads)) if any(row[at] not in ("", "–") for row in body)]
    return table([heads[at] for at in kept], [[row[at] for at in kept] for row in body])


def _cost(models: Sequence[ReportModel], records: Sequence[RunRecord]) -> list[str]:
    """Cost by method, and what all was made with."""
    found: dict[tuple[str, str], ReportRow] = {}
    evaluated: dict[tuple[str, str], list[float]] = {}
    shown = [(s, row) for model in models for s in model.sections if s.main for row in s.rows]
    for section, row in shown:
        key = (row.cell.label, section.preset_words)
        found.setdefault(key, row)
        if row.facts.evaluate_seconds is not None:
            evaluated.setdefault(key, []).append(row.facts.evaluate_seconds)
    body = [
        [
            name,
            preset,
            words.count(row.facts.parameters),
            "–" if row.cell.is_opponent else words.seconds(row.facts.pretrain_seconds),
            "–" if row.cell.is_opponent else words.seconds(row.facts.pretrain_cpu_seconds),
            "–" if row.cell.is_opponent else words.operations(row.facts.step_flops),
            words.seconds(max(evaluated[name, preset])) if (name, preset) in evaluated else "–",
        ]
        for (name, preset), row in found.items()
    ]
    heads = (
        "method",
        "preset",
        "encoder parameters",
        "pretraining of one seed",
        "its processor time",
        "operations of its training step",
        "longest evaluation of one run",
    )
    keys = {key for _, row in shown for key in row.cell.runs.values()}
    made = environment(record for record in records if record.status == "done" and record.key in keys)
    versions = dict(made.versions)
    lines = ["## Cost and provenance", "", *table(heads, body), ""]
    lines.append(
        f"{made.runs} runs, {words.seconds(made.seconds)} of computation. Machine: "
        f"{'; '.join(made.machines) or 'not recorded'}; torch {versions.get('torch', 'not recorded')}. Commit: "
        f"{', '.join(f'`{one}`' for one in made.commits)}."
    )
    return lines
