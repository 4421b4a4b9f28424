"""Resolve device, precision, compilation and the backend of operations."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from bench.errors import SetupError, UsageError
from bench.spec import JOB_THREADS, Numerics, Precision

Device = Literal["cpu", "cuda"]

# Measured by `bench profile` (docs/performance.md): on two CPU cores compilation takes one to two minutes and has paid
# after 50,000 samples at base size and after 300,000 at nano, where a run has 40,000; on a GPU it costs about a minute
# and is estimated to save 0.02 ms a sample. Below these many samples a run ends sooner without it.
_PAYS_FROM = {"cpu": 1_000_000, "cuda": 4_000_000}
MOST_THREADS = 1024
_CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor multiplies bf16 in hardware.

    That is AVX512-BF16, AMX, or Arm BF16.

    Args:
        cpuinfo: The kernel's description of the processor; where it is absent the answer is no, since emulated
            bf16 is slower than fp32.
    """
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return False
    words = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return bool(_CPU_BF16_FLAGS.intersection(next(words, [])))


def has_bf16(device: Device) -> bool:
    """Return whether the device multiplies bf16 in hardware."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False)) if device == "cuda" else cpu_has_bf16()


def has_compiler(device: Device) -> bool:
    """Return whether `torch.compile` can build kernels on this machine.

    It needs a C++ compiler on PATH (``CXX`` or g++), for CUDA Triton.
    """
    if shutil.which(os.environ.get("CXX") or "g++") is None:
        return False
    if device == "cpu":
        return True
    from importlib.util import find_spec

    return find_spec("triton") is not None


def compile_pays(device: Device, samples: int | None) -> bool:
    """Return whether a run with a compiled step ends sooner.

    Args:
        device: Where it runs.
        samples: Training samples planned in the whole stage (objects times epochs); None if not known, which
            counts as few.
    """
    return samples is not None and samples >= _PAYS_FROM[device] and has_compiler(device)


def resolve_device(device: str) -> Device:
    """Resolve ``auto`` to CUDA where torch finds it, else CPU.

    Raises:
        UsageError: Not one of auto, cpu, cuda.
        SetupError: CUDA is asked for and torch sees none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return "cpu"
    if device != "cuda":
        raise UsageError(f"numerics.device is '{device}': expected auto, cpu or cuda")
    if not torch.cuda.is_available():
        raise SetupError(
            "numerics.device is cuda, but torch finds no CUDA device here: use --set numerics.device=cpu, or "
            "check the driver with nvidia-smi"
        )
    return "cuda"


def resolve_numerics(
    device: str = "auto",
    precision: str = "auto",
    compile: bool | Literal["auto"] = "auto",
    op_backend: str = "torch",
    *,
    samples: int | None = None,
    plugins: Mapping[str, str] | None = None,
    threads: int | None = None,
) -> Numerics:
    """Resolve every ``auto`` of the numerics for this machine.

    The result enters the key.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``auto`` (bf16 where the hardware has it), ``fp32`` or ``bf16``.
        compile: ``auto`` (see `compile_pays`), or a decision.
        op_backend: The op backend's name, already resolved by `bench.models.ops`.
        samples: Planned training samples, for `compile_pays`.
        plugins: Versions of third-party plugins in use.
        threads: Threads of an operator on the CPU; None for the device's fixed number (`bench.spec.JOB_THREADS`).

    Returns:
        Numerics without any ``auto``.

    Raises:
        UsageError: A value is not one of those named.
        SetupError: CUDA is asked for and absent, or compilation is asked for without a C++ compiler.
    """
    where = resolve_device(device)
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"numerics.precision is '{precision}': expected auto, fp32 or bf16")
    if compile not in ("auto", True, False):
        raise UsageError(f"numerics.compile is '{compile}': expected auto, true or false")
    if threads is not None and (type(threads) is not int or not 1 <= threads <= MOST_THREADS):
        raise UsageError(f"numerics.threads is {threads!r}: expected a number of threads per job, 1 to {MOST_THREADS}")
    if compile is True and not has_compiler(where):
        raise SetupError(
            "numerics.compile is true, but there is no C++ compiler on PATH: install g++ or use "
            "--set numerics.compile=false"
        )
    if precision == "auto":
        chosen: Precision = "bf16" if has_bf16(where) else "fp32"
    else:
        chosen = "bf16" if precision == "bf16" else "fp32"
    return Numerics(
        precision=chosen,
        compile=compile_pays(where, samples) if compile == "auto" else compile,
        device=where,
        op_backend=op_backend,
        torch=".".join(torch.__version__.split("+")[0].split(".")[:2]),
        plugins=dict(plugins or {}),
        threads=None if threads == JOB_THREADS[where] else threads,
    )


def autocast(device: Device, precision: Precision) -> torch.autocast:
    """Return the mixed-precision context of a forward pass.

    bf16 autocast for ``bf16``; for ``fp32`` it does nothing.
    """
    return torch.autocast(device_type=device, dtype=torch.bfloat16, enabled=precision == "bf16")
