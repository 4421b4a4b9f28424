"""Errors shown to users as one line, and exit codes.

Every message says what is wrong, where, what was expected and how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Failure that the user can act on (exit 1).

    Printed as one line without a traceback.
    """

    exit_code = 1


class UsageError(BenchError):
    """The command or an option is wrong (exit 2)."""

    exit_code = 2


class DataError(UsageError):
    """Data are missing or in a wrong layout (exit 2)."""


class NotComparableError(UsageError):
    """Stored runs cannot be compared object by object (exit 2)."""


class SetupError(BenchError):
    """Machine, results folder or database is unusable (exit 4)."""

    exit_code = 4


class DivergedError(BenchError):
    """A loss, weight or feature is not finite (exit 1)."""


class Interrupted(BenchError):  # noqa: N818 (it is a request carried out, not an error)
    """Work was stopped on request after saving its state.

    By Ctrl-C or SIGTERM; the line says how to go on.
    """


def unknown_name(kind: str, name: str, known: Iterable[str], *, plugin: bool = False) -> UsageError:
    """Build the error for an unknown name, with suggestions.

    Args:
        kind: Kind of thing that is named, e.g. ``"method"``.
        name: The name the user gave.
        known: Every name that would have been accepted.
        plugin: Whether a plugin file may define the name.

    Returns:
        The error to raise.
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
    message = f"unknown {kind} '{name}': {hint}"
    if plugin:
        also = " If" if near else "; if"
        message += f"{also} '{name}' comes from your own file, add --plugin FILE (in Python: bench.load_plugins)"
    return UsageError(message)
