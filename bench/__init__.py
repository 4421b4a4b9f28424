"""Benchmark harness for 3D point-cloud self-supervised learning.

    import bench
    study = bench.study(methods=["recon"], protocols=["fewshot"], seeds=3)
    results = study.run()
    results.cells()

`docs/api.md` lists what is here; all other modules are private.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api.checks import check, check_plugin, profile, verify
    from bench.api.common import load_plugins
    from bench.api.data import add_data, audit_data, check_data, dataset, local_data, remove_data, show_data
    from bench.api.results import Comparison, Results, encoder, load
    from bench.api.study import Study, StudyPlan, Tuned, study
    from bench.api.units import available, card, fit_teacher, teacher
    from bench.api.weights import export_encoder, import_encoder
    from bench.errors import BenchError, DataError, DivergedError, Interrupted, SetupError, UsageError
    from bench.version import __version__ as __version__

__all__ = [
    "BenchError",
    "Comparison",
    "DataError",
    "DivergedError",
    "Interrupted",
    "Results",
    "SetupError",
    "Study",
    "StudyPlan",
    "Tuned",
    "UsageError",
    "add_data",
    "audit_data",
    "available",
    "card",
    "check",
    "check_data",
    "check_plugin",
    "dataset",
    "encoder",
    "export_encoder",
    "fit_teacher",
    "import_encoder",
    "load",
    "load_plugins",
    "local_data",
    "profile",
    "remove_data",
    "show_data",
    "study",
    "teacher",
    "verify",
]
_MODULES = {
    "api.checks": "check check_plugin profile verify",
    "api.common": "load_plugins",
    "api.data": "add_data audit_data check_data dataset local_data remove_data show_data",
    "api.results": "Comparison Results encoder load",
    "api.study": "Study StudyPlan Tuned study",
    "api.units": "available card fit_teacher teacher",
    "api.weights": "export_encoder import_encoder",
    "errors": "BenchError DataError DivergedError Interrupted SetupError UsageError",
    "version": "__version__",
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Import what is asked for: `import bench` alone costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    return getattr(importlib.import_module(f"bench.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
