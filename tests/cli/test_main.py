"""The list of commands is known without importing one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer
from typer._completion_classes import BashComplete

from bench.cli.main import COMMANDS, app


def test_each_command_begins_with_the_line_of_the_list() -> None:
    """A list that says something else than the command's own help would send users astray."""
    listed: Any = typer.main.get_command(app)
    for name, command in listed.commands.items():
        line = COMMANDS[name][1]
        assert command.real.get_short_help_str(1000) == line
        assert command.real.name == name
        assert command.get_short_help_str(60) == line, "80 columns show the whole line"


@pytest.mark.parametrize("argument", ["--help", "--version", "rnu"])
def test_help_version_and_wrong_names_load_no_library(argument: str) -> None:
    """`bench --help` must come at once: each library would add a tenth of a second."""
    code = (
        f"import sys; sys.argv = ['bench', '{argument}']\n"
        "from bench.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'pydantic', 'yaml', 'bench.spec', 'bench.registry'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("bench ru", {"run", "runs"}), ("bench data s", {"show"}), ("bench runs --fail", {"--failed"})],
)
def test_a_shell_completes_commands_and_their_options(typed: str, offered: set[str]) -> None:
    """A stand-in has no options of its own: completing would end at the name of the command."""
    words = typed.split()
    completion = BashComplete(typer.main.get_command(app), {}, "bench", "_BENCH_COMPLETE")
    assert {item.value for item in completion.get_completions(words[1:-1], words[-1])} == offered
