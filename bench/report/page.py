"""A page of results from stored runs, described in YAML.

The page says first what does not hold. Its tables are those of `bench report`, over the runs that a section asks for:
differences, intervals and Holm's correction are over these runs and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import UsageError
from bench.report import cost, quantities, scores, words
from bench.report.data import to_json
from bench.report.document import AnyCell, Block, Cell, Document, Notes, Paragraph, Part, Prose, Table
from bench.report.forms import PageFormat
from bench.report.html import to_html
from bench.report.latex import to_latex
from bench.report.markdown import to_markdown
from bench.report.model import ReportModel, ReportRow, Section, build_model
from bench.report.runs import environment
from bench.stats.cells import SCRATCH, TEACHER_ALONE, flatten
from bench.stats.deviations import Deviations

if TYPE_CHECKING:
    from bench.store.queries import RunNumbers
    from bench.store.records import RunRecord

_LABELS = ("preset", "method", "protocol", "form", "dataset", "setting", "pretrain_data")
MADE = "Written by `bench report --page {name}` from stored runs; change that file, not this one."
COLUMNS = ("setting", "method", "seeds", "score", "difference", "verdict", "seen", "code")
"""Columns of a page's tables."""


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Filter(_Read):
    """Selects the stored runs of a section.

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
        """Whether a run matches; untrained networks are handled elsewhere."""
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
    """A section: heading, prose, and tables of some runs."""

    title: str
    text: str = ""
    runs: Filter | None = None
    columns: Literal["none", "setting", "dataset"] = "none"
    """Columns of a row per method; ``none``: a row per method and setting, with a verdict."""
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
    except OSError as error:
        raise UsageError(f"cannot read the page {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read the page {path}: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class _Part:
    """A section with its runs."""

    section: PageSection
    model: ReportModel | None

    @property
    def shown(self) -> list[Section]:
        """Tables to show: metrics requested, else each protocol's own."""
        found = [] if self.model is None else list(self.model.sections)
        wanted = self.section.metrics
        return [one for one in found if (one.metric in wanted if wanted else one.main)]


PAGE_RENDERERS: Mapping[PageFormat, Callable[[Document], str]] = {
    "markdown": to_markdown,
    "html": to_html,
    "latex": to_latex,
    "json": to_json,
}
"""Renderings of a page."""


def page_document(
    page: Page,
    name: str,
    numbers: Sequence[RunNumbers],
    records: Sequence[RunRecord],
    deviations: Mapping[str, Deviations],
) -> Document:
    """Return a page as a document.

    Args:
        page: Its description.
        name: Path of the file that describes it, as typed.
        numbers: Numbers of the runs of the results folder.
        records: Records of its runs, of failed ones too.
        deviations: Deviations from the preset, by run key.

    Raises:
        UsageError: No stored run fits any section.
    """
    parts = [_part(section, numbers, records, deviations) for section in page.sections]
    if not any(part.shown for part in parts):
        raise UsageError(f"no stored run fits a section of {name}; bench runs lists what there is")
    blocks: list[Block] = [Prose(page.text)] if page.text else []
    blocks.append(Part("What does not hold", (Notes(tuple(_doubts(parts))),)))
    blocks += [Part(part.section.title, tuple(_blocks(part))) for part in parts]
    blocks.append(_cost([one for part in parts if part.model for one in part.model.sections], records))
    return Document(page.title, tuple(blocks), made=MADE.format(name=name))


def _part(
    section: PageSection,
    numbers: Sequence[RunNumbers],
    records: Sequence[RunRecord],
    deviations: Mapping[str, Deviations],
) -> _Part:
    if section.runs is None:
        return _Part(section, None)
    fitting = [record for record in records if section.runs.fits(record)]
    trained = {r.label.get("architecture") for r in fitting if r.label.get("method") not in (SCRATCH, TEACHER_ALONE)}
    kept = [r for r in fitting if r.label.get("method") != SCRATCH or not trained or r.label["architecture"] in trained]
    keys = {record.key for record in kept}
    return _Part(section, build_model([run for run in numbers if run.run_key in keys], kept, deviations))


def _doubts(parts: Iterable[_Part]) -> list[str]:
    """Name limits of the evidence, counted over the tables."""
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


