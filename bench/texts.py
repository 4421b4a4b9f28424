"""Make texts from outside harmless before showing or writing them.

A terminal obeys escape sequences, a bidirectional override turns a line around, a spreadsheet computes a cell that
begins with ``=``. All that is printed passes `Screen`, all CSV `csv_text`, logs and Markdown `visible`.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
_INVISIBLE = {"\u2028", "\u2029", "\ufeff", *map(chr, range(0xE0000, 0xE0080))}
_DIRECTION = {"\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


def visible(text: str) -> str:
    """Replace control characters by visible signs.

    Tabs and line ends stay.

    Control characters become their pictures (``␛``), overrides of the writing direction, invisible separators and
    halves of surrogate pairs ``�``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(sign: str) -> str:
    if sign.isprintable() or sign in "\n\t":
        return sign
    code = ord(sign)
    if code < 0x20 or code == 0x7F:
        return "␡" if code == 0x7F else chr(0x2400 + code)
    bad = sign in _DIRECTION or sign in _INVISIBLE or unicodedata.category(sign) in ("Cc", "Cs")
    return "\N{REPLACEMENT CHARACTER}" if bad else sign


def cell(value: object) -> object:
    """Make a CSV cell safe to open in a spreadsheet.

    A text that a spreadsheet would compute gets an apostrophe; numbers stay.
    """
    if not isinstance(value, str):
        return value
    text = visible(value.replace("\r\n", "\n").replace("\r", "\n"))
    risky = text.lstrip(" ").startswith(_FORMULA) or value.startswith(("\t", "\r"))
    return f"'{text}" if risky and not _NUMBER.fullmatch(text) else text


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a CSV file whose cells are safe in spreadsheets."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(cell, columns))
    writer.writerows(map(cell, row) for row in rows)
    return buffer.getvalue()


def screen(*, stderr: bool = False) -> Console:
    """Return a console that only obeys our own markup."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Screen(Console):
        """Console that shows control characters instead of obeying them."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for part in super().render(renderable, options):
                yield part if part.control else Segment(visible(part.text), part.style)

    return Screen(stderr=stderr)


class Patient:
    """Text stream that goes silent when its reader is gone.

    As ``head`` soon is.

    What a command does must not depend on who reads what it prints: files are written and jobs go on.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write; return the number of characters."""
        with self._unread():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush buffered text."""
        with self._unread():
            self._stream.flush()

    @contextmanager
    def _unread(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def patient_output() -> Iterator[None]:
    """Discard all output once its reader is gone."""
    before = sys.stdout, sys.stderr
    patient = [Patient(stream) for stream in before]
    sys.stdout, sys.stderr = patient
    try:
        yield
    finally:
        for stream in patient:
            stream.flush()
        sys.stdout, sys.stderr = before


class Log:
    """Text stream for logs that shows control characters.

    People read logs in terminals.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write; return the number of characters."""
        self._stream.write(visible(text.replace("\r\n", "\n").replace("\r", "\n")))
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
