"""Write an analysis: picture, table and summary.

The same inputs give the same files, byte for byte.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from bench.analysis.figures import STYLE
from bench.store.publish import write_whole
from bench.texts import csv_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, str | int | float]
DPI = 150
_MOST_LINES = 6
"""Most origins named in the picture; the JSON file has them all."""


@dataclass(frozen=True)
class Origin:
    """Origin of an analysis's numbers.

    Attributes:
        encoder: Name of the encoder in the picture, e.g. ``recon, seed 0``.
        key: Its content key.
        fingerprint: Digest of the code that trained it.
        data: Data analysed, e.g. ``shapes-scan, test``; empty without data.
        manifest: Digest of that data set's content.
    """

    encoder: str
    key: str
    fingerprint: str
    data: str = ""
    manifest: str = ""

    def line(self) -> str:
        """Line at the foot of a picture."""
        line = f"{self.encoder}: key {self.key[:12]}, code {self.fingerprint[:8]}"
        return f"{line}, data {self.data} {self.manifest[:12]}" if self.data else line


@dataclass
class Artefact:
    """Result of an analysis before it is written.

    Attributes:
        kind: Name of the analysis, and of its files.
        figure: The picture, without its foot.
        rows: The table behind it, every row with the same fields.
        summary: The few numbers to quote.
        origins: Origins of the numbers, one per encoder.
        code: Digest of the code of the analysis.
    """

    kind: str
    figure: Figure
    rows: Sequence[Row]
    summary: Mapping[str, JsonValue]
    origins: Sequence[Origin]
    code: str


def write(artefact: Artefact, out: Path) -> tuple[Path, Path, Path]:
    """Write ``KIND.png``, ``KIND.csv`` and ``KIND.json`` into a folder.

    Each appears whole or not at all.

    Args:
        artefact: The analysis to write.
        out: Folder, made where it is missing.

    Returns:
        The three files.

    Raises:
        SetupError: They cannot be written.
    """
    facts: dict[str, JsonValue] = {
        "analysis": artefact.kind,
        "code": artefact.code,
        "origins": [vars(origin) for origin in artefact.origins],
        **artefact.summary,
    }
    contents = {
        "png": _picture(artefact),
        "csv": _table(artefact.rows).encode(),
        "json": (json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode(),
    }
    files = tuple(out / f"{artefact.kind}.{ending}" for ending in contents)
    for file, content in zip(files, contents.values(), strict=True):
        write_whole(file, content, mend="choose another place with --out DIR")
    return files[0], files[1], files[2]


def _picture(artefact: Artefact) -> bytes:
    """Encode the picture with its origins at the foot."""
    import matplotlib as mpl

    lines = [origin.line() for origin in artefact.origins]
    shown = [*lines[:_MOST_LINES], *([f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else [])]
    figure, buffer = artefact.figure, io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the lines added below must not change the layout
        lowest = figure.get_tightbbox().y0 / figure.get_figheight()
        figure.text(0.01, lowest - 0.03, "\n".join(shown), ha="left", va="top", fontsize=6.5, color="#555555")
        # matplotlib would write its version, so that two versions would give different bytes.
        figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return buffer.getvalue()


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    columns = list(rows[0])
    cells = [[row[name] for name in columns] for row in rows]
    return csv_text(columns, [[f"{v:.6g}" if isinstance(v, float) else v for v in line] for line in cells])
