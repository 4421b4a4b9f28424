"""One thread, since these networks are so small; and plugins of a test are gone after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bench.registry import REGISTRIES


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    before = {kind: dict(registry._entries) for kind, registry in REGISTRIES.items()}
    yield
    for kind, registry in REGISTRIES.items():
        registry._entries = before[kind]
