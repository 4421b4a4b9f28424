"""Provenance of a number: code, versions, machine, seeds."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pydantic import JsonValue

from bench.environment import quoted, recorded
from bench.fingerprint import Fingerprint
from bench.version import __version__

_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "timm", "open_clip_torch", "transformers", "h5py")
_VECTORS = ("avx512_bf16", "avx512f", "avx2")
"""Vector instructions as Linux names them, the widest first."""


@cache
def commit() -> tuple[str, bool]:
    """Return the running code's commit, and whether it differs.

    ("unknown", True) outside git.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return "unknown", True


@cache
def processor() -> str:
    """Return processor name, family and widest vector instructions.

    Rounding depends on them.
    """
    told: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            told.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    name = told.get("model name") or platform.processor() or platform.machine()
    family = f" family {told['cpu family']}" if "cpu family" in told else ""
    flags = told.get("flags", "").split()
    widest = next((flag for flag in _VECTORS if flag in flags), "")
    return f"{name}{family}{f' ({widest})' if widest else ''}"


@cache
def versions() -> dict[str, str]:
    """Return versions of Python, bench and numeric packages."""
    found = {"python": platform.python_version(), "bench": __version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine_kind(device: str) -> str:
    """Return the kind of machine, on which numbers are identical."""
    cores = os.cpu_count() or 1
    kind = f"{processor()}, {cores} cores, {platform.system()}"
    if device == "cuda":
        import torch

        kind += f", {torch.cuda.get_device_name()}"
    return kind


def provenance(
    code: Fingerprint, device: str, seeds: dict[str, int], started: str, command: Sequence[str] = ()
) -> dict[str, JsonValue]:
    """Collect the provenance of a result.

    Args:
        code: Fingerprint of the code that made it, with its modules.
        device: ``cpu`` or ``cuda``.
        seeds: Root seeds by role.
        started: UTC start time, ISO 8601.
        command: The command line that asked for it, as typed and without secrets.
    """
    import torch

    revision, dirty = commit()
    return {
        "commit": revision,
        "dirty": dirty,
        "modules": dict(code.modules),
        "versions": dict(versions()),
        "host": socket.gethostname(),
        "machine": machine_kind(device),
        "device": device,
        "threads": torch.get_num_threads(),
        "environment": dict(recorded()),
        "seeds": dict(seeds),
        "started": started,
        "argv": list(command),
        "command": quoted(command),
    }
