"""Entry point of ``bench``: the commands, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys

import typer

from bench.cli import (
    analyse,
    compare,
    data,
    database,
    listing,
    plugin,
    profile,
    protocols,
    run,
    runs,
    teachers,
    tune,
    verify,
    weights,
)
from bench.environment import settle_command
from bench.errors import BenchError
from bench.signals import INTERRUPTED, like_ctrl_c
from bench.texts import patient_output

app = typer.Typer(
    help="Pretrain, evaluate and compare 3D point-cloud self-supervised methods, with honest numbers.",
    epilog="Pages that cards cite: docs/ in the repository; share/doc/recon-bench/docs where it is installed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut the names of options on a narrow terminal
)
app.command("run")(run.run)
app.command("rerun")(run.rerun)
app.command("report")(run.report)
app.command("runs")(runs.runs)
app.command("tune")(tune.tune)
app.command("why")(runs.why)
app.command("compare")(compare.compare)
app.command("check")(verify.check)
app.command("profile")(profile.profile)
app.command("import")(weights.import_)
app.command("export")(weights.export)
app.command("encoders")(weights.encoders)
app.command("list")(listing.show)
app.command("new")(plugin.new)
app.command("check-plugin")(plugin.check_plugin)
app.add_typer(verify.app, name="verify")
app.add_typer(data.app, name="data")
app.add_typer(analyse.app, name="analyse")
app.add_typer(teachers.app, name="teachers")
app.add_typer(protocols.app, name="protocols")
app.add_typer(database.app, name="db")


def main() -> None:
    """Run the command line; exit codes as in the design: 0 good, 1 failed, 2 usage, 3 undecided, 4 broken."""
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
    """Say in one line what typer finds wrong with a command line; empty where it wants help shown, None for others.

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
