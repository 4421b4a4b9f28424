"""Tables for a paper. If these fail, a paper does not compile, or prints a name or a verdict that is not so."""

from __future__ import annotations

import re
import shutil
import string
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.report import paper
from bench.report.document import (
    Cell,
    Column,
    Document,
    Facts,
    Findings,
    Fold,
    Item,
    Notes,
    Paragraph,
    Part,
    Row,
    Table,
)
from bench.report.latex import LONGEST_FLOAT, escape, to_latex
from bench.report.markdown import to_markdown
from bench.report.matrix import Column as Way
from bench.report.matrix import Matrix
from bench.report.model import build_model
from bench.store.queries import by_run
from tests.report.conftest import FEWSHOT, Maker, Results, grid

needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX (pdflatex) on this machine")
NASTY = (
    string.punctuation,
    r"\input{/etc/passwd} \end{document} \\ % & $x$ ^^M {",
    "*[2pt] -- --- ,, `` '' << >> ?` !`",
    "naïve Łódź Ærø ß Ångström ÿ ǎ ş ģ",
    "μ-net αβγ ΔΩ ς ϕ ϝ 2× ≤ 5° ±1 −3 … „x“",
    "点云 облако नमस्ते 👍🏽 \u202eevil\u202c \x1b[31m \ufeff\u00a0|\ud800",
)


def compiled(text: str, place: Path, times: int = 1) -> str:
    """Compile a document; return LaTeX's last log."""
    place.mkdir(exist_ok=True)
    (place / "page.tex").write_text(text, encoding="utf-8")
    for _ in range(times):
        done = subprocess.run(
            ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
            cwd=place,
            capture_output=True,
            timeout=120,
            check=False,
        )
        log = (place / "page.log").read_text(encoding="utf-8", errors="replace")
        assert done.returncode == 0, log[-3000:]
    assert (place / "page.pdf").stat().st_size > 5000
    beyond = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    assert max(beyond, default=0) < 10, "something stands beyond the margin"
    return log


@pytest.fixture(scope="module")
def results() -> Results:
    found = grid(Maker(), datasets=("shapes-scan-novel", "ldraw40"), seeds=range(4))
    found += Maker().run("recon", "recon", "linear", "ldraw40", 7, "all", status="failed")
    found += grid(Maker(seen=("chair", "lamp")), datasets=("shapes-scan",), seeds=range(2), settings=())
    found += grid(Maker(preset="smoke"), datasets=("shapes-scan",), seeds=(0,), settings=("5w2s",), linear=False)
    return found


@needs_latex
def test_tables_of_a_report_compile_alone_and_in_a_paper(results: Results, tmp_path: Path) -> None:
    """A table that needs mending by hand is copied by hand, and then it is wrong."""
    text = to_latex(paper.document(build_model(by_run(results.rows), results.runs)))
    log = compiled(text, tmp_path / "alone")
    assert "undefined" not in log.lower()
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "results.tex").write_text(text, encoding="utf-8")
    packages = r"\usepackage{booktabs,array,longtable,graphicx}"
    body = r"\begin{document} Before. \input{results} After. \end{document}"
    (tmp_path / "paper" / "page.tex").write_text(rf"\documentclass{{article}}{packages}{body}")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page"], cwd=tmp_path / "paper", capture_output=True
    )
    assert done.returncode == 0, done.stdout[-2000:]


@needs_latex
def test_names_compile_whatever_they_hold(tmp_path: Path) -> None:
    """A plugin may name its method anything; one percent sign took the rest of a row away."""
    columns = (Column("name", "name & $x_1$"), Column("n", "n %", right=True))
    rows = tuple(Row((Cell(name, mark="best"), Cell("1", 1, mark="level"))) for name in NASTY)
    long = tuple(Row((sign, Cell("1", 1))) for sign in [*string.punctuation, *"àéîõüçñ×αΩ"])
    assert len(long) > LONGEST_FLOAT
    all_names = " ".join(NASTY)
    wide = Table.plain("wide", [f"heading {at}" for at in range(9)], [[name] * 9 for name in NASTY[2:5]])
    blocks = (
        Paragraph(all_names, "warning"),
        Facts(((NASTY[0], all_names),)),
        Notes(NASTY),
        Findings((Item(all_names, "above"),)),
        Fold(NASTY[0], (Table("t", columns, rows, caption=all_names),)),
        Table("long", columns, long, caption=NASTY[1]),
        wide,
        *(Part(name, (Table("t", columns, rows[:1]),)) for name in NASTY * 4),
    )
    for whole in (False, True):
        document = Document(NASTY[0], blocks, all_names, made=f"{NASTY[1]}\n\\errmessage{{broken}}")
        text = to_latex(document, whole=whole)
        assert "errmessage" not in text.partition("\n")[2], "a line end left the comment"
        compiled(text, tmp_path, 1 + whole)


