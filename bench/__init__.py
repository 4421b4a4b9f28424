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
    from bench.api import (
        Comparison,
        Results,
        Study,
        StudyPlan,
        available,
        dataset,
        encoder,
        load,
        load_plugins,
        study,
    )
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
    "UsageError",
    "available",
    "dataset",
    "encoder",
    "load",
    "load_plugins",
    "study",
]
_ERRORS = frozenset({"BenchError", "DataError", "DivergedError", "Interrupted", "SetupError", "UsageError"})


def __getattr__(name: str) -> object:
    """Import what is asked for: `import bench` alone costs nothing."""
    if name not in __dir__():
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    module = "version" if name == "__version__" else "errors" if name in _ERRORS else "api"
    return getattr(importlib.import_module(f"bench.{module}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
