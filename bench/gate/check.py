"""Run a fixed suite and compare it with a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape

from bench.errors import SetupError, UsageError
from bench.gate.baseline import Baseline, Earlier, make_baseline, read_baseline, write_baseline
from bench.gate.characteristics import planned_looks
from bench.paths import Workspace
from bench.plan.request import RunRequest, read_request, validated
from bench.plugins import load_plugin_file
from bench.provenance import commit
from bench.registry import PROTOCOLS
from bench.spec import content_key
from bench.stats.cells import Cell, group_cells
from bench.stats.gate import (
    LEVEL,
    PLANNED,
    CellResult,
    GateLine,
    GateReport,
    Judged,
    cell_results,
    decide,
    numerics_line,
    spent,
)
from bench.store.publish import write_whole
from bench.store.scratch import temporary_folder

if TYPE_CHECKING:
    from bench.execution.engines import Outcome
    from bench.plan.graph import Plan

_NOTE = ".suite"
"""File in a kept folder that names the suite that was run there."""


@dataclass(frozen=True)
class Suite:
    """A fixed request, and its name in baselines."""

    request: RunRequest
    name: str

    @classmethod
    def beside(cls, baseline: Path) -> Suite:
        """Read a baseline's suite, the YAML of its name.

        Raises:
            SetupError: There is none.
            UsageError: It is no valid request.
        """
        path = baseline.with_suffix(".yaml")
        if not path.is_file():
            raise SetupError(f"no suite at {path}: it holds the request whose numbers {baseline.name} records")
        request: RunRequest = validated(RunRequest, read_request(path), path.name)
        said = request.model_dump(mode="json", exclude_defaults=True)  # a new field with a default makes no new suite
        if request.plugins:  # where they lie makes no new suite either
            said["plugins"] = [Path(file).name for file in request.plugins]
        return cls(request, f"{path.name} {content_key(said)[:16]}")

    def load_plugins(self, given: Sequence[Path]) -> tuple[Path, ...]:
        """Load the suite's plugins; return them with those given.

        Raises:
            UsageError: One is missing or fails to import.
        """
        own = [Path(file).resolve() for file in self.request.plugins]
        for file in own:
            load_plugin_file(file)
        return tuple(dict.fromkeys([*own, *given]))


@dataclass(frozen=True)
class CheckRun:
    """Choices for one run of a suite.

    Attributes:
        seeds: How many of the baseline's seeds; None for the planned ones, or all where there are fewer.
        more_seeds: Whether an undecided check goes on with more seeds.
        results: Folder to run in and to keep, which must be empty; None takes a temporary one.
        plugins: Plugin files, already loaded, beside those that the suite names.
        golden: Folder of recorded reference numbers that must be reproduced, too; None for none.
        resume: Whether `results` may hold what an interrupted check of the same suite and code left.
    """

    seeds: int | None = None
    more_seeds: bool = False
    results: Path | None = None
    plugins: tuple[Path, ...] = ()
    golden: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class Measured:
    """Measurements of the suite on this machine."""

    cells: tuple[CellResult, ...]
    machine: str
    outcome: Outcome


def check(baseline: Path, screen: Console, run: CheckRun) -> GateReport:
    """Run a baseline's suite into an empty folder and compare.

    Args:
        baseline: The numbers; the suite lies beside it.
        screen: Where to print progress.
        run: Seeds, folder and plugins.

    Returns:
        The decision.

    Raises:
        SetupError: Baseline or suite cannot be read or do not belong together, or the folder is not empty.
        UsageError: The baseline has fewer seeds.
        DataError: There is no folder of reference numbers, or it holds none.
    """
    suite = Suite.beside(baseline)
    stored = read_baseline(baseline)
    if stored.suite != suite.name:
        raise SetupError(
            f"{baseline} records suite '{stored.suite}', the suite beside it is '{suite.name}': "
            "make a new baseline with bench check --update"
        )
    first = min(PLANNED, len(stored.seeds)) if run.seeds is None else run.seeds
    compared = stored.first(first)
    looks = planned_looks(len(stored.seeds), first) if run.more_seeds else (first,)
    plugins = suite.load_plugins(run.plugins)
    numerics = None if run.golden is None else _numerics(run.golden)
    with _folder(run, suite) as folder:
        for look, count in enumerate(looks):
            compared = stored.first(count)
            request = suite.request.model_copy(update={"seeds": compared})
            measured = measure(request, folder, plugins, screen)
            told = f"{count} of {len(stored.seeds)} seeds"
            screen.print(f"baseline: {stored.machine}; here: {measured.machine}; {told}", highlight=False, markup=False)
            report = decide(
                stored.results(),
                measured.cells,
                stored.machine == measured.machine,
                seeds=compared,
                history=stored.earlier(),
                level=spent(looks, look) if run.more_seeds else LEVEL,
            )
            if report.verdict != "undecided" or count == looks[-1]:
                return report if numerics is None else report.with_line(numerics)
            screen.print(f"undecided after {told}: {looks[look + 1]} seeds next", highlight=False, markup=False)
    raise AssertionError("a check has at least one look")


def _numerics(folder: Path) -> GateLine:
    """Verify every file of recorded reference numbers."""
    from bench.interop.golden import verify_folder

    results = verify_folder(folder)
    return numerics_line([r.name for r in results], {r.name: r.detail for r in results if r.status != "pass"})


def update(baseline: Path, screen: Console, run: CheckRun, why: str | None) -> Baseline:
    """Run the suite and write its numbers as the baseline.

    Args:
        baseline: File to write; the state that it holds is kept as history.
        screen: Where to print progress.
        run: Folder and plugins.
        why: Reason for which an existing baseline is replaced.

    Raises:
        SetupError: A run of the suite failed; the old baseline stays.
        UsageError: A baseline is replaced without a reason.
    """
    suite = Suite.beside(baseline)
    history: tuple[Earlier, ...] = ()
    if baseline.exists():
        if not (why or "").strip():
            raise UsageError(
                f"{baseline} exists: say with --why why its numbers are replaced; they are kept as history"
            )
        history = read_baseline(baseline).replaced(str(why).strip())
    plugins = suite.load_plugins(run.plugins)
    with _folder(run, suite) as folder:
        measured = measure(suite.request, folder, plugins, screen)
    if measured.outcome.failed or not measured.cells:
        raise SetupError(f"the suite did not finish, so {baseline} was not written")
    made = make_baseline(measured.cells, suite.name, measured.machine, commit()[0], history)
    write_baseline(made, baseline)
    return made


@contextmanager
def _folder(run: CheckRun, suite: Suite) -> Iterator[Path]:
    """Lend the folder to run in: empty, or left by an interrupted check of the suite."""
    results = run.results
    if results is None:
        if run.resume:
            raise UsageError("--resume goes on in the folder of an interrupted check: name it with --results")
        with temporary_folder() as folder:
            yield folder
        return
    if results.exists() and not results.is_dir():
        raise SetupError(f"--results {results} is a file; give a folder that is empty or does not exist yet")
    note = results / _NOTE
    if results.exists() and any(results.iterdir()):
        if not run.resume:
            raise SetupError(
                f"--results {results} is not empty; the check must compute everything itself "
                "(--resume goes on with an interrupted one)"
            )
        if not note.is_file() or note.read_text(encoding="utf-8", errors="replace").strip() != suite.name:
            raise SetupError(f"--results {results} holds no interrupted check of '{suite.name}'; give an empty folder")
    else:
        write_whole(note, f"{suite.name}\n", "into --results", "give a writable folder")
    yield results


def _refuse_other_runs(workspace: Workspace, plan: Plan) -> None:
    """Refuse a folder with runs that are not the suite's.

    Raises:
        SetupError: Code or options have changed since the check was interrupted.
    """
    from bench.reporting import read_results

    expected = {(run.key, run.fingerprint.digest) for run in plan.runs}
    if any((record.key, record.fingerprint) not in expected for record in read_results(workspace, None)[1]):
        raise SetupError(
            f"--results {workspace.results} holds runs of other code or options than today's; give an empty folder"
        )


def measure(request: RunRequest, results: Path, plugins: tuple[Path, ...], screen: Console) -> Measured:
    """Run what is missing of a suite's request."""
    # These load torch, for seconds: what is wrong with the request is said before.
    from bench.execution.engines import EngineSetup, run_plan
    from bench.plan.planning import make_plan
    from bench.reporting import read_results
    from bench.screen import ProgressView

    workspace = Workspace(results.absolute(), results.absolute() / "cache")
    workspace.prepare()
    plan = make_plan(request, workspace, None)
    if (results / _NOTE).exists():
        _refuse_other_runs(workspace, plan)
    with ProgressView(screen) as view:
        outcome = run_plan(plan, workspace, EngineSetup(plugins=plugins), view)
    for title, error, _ in outcome.failed:
        screen.print(f"[red]failed[/red] {escape(title)}: {escape(error)}", highlight=False)
    if outcome.interrupted:
        raise SetupError("the check was interrupted; nothing was compared (what --results keeps goes on with --resume)")
    numbers, records = read_results(workspace, None)
    finished = [record for record in records if record.status == "done"]
    judged = {record.key: _judged(record.provenance) for record in finished}
    machines = sorted({str(record.provenance["machine"]) for record in finished})
    cells = [c for c in group_cells(numbers, {r.key: r.spec for r in finished}) if c.metric == _headline(c.protocol)]
    return Measured(tuple(cell_results(cells, cell_names(cells), judged)), "; ".join(machines), outcome)


def _judged(provenance: Mapping[str, JsonValue]) -> Judged:
    contents = provenance["contents"]
    assert isinstance(contents, dict)
    return Judged({part: str(digest) for part, digest in contents.items()}, str(provenance["split_digest"]))


def _headline(protocol: str) -> str:
    """Return the name of a protocol's headline metric.

    Of balanced classes, the other metrics repeat it.
    """
    return PROTOCOLS.load(protocol).metric


def cell_names(cells: Sequence[Cell]) -> list[str]:
    """Name the cells of a suite.

    Pretraining data is added only where two cells would share a name, so that baselines stay valid.

    Raises:
        SetupError: Two cells cannot be told apart by that either.
    """
    data: dict[str, set[str]] = {}
    for cell in cells:
        data.setdefault(cell.identity, set()).add(cell.pretrain_data)
    names = [
        f"{cell.identity} | pretrained on {cell.pretrain_data}" if len(data[cell.identity]) > 1 else cell.identity
        for cell in cells
    ]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise SetupError(
            f"the suite has two cells named '{twice[0]}': make two suites, each with a baseline of its own"
        )
    return names
