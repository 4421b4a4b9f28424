r"""A document as LaTeX, with booktabs tables.

The file compiles by itself, and ``\input`` takes it into a paper that loads booktabs, array, longtable and graphicx:
its preamble is read only outside a document.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bench.report.document import (
    AnyCell,
    Block,
    Cell,
    Detail,
    Document,
    Figure,
    Fold,
    Links,
    Mark,
    Paragraph,
    Part,
    Prose,
    Table,
    list_items,
)
from bench.texts import visible

LEVELS = ("section", "subsection", "subsubsection", "paragraph")
LONGEST_FLOAT = 40
"""Rows of a table from which on it may break over pages."""
SIZES = ((r"\small", 100), (r"\scriptsize", 125))
"""Type sizes of tables, with the characters of a line on A4."""
SLACK = 1.15
"""What a column is wider than its longest word, of which some letters are wide."""
GAP = 3
"""Characters that the space between two columns takes."""
LEAST = 14
"""Characters of a wrapped column of texts, on average, below which smaller type is taken."""
LONGEST_WORD = 14
"""Characters of a word from which on it may break, without a hyphen."""
BREAKS = "/,_=.-:;)]}>&+"
BREAK = r"\allowbreak{}"
UNKNOWN = "{[}U+"
"""Beginning of a sign that TeX's fonts lack."""
MOST_FLOATS = 16
"""Tables that LaTeX keeps in mind at once, with room to spare."""
PREAMBLE = r"""\expandafter\ifx\csname @notprerr\endcsname\documentclass\else
\documentclass[a4paper]{article}
\usepackage[margin=17mm]{geometry}
\usepackage{booktabs,array,longtable,graphicx}
\IfFileExists{lmodern.sty}{\usepackage[T1]{fontenc}\usepackage{lmodern}}{}
\setlength{\belowcaptionskip}{6pt}\setlength{\parindent}{0pt}\setlength{\parskip}{4pt}\setcounter{secnumdepth}{0}\sloppy
\begin{document}
\def\benchend{\end{document}}
\fi"""
FIGURE = r"""\providecommand{\benchfigure}[1]{\sbox0{\includegraphics{#1}}%
\ifdim\wd0>\linewidth\includegraphics[width=\linewidth,height=.85\textheight,keepaspectratio]{#1}%
\else\ifdim\dimexpr\ht0+\dp0>.85\textheight\includegraphics[height=.85\textheight]{#1}\else\usebox0\fi\fi}"""
"""Shows a figure at its own size, or as large as the page has room."""
ROOM = r"""\providecommand{\benchroom}{\par\penalty-100\ifdim\dimexpr\pagegoal-\pagetotal<9\baselineskip\newpage\fi}"""
"""Begins a page where a heading would stand alone at the foot of one."""
END = r"""\expandafter\ifx\csname benchend\endcsname\relax\else\expandafter\benchend\fi"""
_MARKS: Mapping[Mark, str] = {"": "", "best": r"\textbf", "level": r"\underline"}
_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\ttfamily\char34}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "*": "{*}",
    "[": "{[}",
    "]": "{]}",
    "\t": " ",
    "\n": " ",
    "\r": " ",
    "\u00a0": "~",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\dots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "•": r"\textbullet{}",
    "·": r"\textperiodcentered{}",
    "°": r"\textdegree{}",
    "µ": r"$\mu$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "ȷ": r"\j{}",
    "©": r"\copyright{}",
    "−": r"$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↔": r"$\leftrightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "▲": r"$\bigtriangleup$",
    "▼": r"$\bigtriangledown$",
    "○": r"$\circ$",
    "◆": r"$\diamond$",
}
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon"
_GREEK += " phi chi psi omega"
_SIGNS |= dict(zip("αβγδεζηθικλμνξπρστυφχψω", (rf"$\{name}$" for name in _GREEK.split()), strict=True))
_SIGNS |= {"ο": "o", "ς": r"$\varsigma$"} | dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABEZHIKMNOPTX", strict=True))
_CAPITALS = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
_SIGNS |= dict(zip("ΓΔΘΛΞΠΣΥΦΨΩ", (rf"$\{name}$" for name in _CAPITALS.split()), strict=True))
_ACCENTS = {
    "\u0300": r"\`",
    "\u0301": r"\'",
    "\u0302": r"\^",
    "\u0303": r"\~",
    "\u0304": r"\=",
    "\u0306": r"\u",
    "\u0307": r"\.",
    "\u0308": r"\"",
    "\u030a": r"\r",
    "\u030b": r"\H",
    "\u030c": r"\v",
    "\u0327": r"\c",
}
_LIGATURE = re.compile(r"([-,])(?=\1)")
"""Signs that would melt into another."""
_NO_FIGURES: Mapping[str, str] = MappingProxyType({})


