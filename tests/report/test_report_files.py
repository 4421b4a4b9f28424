"""The files of a report. If these fail, a reader is misled, or a page breaks or calls home."""

from __future__ import annotations

import csv
import io
import itertools
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.errors import SetupError
from bench.report import contents
from bench.report.build import BuiltReport, build_report, require_writable
from bench.report.document import Document, Part, Table
from bench.report.forms import Format
from bench.report.html import to_html
from bench.report.model import build_model
from bench.report.records import to_csv
from bench.report.summary import Sentence
from bench.report.terminal import render_terminal
from bench.store.queries import by_run
from tests.conftest import no_file_larger_than

Maker = Callable[..., Any]
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Collects identifiers, links and table headings, and checks that tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.tables = 0
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.tables += tag == "table"
        for name, value in attrs:
            if name == "id":
                self.ids[value or ""] += 1
            if name in ("href", "xlink:href", "src", "srcset", "action", "data", "poster"):
                (self.links if (value or "").startswith("#") else self.addresses).append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"


@pytest.fixture(scope="module")
def one_run(maker: Maker) -> Any:
    return maker().run("scratch", "recon", "linear", "ldraw40", 0, "all")


DRAWN_IN_NONE: tuple[Format, ...] = ("csv", "markdown")
"""Files without figures, which take longest."""


def read_csv(report: BuiltReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(report.csv.read_text())))


def test_the_same_rows_give_the_same_bytes(maker: Maker, make_grid: Maker, tmp_path: Path) -> None:
    """Reports are compared with diff; a date or a random name in them would hide what changed."""
    results = make_grid(maker(), datasets=("shapes-scan", "ldraw40"), seeds=range(2), settings=("5w2s",), linear=False)
    results += maker().run("recon", "recon", "linear", "household7", 3, "all", status="failed")
    once = build_report(by_run(results.rows), results.runs, tmp_path / "once")
    again = build_report(by_run(results.rows[::-1]), results.runs[::-1], tmp_path / "deep" / "folder")
    for one, other in (
        (once.html, again.html),
        (once.csv, again.csv),
        (once.markdown, again.markdown),
        (once.json, again.json),
    ):
        assert one.read_bytes() == other.read_bytes()
    assert sorted(p.name for p in again.html.parent.iterdir()) == [
        "index.html",
        "report.json",
        "results.csv",
        "results.md",
    ]


