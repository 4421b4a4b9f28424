"""CrossPoint against its recorded networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.interop.golden import verify_file
from bench.interop.names_crosspoint import BACKBONE, IMAGE, SEGMENTATION
from bench.interop.naming import Layout, convert_state, release_state
from bench.methods.base import Batch, Given
from bench.methods.crosspoint import CrossPoint
from bench.models.dgcnn_segmentation import DGCNNSegmentation
from bench.models.image_branch import ImageBranch
from bench.spec import BackboneSpec

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", ["dgcnn", "dgcnn_partseg", "ntxent"])
def test_recorded_numbers_are_reproduced(name: str) -> None:
    """'crosspoint' would not be the published method: outputs, losses, buffers or where gradients go."""
    result = verify_file(GOLDEN / f"crosspoint_{name}.npz")
    assert result.status == "pass", result.detail
    assert result.compared == result.total
    counts = {"dgcnn": "mid 5/5", "dgcnn_partseg": "mid 2/2", "ntxent": ""}
    assert counts[name] in result.detail


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dgcnn", "state/conv3.0.weight"),
        ("dgcnn", "after/conv2.1.running_var"),
        ("dgcnn", "grad/cmid.norms"),
        ("ntxent", "out/grad_cmid.image"),
        ("dgcnn_partseg", "state/conv9.0.weight"),
    ],
)
def test_a_changed_number_is_noticed(name: str, change: str, tmp_path: Path) -> None:
    """Verification would pass whatever the file says."""
    with np.load(GOLDEN / f"crosspoint_{name}.npz") as archive:
        arrays = dict(archive)
    arrays[change] = (arrays[change].astype(np.float64) * 1.01).astype(np.float32)
    np.savez(tmp_path / "changed.npz", **arrays)
    assert verify_file(tmp_path / "changed.npz").status == "fail"


def test_other_sizes_are_read_from_the_file(tmp_path: Path) -> None:
    """Verification would only work for the widths and neighbours it was written with."""
    torch.manual_seed(3)
    options = CrossPoint.Options(
        backbone="dgcnn", neighbours=4, embedding=20, temperature=0.3, terms="imid", projection=12
    )
    model = CrossPoint.build(BackboneSpec(points=40), options, Given()).eval()
    views = torch.rand(2, 3, 40, 3)
    with torch.no_grad():
        loss = model(Batch(views[0], other_points=(views[1],)))["imid"].numpy()
    arrays = {f"state/{name}": value.numpy() for name, value in release_state(model.state_dict(), BACKBONE).items()}
    arrays |= {"in/points_t1": views[0].numpy(), "in/points_t2": views[1].numpy(), "out/eval.loss_imid": loss}
    config = {"NAME": "DGCNN", "npoints": 40, "k": 4, "emb_dims": 20, "temperature": 0.3, "dropout": 0.0}
    arrays["config"] = np.array(json.dumps(config))
    np.savez(tmp_path / "other.npz", **arrays)  # type: ignore[arg-type]
    result = verify_file(tmp_path / "other.npz")
    assert result.status == "pass", result.detail


def test_every_name_goes_there_and_back() -> None:
    """A parameter would be lost on export or import; a BatchNorm registered twice is written twice."""
    options = CrossPoint.Options(backbone="dgcnn", neighbours=4, embedding=8, terms="imid")
    networks: list[tuple[Layout, torch.nn.Module, int]] = [
        (BACKBONE, CrossPoint.build(BackboneSpec(), options, Given()), 5),
        (SEGMENTATION, DGCNNSegmentation(5, 3, embedding=16), 10 + 2),
        (IMAGE, ImageBranch("resnet50", (4, 4, 4, 4)), 0),
    ]
    for layout, model, doubled in networks:
        state = model.state_dict()
        released = release_state(state, layout)
        # The transform net's re-assigned bn3 leaves conv3.1 with one name; bn1, bn2 have two; bn3, bn4 one.
        assert len(released) == len(state) + 5 * doubled, layout.name
        back = convert_state(released, state, layout)
        assert (back.missing, back.unexpected, back.mismatched) == ((), (), ()), layout.name
        assert all(torch.equal(back.state[name], value) for name, value in state.items())


def test_released_names_of_crosspoint() -> None:
    """A weight of an official checkpoint would land in the wrong place (docs/reference.md#checkpoint-names)."""
    assert BACKBONE.to_ours("module.bn2.running_var") == BACKBONE.to_ours("conv2.1.running_var")
    assert BACKBONE.to_released("trunk.stages.1.norm.weight") == "bn2.weight"
    assert SEGMENTATION.to_ours("transform_net.bn3.weight") == "transform.pooled1.norm.weight"
    assert SEGMENTATION.to_ours("transform_net.conv3.1.weight") == "transform.lift.norm.weight"
    assert IMAGE.to_ours("resnet.layer3.5.downsample.1.bias") == "network.layer3.5.downsample.1.bias"
