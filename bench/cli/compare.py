"""``bench compare``: stored runs object by object, and ensembles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.api.results import Average, load
from bench.cli.common import (
    PluginOption,
    ResultsOption,
    StoreOption,
    VerifyOption,
    WhereFilter,
    console,
    read_fields,
)
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.comparing.pairs import Compared


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="METHOD, METHOD,FIELD=VALUE, or a run's KEY or KEY@CODE.")],
    second: Annotated[
        str | None, typer.Argument(metavar="B", help="The same; leave it out with --ensemble to see A alone.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", "-p", help="Protocol of both; repeatable.")
    ] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Data set of both, as in bench runs; repeatable.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Setting of both, e.g. 5w10s; repeatable.")] = None,
    preset: Annotated[list[str] | None, typer.Option(help="Preset of both; repeatable.")] = None,
    form: Annotated[list[str] | None, typer.Option(help="Form of both: fair or published; repeatable.")] = None,
    pretrain_data: Annotated[list[str] | None, typer.Option(help="Pretraining data of both; repeatable.")] = None,
    where: WhereFilter = None,
    seed: Annotated[list[int] | None, typer.Option(help="Only these seeds; repeatable.")] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Join the seeds of A and of B; METHOD+METHOD joins methods too.")
    ] = False,
    margin: Annotated[
        float | None, typer.Option(help="Points within which two methods count as equivalent; needs five seeds.")
    ] = None,
    average: Annotated[Average, typer.Option(help="What an ensemble averages.")] = "probabilities",
    classes: Annotated[int, typer.Option(min=0, help="Number of classes to show, largest difference first.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Also write one CSV row per object.")] = None,
    plugin: PluginOption = None,
    verify: VerifyOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Compare stored runs object by object; nothing is run.

    Pairs are tested by McNemar; runs can be joined into ensembles.

    A and B are methods (scratch: of the other's architecture) or keys of runs.
    FIELD=VALUE narrows one, as in recon,form=published; a field is a column of
    bench runs or a line of bench why. Runs that were judged differently are
    refused, unless both name such a field. Every stored accuracy is computed
    again from the stored answers; the exit code is 1 where one does not follow.
    """
    stored = load(results, store_url=store_url, verify=verify, plugins=plugin or ())
    if out is not None and not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.absolute().parent}")
    if out is not None and out.is_dir():
        raise UsageError(f"--out {out} is a folder; give the name of a file")
    found = stored.compare(
        first,
        second,
        ensemble=average if ensemble else None,
        margin=margin,
        where=read_fields(where),
        protocol=protocol or (),
        dataset=dataset or (),
        setting=setting or (),
        preset=preset or (),
        form=form or (),
        pretrain_data=pretrain_data or (),
        seed=seed or (),
    ).found
    raise typer.Exit(_show(found, classes, out))


def _show(found: Compared, classes: int, out: Path | None) -> int:
    """Print the comparison and write its CSV.

    Returns:
        The exit code: 1 where a stored number does not follow from the stored answers.
    """
    from bench.report.object_pairs import document, pairs_as_csv
    from bench.report.terminal import render_terminal

    screen = console()
    render_terminal(document(found.pairs, classes), screen)
    for line in found.left_out:
        screen.print(f"[yellow]left out[/yellow] {escape(line)}", highlight=False)
    for line in found.wrong:
        screen.print(f"[red]cannot be reproduced[/red] {escape(line)}", highlight=False, soft_wrap=True)
    screen.print(f"{found.checked} stored numbers of {found.runs} runs follow from the stored answers", highlight=False)
    if out is not None:
        out.write_text(pairs_as_csv(found.pairs), encoding="utf-8")
        screen.print(f"wrote {out}", highlight=False, markup=False)
    return 1 if found.wrong else 0