def test_page_is_whole_and_fetches_nothing(full: BuiltReport) -> None:
    """The page is mailed around: one file, no request, every link inside it leads somewhere."""
    text = full.html.read_text()
    page = Page(text)
    assert page.addresses == ["data:,"]
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert [name for name, n in page.ids.items() if n > 1] == []
    # Scores, pairs, candidates; smoke; cost, power, sources, failed and runs; overview, front; ranks, improvement.
    assert page.tables == 6 * 3 + 2 + 5 + 2 + 2
    urls = set(re.findall(r"https?://[^\s\"'<>]+", text))
    assert urls <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_csv_holds_what_the_rows_say(full_results: Any, full: BuiltReport) -> None:
    """Means recomputed here, by another way, from the rows."""
    seeds: dict[tuple[str, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in full_results.rows:
        folded = row.protocol == "fewshot"
        if row.split == "test" and row.headline and (row.fold is not None) == folded:
            key = (row.preset, row.protocol, row.dataset, row.setting, row.method, row.architecture)
            seeds[key][row.seed].append(row.value)
    records = read_csv(full)
    assert len(records) == len(seeds)
    for record in records:
        key = tuple(record[n] for n in ("preset", "protocol", "dataset", "setting", "method", "architecture"))
        values = [statistics.fmean(seeds[key][seed]) for seed in sorted(seeds[key])]
        assert float(record["mean"]) == pytest.approx(statistics.fmean(values))
        assert int(record["n_seeds"]) == len(values)
        if record["preset"] == "nano":
            half = 2.7764451 * statistics.stdev(values) / 5**0.5
            assert float(record["half_width"]) == pytest.approx(half, rel=1e-6)


def test_csv_says_which_verdicts_fail_the_correction(full: BuiltReport) -> None:
    """Programs that count "above" would count differences that do not hold over the table's comparisons."""
    row = next(row for row in full.model.sections[0].rows if row.versus and row.versus.verdict == "above")
    assert row.versus is not None
    told = []
    for changes in ({"p_holm": 0.01}, {"p_holm": 0.2}, {"verdict": "none", "p_holm": 0.2}):
        rows = (replace(row, versus=replace(row.versus, **changes)),)
        text = to_csv(replace(full.model, sections=(replace(full.model.sections[0], rows=rows),)))
        told += [record["holds_after_holm"] for record in csv.DictReader(io.StringIO(text))]
    assert told == ["True", "False", ""]


def test_every_table_says_what_pretraining_saw_and_on_what(full: BuiltReport) -> None:
    """A number whose pretraining saw the class names must be recognisable in every rendering."""
    text, markdown = full.html.read_text(), full.markdown.read_text()
    assert text.count('<table class="scores">') == len(full.model.sections)
    assert text.count("saw evaluated class names</button>") == len(full.model.sections)
    assert markdown.count("| saw evaluated class names | pretrained on |") == len(full.model.sections)
    assert 'title="chair, table, lamp"' in text
    saw = {
        r["dataset"]: r["seen_class_names"] for r in read_csv(full) if r["method"] == "recon" and r["preset"] == "nano"
    }
    assert saw == {"shapes-scan": "3", "shapes-scan-novel": "0", "ldraw40": "0"}


def test_all_candidates_of_scratch_are_listed(full: BuiltReport) -> None:
    """The reader can check that scratch was a fair opponent."""
    for name in ("default", "default+bn", "trunc", "trunc+bn"):
        assert f'<button type="button">{name}</button>' in full.html.read_text()
    assert "| setting | method | default | default+bn | trunc | trunc+bn |" in full.markdown.read_text()


def test_failures_and_provenance_are_in_the_page(full: BuiltReport) -> None:
    """A run without a result is data; a number without its origin is none."""
    text = full.html.read_text()
    assert "loss is nan at epoch 3, step 41" in text
    assert "results/logs/job.log" in text
    for fact in ("0123456789ab", "worker-1", "torch 2.15.0", "Some CPU, 2 cores, Linux"):
        assert fact in text


def test_smoke_tables_are_headed_and_judge_nothing(smoke: Any, tmp_path: Path) -> None:
    """Whoever copies a smoke table out of a report copies the warning with it."""
    screen = io.StringIO()
    report = build_report(by_run(smoke.rows), smoke.runs, tmp_path, console=Console(file=screen, width=100))
    markdown, page = report.markdown.read_text(), report.html.read_text()
    assert "## SMOKE: fewshot on shapes-scan, preset smoke" in markdown
    assert '<span class="smoke-word">SMOKE</span>' in page
    for text in (markdown, page.split("<main>")[1].split("How to read")[0], screen.getvalue()):
        assert "Smoke runs prove" in text
    for text in (markdown, screen.getvalue(), page[page.index('id="table-1"') :]):
        assert "SMOKE: these runs prove" in text
        assert "±" not in text
        assert "verdict" not in text
        assert "above scratch" not in text
    (record,) = {(r["low"], r["verdict"], r["p"]) for r in read_csv(report)}
    assert record == ("", "", "")


def test_seeds_left_out_of_a_pair_are_said_below_it(maker: Maker, tmp_path: Path) -> None:
    """A reader would take a pair over two seeds for one over all three that the table above says."""
    results = maker().run("recon", "recon", "linear", "ldraw40", 0, "all")
    for method, seed in (("recon", 1), ("recon", 2), ("point-mae", 1), ("point-mae", 2), ("point-mae", 3)):
        results += maker().run(method, method, "linear", "ldraw40", seed, "all")
    screen = io.StringIO()
    report = build_report(by_run(results.rows), results.runs, tmp_path, console=Console(file=screen, width=200))
    for text in (screen.getvalue(), report.html.read_text(), report.markdown.read_text()):
        assert "Seeds 0, 3 left out: not in both." in " ".join(text.split())


def test_one_seed_shows_the_folds_and_no_interval(one_seed: Any, tmp_path: Path) -> None:
    """The deviation over folds of one encoder must never pass for an interval over pretrainings."""
    screen = io.StringIO()
    report = build_report(
        by_run(one_seed.rows), one_seed.runs, tmp_path, console=Console(file=screen, width=140), forms=DRAWN_IN_NONE
    )
    section = report.markdown.read_text().partition("## fewshot on")[2]
    assert "folds of one encoder (s.d.)" in section
    assert "one seed: no comparison" in section
    assert "±" not in report.markdown.read_text() + screen.getvalue()
    assert all(r["low"] == "" and r["paired_low"] == "" for r in read_csv(report))


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 220])
def test_terminal_tables_fit_and_keep_what_matters(full: BuiltReport, width: int) -> None:
    """In no terminal may a column be cut off: the verdict and what pretraining saw stay readable."""
    screen = io.StringIO()
    render_terminal(full.document, Console(file=screen, width=width))
    text = screen.getvalue()
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    assert "…" not in words
    assert "above" in words
    assert "3 of 40" in words or width < 80
    for heading in ("accuracy", "scratch", "verdict", "evaluated", "pretrained"):
        assert heading in words or width < 80


