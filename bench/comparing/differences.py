"""Differences of two runs: fields of specs, modules of code."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from bench.comparing.groups import ABSENT
from bench.comparing.matching import differing_fields
from bench.errors import UsageError
from bench.paths import Workspace
from bench.stats.cells import flatten
from bench.store.queries import run_rows
from bench.store.store import Store, StoredRun


@dataclass(frozen=True)
class Differences:
    """Differences of two stored runs.

    Attributes:
        runs: The two runs.
        spec: Fields of the specification with the value of either.
        card: Hashes of the protocol's description, where equal specifications were described otherwise.
        code: Modules that differ, each with ``changed``, ``only in the first`` or ``only in the second``.
    """

    runs: tuple[StoredRun, StoredRun]
    spec: dict[str, tuple[str, str]]
    card: tuple[str, str] | None
    code: dict[str, str]

    def lines(self) -> list[str]:
        """Return one line per difference, or one saying "none"."""
        lines = [f"spec {name}: {_words(*values)}" for name, values in self.spec.items()]
        if self.card is not None:
            lines.append(f"card: the protocol's description differs ({' | '.join(one[:12] for one in self.card)})")
        lines += [f"code {name}: {what}" for name, what in self.code.items()]
        a, b = self.runs
        heading = f"A {a.key[:12]}@{a.fingerprint[:8]}   B {b.key[:12]}@{b.fingerprint[:8]}"
        return [heading, *(lines or ["no difference: same specification and same code"])]

    def __str__(self) -> str:
        """Return `lines`, one below the other."""
        return "\n".join(self.lines())

    def as_json(self) -> dict[str, object]:
        """Return the fields of ``bench why --json`` (see docs/results-folder.md#json-output)."""
        return {
            "runs": [{"key": run.key, "code": run.fingerprint} for run in self.runs],
            "same": not (self.spec or self.card or self.code),
            "spec": {name: list(values) for name, values in self.spec.items()},
            "card": None if self.card is None else list(self.card),
            "code": self.code,
        }


def _words(a: str, b: str) -> str:
    """Return a field's two values, or the existing one."""
    if ABSENT in (a, b):
        return f"only B has it, as {b}" if a == ABSENT else f"only A has it, as {a}"
    return f"{a} | {b}"


def differences(
    workspace: Workspace, store_url: str | None, first: str, second: str, *, verify: bool = False
) -> Differences:
    """Compare two stored runs.

    Args:
        workspace: Results folder.
        store_url: Database URL, or None.
        first: Beginning of a run's key, optionally ``@`` and the beginning of its code fingerprint.
        second: The same for the other run.
        verify: Believe nothing of the index.

    Raises:
        UsageError: A key matches no run, or several.
    """
    store = Store.open_readonly(workspace.results, store_url, verify=verify)
    rows = [row.stored for row in run_rows(store, every_fingerprint=True)]
    a, b = (find_run(rows, text) for text in (first, second))
    records = [store.load(found) for found in (a, b)]
    # In the format that `bench compare` accepts behind a name; the seed is no field there.
    left, right = ({"seed": str(record.spec.get("seed")), **flatten(record.spec)} for record in records)
    spec = {name: (left.get(name, ABSENT), right.get(name, ABSENT)) for name in differing_fields([left, right])}
    before, after = (str(record.provenance.get("card_hash") or "") for record in records)
    card = (before, after) if not spec and before and after and before != after else None
    code = {} if a.fingerprint == b.fingerprint else _modules(*(record.provenance.get("modules") for record in records))
    return Differences((a, b), spec, card, code)


def _modules(first: JsonValue, second: JsonValue) -> dict[str, str]:
    """Return which modules differ; empty if a run lists none."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return {}
    found = {}
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            only = "only in the first" if name in first else "only in the second"
            found[name] = "changed" if name in first and name in second else only
    return found


def find_run(runs: list[StoredRun], text: str) -> StoredRun:
    """Return the run whose key begins with a text.

    ``@`` and the beginning of a code fingerprint may follow the key.

    Raises:
        UsageError: None fits, or several do.
    """
    key, _, code = text.partition("@")
    found = [run for run in runs if run.key.startswith(key) and run.fingerprint.startswith(code)]
    if not found:
        raise UsageError(f"no stored run has a key beginning with '{text}'; bench runs lists them")
    if len({run.key for run in found}) > 1:
        raise UsageError(f"'{text}' fits {len(found)} runs; give more characters (bench runs lists them)")
    return found[-1]