def _blocks(part: _Part) -> list[Block]:
    blocks: list[Block] = [Prose(part.section.text)] if part.section.text else []
    if part.section.columns == "none":
        return blocks + [Part(one.title, tuple(_lines(one, part.section.pairs))) for one in part.shown]
    grids: dict[tuple[str, ...], list[Section]] = {}
    for section in part.shown:
        key: tuple[str, ...] = (section.protocol, section.form, section.metric, section.difference)
        key += (section.dataset,) if part.section.columns == "setting" else ()
        grids.setdefault(key, []).append(section)
    return blocks + [_grid(sections, part.section.columns) for sections in grids.values()]


def _told(sections: Iterable[Section]) -> list[Block]:
    lines = [line for section in sections for line in (*scores.told(section), *scores.changes(section))]
    return [Paragraph(f"{line[0].upper()}{line[1:]}") for line in dict.fromkeys(lines)]


def _lines(section: Section, pairs: bool) -> list[Block]:
    """Return a table with a line per method and setting."""
    blocks = [*_told([section]), scores.scores(section).only(COLUMNS), Notes(tuple(scores.notes(section)))]
    if pairs and section.pairs:
        blocks += [scores.pairs(section), Notes(tuple(scores.pair_notes(section)))]
    return blocks


def _grid(sections: Sequence[Section], columns: Literal["setting", "dataset"]) -> Part:
    """Return a row per method, settings or data sets beside."""
    first = sections[0]
    form = "" if first.form == "fair" else f" ({first.form} form)"
    metric = "" if first.metric == "accuracy" else f", {first.metric.replace('_', ' ')}"
    where = f" on {first.dataset}" if columns == "setting" else ""
    places = list(dict.fromkeys(_place(row, s, columns) for s in sections for row in s.rows))
    by_method: dict[str, dict[str, ReportRow]] = {}
    for section in sections:
        for row in section.rows:
            by_method.setdefault(row.cell.label, {})[_place(row, section, columns)] = row
    ordered = sorted(by_method.items(), key=lambda item: next(iter(item[1].values())).cell.is_opponent)
    body: list[list[AnyCell]] = [
        [name, *(_entry(found.get(place)) for place in places), _seen(found.values())] for name, found in ordered
    ]
    table = Table.plain("grid", ["method", *places, "saw class names"], body)
    notes = tuple(dict.fromkeys(note for section in sections for note in scores.notes(section)))
    return Part(f"{first.protocol}{form}{where}{metric}", (*_told(sections), table, Notes(notes)))


def _place(row: ReportRow, section: Section, columns: str) -> str:
    if columns == "setting":
        return row.cell.setting
    return section.dataset if row.cell.setting == "all" else f"{section.dataset} {row.cell.setting}"


def _entry(row: ReportRow | None) -> Cell:
    """Return score, difference and verdict.

    ``65.2 ± 5.8 (+15.4 [+6.4, +24.4] ▲ above scratch)``.
    """
    if row is None:
        return quantities.NONE
    lost = f", {words.seeds(row.cell)}" if row.cell.lost else ""
    older = ", older code" if row.cell.older_code else ""
    compared = "" if row.versus is None else f" ({quantities.difference(row.versus)} {scores.verdict(row)})"
    return quantities.score(row.cell.summary, note=f"{lost}{older}{compared}")


def _seen(rows: Iterable[ReportRow]) -> str:
    return " / ".join(dict.fromkeys(words.seen(row.cell) for row in rows))


def _cost(sections: Sequence[Section], records: Iterable[RunRecord]) -> Part:
    """Return the costs of methods, and software used."""
    keys = {key for one in sections if one.main for row in one.rows for key in row.cell.runs.values()}
    made = environment(record for record in records if record.status == "done" and record.key in keys)
    told = (
        f"{made.runs} runs, {words.seconds(made.seconds)} of computation. Machine: "
        f"{'; '.join(made.machines) or 'not recorded'}; torch {dict(made.versions).get('torch', 'not recorded')}. "
        f"Commit: {', '.join(made.commits)}."
    )
    return Part("Cost and provenance", (cost.table(sections), Notes((cost.NOTE,)), Paragraph(told)))