def test_empty_store_says_how_to_start(tmp_path: Path) -> None:
    """The first `bench report` of a newcomer must help, not crash."""
    screen = io.StringIO()
    report = build_report([], [], tmp_path, console=Console(file=screen, width=100))
    for text in (screen.getvalue(), report.html.read_text(), report.markdown.read_text()):
        assert "bench run --method recon --protocol fewshot" in text
    assert read_csv(report) == []
    Page(report.html.read_text())


def test_names_cannot_become_markup(maker: Maker, tmp_path: Path) -> None:
    """Names of local data sets and error texts are the user's; they must show as they are and do nothing."""
    nasty = "</svg><script>alert('x')</script>|$\\frac$ [bold]"
    results = maker().run("recon", "recon", "fewshot", nasty, 0, "5w10s")
    results += maker().run("scratch", "recon", "fewshot", nasty, 0, "5w10s")
    results += maker().run(nasty, nasty, "linear", nasty, 0, "all", status="failed")
    results.runs[-1].error = nasty
    screen = io.StringIO()
    report = build_report(by_run(results.rows), results.runs, tmp_path, console=Console(file=screen, width=200))
    page = report.html.read_text()
    Page(page)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;|$\\frac$ [bold]" in page
    assert read_csv(report)[0]["dataset"] == nasty
    assert "[bold]" in screen.getvalue()
    rows = [line for line in report.markdown.read_text().splitlines() if line.startswith("| 5w10s")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows[:2]}) == 1
    assert "<script" not in report.markdown.read_text().replace("\\<", "")


def test_older_code_is_marked(maker: Maker, tmp_path: Path) -> None:
    """A reused result of older code must be recognisable in its table."""
    results = maker(older_code=True).run("recon", "recon", "linear", "ldraw40", 0, "all")
    results += maker().run("scratch", "recon", "linear", "ldraw40", 0, "all")
    report = build_report(by_run(results.rows), results.runs, tmp_path, forms=DRAWN_IN_NONE)
    assert [r["older_code"] for r in read_csv(report)] == ["True", "False"]
    assert re.search(r"\| code \|\n.*\n\| all \| recon .*\| older \|\n", report.markdown.read_text())


def test_pairs_with_older_code_are_named(maker: Maker, tmp_path: Path) -> None:
    """The mark of the table above stands beside no pair, which would pass for one of today's code."""
    results = maker(older_code=True).run("recon", "recon", "linear", "ldraw40", 0, "all")
    for method, seed in (("recon", 1), ("point-mae", 0), ("point-mae", 1)):
        results += maker().run(method, method, "linear", "ldraw40", seed, "all")
    report = build_report(by_run(results.rows), results.runs, tmp_path)
    line = "Made by code that has changed since (older): recon − point-mae all."
    assert line in report.markdown.read_text()
    assert line in report.html.read_text()


def test_a_difference_says_which_scratch_it_is_to(maker: Maker, tmp_path: Path) -> None:
    """No row of scratch is named after act, so that nobody could trace its difference; nor name fifteen older pairs."""
    found = maker(older_code=True).run("recon", "recon", "linear", "ldraw40", 0, "all")
    for method, seed in itertools.product(("recon", "act", "crosspoint", "scratch"), (0, 1)):
        if (method, seed) != ("recon", 0):
            architecture = "recon" if method == "recon" else "point-mae"
            found += maker(older_code=True).run(method, architecture, "linear", "ldraw40", seed, "all")
    page = build_report(by_run(found.rows), found.runs, tmp_path).markdown.read_text()
    assert "Compared with scratch (point-mae), which has their architecture: act; crosspoint." in page
    assert "Made by code that has changed since (older): all 3 comparisons." in page


