"""``bench power``: the seeds that a difference needs."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.api.results import load
from bench.cli.common import (
    DatasetFilter,
    JsonOption,
    MethodFilter,
    PresetFilter,
    ProtocolFilter,
    ResultsOption,
    StoreOption,
    VerifyOption,
    WhereFilter,
    chosen_labels,
    console,
    print_json,
    read_fields,
)


def power(
    effect: Annotated[float, typer.Option(help="Difference to show, in points of accuracy.")] = 1.0,
    target: Annotated[float, typer.Option("--power", help="Chance of showing it, in percent.")] = 80.0,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=2, max=1000, help="Planned seeds (default: those stored).")
    ] = None,
    method: MethodFilter = None,
    protocol: ProtocolFilter = None,
    dataset: DatasetFilter = None,
    preset: PresetFilter = None,
    where: WhereFilter = None,
    json: JsonOption = False,
    verify: VerifyOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Say how many seeds a difference needs, from stored runs.

    For every table of the report: the deviation of its paired differences,
    the smallest difference that its seeds can show, the seeds that a difference
    of --effect points needs, and the device time of those that are missing.
    The test is the report's own: paired Student-t with moderated variances,
    Holm's correction over the comparisons of the table. Nothing is run.
    """
    labels = chosen_labels(method, protocol, dataset, preset)
    stored = load(results, store_url=store_url, verify=verify).where(read_fields(where))
    found = stored.power(effect, target=target, seeds=seeds, **labels)  # type: ignore[arg-type]
    if json:
        print_json(found.answers)
        return
    from bench.report.terminal import render_terminal

    render_terminal(found.document, console())