def to_latex(document: Document, figures: Mapping[str, str] = _NO_FIGURES, *, whole: bool = False) -> str:
    """Render a document; figures float, and details are left out.

    Args:
        document: The document.
        figures: Path of each figure that is shown, relative to the file, by name.
        whole: Render all that a page shows, folded details too, each table and figure where it stands. LaTeX then has
            to run twice, for the widths of tables and the table of contents.
    """
    made = [f"% {_comment(document.made)}"] if document.made else []
    commands = [*([FIGURE] if figures else []), *([ROOM] if whole else [])]
    lines = [*made, PREAMBLE, *commands, "", rf"\section*{{{escape(document.title)}}}"]
    way = _Way(figures, whole)
    lines += [escape(document.lead), ""] if document.lead else [""]
    floats = 0
    for line in _blocks(document.blocks, 0, way):
        lines.append(line)
        floats += line in (r"\end{table}", r"\end{figure}")
        if floats == MOST_FLOATS:
            lines.append(r"\clearpage")
            floats = 0
    return "\n".join([*lines, END, ""])


@dataclass(frozen=True)
class _Way:
    """The arguments of `to_latex` that blocks need."""

    figures: Mapping[str, str]
    whole: bool


def _blocks(blocks: Iterable[Block], level: int, way: _Way) -> list[str]:
    shown = Detail.PAGE if way.whole else Detail.FILES
    return [line for block in blocks if block.detail <= shown for line in _block(block, level, way)]


def _block(block: Block, level: int, way: _Way) -> list[str]:
    if isinstance(block, Part):
        kind = LEVELS[min(level, len(LEVELS) - 1)]
        title = f"{{{escape(block.heading)}}}"
        heading = [r"\benchroom", rf"\{kind}{title}", ""] if way.whole else [rf"\{kind}*{title}", ""]
        return [*heading, *_blocks(block.blocks, level + 1, way)]
    if isinstance(block, Fold):
        return [rf"\textbf{{{escape(block.title)}}}", "", *_blocks(block.blocks, level, way)]
    if isinstance(block, Paragraph):
        text = escape(block.text)
        return [rf"\textbf{{{text}}}" if block.look == "warning" else text, ""]
    if isinstance(block, Prose):
        return [line for text in block.markdown.strip().split("\n\n") for line in (escape(text), "")]
    if isinstance(block, Table):
        return [line for piece in _pieces(block) for line in (*_table(piece, way), "")] if block.shown else []
    if isinstance(block, Figure):
        return _figure(block, way)
    if isinstance(block, Links):
        return [r"\setcounter{tocdepth}{1}\tableofcontents", ""] if way.whole else []
    return _list(block)


def _list(block: Block) -> list[str]:
    texts = [(rf"\textbf{{{escape(term)}}}: " if term else "") + escape(text) for term, text in list_items(block)]
    return [r"\begin{itemize}", *(rf"\item {text}" for text in texts), r"\end{itemize}", ""] if texts else []


