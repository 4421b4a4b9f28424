"""``bench bundle``: stored runs in one file that others verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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

if TYPE_CHECKING:
    from bench.sharing.checking import Examined

app = typer.Typer(help="Write stored runs into one file, and verify such files.", no_args_is_help=True)
SHOWN = 20
"""Findings that are printed; more are counted."""


@app.command()
def create(
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="File to write.")],
    method: MethodFilter = None,
    protocol: ProtocolFilter = None,
    dataset: DatasetFilter = None,
    preset: PresetFilter = None,
    where: WhereFilter = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    verify: VerifyOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Write stored runs with predictions and report into one file.

    The same runs give the same bytes.
    """
    from bench.api.results import load

    labels = chosen_labels(method, protocol, dataset, preset)
    stored = load(results, store_url=store_url, verify=verify).where(read_fields(where))
    made = stored.bundle(out, force=force, **labels)  # type: ignore[arg-type]
    failed = f" and {made.failed} failed" if made.failed else ""
    skipped = f"; {made.skipped} skipped combinations with their reasons" if made.skipped else ""
    trials = f"; {made.trials} trials of searches left out" if made.trials else ""
    screen = console()
    screen.print(
        f"wrote {made.path}: {made.done} finished{failed} runs, {made.size / 1e6:.1f} MB{skipped}{trials}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    screen.print(f"sha256 {made.sha256}", highlight=False)
    screen.print(
        f"anyone verifies it with: bench bundle verify {made.path}", highlight=False, markup=False, soft_wrap=True
    )


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE.zip", help="File to verify.")],
    json: JsonOption = False,
) -> None:
    """Recompute a bundle's numbers from predictions; check digests.

    Needs no network and no data. Exit code 1 where something does not hold,
    2 where the file is no bundle.
    """
    from bench.api.sharing import verify_bundle

    found = verify_bundle(bundle)
    if json:
        print_json(found.as_json())
    else:
        show(found)
    raise typer.Exit(0 if found.holds else 1)


def show(found: Examined) -> None:
    """Print what was found about a bundle."""
    from bench.plan.skips import skip_lines
    from bench.store.files import shown

    screen = console()

    def line(text: str) -> None:
        screen.print(text, highlight=False, markup=False, soft_wrap=True)

    failed = f", {found.failed} failed" if found.failed else ""
    line(f"{found.path}: {found.done} finished runs{failed}, {found.size / 1e6:.1f} MB")
    line(f"sha256 {found.sha256}")
    line(f"checksums: {found.digests:,} files match")
    line(f"recomputed: {found.followed:,} numbers follow from stored predictions")
    if found.unverified:
        words = ", ".join(f"{count:,} {what}" for what, count in sorted(found.unverified.items()))
        line(f"cannot be recomputed from a bundle: {words}")
    for name, why in list(found.unverified_runs.items())[:SHOWN]:
        line(f"not verified: {name}: {why}")
    if (more := len(found.unverified_runs) - SHOWN) > 0:
        line(f"not verified: {more:,} more runs")
    reasons = skip_lines(found.skipped, ()) if found.skipped else []
    for reason in reasons[:SHOWN]:
        line(f"skipped, as its author says: {shown(reason)}")
    if (more := len(reasons) - SHOWN) > 0:
        line(f"skipped: {more:,} more combinations")
    for note in found.notes:
        line(f"note: {note}")
    for finding in found.findings[:SHOWN]:
        screen.print("[red]does not hold[/red] ", end="", highlight=False)
        line(str(finding))
    if (more := found.wrong - SHOWN) > 0:
        line(f"{more:,} more do not hold")
    screen.print(
        "[green]the bundle holds[/green]" if found.holds else f"[red]{found.wrong:,} findings[/red]", highlight=False
    )
