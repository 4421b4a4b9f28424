"""Planning against a store: what of a request is done already."""

from __future__ import annotations

from bench.paths import Workspace
from bench.plan.graph import Plan, Reuse, Stored, build_plan
from bench.plan.request import RunRequest
from bench.plan.resolve import open_teacher, resolve
from bench.store.store import Store


def make_plan(request: RunRequest, workspace: Workspace, store_url: str | None, reuse: Reuse = "exact") -> Plan:
    """Resolve a request and leave out what is stored.

    Args:
        request: What the user asks for.
        workspace: Results folder.
        store_url: Database URL, or None.
        reuse: Which stored results count.

    Returns:
        The plan.
    """
    resolution = resolve(request, workspace)
    store = Store(workspace.results, store_url)
    stored = Stored(
        run=lambda key, code: store.find(key, code) is not None,
        encoder=lambda key, code: store.artifacts.find_folder("encoder", key, code) is not None,
        teacher=lambda spec: open_teacher(spec, workspace).ready(),
    )
    return build_plan(resolution, stored, reuse)
