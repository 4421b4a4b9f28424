"""Checks: named functions that pass, fail or are skipped."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, NoReturn, TypeVar

import torch

from bench.errors import BenchError
from bench.plugins import changed
from bench.protocols.threads import torch_threads

K = TypeVar("K")
Status = Literal["pass", "warn", "fail", "skip"]


class CheckFailed(Exception):  # noqa: N818 (an outcome, not an error)
    """The plugin breaks the contract; the text says how."""


class CheckSkipped(Exception):  # noqa: N818 (an outcome, not an error)
    """The check cannot be made here; the text says why."""


class CheckDoubted(Exception):  # noqa: N818 (an outcome, not an error)
    """The contract is kept, but the text names a doubt."""


def warn(reason: str) -> NoReturn:
    """End a check with a warning, which fails nothing."""
    raise CheckDoubted(reason)


def fail(reason: str) -> NoReturn:
    """End a check as failed."""
    raise CheckFailed(reason)


def skip(reason: str) -> NoReturn:
    """End a check as skipped."""
    raise CheckSkipped(reason)


def listed(names: list[str], most: int = 4) -> str:
    """Join names for a message; count all but the first."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


@dataclass(frozen=True)
class Check(Generic[K]):
    """A named check.

    Attributes:
        name: Name on screen.
        what: Description in one line.
        run: Makes the check on a kit and returns a remark; raises `CheckFailed` or `CheckSkipped`.
        needs: Checks whose subject this one uses: unless they pass, this one is skipped, and says on account of which.
    """

    name: str
    what: str
    run: Callable[[K], str]
    needs: tuple[str, ...] = ()


class Checks(Generic[K]):
    """Ordered checks of one kind of plugin.

    They may continue the checks of another module.
    """

    def __init__(self, before: Checks[K] | None = None) -> None:
        self._checks: dict[str, Check[K]] = {} if before is None else dict(before._checks)

    def add(self, name: str, *needs: str) -> Callable[[Callable[[K], str]], Callable[[K], str]]:
        """Register a function as a check, described by its docstring.

        The first line of the docstring says what the check makes sure of, and is shown to users.

        Args:
            name: Name on screen.
            needs: Names of checks, registered before, that have to pass first.
        """

        def register(run: Callable[[K], str]) -> Callable[[K], str]:
            if name in self._checks or any(need not in self._checks for need in needs):
                raise ValueError(f"check '{name}' is registered twice, or before what it needs")
            what = (run.__doc__ or "").partition("\n")[0]
            self._checks[name] = Check(name, what, run, needs)
            return run

        return register

    def __iter__(self) -> Iterator[Check[K]]:
        return iter(self._checks.values())

    def __getitem__(self, name: str) -> Check[K]:
        return self._checks[name]

    def names(self) -> tuple[str, ...]:
        """Names of the checks, in order."""
        return tuple(self._checks)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a check.

    Attributes:
        check: Its name.
        status: Whether it passed.
        remark: A figure of a passed check, the reason of a failed or skipped one; one line.
    """

    check: str
    status: Status
    remark: str


@dataclass
class Suite(Generic[K]):
    """Checks of one plugin; each runs once.

    Attributes:
        subject: Name on screen, e.g. ``method my-method``.
        kit: The plugin with made-up inputs.
        checks: The checks.
        source: File of the plugin: reasons name a line of it where its code raised.
        left_out: Checks not to be made, with the reason.
    """

    subject: str
    kit: K
    checks: Checks[K]
    source: Path | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    _made: dict[str, Outcome] = field(default_factory=dict)

    def run(self) -> Iterator[Outcome]:
        """Run all checks in order."""
        for name in self.checks.names():
            yield self.outcome(name)

    def outcome(self, name: str) -> Outcome:
        """Run one check, after those it needs."""
        if name not in self._made:
            self._made[name] = self._make(self.checks[name])
        return self._made[name]

    def _make(self, check: Check[K]) -> Outcome:
        if check.name in self.left_out:
            return Outcome(check.name, "skip", self.left_out[check.name])
        if (missing := self._missing(check)) is not None:
            return Outcome(check.name, "skip", missing)
        try:
            # One thread, as a job has: networks this small on many threads only wait for each other.
            with torch.random.fork_rng(devices=[]), torch_threads(1):
                return Outcome(check.name, "pass", _one_line(check.run(self.kit)))
        except CheckDoubted as reason:
            return Outcome(check.name, "warn", _one_line(str(reason)))
        except CheckSkipped as reason:
            return Outcome(check.name, "skip", _one_line(str(reason)))
        except (CheckFailed, BenchError) as reason:
            return Outcome(check.name, "fail", _one_line(str(reason)))
        except Exception as error:
            return Outcome(check.name, "fail", _one_line(self._told(error)))

    def _missing(self, check: Check[K]) -> str | None:
        """Return why a needed check did not pass, or None."""
        for need in check.needs:
            outcome = self.outcome(need)
            if outcome.status == "fail":
                return f"depends on '{need}', which failed"
            if outcome.status == "skip":
                return self._missing(self.checks[need]) or f"depends on '{need}', which was skipped"
        return None

    def _told(self, error: Exception) -> str:
        """Describe an unexpected exception, with its line in the plugin."""
        where = ""
        for frame in traceback.extract_tb(error.__traceback__):
            if self.source is not None and Path(frame.filename) == self.source:
                where = f" ({self.source.name}, line {frame.lineno})"
        return f"{type(error).__name__}: {str(error).strip() or 'no message'}{changed(error)}{where}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
