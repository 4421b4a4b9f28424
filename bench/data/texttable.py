"""Read tables of numbers from text files, strictly.

Every row counts, every field is a decimal number, and errors name the line. Coordinates are read by column name if the
rows have a heading: a first line without numbers, or a comment (``#`` or ``//``) of column names as CloudCompare, PCL
and NumPy write them. Without a heading, columns are read by position only if their meaning is unambiguous (`_unnamed`).
"""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.data.arrays import read_bytes
from bench.data.coordinates import LARGEST
from bench.errors import DataError

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_PLAIN = b"0123456789+-.eE,; \t\r\n"
_COMMENTS = ("#", "//")
_UNIT = re.compile(r"\[[^\]]*\]|\([^)]*\)")
_KNOWN = re.compile(
    r"[xyzrgbaiuvst]|n(ormal)?_?[xyz]|red|green|blue|alpha|rgba?|intensity|reflectance|label|class(ification)?|part|id|"
    r"index|idx|time(stamp)?|gps_?time|scalar_?field.*|curvature|confidence|weight|semantic|instance"
)
"""Column names that make a comment a heading; comments of other words are prose."""
_HEADING = "write a line that names the columns above the rows, e.g. x y z intensity"
_NORMAL_OFF = 0.05
"""Largest difference of a normal's length from 1."""


class _Row(NamedTuple):
    line: int
    text: str


class _Table(NamedTuple):
    """Lines of a text file, by kind.

    Attributes:
        comments: Whole-line comments, without their mark, above the first row.
        later: Comments below it.
        rows: All other lines that are not blank.
    """

    comments: list[_Row]
    later: list[_Row]
    rows: list[_Row]


def read_text_points(path: Path) -> npt.NDArray[np.float64]:
    """Read x, y and z of a text file's rows.

    Returns:
        float64 ``[N, 3]``, every value finite and at most `LARGEST`.

    Raises:
        DataError: A heading does not name x, y and z, columns are ambiguous, a row has another number of fields than
            above, or a field is empty or no decimal number. The message has the number of the line.
    """
    table = _lines(_decoded(path, read_bytes(path)))
    rows, announced = _announced(path, table.rows)
    if not rows:
        raise DataError(f"{path}: holds no rows of numbers")
    between = _separator(rows[-1].text if len(rows) == 1 else rows[1].text)
    heading, rows = _heading(path, table, rows, between)
    if not rows:
        raise DataError(f"{path}: holds no rows of numbers below its heading")
    if announced is not None and announced != len(rows):
        raise DataError(f"{path}: line {table.rows[0].line} announces {announced} points, {len(rows)} rows were found")
    if heading is not None:
        for comment in table.later:
            other = _names(comment.text, between, len(heading))
            if other is not None and set("xyz") <= set(other) and other != heading:
                raise DataError(f"{path}: line {comment.line} names other columns ({comment.text[:60]}) than above")
        return _numbers(path, rows, between, len(heading), [heading.index(axis) for axis in "xyz"])
    values = _numbers(path, rows, between, None, None)
    _unnamed(path, rows, values, between)
    return values[:, :3]


def read_table(path: Path, delimiter: str | None = ",") -> npt.NDArray[np.float64]:
    """Read a table of numbers in an official layout.

    One row per line, without heading and comments.

    Args:
        path: UTF-8 text.
        delimiter: Separator of a row's numbers; None for blanks.

    Returns:
        float64 ``[rows, columns]``, every value finite and at most `LARGEST`.

    Raises:
        DataError: Missing, empty, a row with another count of fields than the first, or a field that is no number.
    """
    content = read_bytes(path)
    if not content.strip():
        raise DataError(f"{path}: holds no rows")
    return _numbers(path, _rows(_decoded(path, content)), delimiter, None, None)


