"""Verification of our operations and networks against a folder of recorded numbers.

A folder holds one ``.npz`` per model or operation, with configuration, weights, inputs and outputs; sizes, depths and
seeds are read from the file. A file whose model the harness does not have is ``not-covered``.
"""

from __future__ import annotations

import importlib
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError, DataError
from bench.interop.comparison import Comparison, FileResult

Verifier = Callable[[Comparison, dict[str, Any]], None]


def verify_folder(path: Path) -> list[FileResult]:
    """Verify every recorded file of a folder, in order of name.

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
    """Verify one recorded file; a damaged one fails."""
    try:
        comparison = Comparison(_read(path))
        config = json.loads(str(comparison.recorded["config"]))
        if not isinstance(config, dict):
            raise ValueError("config is not a JSON object")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        return FileResult(path.name, "fail", float("inf"), 0.0, 0, 0, f"cannot be read: {_reason(error)}")
    verifier = _verifier(comparison, config)
    if verifier is not None:
        try:
            verifier(comparison, config)
        except KeyError as error:
            comparison.fail(f"the file lacks {error.args[0]}")
        except (BenchError, ValueError, TypeError, RuntimeError, IndexError, StopIteration) as error:
            comparison.fail(f"cannot be evaluated: {_reason(error)}")
    result = comparison.result(path.name)
    if verifier is None:
        kind = config.get("NAME", "unnamed operation")
        return FileResult(result.name, "not-covered", 0.0, 0.0, 0, result.total, f"no counterpart of {kind} here yet")
    return result


def report_lines(results: list[FileResult]) -> list[str]:
    """Return one line per file: ``NAME pass|fail|not-covered worst=... tol=... compared=n/m``, then the detail."""
    lines = []
    for result in results:
        line = (
            f"{result.name} {result.status} worst={result.worst:.1e} tol={result.tolerance:.0e} "
            f"compared={result.compared}/{result.total}"
        )
        lines.append(f"{line} ({result.detail})" if result.detail else line)
    return lines


def exit_code(results: list[FileResult], *, strict: bool = False) -> int:
    """Return 1 if a file failed, with `strict` also if one was not covered, else 0."""
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
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
