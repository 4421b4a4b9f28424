"""Say which combinations of a request are skipped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from bench.store import jsontext
from bench.store.files import NoRegularFileError, read_file
from bench.store.publish import write_whole

Names = tuple[str, ...]
FILE = "skipped.json"
BYTES = 32 << 20
"""Most bytes of the file."""
MOST = 5_000
"""Most combinations of a results folder or a bundle."""
LONGEST = 1_000
"""Most characters of a name or a reason."""


@dataclass(frozen=True)
class Skipped:
    """A combination that does not apply, with the reason."""

    method: str
    protocol: str
    dataset: str
    reason: str


def skip_lines(skipped: Sequence[Skipped], methods: Iterable[str]) -> list[str]:
    """Say what is skipped and why, in few lines.

    Together the lines name exactly the given combinations.

    Args:
        skipped: Combinations.
        methods: Every method of the request, to say "every method" instead of naming them.

    Returns:
        Lines such as ``linear, svm on shapes-rooms (every method): the data set has no labelled objects``.
    """
    everyone = {*methods, *(one.method for one in skipped)}
    by_place: dict[tuple[str, str, str], list[str]] = {}
    for one in skipped:
        by_place.setdefault((one.reason, one.protocol, one.dataset), []).append(one.method)
    by_protocol: dict[tuple[str, str, Names], list[str]] = {}
    for (reason, protocol, dataset), names in by_place.items():
        by_protocol.setdefault((reason, protocol, tuple(dict.fromkeys(names))), []).append(dataset)
    merged: dict[tuple[str, Names, Names], list[str]] = {}
    for (reason, protocol, names_), datasets in by_protocol.items():
        merged.setdefault((reason, names_, tuple(datasets)), []).append(protocol)
    lines = []
    for (reason, names_, datasets_), protocols in merged.items():
        who = "every method" if len(everyone) > 1 and set(names_) == everyone else ", ".join(names_)
        lines.append(f"{', '.join(protocols)} on {', '.join(datasets_)} ({who}): {reason}")
    return lines


def reasons_of(skipped: Iterable[Skipped], asked: tuple[str, str, str], setting: str, settings: Collection[str]) -> str:
    """Return why a setting was skipped; empty if it was not.

    A reason may begin with the setting that it is about; others hold for all settings.

    Args:
        skipped: Combinations.
        asked: Method, protocol and data set.
        setting: The setting.
        settings: All settings of the protocol on the data set.
    """
    reasons = [one.reason for one in skipped if (one.method, one.protocol, one.dataset) == asked]
    own = [one.removeprefix(f"{setting}: ") for one in reasons if one.startswith(f"{setting}: ")]
    every = [one for one in reasons if not any(one.startswith(f"{other}: ") for other in settings)]
    return "; ".join(dict.fromkeys(own or every))


def remember(results: Path, skipped: Sequence[Skipped]) -> None:
    """Keep why combinations were skipped, for reports of the results folder.

    What an earlier plan said of the same combinations is replaced.

    Raises:
        SetupError: The file cannot be written.
    """
    again = {astuple(one)[:3] for one in skipped}
    before = remembered(results)
    _write(results, before, [*(one for one in before if astuple(one)[:3] not in again), *skipped])


def take_in(results: Path, skipped: Iterable[Skipped]) -> int:
    """Add what another results folder or a bundle knows.

    What is known here stays. Returns the number of new combinations.

    Raises:
        SetupError: The file cannot be written.
    """
    before = remembered(results)
    known = set(before)
    new = [one for one in dict.fromkeys(skipped) if one not in known][: MOST - len(before)]
    _write(results, before, [*before, *new])
    return len(new)


def remembered(results: Path) -> list[Skipped]:
    """Return what plans of a results folder skipped; nothing if it is not known."""
    try:
        return decoded(read_file(results / FILE, BYTES))
    except (OSError, ValueError, NoRegularFileError):
        return []


def encoded(skipped: Iterable[Skipped]) -> bytes:
    """Return combinations as the bytes of a file."""
    return jsontext.dump_bytes([astuple(one) for one in skipped])


def decoded(content: bytes) -> list[Skipped]:
    """Read what `encoded` wrote, of whomever.

    Raises:
        ValueError: It is something else; the text says what is wrong.
    """
    stored = jsontext.loads(content)
    if not isinstance(stored, list) or len(stored) > MOST:
        raise ValueError(f"no list of at most {MOST:,} combinations")
    for at, one in enumerate(stored, 1):
        if not (isinstance(one, list) and len(one) == 4 and all(_is_text(text) for text in one)):
            raise ValueError(f"entry {at}: expected four texts of at most {LONGEST:,} characters: {WHAT}")
    return list(dict.fromkeys(Skipped(*one) for one in stored))


WHAT = "method, protocol, data set, reason"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST


def _write(results: Path, before: Sequence[Skipped], found: Sequence[Skipped]) -> None:
    cut = [Skipped(*(text[:LONGEST] for text in astuple(one))) for one in found[-MOST:]]
    if cut != before:
        write_whole(results / FILE, encoded(cut), "the skipped runs")
