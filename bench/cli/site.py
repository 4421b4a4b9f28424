"""``bench site``: a leaderboard of bundles as a static page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import console


def site(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Files of bench bundle create.")],
    out: Annotated[Path, typer.Option(help="Folder for index.html and board.json.")] = Path("site"),
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Leaderboard",
) -> None:
    """Write a static leaderboard from bundles of many people.

    Every score is computed again from predictions; entries are ranked where
    they were judged alike, on the same objects and seeds. Exit code 1 where
    a bundle is damaged or forged; the page says what is wrong.
    """
    from bench.api.sharing import site as write

    found = write(bundles, out, title=title)
    screen = console()
    for one in found.collected.bundles:
        if not one.holds:
            screen.print("[red]does not hold[/red] ", end="", highlight=False)
            screen.print(f"{one.path.name}: {one.wrong} findings, e.g. {one.findings[0]}", markup=False, soft_wrap=True)
    entries = [entry for board in found.collected.boards for entry in board.entries]
    ranked = sum(entry.rank is not None for entry in entries)
    screen.print(
        f"{len(found.collected.boards)} tables, {ranked} entries ranked, {len(entries) - ranked} not, "
        f"{len(found.collected.left_out)} runs left out",
        highlight=False,
    )
    screen.print(f"wrote {found.page}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(0 if all(one.holds for one in found.collected.bundles) else 1)