def _figure(block: Figure, way: _Way) -> list[str]:
    path = way.figures.get(block.name)
    if path is None:
        return []
    shown = rf"\benchfigure{{\detokenize{{{path}}}}}"
    if way.whole:
        told = [r"\\*", rf"{{\small {escape(block.caption)}\par}}"] if block.caption else []
        return [r"\begin{center}", shown, *told, r"\end{center}", ""]
    caption = [rf"\caption{{{escape(block.caption)}}}"] if block.caption else []
    return [r"\begin{figure}[htbp]", r"\centering", shown, *caption, r"\end{figure}", ""]


def _pieces(table: Table) -> Iterator[Table]:
    """Yield a table, in pieces where its columns do not fit a line.

    Each piece begins with the first column.
    """
    _, line = SIZES[-1]
    needed, kept, taken = _needed(table), [0], 0.0
    for at in range(1, len(needed)):
        if taken + needed[at] + GAP > line - needed[0] and len(kept) > 1:
            yield table.at(kept)
            kept, taken = [0], 0.0
        kept.append(at)
        taken += needed[at] + GAP
    yield table.at(kept)


def _needed(table: Table) -> list[float]:
    """Return the characters below which a word of a column stands out of it."""
    return [
        SLACK * max(_longest(one.heading), *(_longest(str(row.cells[at])) for row in table.shown))
        for at, one in enumerate(table.columns)
    ]


def _longest(text: str) -> int:
    """Return the width of the longest piece of a text that does not break."""
    return max((_length(piece) for word in visible(text).split() for piece in _broken(word)), default=0)


def _table(table: Table, way: _Way) -> list[str]:
    """Return a table as a float, a long one as a longtable."""
    small, kinds = _kinds(table)
    longest = [max((_length(str(row.cells[at])) for row in table.shown), default=0) for at in range(len(kinds))]
    heads = (_heading(*one) for one in zip(table.headings, kinds, longest, strict=True))
    head = [r"\toprule", f"{' & '.join(heads)} \\\\", r"\midrule"]
    caption = " ".join(filter(None, (table.caption, table.left_out)))
    told = rf"\caption{{{escape(caption)}}}" if caption else ""
    columns = f"{{@{{}}{''.join(kinds)}@{{}}}}"
    if way.whole or len(table.shown) > LONGEST_FLOAT:
        begin = [rf"{{{small}", rf"\begin{{longtable}}{columns}", *([f"{told}\\\\"] if told else [])]
        return [*begin, *head, r"\endhead", r"\bottomrule", r"\endfoot", *_body(table), r"\end{longtable}", "}"]
    begin = [r"\begin{table}[!htbp]", r"\centering", *([told] if told else []), small]
    end = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return [*begin, rf"\begin{{tabular}}{columns}", *head, *_body(table), *end]


def _body(table: Table) -> Iterator[str]:
    """Yield the lines of rows; those that stand back have a gap above."""
    before = table.shown[0].quiet
    for row in table.shown:
        if row.quiet and not before:
            yield r"\addlinespace"
        before = row.quiet
        yield f"{' & '.join(map(_cell, row.cells))} \\\\"


def _heading(text: str, kind: str, width: int) -> str:
    """Return a heading, in lines as short as the cells below it."""
    lines = textwrap.wrap(text, max(width, *map(len, text.split()), 1)) or [""]
    if len(kind) > 1 or len(lines) == 1:
        return escape(text)
    stacked = r" \\ ".join(map(escape, lines))
    return rf"\begin{{tabular}}[b]{{@{{}}{kind}@{{}}}}{stacked}\end{{tabular}}"


