"""Digest of everything that determines generated arrays."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from bench.fingerprint import syntax_digest

GENERATOR_VERSION = 1
"""Raise it when arrays change for a reason that neither source nor options show."""


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Return the SHA-256 of this package's syntax trees.

    Comments, layout and docstrings do not count.
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {syntax_digest(ast.parse(path.read_bytes()))}\n".encode())
    return digest.hexdigest()


def manifest(name: str, options: BaseModel) -> str:
    """Return the SHA-256 that identifies generated arrays.

    Includes name, options, generator version, source, and NumPy's version.
    """
    content = {
        "name": name,
        "options": options.model_dump(mode="json"),
        "generator": GENERATOR_VERSION,
        "source": source_digest(),
        "numpy": ".".join(np.__version__.split(".")[:2]),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
