"""Identify processes uniquely, and tell whether they run."""

from __future__ import annotations

import socket
import uuid
from functools import cache
from pathlib import Path


@cache
def host_name() -> str:
    """Name this machine, its boot and its process namespace."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13])
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        parts.append(f"{uuid.getnode():x}")
    return "/".join(parts)


def process_start(pid: int) -> float | None:
    """Return a process's start time; None if it is gone.

    A zombie, which works on nothing, counts as gone.

    On Linux in clock ticks since boot, which no change of the wall clock can move; elsewhere in epoch seconds.
    """
    try:
        # Fields after the command name, which may itself hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else float(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, IndexError, ValueError):
        pass
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return 0.0


def process_alive(pid: int, start: float) -> bool:
    """Whether a process with this start time still runs.

    Unknown start times (0) count as a match.
    """
    found = process_start(pid)
    return found is not None and (0.0 in (found, start) or abs(found - start) < 1.0)
