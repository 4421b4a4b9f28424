"""Process that measures one path: ``python -m bench.profiling.child``.

Reads a path (`bench.profiling.trial.PathSpec`) as one line of JSON, then one command per line; answers each with one
line of JSON. Separate processes keep the peak memory, compiled kernels and hooks of paths apart, and let paths take
turns step by step.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def answer(trial: Any, command: str) -> dict[str, Any]:
    """Carry out a command: ``step``, ``flops``, ``memory`` or ``peak``."""
    if command == "step":
        values: dict[str, Any] = trial.step()
        return values
    if command == "flops":
        return {"flops": trial.flops()}
    if command == "memory":
        return {"bytes": trial.memory()}
    import torch

    from bench.profiling.trial import matmul_rate

    size = trial.path.peak_size
    rates = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return {name: matmul_rate(trial.device, dtype, size) for name, dtype in rates.items()}


def main() -> int:
    """Answer commands until standard input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # prints of libraries go to the log
    from bench.errors import BenchError
    from bench.models.memory import keep_freed_memory
    from bench.plugins import load_entry_points, load_plugin_file

    keep_freed_memory()
    try:
        from pathlib import Path

        from bench.profiling.trial import PathSpec, Trial

        path = PathSpec.model_validate_json(sys.stdin.readline())
        load_entry_points()
        for plugin in path.plugins:
            load_plugin_file(Path(plugin))
        trial = Trial(path)
        print("{}", file=replies)
        for line in sys.stdin:
            print(json.dumps(answer(trial, line.strip())), file=replies)
    except BenchError as error:
        print(json.dumps({"error": str(error), "exit_code": error.exit_code}), file=replies)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # no teardown, as in the worker
