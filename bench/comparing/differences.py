"""Why two runs differ: the first fields of their specs, and the modules of their code, that are not the same."""

from __future__ import annotations

from bench.comparing.groups import ABSENT
from bench.comparing.matching import differing_fields
from bench.errors import UsageError
from bench.paths import Workspace
from bench.stats.cells import flatten
from bench.store.queries import run_rows
from bench.store.store import Store, StoredRun


def explain(workspace: Workspace, store_url: str | None, first: str, second: str, *, verify: bool = False) -> list[str]:
    """Compare two stored runs.

    Args:
        workspace: Results folder.
        store_url: Database URL, or None.
        first: Beginning of a run's key, optionally ``@`` and the beginning of its code fingerprint.
        second: Likewise.
        verify: Believe nothing of the index.

    Returns:
        One line per difference; a single line when there is none.

    Raises:
        UsageError: A key matches no run, or several.
    """
    store = Store.open_readonly(workspace.results, store_url, verify=verify)
    rows = [row.stored for row in run_rows(store, every_fingerprint=True)]
    a, b = (find_run(rows, text) for text in (first, second))
    records = [store.load(found) for found in (a, b)]
    # As `bench compare` reads them, so that a line can be put behind a name there; the seed is not among its fields.
    specs = [{"seed": str(record.spec.get("seed")), **flatten(record.spec)} for record in records]
    lines = [f"spec {name}: {' | '.join(spec.get(name, ABSENT) for spec in specs)}" for name in differing_fields(specs)]
    cards = [record.provenance.get("card_hash") for record in records]
    if not lines and all(cards) and cards[0] != cards[1]:
        lines.append(f"card: the protocol was described otherwise ({' | '.join(str(card)[:12] for card in cards)})")
    modules = [record.provenance.get("modules") for record in records]
    if a.fingerprint != b.fingerprint and all(isinstance(found, dict) for found in modules):
        left, right = (dict(found) for found in modules if isinstance(found, dict))
        for name in sorted(left.keys() | right.keys()):
            if left.get(name) != right.get(name):
                what = (
                    "changed"
                    if name in left and name in right
                    else "only in the " + ("first" if name in left else "second")
                )
                lines.append(f"code {name}: {what}")
    if not lines:
        lines = ["no difference: same specification and same code"]
    return [f"A {a.key[:12]}@{a.fingerprint[:8]}   B {b.key[:12]}@{b.fingerprint[:8]}", *lines]


def find_run(runs: list[StoredRun], text: str) -> StoredRun:
    """Return the run that the beginning of a key names, optionally with ``@`` and the beginning of a fingerprint.

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