@needs_latex
@pytest.mark.parametrize("words", ["12.3 ± 4.5", "misclassified-as-something else", "Q"])
def test_a_table_of_many_columns_stays_on_the_page(tmp_path: Path, words: str) -> None:
    """Sixty classes ran over the edge of the paper, one column on top of another."""
    heads = ["class", *(f"kind-number-{at:02d}" for at in range(60))]
    table = Table.plain("wide", heads, [[f"row {at}", *[words] * 60] for at in range(5)])
    text = to_latex(Document("Wide", (table,)), whole=True)
    compiled(text, tmp_path, 2)
    pieces = text.count(r"\begin{longtable}")
    assert 2 < pieces < 30
    assert (text.count("row 3"), text.count(escape(words))) == (pieces, 300)
    assert {text.count(escape(head)) for head in heads[1:]} == {1}, "every column once"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("50 % of A&B", r"50 \% of A\&B"),
        ("a_b^c~d", r"a\_b\textasciicircum{}c\textasciitilde{}d"),
        ("--x,,", "-{}-x,{},"),
        ("é ł 点", r"\'{e} \l{} {[}U+70B9{]}"),
        ("*[x]", "{*}{[}x{]}"),
    ],
)
def test_signs_are_shown_as_they_are(text: str, shown: str) -> None:
    assert escape(text) == shown


def _close(difference: float, best: Cell, cell: Cell) -> bool:
    return abs(difference - (best.value - cell.value)) < 1e-9


def test_best_and_level_are_marked_after_holm(maker: Callable[..., Any]) -> None:
    """Bold without a test is the habit that this tool is about; a method that is level with the best is as good."""
    results = grid(maker(), datasets=("ldraw40",), seeds=range(3))
    (fewshot,) = (s for s in build_model(by_run(results.rows), results.runs).sections if s.protocol == "fewshot")
    matrix = Matrix([Way(fewshot, setting) for setting in FEWSHOT])
    assert len(matrix.tested) == 3 * len(FEWSHOT), "every method but the best, in every column: one family"
    rows = matrix.table("scores").rows
    for at in range(1, 1 + len(FEWSHOT)):
        cells = {str(row.cells[0]): row.cells[at] for row in rows}
        best = max(cells.values(), key=lambda cell: cell.value)
        assert [cell.mark for cell in cells.values()].count("best") == 1
        assert best.mark == "best"
        for name, cell in cells.items():
            own = [c.p_holm for c in matrix.tested if c.second == name and _close(c.difference, best, cell)]
            assert cell is best or (cell.mark == "level") == (own[0] > 0.05), name
    marks = {cell.mark for row in rows for cell in row.cells[1:]}
    assert marks == {"", "best", "level"}
    assert f"**{best}**" in to_markdown(Document("x", (matrix.table("scores"),)))


def test_nothing_is_best_where_nothing_can_be_compared(maker: Callable[..., Any], one_seed: Results) -> None:
    """One seed is one draw; of a cell that lost seeds the rest is a choice that nobody made."""
    model = build_model(by_run(one_seed.rows), one_seed.runs)
    text = to_latex(paper.document(model))
    assert r"\textbf{" not in text
    assert "Nothing is marked as best" in text
    results = grid(maker(), datasets=("ldraw40",), seeds=range(3), settings=())
    results += maker().run("recon", "recon", "linear", "ldraw40", 3, "all", status="failed")
    (section,) = build_model(by_run(results.rows), results.runs).sections
    matrix = Matrix([Way(section, "all")])
    cells = {str(row.cells[0]): row.cells[1] for row in matrix.table("scores").rows}
    assert cells["recon"].mark == ""
    assert cells["recon"].text.endswith("*")
    assert cells["point-mae"].mark == "best"
    assert any("1 of 4 seeds diverged" in line for line in matrix.explained())
    smoke = replace(section, preset="smoke")
    assert Matrix([Way(smoke, "all")]).marks == {}


def test_captions_say_what_a_reader_of_the_table_needs(results: Results) -> None:
    """A table is read without the text around it: n, selection, test, deviations, class names that were seen."""
    tables = [b for b in paper.document(build_model(by_run(results.rows), results.runs)).walk() if isinstance(b, Table)]
    fewshot, linear = (next(t for t in tables if t.caption.startswith(name)) for name in ("Fewshot", "Linear"))
    for told in ("4 pretraining seeds (0–3)", "chosen on validation", "Holm", "Student-t", "95 % interval"):
        assert told in fewshot.caption
    assert "†: pretraining saw evaluated class names (up to 2 of 40)" in linear.caption
    assert "diverged" in linear.caption
    assert {"ldraw40", "shapes-scan", "shapes-scan-novel"} <= set(linear.headings)
    assert all(table.caption for table in tables)
