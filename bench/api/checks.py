"""Checks and measurements: speed, the accuracy gate, plugins, recorded numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.api.common import DEVICES, DeviceName, PathLike, registered
from bench.errors import UsageError, unknown_name
from bench.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from bench.gate.baseline import Baseline
    from bench.gate.page import Simulation
    from bench.interop.comparison import FileResult
    from bench.profiling.probes import ProbeProfile
    from bench.profiling.result import Profile
    from bench.stats.gate import GateReport


def profile(
    method: str = "recon",
    *,
    preset: str = "base",
    device: DeviceName = "auto",
    batch: int | None = None,
    fast_batch: int | None = None,
    threads: int | None = None,
    repeats: int = 5,
    compile: bool = True,
    quick: bool = False,
    assignments: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
    progress: Progress = silent,
) -> Profile:
    """Measure the speed of a method's pretraining step.

    As ``bench profile``.

    Args:
        method: Method that pretrains.
        preset: Sizes and recipe.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch: Samples per step.
        fast_batch: Samples per step of the fast paths, if not `batch`.
        threads: Threads; every core by default.
        repeats: Measured steps per path.
        compile: Measure a compiled path too.
        quick: Check that it works: one step, tiny teacher.
        assignments: ``backbone.``, ``recipe.`` or ``method.FIELD=VALUE`` texts.
        plugins: Plugin files.
        progress: Told after every step.

    Returns:
        Every path's samples per second, stages, operations and memory, and the ratios.

    Raises:
        UsageError: A name or value is wrong, or the method has nothing to pretrain.
        SetupError: A device is asked for that is not there.
        BenchError: A path's process failed.
    """
    from bench.profiling.plan import ProfileRequest
    from bench.profiling.profile import profile as measure

    files = registered(*plugins)
    request = ProfileRequest(
        method=method,
        preset=preset,
        device=device,
        batch=batch,
        fast_batch=fast_batch,
        threads=threads,
        repeats=repeats,
        compile=compile,
        quick=quick,
        overrides=tuple(assignments),
        plugins=tuple(map(str, files)),
    )
    return measure(request, progress)


def profile_probes(
    *,
    objects: int = 12_000,
    width: int = 1536,
    threads: int | None = None,
    oracle: bool = False,
    progress: Progress = silent,
) -> ProbeProfile:
    """Measure the time of heads on cached features.

    As ``bench profile --probes``.

    Args:
        objects: Training objects of the linear probe and the SVM.
        width: Width of the features.
        threads: Threads; every core by default.
        oracle: Let scikit-learn fit the chosen heads, too.
        progress: Told after every head.

    Raises:
        UsageError: A number is out of range.
    """
    from bench.profiling.plan import ProbeRequest

    request = ProbeRequest(objects, width, threads=threads, oracle=oracle)
    request.check()
    from bench.profiling.probes import profile_probes as measure

    return measure(request, progress)


def check(
    baseline: PathLike,
    *,
    results: PathLike | None = None,
    seeds: int | None = None,
    more_seeds: bool = False,
    golden: PathLike | None = None,
    plugins: Sequence[PathLike] = (),
    resume: bool = False,
    screen: Console | None = None,
) -> GateReport:
    """Run a baseline's suite and compare accepted numbers.

    As ``bench check``.

    Args:
        baseline: Accepted numbers; the suite lies beside it, a ``.yaml`` of the same name.
        results: Empty folder to run in and to keep; a temporary one by default.
        seeds: Number of the baseline's seeds to run.
        more_seeds: Go on with more seeds while undecided.
        golden: Folder of recorded reference numbers (``.npz``) that must be reproduced, too.
        plugins: Plugin files.
        resume: Go on in `results`, where a check of the same suite and code was interrupted.
        screen: Console for progress; standard error by default.

    Returns:
        ``verdict`` (``pass``, ``fail``, ``undecided`` or ``broken``) and every cell.

    Raises:
        SetupError: Baseline or suite cannot be read or do not belong together, or the folder is not empty.
        UsageError: The baseline has fewer seeds.
        DataError: There is no folder of reference numbers, or it holds none.
    """
    from bench.gate.check import CheckRun
    from bench.gate.check import check as decide

    if seeds is not None and seeds < 1:
        raise UsageError(f"seeds {seeds}: expected at least 1")
    folder = None if results is None else Path(results)
    recorded = None if golden is None else Path(golden)
    run = CheckRun(seeds, more_seeds, folder, registered(*plugins), recorded, resume)
    return decide(Path(baseline), _screen(screen), run)


def update_baseline(
    baseline: PathLike,
    *,
    why: str | None = None,
    results: PathLike | None = None,
    plugins: Sequence[PathLike] = (),
    resume: bool = False,
    screen: Console | None = None,
) -> Baseline:
    """Run a suite and write its numbers as baseline.

    As ``bench check --update``.

    Args:
        baseline: File to write; the suite lies beside it, a ``.yaml`` of the same name.
        why: Why the baseline is replaced; kept with it, and needed where there is one.
        results: Empty folder to run in and to keep; a temporary one by default.
        plugins: Plugin files.
        resume: Go on in `results`, where a check of the same suite and code was interrupted.
        screen: Console for progress; standard error by default.

    Raises:
        SetupError: The suite cannot be read, the folder is not empty, or the file cannot be written.
        UsageError: There is a baseline and no reason is given.
        BenchError: A run of the suite failed.
    """
    from bench.gate.check import CheckRun, update

    folder = None if results is None else Path(results)
    run = CheckRun(results=folder, plugins=registered(*plugins), resume=resume)
    return update(Path(baseline), _screen(screen), run, why)


def simulate_check(
    baseline: PathLike, draws: int, *, seeds: int | None = None, page: PathLike | None = None
) -> Simulation:
    """Simulate how often a check finds changes; run nothing.

    As ``bench check --simulate``.

    Args:
        baseline: Accepted numbers.
        draws: Changes simulated per scenario.
        seeds: How many of the baseline's seeds a check runs first.
        page: Markdown file to write.

    Raises:
        SetupError: The baseline cannot be read, or the page cannot be written.
        UsageError: The baseline has too few seeds.
    """
    from bench.gate.page import simulate_gate

    if draws < 100:
        raise UsageError(f"draws {draws}: expected at least 100")
    if seeds is not None and seeds < 1:
        raise UsageError(f"seeds {seeds}: expected at least 1")
    return simulate_gate(Path(baseline), draws, None if page is None else Path(page), seeds)


def _screen(screen: Console | None) -> Console:
    from bench.texts import screen as default

    return default(stderr=True) if screen is None else screen


@dataclass(frozen=True)
class PluginCheck:
    """Outcome of one check of a plugin.

    Attributes:
        subject: Kind and name of the plugin, e.g. ``method my-method``.
        check: Name of the check.
        status: Whether it passed.
        remark: A figure of a passed check, or the reason of any other outcome.
        what: Description of the check.
    """

    subject: str
    check: str
    status: Literal["pass", "warn", "fail", "skip"]
    remark: str
    what: str


def check_plugin(
    file: PathLike,
    *,
    names: Sequence[str] = (),
    device: DeviceName = "auto",
    root: PathLike | None = None,
    encoder_file: PathLike | None = None,
    plugins: Sequence[PathLike] = (),
    listener: Callable[[PluginCheck], None] = lambda check: None,
) -> pd.DataFrame:
    """Check a plugin file against the contracts.

    As ``bench check-plugin``, at nano size.

    Args:
        file: Python file.
        names: Only these plugins of the file.
        device: ``auto`` compares with a GPU where there is one, ``cuda`` insists on it.
        root: Folder of a data set that comes as files.
        encoder_file: File of an encoder, as in ``NAME:FILE``.
        plugins: Further plugin files that this one needs.
        listener: Told of each check when it is done.

    Returns:
        One row per check: ``subject``, ``check``, ``what``, ``remark`` and ``status`` (``pass``, ``warn``, ``fail`` or
        ``skip``).

    Raises:
        UsageError: The file is missing, fails to import, or has no such plugin.
        SetupError: A device is asked for that is not there.
    """
    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)
    registered(*plugins, file)
    from bench.conformance.suites import file_suites
    from bench.training.precision import resolve_device

    resolve_device(device)
    done = []
    places = {"root": root, "encoder_file": encoder_file}
    given = {name: None if place is None else Path(place) for name, place in places.items()}
    for suite in file_suites(Path(file), tuple(names), device=device, **given):
        for one in suite.run():
            done.append(PluginCheck(suite.subject, one.check, one.status, one.remark, suite.checks[one.check].what))
            listener(done[-1])
    import pandas as pd

    return pd.DataFrame(map(astuple, done), columns=[field.name for field in fields(PluginCheck)])


def verify(folder: PathLike) -> list[FileResult]:
    """Compare recorded weights, inputs and outputs with ours.

    As ``bench verify golden``.

    Args:
        folder: Folder of recorded ``.npz`` files.

    Raises:
        DataError: There is no such folder, or it holds no such file.
    """
    from bench.interop.golden import verify_folder

    return verify_folder(Path(folder))
