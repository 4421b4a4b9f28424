"""``bench data``: names for local data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.common import ResultsOption, console, workspace

app = typer.Typer(help="Give local data sets a name.", no_args_is_help=True)
