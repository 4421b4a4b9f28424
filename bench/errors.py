"""Errors that reach the user as one clear line, and the exit codes they carry.

Every message says what is wrong, where, what was expected and how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A failure the user can act on; printed as one line without a traceback (exit code 1)."""

    exit_code = 1


class UsageError(BenchError):
    """The command or an option is wrong (exit code 2)."""

    exit_code = 2


class DataError(UsageError):
    """A data file or folder is missing or not in the layout its format promises (exit code 2)."""


class NotComparableError(UsageError):
    """Stored runs cannot be compared object by object: what is stored does not suffice (exit code 2)."""


class SetupError(BenchError):
    """The machine, the results folder or the database cannot be used as it is (exit code 4)."""

    exit_code = 4


class DivergedError(BenchError):
    """A loss, a weight or a feature of a network is not a finite number (exit code 1)."""


class Interrupted(BenchError):  # noqa: N818 (it is a request carried out, not an error)
    """Work was stopped on request (Ctrl-C, SIGTERM) after its state was saved; the line says how to go on."""


def unknown_name(kind: str, name: str, known: Iterable[str], *, plugin: bool = False) -> UsageError:
    """Build the error for a name that does not exist, with near-miss suggestions.

    Args:
        kind: What the name stands for, e.g. ``"method"``.
        name: The name the user gave.
        known: Every name that would have been accepted.
        plugin: Whether a plugin file may define the name.

    Returns:
        The error to raise.
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
    own = f"; if '{name}' comes from your own file, add --plugin FILE" if plugin else ""
    return UsageError(f"unknown {kind} '{name}': {hint}{own}")
