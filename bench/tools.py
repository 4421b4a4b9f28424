"""The smaller commands as functions: data sets, files of encoders, checks, speed, cards and searches.

`docs/api.md` lists them. A function says what is wrong with its arguments before it loads torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.api import PathLike, load, looking, registered, workspace_at
from bench.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue

    from bench.data.local import LocalDataset
    from bench.inspection.adding import Added
    from bench.inspection.auditing import Audit
    from bench.inspection.facts import CheckReport
    from bench.interop.comparison import FileResult
    from bench.interop.encoders import Imported
    from bench.profiling.result import Profile
    from bench.protocols.cards import ProtocolCard
    from bench.stats.gate import GateReport

Split = Literal["train", "test"]


def check_data(name: str, *, results: PathLike | None = None, assignments: Sequence[str] = ()) -> CheckReport:
    """Read all of a data set and report what is wrong (``bench data check``).

    Args:
        name: ``NAME[:ROOT]``, or a name given with `add_data`.
        results: Results folder, which holds such names and the cache.
        assignments: ``data.FIELD=VALUE`` texts.

    Returns:
        Counts, classes, coordinates, copies and ``problems``; a file that cannot be read is a problem, not an error.

    Raises:
        UsageError: The name or an option is wrong.
        DataError: There is nothing at the folder.
    """
    registered()
    from bench.inspection.checking import check_dataset
    from bench.inspection.opening import open_named

    return check_dataset(open_named(name, looking(workspace_at(results)), None, assignments))


def show_data(
    name: str,
    *,
    split: Split = "train",
    index: int | None = None,
    class_name: str | None = None,
    count: int = 1,
    up: Literal["y", "z"] = "y",
    out: PathLike | None = None,
    results: PathLike | None = None,
    assignments: Sequence[str] = (),
) -> Path:
    """Draw objects of a data set as a PNG (``bench data show``).

    Args:
        name: ``NAME[:ROOT]``, or a name given with `add_data`.
        split: Split.
        index: Position in the split, or among the objects of `class_name`.
        class_name: Only objects of this class.
        count: Objects side by side.
        up: Axis of the data that points up.
        out: File to write; named after the objects, in the current folder, when left out.
        results: Results folder.
        assignments: ``data.FIELD=VALUE`` texts.

    Returns:
        The file.

    Raises:
        UsageError: No such set, class or index.
        DataError: The data cannot be read.
        SetupError: The picture cannot be written.
    """
    registered()
    from bench.inspection.opening import open_named
    from bench.inspection.showing import Wanted, show

    opened = open_named(name, looking(workspace_at(results)), None, assignments)
    return show(opened, Wanted(split, index, class_name, count, up), None if out is None else Path(out))[0]


def audit_data(
    a: str,
    b: str | None = None,
    *,
    threshold: float | None = None,
    neighbours: int | None = None,
    a_split: Literal["train", "test", "all"] = "train",
    b_split: Literal["train", "test", "all"] = "test",
    results: PathLike | None = None,
) -> Audit:
    """Find shapes of one data set that are in another too, or copies within one (``bench data audit``).

    Args:
        a: ``NAME[:ROOT]`` of what is learnt from.
        b: ``NAME[:ROOT]`` of what is tested on; None for `a` itself.
        threshold: Near pairs are at most so many times as far apart as two samples of a surface.
        neighbours: Most partners that an object is compared with.
        a_split: Split of `a`.
        b_split: Split of `b`.
        results: Results folder.

    Returns:
        ``report`` with every pair, and the clouds that were compared.

    Raises:
        UsageError: A name or number is wrong.
        DataError: A file is broken.
    """
    registered()
    from bench.data.duplicates import NEIGHBOURS, THRESHOLD
    from bench.inspection.auditing import audit
    from bench.inspection.opening import open_named
    from bench.progress import silent

    place = looking(workspace_at(results))
    return audit(
        open_named(a, place),
        None if b is None else open_named(b, place),
        threshold=THRESHOLD if threshold is None else threshold,
        neighbours=NEIGHBOURS if neighbours is None else neighbours,
        a_split=a_split,
        b_split=b_split,
        progress=silent,
    )


def add_data(
    name: str,
    format: str,
    root: PathLike,
    *,
    results: PathLike | None = None,
    assignments: Sequence[str] = (),
    force: bool = False,
) -> Added:
    """Give a local data set a name, once all its files have been read (``bench data add``).

    Args:
        name: The new name.
        format: Layout of the files, such as ``modelnet-h5`` (``bench.available("datasets")``).
        root: Folder, or the file of format ``h5``.
        results: Results folder that keeps the name.
        assignments: ``data.FIELD=VALUE`` texts, kept with the name.
        force: Replace a name that exists.

    Raises:
        UsageError: A bad or taken name, or an unknown format or option.
        DataError: The files are missing or broken.
        SetupError: The results folder cannot be written.
    """
    registered()
    from bench.inspection.adding import add_named

    place = workspace_at(results)
    place.prepare()
    return add_named(name, format, Path(root), assignments, place, force)


def remove_data(name: str, *, results: PathLike | None = None) -> LocalDataset:
    """Forget the name of a local data set; the files stay (``bench data remove``).

    Raises:
        UsageError: No such name.
    """
    from bench.data.local import remove_local

    return remove_local(workspace_at(results).results, name)


def local_data(*, results: PathLike | None = None) -> dict[str, LocalDataset]:
    """Return the data sets that were given a name (``bench data list``)."""
    from bench.data.local import list_local

    return list_local(workspace_at(results).results)


def import_encoder(
    path: PathLike,
    *,
    method: str | None = None,
    name: str | None = None,
    assignments: Sequence[str] = (),
    saw_class_names: str | None = None,
    results: PathLike | None = None,
) -> Imported:
    """Read an official checkpoint and keep its encoder (``bench import``); no code in the file is run.

    Args:
        path: The authors' ``.pth`` file, or an ``encoder.safetensors`` of bench.
        method: Whose file it is; recognised when left out.
        name: What to call it; the file's own name by default.
        assignments: What weights do not show: ``backbone.heads=6``, ``recon.reference=false``.
        saw_class_names: A file of class names that its training had read, ``none`` or ``unknown``.
        results: Results folder.

    Returns:
        ``name`` and ``key`` for `bench.encoder`, and what was read from the file.

    Raises:
        DataError: The file is damaged, wants to run code, or is not complete.
        UsageError: The wrong method, a bad option, or a name that is taken.
        SetupError: The results folder cannot be written.
    """
    from bench.plan.request import parse_assignment
    from bench.registry import METHODS

    registered()
    for text in assignments:
        parse_assignment(text)
    if method is not None:
        METHODS.entry(method)
    if not Path(path).exists():
        raise DataError(f"{path}: no such file; give a checkpoint file")
    place = workspace_at(results)
    place.prepare()
    from bench.interop.encoders import ImportRequest, import_checkpoint

    return import_checkpoint(ImportRequest(Path(path), method, name, tuple(assignments), saw_class_names), place)


def export_encoder(
    name: str,
    path: PathLike,
    *,
    layout: Literal["pretrain", "finetune"] = "pretrain",
    force: bool = False,
    results: PathLike | None = None,
) -> Path:
    """Write an encoder in its authors' layout, so that their code loads it (``bench export``).

    Args:
        name: Name or beginning of the key (`Results.encoders`).
        path: File to write.
        layout: Kind of the authors' files.
        force: Replace an existing file.
        results: Results folder.

    Raises:
        UsageError: No such encoder or layout, or the file exists.
        SetupError: The file cannot be written.
    """
    from bench.plan.encoders import find_encoder

    file, place = Path(path), load(results).workspace
    find_encoder(place.results, name)
    if file.exists() and not file.is_dir() and not force:
        raise UsageError(f"{file} exists already; add --force (force=True) to replace it, or choose another file")
    from bench.interop.encoders import export_encoder as export

    return export(name, file, layout, place, force=force)


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


def teacher(name: str, *, results: PathLike | None = None, assignments: Sequence[str] = ()) -> dict[str, JsonValue]:
    """Say what a teacher is and whether it is ready (``bench teachers show``); nothing is fetched.

    Raises:
        UsageError: Unknown name or option.
    """
    registered()
    from bench.inspection.teachers import describe_teacher

    return describe_teacher(name, list(assignments), looking(workspace_at(results)))


def fit_teacher(name: str, *, results: PathLike | None = None, assignments: Sequence[str] = ()) -> dict[str, JsonValue]:
    """Fit the embedded teacher, or fetch the weights of another (``bench teachers fit``).

    Raises:
        UsageError: Unknown name or option.
        SetupError: Its weights cannot be had here.
    """
    registered()
    from bench.inspection.teachers import fit_teacher as fit
    from bench.texts import screen

    place = workspace_at(results)
    place.prepare()
    return fit(name, list(assignments), place, screen())


def card(
    protocol: str, *, preset: str = "base", form: Literal["fair", "published"] = "fair", assignments: Sequence[str] = ()
) -> ProtocolCard:
    """Return a protocol's card: what is done, and where papers differ (``bench protocols show``).

    Args:
        protocol: Its name.
        preset: Preset its options are taken from.
        form: ``fair`` or ``published``.
        assignments: ``protocol.FIELD=VALUE`` texts.

    Raises:
        UsageError: A name or an option is wrong, or the protocol has no such form.
    """
    from bench.plan.overrides import Overrides
    from bench.plan.presets import preset as preset_of
    from bench.plan.request import parse_assignment, validated
    from bench.protocols.cards import card_of
    from bench.protocols.trained_options import refuse_other_form
    from bench.registry import PROTOCOLS

    registered()
    preset_of(preset)
    loaded = PROTOCOLS.load(protocol)
    if form not in loaded.forms:
        raise UsageError(f"protocol '{protocol}' has no {form} form, only {', '.join(loaded.forms)}")
    overrides = Overrides(dict(map(parse_assignment, assignments)), frozenset({"protocol", protocol}))
    values = overrides.merge(loaded.defaults(preset, form).model_dump(mode="json"), "protocol", protocol)
    options = validated(loaded.Options, values, protocol)
    refuse_other_form(protocol, options, form)
    return card_of(loaded, options, form)


__all__ = [
    "add_data",
    "audit_data",
    "card",
    "check",
    "check_data",
    "check_plugin",
    "export_encoder",
    "fit_teacher",
    "import_encoder",
    "local_data",
    "profile",
    "remove_data",
    "show_data",
    "teacher",
    "verify",
]
