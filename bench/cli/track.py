"""``bench track``: stored runs in MLflow or Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.api.results import load
from bench.cli.common import (
    DatasetFilter,
    MethodFilter,
    PresetFilter,
    ProtocolFilter,
    ResultsOption,
    StoreOption,
    VerifyOption,
    WhereFilter,
    chosen_labels,
    console,
    read_fields,
)

if TYPE_CHECKING:
    from bench.sharing.tracking import Tracked

app = typer.Typer(help="Copy stored runs to MLflow or Weights & Biases, each once.", no_args_is_help=True)


@app.command()
def mlflow(
    tracking_uri: Annotated[
        str | None,
        typer.Option(envvar="MLFLOW_TRACKING_URI", help="http://HOST:PORT, or sqlite:////FOLDER/mlflow.db."),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="Experiment of all runs (default: one per data set).", show_default=False)
    ] = None,
    method: MethodFilter = None,
    protocol: ProtocolFilter = None,
    dataset: DatasetFilter = None,
    preset: PresetFilter = None,
    where: WhereFilter = None,
    verify: VerifyOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Copy stored runs to an MLflow server or database file.

    Runs that are there stay as they are; what a killed copy left unfinished
    is completed. Trials of searches stay behind.
    """
    from bench.data.reading_progress import progress_on_stderr

    labels = chosen_labels(method, protocol, dataset, preset)
    stored = load(results, store_url=store_url, verify=verify).where(read_fields(where))
    told = progress_on_stderr("runs for MLflow")
    found = stored.to_mlflow(tracking_uri, experiment=experiment, progress=told, **labels)  # type: ignore[arg-type]
    _show(found, "experiment")


@app.command()
def wandb(
    project: Annotated[
        str | None, typer.Option(help="Project of all runs (default: one per data set).", show_default=False)
    ] = None,
    entity: Annotated[str | None, typer.Option(envvar="WANDB_ENTITY", help="User or team.")] = None,
    mode: Annotated[
        Literal["online", "offline"],
        typer.Option(envvar="WANDB_MODE", help="Upload, or write folders that wandb sync uploads."),
    ] = "online",
    out: Annotated[
        Path, typer.Option("--dir", envvar="WANDB_DIR", help="Offline runs go to the folder wandb in this one.")
    ] = Path(),
    method: MethodFilter = None,
    protocol: ProtocolFilter = None,
    dataset: DatasetFilter = None,
    preset: PresetFilter = None,
    where: WhereFilter = None,
    verify: VerifyOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Copy stored runs to Weights & Biases.

    Runs that are there stay as they are; what a killed copy left unfinished
    is completed. Trials of searches stay behind.
    """
    from bench.data.reading_progress import progress_on_stderr

    labels = chosen_labels(method, protocol, dataset, preset)
    stored = load(results, store_url=store_url, verify=verify).where(read_fields(where))
    told = progress_on_stderr("runs for Weights & Biases")
    found = stored.to_wandb(project, mode=mode, entity=entity, out=out, progress=told, **labels)  # type: ignore[arg-type]
    _show(found, "project")


def _show(found: Tracked, kind: str) -> None:
    """Print what went where."""
    completed = f", {found.completed} completed" if found.completed else ""
    trials = f"; {found.trials} trials of searches left out" if found.trials else ""
    console().print(
        f"{found.added} runs added{completed}, {found.there} were there{trials}: {found.where}, "
        f"{kind}{'s' if len(found.projects) > 1 else ''} {', '.join(found.projects)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
