"""``bench analyse``: pictures and numbers about stored encoders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.api.data import Split
from bench.api.results import load
from bench.cli.common import PluginOption, ResultsOption, console
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.analysis.analyse import Analyst, Written
    from bench.analysis.sources import Objects

app = typer.Typer(help="Look into stored encoders: pictures and their numbers.", no_args_is_help=True)


EncoderOption = Annotated[
    list[str] | None, typer.Option("--encoder", help="Stored encoder by name or key, see bench encoders; repeatable.")
]
MethodOption = Annotated[
    list[str] | None, typer.Option("--method", "-m", help="Every stored encoder of a method; repeatable.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="With --method: those of this pretraining seed.")]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Objects to look at: NAME[:ROOT] (default shapes-scan-novel).")
]
SplitOption = Annotated[Split, typer.Option(help="Split of these objects.")]
PresetOption = Annotated[str, typer.Option(help="Preset, for the size of embedded data sets.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="data.FIELD=VALUE; repeatable.")]
CountOption = Annotated[int | None, typer.Option("--count", min=1, help="How many objects.")]
NamedOption = Annotated[str | None, typer.Option("--objects", help="Positions in the split instead, e.g. 0,12,40.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for KIND.png, KIND.csv and KIND.json.")]
OUT = Path("reports/analyses")


@app.command("losses")
def losses(
    encoder: EncoderOption = None,
    method: MethodOption = None,
    seed: SeedOption = None,
    out: OutOption = OUT,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Draw pretraining losses over epochs, for training and held-out objects.

    Held-out losses are measured by bench run --held-out-losses.
    """
    _show(_analyst(encoder, method, seed, out, results, plugin).losses())


@app.command("attention-distance")
def attention_distance(
    encoder: EncoderOption = None,
    method: MethodOption = None,
    seed: SeedOption = None,
    dataset: DatasetOption = None,
    split: SplitOption = "test",
    preset: PresetOption = "nano",
    assignments: SetOption = None,
    count: CountOption = None,
    out: OutOption = OUT,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Measure how far attention reaches, per layer and head.

    Of patches and of global queries.
    """
    objects = _objects(dataset, split, preset, assignments, count, None)
    _show(_analyst(encoder, method, seed, out, results, plugin).attention_distance(objects))


@app.command("attention-maps")
def attention_maps(
    encoder: EncoderOption = None,
    method: MethodOption = None,
    seed: SeedOption = None,
    token: Annotated[
        list[str] | None, typer.Option(help="Token or query (cls, image, text) or patch:K; repeatable; default all.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layers from 1, e.g. 1,4, or all; the last by default.")] = None,
    head: Annotated[str | None, typer.Option(help="Heads from 1, e.g. 1,2, or all; their mean by default.")] = None,
    dataset: DatasetOption = None,
    split: SplitOption = "test",
    preset: PresetOption = "nano",
    assignments: SetOption = None,
    count: CountOption = None,
    named: NamedOption = None,
    out: OutOption = OUT,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Draw attention of a token, query or patch on clouds."""
    analyst = _analyst(encoder, method, seed, out, results, plugin)
    from bench.analysis.attention_maps import Wanted

    wanted = Wanted(tuple(token or ()), _numbers("--layer", layer), _numbers("--head", head))
    objects = _objects(dataset, split, preset, assignments, count, named)
    _show(analyst.attention_maps(objects, wanted))


@app.command("reconstructions")
def reconstructions(
    encoder: EncoderOption = None,
    method: MethodOption = None,
    seed: SeedOption = None,
    mask_seed: Annotated[int, typer.Option(min=0, help="Seed of the masks.")] = 0,
    dataset: DatasetOption = None,
    split: SplitOption = "test",
    preset: PresetOption = "nano",
    assignments: SetOption = None,
    count: CountOption = None,
    named: NamedOption = None,
    out: OutOption = OUT,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Draw masked clouds and what the network fills in."""
    objects = _objects(dataset, split, preset, assignments, count, named)
    _show(_analyst(encoder, method, seed, out, results, plugin).reconstructions(objects, mask_seed))


@app.command("embedding")
def embedding(
    encoder: EncoderOption = None,
    method: MethodOption = None,
    seed: SeedOption = None,
    feature: Annotated[str, typer.Option(help="Feature of the encoder, e.g. transfer or svm.")] = "transfer",
    perplexity: Annotated[float, typer.Option(help="Roughly how many neighbours count per object.")] = 30.0,
    layout_seed: Annotated[int, typer.Option(min=0, help="Seed of the t-SNE.")] = 0,
    dataset: DatasetOption = None,
    split: SplitOption = "test",
    preset: PresetOption = "nano",
    assignments: SetOption = None,
    count: CountOption = None,
    out: OutOption = OUT,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Lay features out by t-SNE, coloured by class.

    Also measures silhouette and neighbour purity.
    """
    objects = _objects(dataset, split, preset, assignments, count, None)
    analyst = _analyst(encoder, method, seed, out, results, plugin)
    _show(analyst.embedding(objects, feature, layout_seed, perplexity))


def _analyst(
    encoder: list[str] | None,
    method: list[str] | None,
    seed: int | None,
    out: Path,
    results: Path | None,
    plugin: list[Path] | None,
) -> Analyst:
    return load(results, plugins=plugin or ()).analyse(encoder or (), method or (), seed=seed, out=out)


def _objects(
    dataset: str | None,
    split: Split,
    preset: str,
    assignments: list[str] | None,
    count: int | None,
    named: str | None,
) -> Objects:
    from bench.analysis.sources import Objects
    from bench.plan.request import DEFAULT_DATASET, parse_assignments

    return Objects(
        dataset=dataset or DEFAULT_DATASET,
        split=split,
        preset=preset,
        overrides=tuple(parse_assignments(assignments or ()).items()),
        count=count,
        named=_positions(named),
    )


def _positions(text: str | None) -> tuple[int, ...]:
    return () if text is None else _list_of_numbers("--objects", text, "e.g. 0,12,40")


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    """Read a list of layers or heads.

    Empty for the default, ``(0,)`` for all.
    """
    if text is None:
        return ()
    if text == "all":
        return (0,)
    found = _list_of_numbers(option, text, "from 1, e.g. 1,4, or all")
    if 0 in found:
        raise UsageError(f"{option} {text}: these are counted from 1")
    return found


def _list_of_numbers(option: str, text: str, expected: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() for part in parts):
        raise UsageError(f"{option} '{text}': expected numbers, {expected}")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _show(written: Written) -> None:
    screen = console()
    for note in written.notes:
        screen.print(f"[yellow]note[/yellow]: {escape(note)}", highlight=False)
    for line in written.lines:
        screen.print(escape(line), highlight=False)
    picture, table, summary = written.files
    screen.print(f"wrote {picture}, {table.name} and {summary.name}", highlight=False, markup=False)
