"""Plan a request against the stored results."""

from __future__ import annotations

from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.code import encoder_fingerprint
from bench.plan.encoders import StoredEncoder
from bench.plan.graph import Plan, Stored, build_plan
from bench.plan.request import Reuse, RunRequest
from bench.plan.resolve import Resolution, resolve
from bench.plan.teachers import open_teacher
from bench.spec import TeacherSpec
from bench.store.store import Store


def make_plan(
    request: RunRequest,
    workspace: Workspace,
    store_url: str | None,
    reuse: Reuse = "exact",
    *,
    readonly: bool = False,
) -> Plan:
    """Plan a request, leaving out what is stored.

    Args:
        request: The user's request.
        workspace: Results folder.
        store_url: Database URL, or None.
        reuse: Stored results to reuse.
        readonly: Whether to change nothing; the results folder may then be absent.

    Returns:
        The plan.

    Raises:
        UsageError: The request is wrong, or names an encoder that other code trained.
    """
    return plan_runs(resolve(request, workspace), workspace, store_url, reuse, readonly=readonly)


def plan_runs(
    resolution: Resolution,
    workspace: Workspace,
    store_url: str | None,
    reuse: Reuse = "exact",
    *,
    readonly: bool = False,
) -> Plan:
    """Plan resolved runs, leaving out what is stored.

    Args:
        resolution: The runs; the other arguments are those of `make_plan`.
        workspace: Results folder.
        store_url: Database URL, or None.
        reuse: Stored results to reuse.
        readonly: Whether to change nothing.

    Raises:
        UsageError: An encoder that is asked for was trained by other code.
    """
    stored = _stored(workspace, store_url, readonly)
    for encoder in resolution.stored:
        _check_code(encoder, stored)
    return build_plan(resolution, stored, reuse)


def _stored(workspace: Workspace, store_url: str | None, readonly: bool) -> Stored:
    """Look up what is stored; nothing where a reader finds no folder.

    The store is tidied where it may be changed.
    """

    def teacher(spec: TeacherSpec) -> bool:
        return open_teacher(spec, workspace).ready()

    if readonly and not workspace.results.is_dir():
        return Stored(run=lambda key, code: False, encoder=lambda key, code: False, teacher=teacher)
    if readonly:
        store = Store.open_readonly(workspace.results, store_url)
        finished = store.finished()
        store.forget()
    else:
        store = Store(workspace.results, store_url)
        finished = store.tidy(workspace.cache)
    return Stored(
        run=finished.has,
        encoder=lambda key, code: store.artifacts.find_folder("encoder", key, code) is not None,
        teacher=teacher,
    )


def _check_code(encoder: StoredEncoder, stored: Stored) -> None:
    """Refuse an encoder trained by code that has changed since.

    Its runs would be taken for those of the present code.
    """
    if not stored.encoder(encoder.key, encoder_fingerprint(encoder.spec).digest):
        raise UsageError(
            f"encoder {encoder.shown} was trained by other code than the present one; train it again with bench run "
            f"--method {encoder.spec.method}, or keep its weights as they are: "
            f"bench import {encoder.folder / 'encoder.safetensors'}"
        )
