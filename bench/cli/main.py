"""Entry point of ``bench``: commands, error lines, exit codes."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from bench.environment import settle_command
from bench.errors import BenchError
from bench.signals import INTERRUPTED, like_ctrl_c
from bench.texts import patient_output

if TYPE_CHECKING:
    from typer._click import Command, Context

COMMANDS = {
    "run": ("run:run", "Pretrain and evaluate, reusing whatever is stored."),
    "jobs": ("jobs:app", "Show jobs on a cluster: running, waiting, failed."),
    "plan": ("elsewhere:plan", "Write the missing jobs of a study as files."),
    "worker": ("elsewhere:worker", "Do one job of a written plan; done ones take a moment."),
    "rerun": ("run:rerun", "Do a stored run again from nothing and compare."),
    "report": ("report:report", "Print stored results; write HTML, CSV, Markdown and JSON."),
    "runs": ("runs:runs", "List stored runs with their keys, scores and what failed."),
    "ablate": ("ablate:ablate", "Vary options of a method; show effects and the best setting."),
    "tune": ("tune:tune", "Search learning rates and the like by validation score."),
    "claims": ("claims:claims", "Judge claims of papers, or your own, by stored runs."),
    "published": ("published:app", "Show published figures, with source and selection."),
    "why": ("runs:why", "Say which field or module made two runs differ."),
    "compare": ("compare:compare", "Compare stored runs object by object; nothing is run."),
    "power": ("power:power", "Say how many seeds a difference needs, from stored runs."),
    "check": ("verify:check", "Run a suite and compare it with accepted numbers."),
    "profile": ("profile:profile", "Measure the speed of the pretraining step."),
    "import": ("weights:import_", "Read an official checkpoint and keep its encoder."),
    "export": ("weights:export", "Write an encoder in its authors' layout."),
    "encoders": ("weights:encoders", "List the encoders of the results folder."),
    "list": ("listing:show", "List methods, protocols, data sets and other units."),
    "new": ("plugin:new", "Write a plugin file that works, and its test."),
    "check-plugin": ("plugin:check_plugin", "Check a plugin file against the contracts."),
    "verify": ("verify:app", "Compare with recorded reference numbers."),
    "data": ("data:app", "Name local data sets; check, show and audit data sets."),
    "analyse": ("analyse:app", "Look into stored encoders: pictures and their numbers."),
    "teachers": ("teachers:app", "Fit and inspect teachers."),
    "protocols": ("protocols:app", "Print what each protocol does, and where papers differ."),
    "bundle": ("bundle:app", "Write stored runs into one file, and verify such files."),
    "site": ("site:site", "Write a static leaderboard from bundles of many people."),
    "track": ("track:app", "Copy stored runs to MLflow or Weights & Biases, each once."),
    "db": ("database:app", "Rebuild, inspect, merge and rescore stored runs."),
}
"""Every command: where it is (``MODULE:NAME`` below `bench.cli`), and the line that ``bench --help`` shows of it.

A command's own help begins with the same line; its module is imported when the command is used.
"""


class Lazy(typer.core.TyperCommand):
    """Command whose module is imported on first use."""

    def __init__(self, name: str, target: str, line: str) -> None:
        super().__init__(name, help=line, callback=None)
        self._target = target

    @cached_property
    def real(self) -> Command:
        """The imported command.

        Its type is the one click has for commands, which typer keeps in a private module.
        """
        module, _, name = self._target.partition(":")
        target = getattr(importlib.import_module(f"bench.cli.{module}"), name)
        host = typer.Typer(rich_markup_mode=None)
        if isinstance(target, typer.Typer):
            host.add_typer(target, name=self.name)
        else:
            host.command(self.name)(target)
        return typer.main.get_group(host).commands[str(self.name)]

    def make_context(
        self, info_name: str | None, args: list[str], parent: Context | None = None, **extra: object
    ) -> Context:
        """Return the imported command's context."""
        return self.real.make_context(info_name, args, parent, **extra)


class Commands(typer.core.TyperGroup):
    """Group of all commands."""

    def __init__(self, **settings: Any) -> None:
        commands = {name: Lazy(name, target, line) for name, (target, line) in COMMANDS.items()}
        super().__init__(**{**settings, "commands": commands})

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Refuse an unknown command before typer loads pydantic."""
        if args and not args[0].startswith("-"):
            self.resolve_command(ctx, args)
        return super().parse_args(ctx, args)


def _print_version(asked: bool) -> None:
    if asked:
        from bench import __version__

        print(f"recon-bench {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    help="Pretrain, evaluate and compare 3D point-cloud self-supervised methods, with honest numbers.",
    epilog="Pages that cards cite: docs/ in the repository; share/doc/recon-bench/docs where it is installed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut the names of options on a narrow terminal
)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Handle options in front of the command."""


def main() -> None:
    """Run the command line and exit.

    Exit codes: 0 good, 1 failed, 2 usage, 3 undecided, 4 broken.
    """
    settle_command()
    debug = "--debug" in sys.argv or bool(os.environ.get("BENCH_DEBUG"))
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        # Typer's own complaints take five lines and a frame; ours take one.
        with like_ctrl_c(), patient_output():
            code = app(standalone_mode=False, prog_name="bench")
    except BenchError as error:
        if debug:
            raise
        _complain(str(error))
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        if debug:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _complain(f"{error.strerror or error}{where}; see --debug for where it happened")
        raise SystemExit(4) from None
    except (typer.Abort, KeyboardInterrupt):  # typer makes the one of the other
        _complain("interrupted")
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        line = _misuse(error)
        if line is None or debug:
            raise
        if line:
            _complain(line)
        raise SystemExit(2) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _misuse(error: Exception) -> str | None:
    """Return typer's usage error as one line.

    Empty where it wants help shown, None for other errors.

    Typer has had its errors from the package click, and has them in a private module now: they are known by what
    they can do, which has stayed the same.
    """
    tell, context = getattr(error, "format_message", None), getattr(error, "ctx", None)
    if tell is None:
        return None
    if type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help() if context is not None else tell())
        return ""
    text = " ".join(str(tell()).split()).replace("Value error, ", "").rstrip(".")
    where = f"; see {context.command_path} --help" if context is not None else ""
    return f"{text[:1].lower()}{text[1:]}{where}"


def _complain(line: str) -> None:
    from rich.markup import escape

    from bench.texts import screen

    console = screen(stderr=True)
    with contextlib.suppress(OSError):  # a terminal that is gone
        console.print(f"[bold red]error[/bold red]: {escape(line)}", highlight=False, soft_wrap=True)