def test_provenance_marks_older_runs_and_no_others(maker: Maker, tmp_path: Path) -> None:
    """One older seed would send readers to redo all five."""
    results = maker(older_code=True).run("recon", "recon", "linear", "ldraw40", 0, "all")
    results += maker().run("recon", "recon", "linear", "ldraw40", 1, "all")
    report = build_report(by_run(results.rows), results.runs, tmp_path, forms=DRAWN_IN_NONE)
    assert {(line.seed, line.older_code) for line in report.model.runs} == {("0", True), ("1", False)}


def test_numbers_selected_on_test_have_a_column_of_their_own(maker: Maker, tmp_path: Path) -> None:
    """Test selection may be shown, with its inflation, and never as the headline."""
    results = maker().run("recon", "recon", "linear", "ldraw40", 0, "all")
    chosen = [row for row in results.rows if row.split == "test"]
    inflated = [replace(row, selection="test", value=row.value + 0.03) for row in chosen]
    report = build_report(by_run([*results.rows, *inflated]), results.runs, tmp_path, forms=DRAWN_IN_NONE)
    assert "| chosen on test (inflation) |" in report.markdown.read_text()
    assert "(+3.0)" in report.markdown.read_text()
    (record,) = read_csv(report)
    assert (record["selection"], float(record["mean"])) == ("val", chosen[0].value)


def test_a_place_that_cannot_be_written_is_one_clear_line(one_run: Any, tmp_path: Path) -> None:
    """No traceback for a wrong --out, and the old report stays."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(SetupError, match="cannot write the report file") as caught:
        build_report(by_run(one_run.rows), one_run.runs, tmp_path / "file")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("place", ["file", "file/deeper/still"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path, place: str) -> None:
    """A report of many runs takes a minute; a mistyped --out would be told after it."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(SetupError, match=r"cannot write the report file .* choose a writable folder with --out"):
        require_writable(tmp_path / place)
    require_writable(tmp_path / "new" / "deeper")
    assert not (tmp_path / "new").exists()


def test_a_long_report_is_short_on_screen() -> None:
    """Thousands of lines scroll past whoever asked; the files hold every row."""
    table = Table.plain("many", ["n"], [[str(n)] for n in range(150)])
    screen = io.StringIO()
    render_terminal(Document("d", tuple(Part(f"part {n}", (table,)) for n in range(3))), Console(file=screen, width=80))
    assert screen.getvalue().count("130 more rows") == 3
    screen = io.StringIO()
    render_terminal(Document("d", (table,)), Console(file=screen, width=80))
    assert "149" in screen.getvalue()


def test_a_write_that_fails_leaves_the_old_report(one_run: Any, tmp_path: Path) -> None:
    """A disk that fills up while writing must not leave half a page."""
    (tmp_path / "index.html").write_text("old")
    with no_file_larger_than(1000), pytest.raises(SetupError, match="File too large"):
        build_report(by_run(one_run.rows), one_run.runs, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "old"


def test_importing_statistics_and_reports_stays_cheap() -> None:
    """torch would make every `bench report` seconds slower, and plots load matplotlib only when drawn."""
    code = (
        "import sys, bench.report.build, bench.report.terminal, bench.stats.gate, bench.stats.comparisons;"
        "print([m for m in ('torch', 'matplotlib', 'scipy', 'pandas', 'sqlalchemy', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_long_summary_is_short_and_keeps_its_warnings(one_run: Any) -> None:
    """Eighty sentences at the top of a page are read by nobody, least of all the last, which qualifies the others."""
    findings = [Sentence("none", f"finding {i}.") for i in range(40)]
    model = build_model(by_run(one_run.rows), one_run.runs)
    page = to_html(contents.report(model, [*findings, Sentence("warning", "mind the names.")]))
    short, _, rest = page.partition("35 more</summary>")
    assert short.index("mind the names.") < short.index("finding 0.")
    assert "finding 4." in short
    assert "finding 5." not in short
    assert "finding 39." in rest
