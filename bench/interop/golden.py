"""Verify operations and networks against recorded numbers.

A folder holds one ``.npz`` per model or operation, with configuration, weights, inputs and outputs; sizes, depths and
seeds are read from the file. A file of an unknown model is ``not-covered``.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError, DataError
from bench.interop.comparison import Comparison, FileResult

Verifier = Callable[[Comparison, dict[str, Any]], None]

_TEXTS = ("config", "rounding_noise")
_READ = ("state/", "in/")
"""Prefixes of arrays that networks read; they are converted to the networks' types."""
_NUMBERS = (*_READ, "mid/", "out/", "after/", "grad/")


def verify_folder(path: Path) -> list[FileResult]:
    """Verify every recorded file of a folder, ordered by name.

    Raises:
        DataError: The folder does not exist or holds no ``.npz`` file.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder; give the folder that holds the recorded .npz files")
    files = sorted(path.glob("*.npz"))
    if not files:
        raise DataError(f"{path} holds no .npz file; give the folder that holds the recorded files")
    return [verify_file(file) for file in files]


def verify_file(path: Path) -> FileResult:
    """Verify one recorded file.

    Every error becomes the result of the file, so that the other files are still verified: a damaged file fails, and so
    does one whose weights or inputs do not fit our network.
    """
    try:
        recorded = _read(path)
        config = json.loads(str(recorded["config"]))
        if not isinstance(config, dict):
            raise ValueError("config is not a JSON object")
        comparison = Comparison(recorded)
    except KeyError as error:
        return _unreadable(path, f"the file lacks {error.args[0]}")
    except Exception as error:  # a damaged archive raises many kinds of errors
        return _unreadable(path, f"cannot be read: {_reason(error)}")
    try:
        verifier = _verifier(comparison, config)
        if verifier is not None:
            _check_halves(comparison)
            verifier(comparison, config)
    except KeyError as error:
        comparison.fail(f"the file lacks {error.args[0]}")
    except Exception as error:  # an inconsistent file may raise any error
        comparison.fail(f"cannot be evaluated: {_reason(error)}")
    else:
        if verifier is None:
            kind = config.get("NAME", "unnamed operation")
            total = len(comparison.required())
            return FileResult(path.name, "not-covered", 0.0, 0.0, 0, total, f"no counterpart of {kind} here yet")
    result = comparison.result(path.name)
    if result.status == "not-covered" and not result.total:
        return replace(result, detail="the file holds nothing to compare: no out/, after/ or grad/ array")
    return result


def report_lines(results: list[FileResult]) -> list[str]:
    """Return one line per file, followed by its detail."""
    lines = []
    for result in results:
        line = (
            f"{result.name} {result.status} worst={result.worst:.1e} tol={result.tolerance:.0e} "
            f"compared={result.compared}/{result.total}"
        )
        lines.append(f"{line} ({result.detail})" if result.detail else line)
    return lines


def summary_line(results: list[FileResult], *, strict: bool = False) -> str:
    """Return the counts of a folder in one line.

    For example ``27 files: 26 pass, 0 fail, 1 not-covered``.
    """
    counts = Counter(result.status for result in results)
    files = "file" if len(results) == 1 else "files"
    line = f"{len(results)} {files}: {counts['pass']} pass, {counts['fail']} fail, {counts['not-covered']} not-covered"
    return f"{line} (counts as failed: --strict)" if strict and counts["not-covered"] else line


def exit_code(results: list[FileResult], *, strict: bool = False) -> int:
    """Return 1 if a file failed, else 0.

    With `strict`, files that are not covered count as failed.
    """
    bad = {"fail", "not-covered"} if strict else {"fail"}
    return int(any(result.status in bad for result in results))


_NETWORKS = {
    "Point_MAE": "golden_models:verify_pretrain",
    "ReCon": "golden_models:verify_pretrain",
    "PointTransformer": "golden_models:verify_classify",
    "PointTransformerSVM": "golden_models:verify_features",
    "PointTransformerZeroShot": "golden_models:verify_features",
    "partseg": "golden_partseg:verify",
    "teachers": "golden_teachers:verify",
    "TwoTower": "golden_two_tower:verify_pretrain",
    "PointTransformerTwoTower": "golden_two_tower:verify_classify",
    "ACT_PointDistillation": "golden_act:verify_student",
    "ACTPromptedDiscreteVAEwithVIT": "golden_act:verify_dvae",
    "DGCNN": "golden_crosspoint:verify_backbone",
    "DGCNN_partseg": "golden_crosspoint:verify_partseg",
}
"""Verifier of each recorded network, by the name its configuration gives."""
_OPERATIONS = {
    "in/xyz1": "golden_ops:verify_chamfer",
    "in/start_index": "golden_ops:verify_block_mask",
    "in/resnet_pooled": "golden_crosspoint:verify_ntxent",
}
"""Verifier of each recorded operation, by an input that only its file has."""


def _verifier(comparison: Comparison, config: dict[str, Any]) -> Verifier | None:
    name = config.get("NAME")
    target = None if name is None else _NETWORKS.get(str(name))
    if name == "PointTransformer" and "transfer_type" in config:  # ACT's class of that name
        target = "golden_act:verify_classify"
    if name is None and "cases" in config:
        target = "golden_ops:verify_fps_knn"
    elif name is None:
        target = next((found for key, found in _OPERATIONS.items() if comparison.has(key)), None)
    if target is None:
        return None
    module, _, attribute = target.partition(":")
    verifier: Verifier = getattr(importlib.import_module(f"bench.interop.{module}"), attribute)
    return verifier


def _read(path: Path) -> dict[str, Any]:
    """Read all arrays, in the types that networks take."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: _plain(name, archive[name]) for name in archive.files}


def _plain(name: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array in the type that networks take.

    Inputs and weights become float32, int64 or bool.

    Raises:
        ValueError: The array is not numeric where it has to be, or would lose precision.
    """
    if name in _TEXTS or name.endswith(".names"):
        return value
    if name.startswith(_NUMBERS) and value.dtype.kind not in "fiub":
        raise ValueError(f"{name} is of type {value.dtype}, expected numbers")
    if not name.startswith(_READ) or value.dtype.kind == "b":
        return value
    wanted = value.astype(np.float32 if value.dtype.kind == "f" else np.int64)
    if not np.array_equal(wanted, value, equal_nan=value.dtype.kind == "f"):
        raise ValueError(f"{name} is of type {value.dtype} and has values that {wanted.dtype} cannot hold")
    return wanted


def _check_halves(comparison: Comparison) -> None:
    """Fail if only half of a gradient set is recorded.

    No verifier would notice that.
    """
    for name in comparison.recorded:
        for half, other in ((".names", ".norms"), (".norms", ".names")):
            if name.startswith("grad/") and name.endswith(half):
                missing = name.removesuffix(half) + other
                if not comparison.has(missing):
                    comparison.fail(f"the file lacks {missing}")


def _unreadable(path: Path, reason: str) -> FileResult:
    return FileResult(path.name, "fail", float("inf"), 0.0, 0, 0, reason)


def _reason(error: Exception) -> str:
    """Return an error as one line.

    The type is added where the text alone says little.
    """
    line = str(error).splitlines()[0] if str(error) else ""
    if isinstance(error, BenchError | ValueError | OSError | zipfile.BadZipFile | RuntimeError) and line:
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
