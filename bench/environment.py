"""Remove or fix environment variables that may change a number.

Numbers belong to a spec, so the environment must not change them under the same key: variables that number crunching
libraries read are taken out or set, for jobs and for the commands' own process. What stays is recorded with the run.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path

_COUNTS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
)
"""Variables for the threads of one operator; sums that are split differently round differently."""
_FIXED = {
    "OMP_DYNAMIC": "FALSE",  # may give an operator fewer threads than it asks for
    "MKL_DYNAMIC": "FALSE",
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads stall each other as soon as cores are shared
    "PYTHONHASHSEED": "0",
}
_READ_BY_LIBRARIES = re.compile(
    "(OMP|KMP|GOMP|MKL|OPENBLAS|GOTO|BLIS|VECLIB|NUMEXPR|DNNL|ONEDNN|IDEEP|LOKY|JOBLIB|SKLEARN|SCIPY|NPY|NUMPY|ATEN|TORCH"
    "|PYTORCH|CUBLAS|CUBLASLT|CUDNN|CUSOLVER|NVIDIA_TF32|TIMM|TRITON|XFORMERS|NVFUSER)_"
    "|(TORCHINDUCTOR|TORCHDYNAMO|AOTDYNAMO|INDUCTOR)_|PYTHON(OPTIMIZE|INSPECT)$"
)
_HARMLESS = re.compile(
    # Placement on cores, paths of files, logging and memory allocation: no number depends on these.
    "OMP_(WAIT_POLICY|PROC_BIND|PLACES|STACKSIZE|DISPLAY_ENV|DISPLAY_AFFINITY)$|KMP_(AFFINITY|STACKSIZE|HW_SUBSET)$"
    "|GOMP_(CPU_AFFINITY|STACKSIZE)$|JOBLIB_TEMP_FOLDER$"
    "|TORCH_(HOME|EXTENSIONS_DIR|CUDA_ARCH_LIST|LOGS|LOGS_OUT|SHOW_CPP_STACKTRACES)$"
    "|TORCHINDUCTOR_(CACHE_DIR|COMPILE_THREADS|FX_GRAPH_CACHE)$|TRITON_(CACHE_DIR|HOME|PTXAS_PATH)$"
    "|PYTORCH_(CUDA_ALLOC_CONF|ALLOC_CONF|KERNEL_CACHE_PATH|NVML_BASED_CUDA_CHECK)$"
    "|.*_(VERBOSE|LOG|LOG_LEVEL|LOGLEVEL|DEBUG_LOG)$"
)
_RECORDED = re.compile(
    "CUDA_|NVIDIA_|PYTHON|LD_PRELOAD$|LD_LIBRARY_PATH$|GLIBC_TUNABLES$|MALLOC_|CXX$|LANG$|LC_ALL$|BENCH_(?!STORE_URL)"
)
_unused: tuple[str, ...] = ()
_CORES = "BENCH_CORES"
"""Variable for the cores that independent batches may use; no number depends on it."""


def settle(environment: MutableMapping[str, str], threads: int, cores: int | None = None) -> None:
    """Remove variables that change numbers; fix the thread count.

    Args:
        environment: Variables of a process that has loaded no library yet; changed in place.
        threads: Threads of one operator.
        cores: Cores that independent batches may use at a time; None for as many as `threads`.
    """
    for name in [name for name in environment if _may_change_numbers(name)]:
        del environment[name]
    environment.update(dict.fromkeys(_COUNTS, str(threads)) | _FIXED | {_CORES: str(cores or threads)})


def settle_command() -> None:
    """Settle this process before it loads a library.

    Operators run on one thread, batches on all cores.
    """
    global _unused
    before = dict(os.environ)
    settle(os.environ, 1, usable_cores())
    _unused = tuple(
        f"{name}={value}"
        for name, value in sorted(before.items())
        if _may_change_numbers(name) and os.environ.get(name, "").upper() != value.upper()
    )


def unused_note() -> str | None:
    """Name inherited variables that this process ignores, if any."""
    if not _unused:
        return None
    return (
        f"not used, for it would change numbers under the same key: {', '.join(_unused)} "
        "(--threads N sets the threads of a job)"
    )


def job_environment(threads: int, **extra: str) -> dict[str, str]:
    """Return the environment of a job's process.

    Text in pipes is UTF-8 whatever the locale.
    """
    environment = dict(os.environ)
    settle(environment, threads)
    path = os.pathsep.join(job_path())
    return environment | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"} | extra


def job_path() -> list[str]:
    """Return the import path of a job's process.

    That of this process, `bench` itself first.

    So it finds what a plugin imports from the user's ``PYTHONPATH`` and from beside the plugin's file.
    """
    return list(dict.fromkeys([str(Path(__file__).parent.parent), *map(os.path.abspath, sys.path)]))


def recorded() -> dict[str, str]:
    """Return variables that libraries read, for the provenance.

    None of them holds a secret.
    """
    return {
        name: without_secrets(value)
        for name, value in sorted(os.environ.items())
        if _READ_BY_LIBRARIES.match(name) or _RECORDED.match(name)
    }


def usable_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_for_batches() -> int | None:
    """Return how many cores batches may use; None if unset."""
    told = os.environ.get(_CORES, "")
    return max(int(told), 1) if told.isdecimal() else None


def typed_command(arguments: Sequence[str] | None = None) -> list[str]:
    """Return this process's command line as typed, without secrets."""
    program, *rest = sys.argv if arguments is None else arguments
    path = Path(program)
    name = "bench" if path.name == "__main__.py" and path.parent.name == "bench" else path.name
    return [name, *map(without_secrets, rest)]


def quoted(command: Sequence[str]) -> str:
    """Quote a command for a shell, in one line."""
    return shlex.join(command)


def without_secrets(text: str) -> str:
    """Replace passwords and tokens in URLs by ``***``."""
    text = re.sub(r"(\w[\w+.-]*://[^\s:/@?]*):[^\s]*@", r"\1:***@", text)
    return re.sub(r"(?i)([?&;][\w.-]*(?:pass|pwd|token|secret|key|auth)[\w.-]*=)[^&;#\s]*", r"\1***", text)


def _may_change_numbers(name: str) -> bool:
    return bool(_READ_BY_LIBRARIES.match(name)) and not _HARMLESS.match(name)