def _decoded(path: Path, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: is not UTF-8 text (it is UTF-16, as Excel's 'Unicode text'); save it as UTF-8")
    if b"\0" in content:
        raise DataError(f"{path}: is not UTF-8 text (it holds binary data); expected x y z in each line")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:  # another encoding in comments is harmless: numbers are ASCII
        return content.decode("latin-1")


def _rows(text: str) -> list[_Row]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [_Row(number, line.strip(" ")) for number, line in enumerate(lines, start=1) if line.strip()]


def _lines(text: str) -> _Table:
    table = _Table([], [], [])
    for row in _rows(text):
        mark = next((m for m in _COMMENTS if row.text.lstrip().startswith(m)), None)
        if mark is None:
            table.rows.append(row)
        else:
            kept = table.later if table.rows else table.comments
            kept.append(_Row(row.line, row.text.strip().lstrip("#/").strip()))
    return table


def _announced(path: Path, rows: list[_Row]) -> tuple[list[_Row], int | None]:
    """Return the rows after a count, and that count.

    As in ``.pts`` files, the first line may hold the number of points alone.
    """
    if len(rows) > 1 and rows[0].text.isascii() and rows[0].text.isdigit():
        return rows[1:], int(rows[0].text[:18])
    return rows, None


def _separator(line: str) -> str | None:
    """Return the separator of a line's fields; None for blanks."""
    return next((mark for mark in ";\t," if mark in line), None)


def _fields(text: str, between: str | None) -> list[str]:
    """Return the fields of a line, without blanks and quotes.

    Quotes keep a separator inside a field.
    """
    if between is None:
        return text.split()
    if '"' in text:
        pieces = re.findall(rf'("[^"]*"|[^{re.escape(between)}]*)(?:{re.escape(between)}|$)', text + between)[:-1]
    else:
        pieces = text.split(between)
    return [_bare(piece) for piece in pieces]


def _width(rows: list[_Row], between: str | None) -> int:
    """Return the usual number of fields in the first rows."""
    return Counter(len(_fields(row.text, between)) for row in rows[:100]).most_common(1)[0][0]


def _bare(field: str) -> str:
    field = field.strip()
    return field[1:-1].strip() if len(field) > 1 and field[0] == field[-1] and field[0] in "\"'" else field


def _names(text: str, between: str | None, count: int | None) -> list[str] | None:
    """Return column names of a line, or None.

    In lower case and without units; None if their number is not `count`.
    """
    bare = _UNIT.sub("", text.lstrip("#/ "))
    for mark in dict.fromkeys((between, ",", ";", "\t", None)):
        names = [field.casefold() for field in _fields(bare, mark)]
        if len(names) > 1 and (count is None or len(names) == count):
            return names
    return None


def _heading(path: Path, table: _Table, rows: list[_Row], between: str | None) -> tuple[list[str] | None, list[_Row]]:
    """Return the column names, if any, and the rows below.

    Names are in the first line or in a comment above.
    """
    first = _fields(rows[0].text, between)
    shown = rows[0].text.strip()[:80]
    if not any(_numeric(field) for field in first):
        count = _width(rows[1:], between) if len(rows) > 1 else None
        names = _names(rows[0].text, between, None)
        if names is None or any(names.count(axis) != 1 for axis in "xyz"):
            raise DataError(
                f"{path}: line {rows[0].line} is '{shown}', expected numbers, or a heading that names x, y and z once"
            )
        if count is not None and len(names) != count:
            names = _names(rows[0].text, between, count)
        if names is None:
            raise DataError(f"{path}: line {rows[1].line} has {count} fields, the heading '{shown}' has another number")
        return names, rows[1:]
    _refuse_counted(path, rows, first, shown)
    width = _width(rows, between)
    for comment in reversed(table.comments):
        names = _names(comment.text, between, width)
        words = [word.casefold() for word in re.findall(r"\w+", _UNIT.sub("", comment.text))]
        axes = [word for word in words if word in ("x", "y", "z")]
        if not set("xyz") <= set(axes):
            continue
        named = names is not None and all(names.count(axis) == 1 for axis in "xyz")
        if named and (re.search("[,;]", comment.text) or all(map(_KNOWN.fullmatch, names or ()))):
            return names, rows
        if axes != ["x", "y", "z"] or width != 3:
            raise DataError(
                f"{path}: line {comment.line} may name the columns ('{comment.text[:60]}'), but does not name each of "
                f"the {width} by a common name; put names with '{between or ','}' between, or remove that comment"
            )
    return None, rows


def _refuse_counted(path: Path, rows: list[_Row], first: list[str], shown: str) -> None:
    """Refuse a first row of column numbers.

    pandas writes it for a table without column names.
    """
    if len(first) < 3 or not all(NUMBER.fullmatch(field) for field in first) or len(rows) == 1:
        return
    values = [float(field) for field in first]
    counts = [values[0] + step for step in range(len(values))]
    whole = all(field.isdigit() for field in first) and any("." in row.text for row in rows[1:])
    if values == counts and (values[0] == 0 or whole):
        raise DataError(
            f"{path}: line {rows[0].line} is '{shown}', which looks like column numbers that pandas wrote; name the "
            "columns x, y and z there, or remove that line"
        )


def _numeric(field: str) -> bool:
    """Return whether a field is a number, possibly damaged."""
    return bool(re.match(r"[+-]?\.?[0-9]", field)) or field.casefold().lstrip("+-") in ("nan", "inf", "infinity")


def _numbers(
    path: Path, rows: list[_Row], between: str | None, count: int | None, wanted: list[int] | None
) -> npt.NDArray[np.float64]:
    """Return the fields of rows as numbers.

    Args:
        path: The file, for messages.
        rows: At least one.
        between: Separator of fields.
        count: Number of fields of a row; None: as in the first row.
        wanted: Columns to read; None: all. Another column must be numeric if its first row is.

    Returns:
        float64 ``[rows, columns]``.
    """
    count = count or _width(rows, between)
    table = plain_table([row.text for row in rows], count, between)
    if table is not None and (np.abs(table) <= LARGEST).all():
        return table if wanted is None else table[:, wanted]
    return _slowly(path, rows, between, count, wanted)


def plain_table(lines: list[str], count: int, between: str | None = None) -> npt.NDArray[np.float64] | None:
    """Parse lines of plain numbers fast, or return None.

    None if a line has other characters and may be invalid.

    Args:
        lines: One row each.
        count: Number of fields of a row.
        between: Separator of fields; None for blanks.
    """
    text = "\n".join(lines)
    if not text.isascii() or text.encode().translate(None, _PLAIN):
        return None
    try:
        with np.errstate(over="ignore"):
            table = np.loadtxt(io.StringIO(text), delimiter=between, ndmin=2, comments=None, dtype=np.float64)
    except ValueError:
        return None
    return table if table.shape == (len(lines), count) else None


def _slowly(
    path: Path, rows: list[_Row], between: str | None, count: int, wanted: list[int] | None
) -> npt.NDArray[np.float64]:
    """Parse field by field; report the first invalid one."""
    free = set[int]()
    if wanted is not None:
        opening = _fields(rows[0].text, between)
        free = {place for place, field in enumerate(opening) if place not in wanted and not _numeric(field)}
    columns = range(count) if wanted is None else wanted
    values = np.empty((len(rows), len(columns)))
    for place, row in enumerate(rows):
        fields = _fields(row.text, between)
        if len(fields) != count:
            hint = _comma_hint(row.text) if between in (None, ",") else ""
            raise DataError(
                f"{path}: line {row.line} has {len(fields)} fields, expected {count} as above{hint}: "
                f"'{row.text.strip()[:60]}'"
            )
        for column, field in enumerate(fields):
            if not field:
                raise DataError(f"{path}: line {row.line}: field {column + 1} is empty, expected a number")
            if column in free:
                continue
            unread = wanted is not None and column not in wanted
            if unread and field.casefold().lstrip("+-") in ("nan", "inf"):
                continue
            if NUMBER.fullmatch(field) is None:
                apart = f" (fields have '{between}' between){_comma_hint(row.text)}" if " " in field else ""
                raise DataError(f"{path}: line {row.line}: field {column + 1} is '{field[:40]}', {_why(field)}{apart}")
            if not unread and abs(float(field)) > LARGEST:
                raise DataError(
                    f"{path}: line {row.line}: field {column + 1} is {field[:40]}, expected at most {LARGEST:g}"
                )
        values[place] = [float(fields[column]) for column in columns]
    return values


def _comma_hint(text: str) -> str:
    return " (are commas decimal here? write points)" if re.search(r"[0-9],[0-9]", text) else ""


def _why(field: str) -> str:
    if re.fullmatch(r"[+-]?[0-9]+[dD][+-]?[0-9]+|[+-]?[0-9]*\.[0-9]*[dD][+-]?[0-9]+", field):
        return "a Fortran exponent; write it with E"
    if re.fullmatch(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?", field):
        return "expected a number with a decimal point, not a comma"
    if re.fullmatch(r"[+-]?[0-9]{1,3}([,' ._][0-9]{3})+([.,][0-9]+)?", field):
        return "expected a number without marks between thousands"
    if field.casefold().lstrip("+-") in ("nan", "inf", "infinity"):
        return "expected a finite number; remove or repair that row"
    if any(sign in field for sign in "−–—"):
        return "expected a plain minus sign (-)"
    return "expected a number"


def _unnamed(path: Path, rows: list[_Row], values: npt.NDArray[np.float64], between: str | None) -> None:
    """Refuse columns without names that are ambiguous.

    Accepted are x y z; x y z and a triple of normals or of colours from 0 to 255; and these followed by a whole number
    (label or part). A first column of whole numbers beside fractions is an index or a label.
    """
    count = values.shape[1]
    first = f"{path}: line {rows[0].line}"
    if count < 3:
        raise DataError(f"{first} has {count} fields, expected x y z{_comma_hint(rows[0].text)}")
    refuse_index(values, f"{path}: the first column", _HEADING)
    if count == 3:
        return
    if between == "," and count == 6 and not any("." in row.text for row in rows):
        raise DataError(f"{first}: '{rows[0].text[:40]}' may be 6 numbers, or 3 with decimal commas; {_HEADING}")
    triple = values[:, 3:6]
    known = count in (6, 7) and (_normals(triple) or _colours(triple))
    if not known or (count == 7 and not (values[:, 6] == np.rint(values[:, 6])).all()):
        raise DataError(
            f"{first}: {count} columns without names, which are neither x y z nor that and normals or colours "
            f"(0 to 255); {_HEADING}"
        )


def _normals(triple: npt.NDArray[np.float64]) -> bool:
    length = np.linalg.norm(triple, axis=1)
    return bool(((np.abs(length - 1) < _NORMAL_OFF) | (length == 0)).all())


def _colours(triple: npt.NDArray[np.float64]) -> bool:
    return bool(((triple >= 0) & (triple <= 255) & (triple == np.rint(triple))).all())


def refuse_index(values: npt.NDArray[np.generic], where: str, mend: str) -> None:
    """Refuse tables whose first column is an index or label.

    pandas and spreadsheets put such a column before x.

    Args:
        values: Numbers ``[N, 3 or more]``.
        where: Name of the first column, for messages.
        mend: Advice, for messages.

    Raises:
        DataError: The first column counts 0, 1, 2 ... or 1, 2, 3 ..., or is whole beside columns with fractions.
    """
    head = np.asarray(values[:, 0], dtype=np.float64)
    if len(head) < 4:
        return
    counting = head[0] in (0, 1) and bool((np.diff(head) == 1).all())
    whole = bool((head == np.rint(head)).all()) and values.shape[1] > 3
    beside = np.asarray(values[:, 1:3], dtype=np.float64)
    fractions = bool((beside != np.rint(beside)).any(axis=0).all())
    if counting or (whole and fractions):
        raise DataError(
            f"{where} holds {'the numbers of the rows' if counting else 'whole numbers only'}, which looks like an "
            f"index or a label and not like x; {mend}"
        )
