"""``bench import``, ``bench export``, ``bench encoders``: weights in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.api.results import load
from bench.api.weights import Layout, export_encoder, import_encoder
from bench.cli.common import (
    PluginOption,
    ResultsOption,
    VerifyOption,
    console,
)

if TYPE_CHECKING:
    from bench.interop.encoders import Imported


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' .pth file, or an encoder.safetensors of bench.")],
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="Method of the file; recognised by default.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the encoder; the file's name by default.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Settings that weights do not show, e.g. backbone.heads=6; repeatable."),
    ] = None,
    saw_class_names: Annotated[
        str | None,
        typer.Option(help="Class names read in training: FILE (one per line), none or unknown."),
    ] = None,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Read an official checkpoint and keep its encoder.

    No code in the file is run. Every protocol can judge the encoder.
    """
    _report(
        import_encoder(
            checkpoint,
            method=method,
            name=name,
            assignments=assignments or (),
            saw_class_names=saw_class_names,
            results=results,
            plugins=plugin or (),
        )
    )


def export(
    encoder: Annotated[str, typer.Argument(help="Name, or beginning of the key; see bench encoders.")],
    out: Annotated[Path, typer.Argument(help="File to write, e.g. encoder.pth.")],
    layout: Annotated[
        Layout, typer.Option(help="Use the tensor names of the authors' files of this kind.")
    ] = "pretrain",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    results: ResultsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Write an encoder in its authors' layout.

    Their code loads the file.
    """
    path = export_encoder(encoder, out, layout=layout, force=force, results=results, plugins=plugin or ())
    console().print(f"wrote {path} ({_size(path.stat().st_size)})", highlight=False, markup=False)


def encoders(verify: VerifyOption = False, results: ResultsOption = None, plugin: PluginOption = None) -> None:
    """List the encoders of the results folder.

    Both what was imported and what was trained here.
    """
    from bench.report.plain import TextTable
    from bench.stats.naming import percent

    headings = ("name", "key", "method", "backbone", "pretrained on", "epochs", "seed", "stored")
    rows = []
    found = load(results, verify=verify, plugins=plugin or ()).stored_encoders()
    for encoder in found:
        b, recipe = encoder.spec.backbone, encoder.spec.recipe
        part = "" if encoder.spec.fraction == 1 else f"{percent(encoder.spec.fraction)} of "
        kept = "" if encoder.spec.at == 1 else f"{percent(encoder.spec.at)} of "
        rows.append(
            [
                encoder.name or "–",
                encoder.key[:12],
                encoder.spec.method,
                f"{b.width} wide, {b.depth} deep, {b.points} points in {b.groups} patches",
                f"{part}{encoder.trained_on}",
                "–" if recipe is None else f"{kept}{recipe.epochs}",
                "–" if encoder.spec.imported is not None else str(encoder.spec.seed),
                encoder.created_at[:16].replace("T", " "),
            ]
        )
    table = TextTable(headings, rows, whole=("name", "key", "method", "stored"), drop=("stored",), sink=("backbone",))
    console().print(table if found else "no encoder stored yet; bench import FILE reads one, bench run trains some")


def _report(imported: Imported) -> None:
    from bench.report.plain import facts_table

    checkpoint, encoder = imported.checkpoint, imported.encoder
    held = f"under {checkpoint.wrapper}" if checkpoint.wrapper else "a bare dict"
    facts = ", ".join(f"{name} {_plain(value)}" for name, value in checkpoint.facts.items() if value != {})
    rows: list[tuple[str, str]] = []

    def row(what: str, text: str) -> None:
        rows.append((what, text))

    row("file", f"{checkpoint.path.name}, {_size(checkpoint.size)}, SHA-256 {checkpoint.sha256[:16]}…, {held}")
    if not checkpoint.checked:
        row("", "this kind of file has no checksums: damage to its numbers does not show")
    if facts:
        row("says", facts)
    kind = "an encoder of bench" if encoder.release.kind == "bench" else encoder.release.kind
    row("is", f"{encoder.method}, {kind}")
    numbers = sum(tensor.numel() for tensor in encoder.state.values())
    row("used", f"{encoder.used} tensors, {_count(numbers)} numbers: the encoder")
    for why in dict.fromkeys(part.why for part in encoder.ignored):
        parts = [part for part in encoder.ignored if part.why == why]
        count, total = sum(part.tensors for part in parts), sum(part.numbers for part in parts)
        row("ignored", f"{count} tensors, {_count(total)} numbers: {', '.join(part.what for part in parts)} ({why})")
    if checkpoint.left_out:
        row("ignored", f"{', '.join(checkpoint.left_out)} (no weights of the network)")
    row(
        "missing",
        f"{', '.join(encoder.fresh)}: drawn anew, as at transfer in the release" if encoder.fresh else "nothing",
    )
    row("read off the weights", _values(encoder.measured))
    if encoder.stated:
        row("stated", _values(encoder.stated))
    if encoder.assumed:
        row("assumed", f"{_values(encoder.assumed)} (published; --set backbone.FIELD=VALUE)")
    if encoder.chosen:
        row("options", f"{_values(encoder.chosen)} (--set {encoder.method}.OPTION=VALUE)")
    row("saw class names", f"{_seen(imported.texts)} ({imported.texts_source}; --saw-class-names)")
    screen = console()
    screen.print(facts_table(rows, indent=0))
    done = "is imported already as" if imported.was_there else "imported as"
    screen.print(f"{done} [bold]{escape(imported.name)}[/bold], key {imported.key[:12]}", highlight=False)
    screen.print(f"next: bench run --encoder {imported.name} --protocol linear", highlight=False, markup=False)


def _seen(texts: tuple[str, ...] | None) -> str:
    if texts is None:
        return "unknown"
    return f"{len(texts)}: {', '.join(texts[:4])}{', …' if len(texts) > 4 else ''}" if texts else "none"


def _values(values: object) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in dict(values).items())  # type: ignore[call-overload]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_plain(item)}" for name, item in value.items()) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _count(numbers: int) -> str:
    return f"{numbers / 1e6:.1f} M" if numbers >= 1e6 else f"{numbers / 1e3:.1f} k" if numbers >= 1e3 else str(numbers)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
