"""Reconstructions and the network behind them: a picture must show what the trained network really fills in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.analysis.reconstructions import draw, reconstruct
from bench.errors import UsageError
from bench.methods.act import ACT
from bench.methods.act_dvae import ActDvae
from bench.methods.base import Batch, Given, Method, PretrainModel
from bench.methods.crosspoint import CrossPoint
from bench.methods.multitask import Multitask
from bench.methods.point_mae import PointMAE
from bench.methods.recon import ReCon
from bench.methods.two_tower import TwoTower
from bench.methods.weights import FILE, load_network, save_rest
from bench.models.encoder import Encoder
from bench.models.token_transformer import TokenTransformer
from bench.plan.presets import preset
from bench.spec import PretrainSpec, TransformerShape
from bench.training.precision import resolve_numerics

SMOKE = preset("smoke").backbone
SHAPE = TransformerShape(width=16, depth=2, heads=2, mlp_width=32)
MASKED: dict[str, tuple[type[Method], dict[str, Any]]] = {
    "point-mae": (PointMAE, {}),
    "point-mae cdl1": (PointMAE, {"loss": "cdl1"}),
    "recon": (ReCon, {}),
    "recon smc": (ReCon, {"smc": True, "tokenize": "all"}),
    "multitask": (Multitask, {}),
    "two-tower": (TwoTower, {}),
    "two-tower cmc": (TwoTower, {"streams": "cmc"}),
}


def spec(method: type[Method], options: dict[str, Any]) -> PretrainSpec:
    numerics = resolve_numerics("cpu", "fp32", compile=False)
    values = method.Options(**options).model_dump(mode="json")
    return PretrainSpec(
        method=method.name, options=values, backbone=SMOKE, recipe=None, data=None, numerics=numerics, seed=0
    )


def stored(folder: Path, method: type[Method], options: dict[str, Any], given: Given) -> tuple[PretrainModel, Path]:
    """A network with weights of its own, and its artefact."""
    torch.manual_seed(3)
    model = method.build(SMOKE, method.Options(**options), given)
    with torch.no_grad():
        for value in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            value.add_(0.02 * torch.rand_like(value))
    save_file({k: v.contiguous() for k, v in model.encoder().state_dict().items()}, folder / "encoder.safetensors")
    save_rest(model, given, folder)
    return model.eval(), folder


@pytest.fixture(scope="module")
def points() -> Tensor:
    return torch.randn(3, 128, 3, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("name", sorted(MASKED))
def test_the_numbers_of_the_picture_are_the_models_own_loss(name: str, points: Tensor, tmp_path: Path) -> None:
    """Another decoder or other masks than the trained network's would be drawn."""
    method, options = MASKED[name]
    given = Given(image=12, text=10)
    model, folder = stored(tmp_path, method, options, given)
    network = load_network(folder, method, spec(method, options), None, name)
    again = reconstruct(network.model, network.given, points, 7, name)
    own = reconstruct(model, given, points, 7, name)
    assert torch.equal(again.predicted, own.predicted)
    assert again.losses == own.losses
    mine = again.chamfer_l1 if options.get("loss") == "cdl1" else again.chamfer_l2
    assert float(mine.mean()) == pytest.approx(again.losses["mdm"], rel=1e-5)
    batch = Batch(points, torch.zeros(3, 12), torch.zeros(3, 10), torch.zeros(3, dtype=torch.int64))
    batch.generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        assert float(model(batch)["mdm"]) == pytest.approx(again.losses["mdm"], rel=1e-6)
    count = SMOKE.groups * SMOKE.group_size
    assert again.visible.shape[1] + again.hidden.shape[1] == count
    assert again.predicted.shape == again.hidden.shape
    assert again.hidden_share == pytest.approx(9 / 16)
    every = torch.cat([again.visible, again.hidden], 1)
    assert float(torch.cdist(every, points).amin(-1).max()) < 1e-3  # patches lie on the cloud they were cut from