def _kinds(table: Table) -> tuple[str, list[str]]:
    """Return type size and column types that fit the line.

    Columns of numbers stay whole; texts are wrapped where the line is too short, and all cells where that is not
    enough.
    """
    cells = [[row.cells[at] for row in table.shown] for at in range(len(table.columns))]
    words = [max(map(_length, one.heading.split()), default=0) for one in table.columns]
    wanted = [max(word, *(_length(str(cell)) for cell in own)) for word, own in zip(words, cells, strict=True)]
    numbers = [one.right or _is_number(own) for one, own in zip(table.columns, cells, strict=True)]
    whole = ["r" if number else "l" for number in numbers]
    needed = _needed(table)
    for size, line in SIZES:
        room = line - GAP * (len(wanted) - 1)
        if sum(wanted) <= room:
            return size, whole
        texts = [at for at, number in enumerate(numbers) if not number]
        left = room - sum(one for one, number in zip(wanted, numbers, strict=True) if number)
        if texts and left >= max(LEAST * len(texts), sum(needed[at] for at in texts)):
            shares = _shares([needed[at] for at in texts], [wanted[at] for at in texts], left)
            for at, share in zip(texts, shares, strict=True):
                whole[at] = _wrapped(share, line, right=False)
            return size, whole
    shares = _shares(needed, wanted, room)
    return size, [_wrapped(one, line, right=number) for number, one in zip(numbers, shares, strict=True)]


def _shares(needed: Sequence[float], wanted: Sequence[int], room: float) -> list[float]:
    """Give each column what it needs, and of the rest a part of what it lacks."""
    more = [max(most - least, 0) for least, most in zip(needed, wanted, strict=True)]
    rest = (room - sum(needed)) / (sum(more) or 1)
    return [least + rest * one for least, one in zip(needed, more, strict=True)]


def _wrapped(characters: float, line: int, *, right: bool) -> str:
    side = r"\raggedleft" if right else r"\raggedright"
    return rf">{{{side}\arraybackslash}}p{{{characters / line:.3f}\linewidth}}"


def _is_number(cells: Sequence[AnyCell]) -> bool:
    return all(not isinstance(cell, str) and isinstance(cell.value, int | float) for cell in cells if str(cell) != "–")


def _cell(cell: AnyCell) -> str:
    text = escape(str(cell))
    return f"{_MARKS[cell.mark]}{{{text}}}" if isinstance(cell, Cell) and cell.mark else text


def escape(text: str) -> str:
    """Return LaTeX that shows a text as it is.

    Any text compiles, with any engine: signs that TeX's fonts lack are shown by their number, ``[U+4E2D]``.
    """
    return " ".join(map(_word, visible(text).split()))


def _word(word: str) -> str:
    """Return a word that may break, if it is long."""
    if len(word) <= LONGEST_WORD and word.isascii() and word.isalnum():
        return word
    pieces = ("".join(map(_sign, piece)) for piece in _broken(word))
    return _LIGATURE.sub(r"\1{}", BREAK.join(pieces))


def _broken(word: str) -> list[str]:
    """Return the pieces between which a word may break."""
    if sum(map(_width, word)) <= LONGEST_WORD:
        return [word]
    pieces, since = [""], 0
    for sign in word:
        if since >= LONGEST_WORD or (pieces[-1][-1:] in tuple(BREAKS) and since > 2):
            pieces.append("")
            since = 0
        pieces[-1] += sign
        since += _width(sign)
    return pieces


def _length(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_width, visible(text)))


def _width(sign: str) -> int:
    """Return the characters that a sign takes on the page."""
    return 1 if sign.isascii() or not _sign(sign).startswith(UNKNOWN) else 8


def _sign(sign: str) -> str:
    if (known := _SIGNS.get(sign)) is not None:
        return known
    if sign.isascii():
        return sign
    base, *marks = list(unicodedata.normalize("NFD", sign))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        letter = {"i": r"\i", "j": r"\j"}.get(base, base) if marks[0] != "\u0327" else base
        return f"{_ACCENTS[marks[0]]}{{{letter}}}"
    return f"{UNKNOWN}{ord(sign):04X}{{]}}"


def _comment(text: str) -> str:
    return " ".join(visible(text).split())
