"""Official checkpoints in and out: the same weights must give the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.errors import BenchError, DataError, UsageError
from bench.interop.checkpoints import read_checkpoint
from bench.interop.exporting import export_release, released_content
from bench.interop.importing import UNKNOWN, ReadEncoder, choose_release, read_encoder
from bench.interop.names_partseg import PARTSEG
from bench.interop.naming import release_state
from bench.interop.releases import RELEASES, Release
from bench.methods.base import Given
from bench.models.classifier import Classifier
from bench.models.encoder import Encoder
from bench.models.heads import HeadKind
from bench.models.segmentation import PartSegmenter
from bench.registry import METHODS
from bench.spec import BackboneSpec, PretrainSpec

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = BackboneSpec(points=64, groups=8, group_size=4, width=24, depth=3, heads=3, tokenizer_width=16)
STATED: dict[str, Any] = {"points": 64, "groups": 8, "group_size": 4, "heads": 3}
CLOUDS = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(5))


def read(path: Path, method: str | None = None, **stated: Any) -> ReadEncoder:
    """Import a file; keywords of the backbone or of the method's options."""
    checkpoint = read_checkpoint(path)
    backbone = {name: value for name, value in stated.items() if name in BackboneSpec.model_fields}
    options = {name: value for name, value in stated.items() if name not in backbone}
    return read_encoder(checkpoint, choose_release(checkpoint, method), backbone, options)


def features(encoder: Encoder, clouds: Tensor, name: str = "transfer") -> Tensor:
    with torch.no_grad():
        return encoder.eval().feature(encoder(clouds), name)


def recorded(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Tensor]]:
    """Configuration, arrays and released state of a golden file."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    state = {key.removeprefix("state/"): torch.from_numpy(v) for key, v in arrays.items() if key.startswith("state/")}
    return json.loads(str(arrays["config"])), arrays, state


def shuffled_norms(model: nn.Module) -> nn.Module:
    """Give BatchNorm statistics that a mix-up would show."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None  # noqa: PT018
            part.running_mean.uniform_(-0.1, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize(
    ("file", "method", "feature"),
    [
        ("pointmae_classify", "point-mae", "transfer"),
        ("recon_classify", "recon", "transfer"),
        ("recon_classify_linear", "recon", "transfer"),
        ("act_classify", "act", "transfer"),
        ("act_classify_linear", "act", "transfer"),
        ("twotower_classify_all", "two-tower", "transfer"),
        ("twotower_classify_mdm", "two-tower", "mdm"),
        ("twotower_classify_cmc", "two-tower", "cmc"),
    ],
)
def test_fine_tuned_files_give_the_recorded_logits(tmp_path: Path, file: str, method: str, feature: str) -> None:
    """An imported encoder would not be the authors' one."""
    config, arrays, state = recorded(file)
    path = tmp_path / "ckpt-best.pth"
    torch.save({"base_model": {f"module.{name}": v for name, v in state.items()}, "metrics": {"acc": 90.1}}, path)
    sizes = {"points": "npoints", "groups": "num_group", "group_size": "group_size", "heads": "num_heads"}
    found = read(path, method, **{ours: config[theirs] for ours, theirs in sizes.items()})
    encoder = found.build()
    head: HeadKind = "mlp" if "cls_head_finetune.8.weight" in state else "linear"
    model = Classifier(encoder, config["cls_dim"], head, feature)
    for name, value in model.head.state_dict().items():
        value.copy_(state[f"cls_head_finetune.{name}"])
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(arrays["in/points"]))
    expected = torch.from_numpy(arrays["out/eval.logits"])
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert [part.why for part in found.ignored] == ["head of the task it was trained on"]
    assert found.fresh == ()


