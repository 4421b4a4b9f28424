"""Figures as files. If these fail, a paper shows a figure that is cut off, or is refused by its printer."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image

from bench.report import contents
from bench.report.build import BuiltReport, build_report
from bench.report.document import Document, Figure, Fold, Paragraph, Part, Table, list_items
from bench.report.figures import KINDS, PRINTED, _print, write_figures
from bench.report.forms import WIDTHS, FigureWidth, Format
from bench.report.latex import escape
from bench.report.model import ReportModel, build_model
from bench.report.plots import STYLE, fitted_to
from bench.store.queries import by_run
from tests.report.conftest import Maker, Results, grid
from tests.report.test_latex import compiled, needs_latex


@pytest.fixture(scope="module")
def few() -> Results:
    return grid(Maker(), datasets=("ldraw40",), seeds=range(2), settings=("5w10s", "10w10s"), linear=False)


@pytest.fixture(scope="module")
def made(few: Results, tmp_path_factory: pytest.TempPathFactory) -> BuiltReport:
    forms: tuple[Format, ...] = ("latex", "latex-report")
    return build_report(by_run(few.rows), few.runs, tmp_path_factory.mktemp("made"), forms=forms, figures="page")


def test_the_same_runs_give_the_same_figures(few: Results, made: BuiltReport, tmp_path: Path) -> None:
    """A date in a file makes every figure of a paper's repository change with every build."""
    assert set(made.figures) == {"table-1", "front-1-parameters", "front-1-seconds", "curves0"}
    model = build_model(by_run(few.rows), few.runs)
    figures = [block for block in contents.report(model).walk() if isinstance(block, Figure)]
    (again,) = (block for block in figures if block.name == "table-1")
    stem = Path(made.figures["table-1"]).with_suffix("")
    part = Part("fewshot on ldraw40", (again,))
    assert write_figures(Document("x", (part,)), tmp_path, "page", "") == {"table-1": f"{stem}.pdf"}
    for kind in KINDS:
        content = (made.out / f"{stem}.{kind}").read_bytes()
        assert content == (tmp_path / f"{stem}.{kind}").read_bytes()


def test_figures_are_what_printers_take(made: BuiltReport) -> None:
    """A submission is refused for fonts of type 3, or shows a font that only its author has."""
    files = list((made.out / "figures").iterdir())
    assert {path.suffix for path in files} == {f".{kind}" for kind in KINDS}
    for path in files:
        content = path.read_bytes()
        assert path.name == path.name.lower()
        if path.suffix == ".pdf":
            assert b"/FontFile2" in content or b"/CIDFontType2" in content, "TrueType (42)"
            assert b"/Type3" not in content
        elif path.suffix == ".png":
            assert Image.open(path).width == round(300 * WIDTHS["page"])
        else:
            assert b"font-family" not in content
            assert b"#070809" not in content, "stand-ins of colours of the page"
            assert b"#040506" not in content


def test_figures_are_written_only_when_asked_for(few: Results, tmp_path: Path) -> None:
    """Drawing takes seconds; most reports are looked at once."""
    made = build_report(by_run(few.rows), few.runs, tmp_path, forms=("csv",))
    assert made.figures == {}
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


@pytest.mark.parametrize("width", ["column", "page"])
def test_nothing_of_a_figure_is_cut_off(width: FigureWidth) -> None:
    """A long name of a method pushed its plot off the page."""
    long = Maker(overrides=(("encoder.options", {"mask_ratio": 0.6, "some_option_with_a_long_name": "and-its-value"}),))
    results = grid(long, datasets=("ldraw40",), seeds=range(2), linear=False, encoders=(("recon", "recon"),))
    results += grid(Maker(), datasets=("ldraw40",), seeds=range(2), linear=False)
    model: ReportModel = build_model(by_run(results.rows), results.runs)
    figures = {block.name: block for block in contents.report(model).walk() if isinstance(block, Figure)}
    with mpl.rc_context({**STYLE, **PRINTED}), fitted_to(WIDTHS[width]):
        for name in ("table-1", "front-1-parameters", "curves0"):
            canvas = figures[name].draw().canvas
            _print(canvas)
            canvas.draw_without_rendering()
            assert canvas.get_figwidth() == WIDTHS[width]
            drawn, edge = canvas.get_tightbbox(), canvas.bbox_inches
            assert min(drawn.x0, drawn.y0) > -0.03, name
            assert max(drawn.x1 - edge.x1, drawn.y1 - edge.y1) < 0.03, name
            for axes in canvas.axes:
                assert not axes.get_visible() or axes.get_window_extent().width > 0.07 * canvas.bbox.width


@needs_latex
def test_a_paper_shows_its_figures(made: BuiltReport) -> None:
    """A figure that has to be placed by hand is the one of the runs before."""
    log = compiled(made.file("latex").read_text(), made.out)
    assert made.figures["table-1"] in log


@needs_latex
def test_the_whole_report_is_one_document(made: BuiltReport) -> None:
    """An appendix without curves, provenance or class tables has to be written by hand beside the page."""
    text = made.file("latex-report").read_text()
    blocks = list(made.document.walk())
    texts = [block.heading for block in blocks if isinstance(block, Part)]
    texts += [block.title for block in blocks if isinstance(block, Fold)]
    texts += [block.text for block in blocks if isinstance(block, Paragraph)]
    texts += [said for block in blocks for _, said in list_items(block)]
    texts += [str(cell) for block in blocks if isinstance(block, Table) for row in block.shown for cell in row.cells]
    texts += [block.caption for block in blocks if isinstance(block, Figure)]
    kinds = {type(block).__name__ for block in blocks}
    assert kinds >= {"Part", "Fold", "Paragraph", "Notes", "Facts", "Findings", "Table", "Figure", "Links"}
    assert [words for words in texts if escape(words) not in text] == []
    log = compiled(text, made.out, 2)
    assert "undefined" not in log.lower()
    assert "Rerun" not in log, "widths of tables and the table of contents are settled after two runs"
    assert sorted(made.figures) == sorted(block.name for block in blocks if isinstance(block, Figure))
    for path in made.figures.values():
        assert path in log
    assert r"\contentsline" in (made.out / "page.toc").read_text()
