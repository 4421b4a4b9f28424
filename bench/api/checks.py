"""Checks and measurements: speed, the accuracy gate, plugins, recorded numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.api.common import PathLike, registered

if TYPE_CHECKING:
    import pandas as pd

    from bench.interop.comparison import FileResult
    from bench.profiling.result import Profile
    from bench.stats.gate import GateReport


def profile(
    method: str = "recon",
    *,
    preset: str = "base",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    batch: int | None = None,
    fast_batch: int | None = None,
    threads: int | None = None,
    repeats: int = 5,
    compile: bool = True,
    quick: bool = False,
    assignments: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
) -> Profile:
    """Measure the speed of a method's pretraining step (``bench profile``).

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
    return measure(request)


def check(
    baseline: PathLike,
    *,
    results: PathLike | None = None,
    seeds: int | None = None,
    more_seeds: bool = False,
    plugins: Sequence[PathLike] = (),
) -> GateReport:
    """Run a baseline's suite and compare it with the accepted numbers (``bench check``).

    Args:
        baseline: Accepted numbers; the suite lies beside it, a ``.yaml`` of the same name.
        results: Empty folder to run in and to keep; a temporary one by default.
        seeds: How many of the baseline's seeds to run.
        more_seeds: Go on with more seeds while undecided.
        plugins: Plugin files.

    Returns:
        ``verdict`` (``pass``, ``fail``, ``undecided`` or ``broken``) and every cell.

    Raises:
        SetupError: Baseline or suite cannot be read or do not belong together, or the folder is not empty.
        UsageError: The baseline has fewer seeds.
    """
    from bench.gate.check import CheckRun
    from bench.gate.check import check as decide
    from bench.texts import screen

    folder = None if results is None else Path(results)
    run = CheckRun(seeds, more_seeds, folder, registered(*plugins))
    return decide(Path(baseline), screen(stderr=True), run)


def check_plugin(
    file: PathLike,
    *,
    names: Sequence[str] = (),
    device: Literal["auto", "cpu", "cuda"] = "auto",
    root: PathLike | None = None,
) -> pd.DataFrame:
    """Check a plugin file against the contracts at nano size (``bench check-plugin``).

    Args:
        file: Python file.
        names: Only these plugins of the file.
        device: ``auto`` compares with a GPU where there is one, ``cuda`` insists on it.
        root: Folder of a data set that comes as files.

    Returns:
        One row per check: ``subject``, ``check``, ``status`` (``pass``, ``fail``, ``skip``), ``remark``.

    Raises:
        UsageError: The file is missing, fails to import, or has no such plugin.
    """
    import pandas as pd

    from bench.conformance.suites import file_suites

    registered()
    suites = file_suites(Path(file), tuple(names), device=device, root=None if root is None else Path(root))
    rows = [(suite.subject, one.check, one.status, one.remark) for suite in suites for one in suite.run()]
    return pd.DataFrame(rows, columns=["subject", "check", "status", "remark"])


def verify(folder: PathLike) -> list[FileResult]:
    """Compare recorded weights, inputs and outputs with ours (``bench verify golden``).

    Args:
        folder: Folder of recorded ``.npz`` files.

    Raises:
        DataError: There is no such folder, or it holds no such file.
    """
    from bench.interop.golden import verify_folder

    return verify_folder(Path(folder))