def test_crosspoint_gives_the_recorded_feature(tmp_path: Path) -> None:
    """Its file is a bare dict that names every BatchNorm twice."""
    config, arrays, state = recorded("crosspoint_dgcnn")
    torch.save(state, tmp_path / "dgcnn_cls_best.pth")
    found = read(tmp_path / "dgcnn_cls_best.pth", neighbours=config["k"], points=config["npoints"])
    assert (found.method, found.options["backbone"]) == ("crosspoint", "dgcnn")
    assert found.options["embedding"] == config["emb_dims"]
    assert found.assumed == {}
    clouds = torch.cat([torch.from_numpy(arrays[f"in/points_t{view}"]) for view in (1, 2)])
    expected = torch.from_numpy(arrays["out/eval.feature"])
    found_feature = features(found.build(), clouds)[: len(expected)]
    assert (found_feature - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ("file", "method", "fresh"),
    [
        ("pointmae_pretrain", "point-mae", ("cls_pos", "cls_token")),
        ("recon_pretrain", "recon", ()),
        ("recon_pretrain_smc", "recon", ()),
        ("act_student", "act", ()),
        ("act_student_clsloss", "act", ()),
        ("twotower_pretrain", "two-tower", ("masked.cls_pos", "masked.cls_token")),
    ],
)
def test_pretraining_files_are_recognised_and_read_whole(
    tmp_path: Path, file: str, method: str, fresh: tuple[str, ...]
) -> None:
    """A tensor left behind would be replaced by a random one, and nobody would see it."""
    _, _, state = recorded(file)
    teachers = {f"{name}.x.weight": torch.ones(2) for name in ("img_encoder", "text_encoder", "dvae_tokenizer")}
    torch.save({"base_model": {f"module.{k}": v for k, v in {**state, **teachers}.items()}}, tmp_path / "ckpt.pth")
    found = read(tmp_path / "ckpt.pth", heads=3)
    assert (found.method, found.release.kind) == (method, "pretraining")
    assert found.fresh == fresh
    layout = found.release.names()
    expected = {}
    for theirs, value in state.items():
        ours = layout.to_ours(theirs) or ""
        if ours.startswith("trunk."):
            expected[ours.removeprefix("trunk.")] = value.float() if value.is_floating_point() else value
    assert expected.keys() | set(fresh) == found.state.keys()
    assert all(torch.equal(found.state[name].flatten(), value.flatten()) for name, value in expected.items())
    assert found.used == len(expected)
    reasons = {part.what: part.why for part in found.ignored}
    assert {reasons.pop(name.partition(".")[0]) for name in teachers} == {"frozen teacher"}
    assert UNKNOWN not in reasons.values()
    assert not any("encoder" in what.partition(".")[0] for what, why in reasons.items() if "itself" not in why)


@pytest.mark.parametrize("name", ["recon", "point-mae"])
def test_segmentation_files_give_the_same_features(tmp_path: Path, name: str) -> None:
    """The third kind of official file: its encoder serves other protocols too."""
    method = METHODS.load(name)
    torch.manual_seed(3)
    encoder = method.build_encoder(SMALL, method.Options.model_validate({"reference": True}))
    model = shuffled_norms(PartSegmenter(encoder, parts=5, categories=4, fetch_blocks=[0, 1, 2]))
    state = release_state(model.state_dict(), PARTSEG)
    if name == "point-mae":  # the released network has none
        del state["cls_token"], state["cls_pos"]
    torch.save({"model_state_dict": state, "inctance_avg_iou": np.float64(0.85), "epoch": 200}, tmp_path / "best.pth")
    found = read(tmp_path / "best.pth", **STATED)
    assert (found.method, found.release.kind) == (name, "segmentation")
    again = found.build()
    if name == "recon":
        assert torch.equal(features(again, CLOUDS), features(encoder, CLOUDS))
    assert torch.equal(features(again, CLOUDS, "svm").isfinite().all(), torch.tensor(True))
    kept = {key: value for key, value in encoder.state_dict().items() if key not in found.fresh}
    assert all(torch.equal(found.state[key], value) for key, value in kept.items())


def our_network(release: Release) -> tuple[Encoder, nn.Module]:
    """A network of ours as its authors would have it, and its encoder."""
    method = METHODS.load(release.method)
    options = method.Options.model_validate(
        dict(release.options) | ({"image_network": "resnet18"} if release.bare else {})
    )
    torch.manual_seed(2)
    if release.kind == "pretraining" and release.method != "act":
        given = Given(image=5, text=6, pixels=3)
        if release.bare:
            options = options.model_copy(update={"terms": "imid"})
        model = method.build(SMALL, options, given)
        shuffled_norms(model)
        return model.encoder(), model
    encoder = method.build_encoder(SMALL, options)
    shuffled_norms(encoder)
    holder = nn.Module()
    holder.add_module(release.inside.removesuffix("."), encoder)
    return encoder, holder