def test_the_whole_network_comes_back_bit_by_bit(tmp_path: Path) -> None:
    """A head or a buffer left out would be drawn anew and never noticed."""
    model, folder = stored(tmp_path, ReCon, {}, Given(image=12, text=10))
    network = load_network(folder, ReCon, spec(ReCon, {}), None, "x")
    found = network.model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items())
    assert (network.given.image, network.given.text, network.model.training) == (12, 10, False)
    kept = load_file(folder / FILE)
    assert not set(kept) & {f"trunk.{name}" for name in load_file(folder / "encoder.safetensors")}
    assert {name.split(".")[0] for name in kept} == {"decoder", "image_head", "text_head"}


def test_what_a_network_borrowed_is_not_stored_twice(tmp_path: Path) -> None:
    """ACT's artefact would carry its whole first stage, and ACT's autoencoder its transformer."""
    tmp_path.joinpath("first").mkdir()
    options = ActDvae.defaults("smoke").model_copy(update={"transformer": SHAPE}).model_dump()
    dvae, first = stored(tmp_path / "first", ActDvae, options, Given(transformer=TokenTransformer(SHAPE)))
    assert all(name.startswith("decoder.") for name in load_file(first / FILE))
    load_network(first, ActDvae, spec(ActDvae, options), None, "x")
    stage = dvae.encoder()
    model, folder = stored(tmp_path, ACT, {}, Given(first_stage=stage))
    assert all(name.startswith("decoder.") for name in load_file(folder / FILE))
    network = load_network(folder, ACT, spec(ACT, {}), stage, "x")
    assert torch.equal(network.model.get_parameter("decoder.mask_token"), model.get_parameter("decoder.mask_token"))
    with pytest.raises(UsageError, match="x has no decoder that fills in the points of hidden patches"):
        reconstruct(network.model, network.given, torch.randn(2, 128, 3), 0, "x")


def test_methods_without_reconstruction_say_so(tmp_path: Path) -> None:
    """The user would get a traceback."""
    options = CrossPoint.defaults("smoke").model_dump()
    _, folder = stored(tmp_path, CrossPoint, options, Given(pixels=3))
    network = load_network(folder, CrossPoint, spec(CrossPoint, options), None, "crosspoint, seed 0")
    with pytest.raises(UsageError, match=r"crosspoint, seed 0 has no decoder .* such as point-mae or recon"):
        reconstruct(network.model, network.given, torch.randn(2, 128, 3), 0, "crosspoint, seed 0")


def test_older_and_foreign_artefacts_say_what_is_missing(tmp_path: Path) -> None:
    """The user would not know that training again mends it."""
    _, folder = stored(tmp_path, PointMAE, {}, Given())
    with pytest.raises(UsageError, match=r"encoder x does not fit the present code .* trained by other code"):
        load_network(folder, PointMAE, spec(PointMAE, {"decoder_depth": 2}), None, "x")
    with pytest.raises(UsageError, match="encoder x does not fit the present code"):
        load_network(folder, PointMAE, spec(PointMAE, {"decoder_depth": 6}), None, "x")
    (folder / FILE).unlink()
    with pytest.raises(
        UsageError, match=r"stored without its decoder and heads, by an earlier bench.*bench run --meth"
    ):
        load_network(folder, PointMAE, spec(PointMAE, {}), None, "x")
    foreign = spec(PointMAE, {}).model_copy(update={"imported": "0" * 64})
    with pytest.raises(UsageError, match="was imported without its decoder"):
        load_network(folder, PointMAE, foreign, None, "x")


def test_the_picture_has_a_row_per_object(points: Tensor) -> None:
    """Objects would be missing or mixed up."""
    torch.manual_seed(0)
    model = PointMAE.build(SMOKE, PointMAE.Options(), Given()).eval()
    figure = draw("point-mae", reconstruct(model, Given(), points, 0, "x"), ["a", "b", "c"])
    assert [axes.get_title() for axes in figure.axes[:4]] == [
        "input", "visible (44 % of patches)", "visible + filled in", "truth",
    ]  # fmt: skip
    assert len(figure.axes) == 12
    assert isinstance(model.encoder(), Encoder)
