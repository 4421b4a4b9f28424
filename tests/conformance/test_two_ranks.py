"""``check-plugin`` tries what ``several_gpus = True`` promises; else a promise gives wrong numbers in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.conformance.suites import method_suite
from bench.methods.base import Method
from bench.methods.recon import ReCon
from bench.plugins import load_plugin_file
from bench.registry import METHODS
from bench.spec import BackboneSpec

TINY = BackboneSpec(points=48, groups=6, group_size=8, width=24, depth=1, heads=2, tokenizer_width=8, drop_path=0.2)
PLUGIN = '''
"""Methods that promise several GPUs, and should not."""
from typing import Any

import torch
from torch import Tensor, nn

from bench.methods.point_mae import PointMAE, PointMAEModel


class CoupledModel(PointMAEModel):
    """Adds a loss in which objects of a batch meet."""

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``recon``, ``meet`` and their sum."""
        losses = super().compute(prepared)
        centres = prepared["visible_centres"].mean(1)
        meet = 10 * torch.pdist(centres).amax() * self.scale
        return {**losses, "meet": meet, "total": losses["total"] + meet}


class Coupled(PointMAE):
    """Objects meet in its loss."""

    name = "coupled"
    several_gpus = True

    @classmethod
    def build(cls, backbone: Any, options: Any, given: Any) -> Any:
        """Build the network."""
        model = super().build(backbone, options, given)
        model.__class__ = CoupledModel
        model.scale = nn.Parameter(torch.ones(()))
        return model


class Dropped(PointMAE):
    """Draws inside its network."""

    name = "dropped"
    several_gpus = True

    @classmethod
    def build(cls, backbone: Any, options: Any, given: Any) -> Any:
        """Build the network."""
        model = super().build(backbone, options, given)
        model.extra = nn.Dropout(0.5)
        return model
'''


def remark(method: type[Method]) -> tuple[str, str]:
    found = method_suite(method, size=TINY, steps=8, device="cpu", left_out={"import": "tested apart"})
    outcome = found.outcome("several gpus")
    return outcome.status, outcome.remark


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "promising.py"
    file.write_text(PLUGIN)
    load_plugin_file(file)
    return file


def test_a_method_that_keeps_its_promise_passes() -> None:
    assert remark(ReCon) == ("pass", "losses, gradients and buffers of one step")


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("coupled", ("differ from one in loss 'total' by 20%, loss 'meet' by 22%", "bench.models.ranks.gathered")),
        ("dropped", ("several ranks: ", "extra is a Dropout, whose draws depend on the number of ranks")),
    ],
)
def test_a_promise_that_is_not_kept_fails(name: str, told: tuple[str, str]) -> None:
    status, said = remark(METHODS.load(name))
    assert status == "fail"
    assert all(part in said for part in told), said


def test_a_method_that_promises_nothing_is_skipped() -> None:
    class Silent(ReCon):
        """Its class says nothing."""

    assert remark(Silent) == ("skip", "does not say several_gpus = True")