@pytest.mark.parametrize(
    "release",
    [release for release in RELEASES if release.kind != "segmentation"],
    ids=lambda release: f"{release.method}-{release.kind}",
)
@pytest.mark.parametrize("wrapper", ["base_model", "model", ""])
def test_files_written_from_our_networks_come_back(tmp_path: Path, release: Release, wrapper: str) -> None:
    """Every layout, every kind: the same features after a round trip through a file of the authors' form."""
    encoder, model = our_network(release)
    state = {f"module.{name}": value for name, value in release_state(model.state_dict(), release.names()).items()}
    torch.save({wrapper: state, "epoch": 300} if wrapper else state, tmp_path / "file.pth")
    stated = {"points": 64} if release.bare else STATED
    found = read(tmp_path / "file.pth", release.method, **stated)
    assert found.release == release
    if not release.bare:
        assert (found.backbone.width, found.backbone.depth, found.backbone.tokenizer_width) == (24, 3, 16)
    assert torch.equal(features(found.build(), CLOUDS), features(encoder, CLOUDS))


@pytest.mark.parametrize("layout", ["pretrain", "finetune"])
@pytest.mark.parametrize("name", ["recon", "point-mae", "act", "two-tower", "crosspoint"])
def test_an_exported_encoder_comes_back_tensor_by_tensor(tmp_path: Path, name: str, layout: Any) -> None:
    """A colleague would get other weights, or none of the sizes that weights do not show."""
    method = METHODS.load(name)
    if name == "crosspoint" and layout == "finetune":
        with pytest.raises(
            UsageError, match="no finetune layout of crosspoint was ever released; use --layout pretrain"
        ):
            export_release(name, layout)
        return
    options = method.Options.model_validate({"backbone": "dgcnn", "embedding": 40} if name == "crosspoint" else {})
    encoder = shuffled_norms(method.build_encoder(SMALL, options))
    release = export_release(name, layout)
    content = released_content(
        encoder.state_dict(), release, spec_of(name, options.model_dump(mode="json")), ["a chair"]
    )
    torch.save(content, tmp_path / "out.pth")
    found = read(tmp_path / "out.pth")
    assert found.method == name
    assert found.state.keys() == encoder.state_dict().keys()
    assert all(torch.equal(found.state[key], value) for key, value in encoder.state_dict().items())
    if name != "crosspoint":  # a bare dict has no room for more than tensors
        assert found.backbone == SMALL
        assert found.options == options.model_dump(mode="json")
        assert read_checkpoint(tmp_path / "out.pth").ours["texts"] == ["a chair"]
        state = torch.load(tmp_path / "out.pth", weights_only=True)["base_model"]
        conv = next(value for key, value in state.items() if key.endswith("encoder.first_conv.0.weight"))
        assert conv.shape == (16, 3, 1)


def spec_of(method: str, options: dict[str, Any]) -> PretrainSpec:
    numerics = {"precision": "fp32", "compile": False, "device": "cpu", "op_backend": "torch", "torch": "2.9"}
    return PretrainSpec.model_validate(
        {"method": method, "options": options, "backbone": SMALL, "recipe": None, "data": None, "numerics": numerics,
         "seed": 0}
    )  # fmt: skip


def test_what_the_release_has_no_name_for_is_not_dropped_silently() -> None:
    """The authors' code would load an encoder that lacks a part."""
    method = METHODS.load("crosspoint")
    encoder = method.build_encoder(SMALL, method.Options())
    with pytest.raises(UsageError, match="has no name for"):
        released_content(encoder.state_dict(), export_release("crosspoint", "pretrain"), spec_of("crosspoint", {}), [])
    with pytest.raises(UsageError, match="authors of multitask released no files"):
        export_release("multitask", "pretrain")


def recon_file(path: Path, change: Any = None) -> Path:
    state = release_state(our_network(RELEASES[0])[1].state_dict(), RELEASES[0].names())
    if change is not None:
        change(state)
    torch.save({"base_model": state}, path)
    return path


