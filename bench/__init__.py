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
    from bench.api.ablation import Ablated, Ablation, ablate, stored_ablation
    from bench.api.checks import (
        check,
        check_plugin,
        profile,
        profile_probes,
        simulate_check,
        update_baseline,
        verify,
    )
    from bench.api.claims import ClaimCost, Claims, claims
    from bench.api.common import load_plugins
    from bench.api.data import (
        add_data,
        audit_data,
        check_data,
        dataset,
        list_files,
        local_data,
        remove_data,
        show_data,
    )
    from bench.api.jobs import SubmittedJob, cancel_jobs, jobs
    from bench.api.literature import published_figures
    from bench.api.results import Comparison, Results, encoder, load
    from bench.api.study import Search, Study, StudyPlan, Tuned, do_job, study
    from bench.api.units import available, card, cards, describe, fit_teacher, new_plugin, recipes, teacher, write_cards
    from bench.api.weights import export_encoder, import_encoder
    from bench.errors import (
        BenchError,
        DataError,
        DivergedError,
        Interrupted,
        NotComparableError,
        SetupError,
        UsageError,
    )
    from bench.version import __version__ as __version__

__all__ = [
    "Ablated",
    "Ablation",
    "BenchError",
    "ClaimCost",
    "Claims",
    "Comparison",
    "DataError",
    "DivergedError",
    "Interrupted",
    "NotComparableError",
    "Results",
    "Search",
    "SetupError",
    "Study",
    "StudyPlan",
    "SubmittedJob",
    "Tuned",
    "UsageError",
    "ablate",
    "add_data",
    "audit_data",
    "available",
    "cancel_jobs",
    "card",
    "cards",
    "check",
    "check_data",
    "check_plugin",
    "claims",
    "dataset",
    "describe",
    "do_job",
    "encoder",
    "export_encoder",
    "fit_teacher",
    "import_encoder",
    "jobs",
    "list_files",
    "load",
    "load_plugins",
    "local_data",
    "merge",
    "new_plugin",
    "profile",
    "profile_probes",
    "published_figures",
    "recipes",
    "remove_data",
    "show_data",
    "simulate_check",
    "site",
    "stored_ablation",
    "study",
    "teacher",
    "update_baseline",
    "verify",
    "verify_bundle",
    "write_cards",
]
_MODULES = {
    "api.ablation": "Ablated Ablation ablate stored_ablation",
    "api.checks": "check check_plugin profile profile_probes simulate_check update_baseline verify",
    "api.claims": "ClaimCost Claims claims",
    "api.common": "load_plugins",
    "api.data": "add_data audit_data check_data dataset list_files local_data remove_data show_data",
    "api.jobs": "SubmittedJob cancel_jobs jobs",
    "api.literature": "published_figures",
    "api.results": "Comparison Results encoder load",
    "api.sharing": "merge site verify_bundle",
    "api.study": "Search Study StudyPlan Tuned do_job study",
    "api.units": "available card cards describe fit_teacher new_plugin recipes teacher write_cards",
    "api.weights": "export_encoder import_encoder",
    "errors": "BenchError DataError DivergedError Interrupted NotComparableError SetupError UsageError",
    "version": "__version__",
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Import public names on first use.

    ``import bench`` alone is then fast.
    """
    if name not in _PLACES:
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    return getattr(importlib.import_module(f"bench.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
