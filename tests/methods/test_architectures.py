"""Methods that train one network are compared with one untrained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.chosen import ChosenMethod
from bench.paths import Workspace
from bench.plan.planning import make_plan
from bench.plan.request import RunRequest
from bench.plan.untrained import network_of
from bench.registry import METHODS
from bench.spec import BackboneSpec

SIZE = BackboneSpec(points=64, groups=8, group_size=8, width=24, depth=1, heads=2, tokenizer_width=16, drop_path=0.0)


@pytest.mark.parametrize(
    ("method", "changed", "network"),
    [
        ("point-mae", {"mask_ratio": 0.9}, "point-mae"),
        ("act", {}, "point-mae"),
        ("act", {"reference": True}, "point-mae"),
        ("act", {"patch_width": 12}, "act"),
        ("crosspoint", {}, "point-mae"),
        ("crosspoint", {"backbone": "pointnet"}, "crosspoint"),
        ("recon", {}, "recon"),
        ("multitask", {}, "multitask"),
        ("two-tower", {}, "two-tower"),
    ],
)
def test_the_named_network_is_the_method_s_own(method: str, changed: dict[str, Any], network: str) -> None:
    """A method would be compared with an untrained network of another kind."""
    kind = METHODS.load(method)
    chosen = ChosenMethod(method, kind, kind.defaults("smoke").model_copy(update=changed))
    name, kept = network_of(chosen, "fair")
    assert name == network
    assert network_of(chosen, "published") == (method, chosen.stored)
    other = METHODS.load(name)
    weights = []
    for builder, values in ((kind, chosen.stored), (other, kept)):
        torch.manual_seed(3)
        weights.append(builder.build_encoder(SIZE, builder.Options.model_validate(values)).eval())
    own, shared = (encoder.state_dict() for encoder in weights)
    assert own.keys() == shared.keys()
    assert all(torch.equal(own[key], shared[key]) for key in own)
    clouds = torch.rand(2, 64, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        told = [encoder.feature(encoder(clouds)) for encoder in weights]
    assert torch.equal(told[0], told[1])


def test_methods_of_one_network_share_one_scratch(tmp_path: Path) -> None:
    """The same untrained network was evaluated three times and stood in every table under three names."""
    request = RunRequest(methods=("point-mae", "act", "crosspoint", "recon"), protocols=("knn",), preset="smoke")
    labels = [run.label for run in make_plan(request, Workspace.at(tmp_path), None).runs]
    scratch = [label["architecture"] for label in labels if label["method"] == "scratch"]
    assert scratch == ["point-mae", "recon"]
    of = {label["method"]: label["architecture"] for label in labels if label["method"] != "scratch"}
    assert of == {"point-mae": "point-mae", "act": "point-mae", "crosspoint": "point-mae", "recon": "recon"}
    released = make_plan(
        request.model_copy(update={"form": "published", "protocols": ("svm",)}), Workspace.at(tmp_path), None
    )
    names = [run.label["architecture"] for run in released.runs if run.label["method"] == "scratch"]
    assert names == ["point-mae", "act", "crosspoint", "recon"]