def _without_block(state: dict[str, Tensor]) -> None:
    for name in [name for name in state if ".blocks.blocks.1." in name]:
        del state[name]


@pytest.mark.parametrize(
    ("change", "method", "stated", "words"),
    [
        (None, "point-mae", {}, "is a file of recon (pretraining), not of point-mae; leave --method out"),
        (None, "reconn", {}, "unknown method 'reconn': did you mean recon"),
        (None, None, {"heads": None}, "backbone.heads"),
        (None, None, {"heads": 5}, "backbone.heads = 5 does not divide the width 24"),
        (None, None, {"width": 48}, "backbone.width is 24 in its weights, not 48"),
        (None, None, {"head": 3}, "unknown option of recon 'head'"),
        (None, None, {"mask_ratio": 3}, "recon.mask_ratio = 3"),
        (_without_block, None, {}, "lacks MAE_encoder.blocks.blocks.1.attn.proj.bias and 22 more"),
        (lambda s: s.pop("MAE_encoder.norm.bias"), None, {}, "lacks MAE_encoder.norm.bias; it is not a complete file"),
        (
            lambda s: s.update({"MAE_encoder.blocks.blocks.2.mlp.fc1.weight": torch.ones(96, 12)}),
            None,
            {},
            "tensors do not fit: MAE_encoder.blocks.blocks.2.mlp.fc1.weight is (96, 12)",
        ),
        (
            lambda s: [s.pop(name) for name in list(s) if "MAE_encoder" in name],
            None,
            {},
            "is not a file of a known release",
        ),
        (
            lambda s: (s.clear(), s.update({"resnet.conv1.weight": torch.ones(1)})),
            None,
            {},
            "CrossPoint's image branch",
        ),
        (lambda s: (s.clear(), s.update({"dgcnn_1.layer1.0.weight": torch.ones(1)})), None, {}, "ACT's first stage"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_it(
    tmp_path: Path, change: Any, method: str | None, stated: dict[str, Any], words: str
) -> None:
    """Weights would be loaded in part, or the user would read a traceback."""
    path = recon_file(tmp_path / "recon.pth", change)
    with pytest.raises(BenchError) as refused:
        read(path, method, **{**STATED, **stated})
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, DataError | UsageError)


def test_an_unknown_width_asks_for_heads(tmp_path: Path) -> None:
    """A wrong guess would run, and give other features."""
    with pytest.raises(UsageError, match=r"24 is not a published width; give it: --set backbone.heads=N"):
        read(recon_file(tmp_path / "recon.pth"), points=64)


def test_files_that_two_methods_share_have_to_be_told_apart(tmp_path: Path) -> None:
    """Fine-tuned Point-MAE and ACT have the same names; a guess would credit the wrong method."""
    _, _, state = recorded("pointmae_classify")
    torch.save({"base_model": state}, tmp_path / "best.pth")
    with pytest.raises(UsageError, match="fits point-mae and act alike, say which with --method point-mae"):
        read(tmp_path / "best.pth", heads=3)
    assert read(tmp_path / "best.pth", "act", heads=3).method == "act"


def test_an_unknown_tensor_is_reported(tmp_path: Path) -> None:
    """A changed network would be imported as if it were the published one."""
    path = recon_file(tmp_path / "x.pth", lambda s: s.update({"MAE_encoder.adapter.down.weight": torch.ones(2)}))
    found = read(path, **STATED)
    assert [(part.what, part.why) for part in found.ignored if part.why == UNKNOWN] == [
        ("MAE_encoder.adapter", UNKNOWN)
    ]


def test_fresh_tokens_are_always_the_same(tmp_path: Path) -> None:
    """Point-MAE's class token is not in its files; another one each time would be another encoder each time."""
    _, _, state = recorded("pointmae_pretrain")
    torch.save({"base_model": state}, tmp_path / "a.pth")
    torch.manual_seed(11)
    first = read(tmp_path / "a.pth", heads=3).state["cls_token"]
    torch.manual_seed(12)
    assert torch.equal(read(tmp_path / "a.pth", heads=3).state["cls_token"], first)
