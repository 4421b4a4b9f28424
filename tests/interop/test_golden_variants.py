"""Recorded files of any size are verified, not just those at hand, and any deviation in them is noticed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.cli.main import main
from bench.interop.comparison import FileResult
from bench.interop.golden import exit_code, summary_line, verify_file, verify_folder
from bench.interop.names_partseg import ACT_PARTSEG, PARTSEG
from bench.interop.names_transformer import CLASSIFY, PRETRAIN
from bench.interop.naming import Layout, release_state
from bench.methods.base import Batch, Given
from bench.methods.point_mae import PointMAE
from bench.methods.recon import ReCon
from bench.models.classifier import Classifier
from bench.models.segmentation import HeadWidths, PartSegmenter
from bench.spec import BackboneSpec

GOLDEN = Path(__file__).parents[1] / "golden"
Arrays = dict[str, np.ndarray]
ODD = BackboneSpec(points=70, groups=9, group_size=5, width=20, depth=3, heads=5, tokenizer_width=12, drop_path=0)
FLAT = BackboneSpec(points=41, groups=7, group_size=3, width=32, depth=1, heads=4, tokenizer_width=20, drop_path=0)
FREE_TOKENS = ("encoder.cls_token", "encoder.cls_pos", "trunk.cls_token", "trunk.cls_pos")


@dataclass
class Recording:
    """A file in the recorded format, written from a network of ours."""

    model: nn.Module
    layout: Layout
    config: dict[str, Any]
    without: tuple[str, ...] = ()
    arrays: Arrays = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model.apply(_liven)
        state = {name: value for name, value in self.model.state_dict().items() if name not in self.without}
        self.arrays |= {f"state/{k}": v.numpy().copy() for k, v in release_state(state, self.layout).items()}
        self.arrays["config"] = np.array(json.dumps(self.config))

    def give(self, **inputs: Tensor | None) -> None:
        """Keep inputs."""
        self.arrays |= {f"in/{name}": value.numpy().copy() for name, value in inputs.items() if value is not None}

    def put(self, prefix: str, **outputs: Tensor) -> None:
        """Keep outputs."""
        self.arrays |= {f"{prefix}{name}": value.detach().numpy().copy() for name, value in outputs.items()}

    def learn(self, **losses: Tensor) -> None:
        """Keep buffers after a step, and the gradient norms of losses."""
        for name, buffer in self.model.named_buffers():
            self.arrays[f"after/{self.layout.to_released(name)}"] = buffer.numpy().copy()
        trained = {name: p for name, p in self.model.named_parameters() if name not in self.without}
        for loss, value in losses.items():
            gradients = torch.autograd.grad(value, list(trained.values()), retain_graph=True, allow_unused=True)
            norms = [np.nan if gradient is None else float(gradient.double().norm()) for gradient in gradients]
            names = [self.layout.to_released(name) for name in trained]
            self.arrays[f"grad/{loss}.names"] = np.array(json.dumps(names))
            self.arrays[f"grad/{loss}.norms"] = np.array(norms)

    def save(self, path: Path) -> Path:
        """Write the file."""
        np.savez(path, **self.arrays)
        return path


def _liven(part: nn.Module) -> None:
    """Draw what starts at 0, at 1 or very small, so that every number counts."""
    for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
        if value.is_floating_point() and (value.ndim == 1 or name.endswith(("token", "pos"))):
            value.data.copy_(torch.rand(value.shape) * 0.5 + (0.75 if "weight" in name or "var" in name else -0.25))
    if isinstance(part, nn.Linear):  # those of attention, which have no bias, larger still
        part.weight.data.normal_(std=0.5 if part.bias is None else part.in_features**-0.5)


def clouds(backbone: BackboneSpec, count: int) -> Tensor:
    return torch.rand(count, backbone.points, 3) + 0.1


def transformer(backbone: BackboneSpec) -> dict[str, Any]:
    return {"trans_dim": backbone.width, "depth": backbone.depth, "num_heads": backbone.heads, "drop_path_rate": 0.0}


def sizes(backbone: BackboneSpec) -> dict[str, Any]:
    return {"npoints": backbone.points, "num_group": backbone.groups, "group_size": backbone.group_size}


def pretraining(backbone: BackboneSpec, method: str, smc: bool = False) -> Recording:
    own = {"mask_ratio": 0.45, "mask_type": "block" if smc else "rand", "decoder_depth": 1 if smc else 3}
    options = {"mask_ratio": 0.45, "decoder_depth": own["decoder_depth"], "tokenize": "all", "reference": True}
    if method == "Point_MAE":
        model: Any = PointMAE.build(backbone, PointMAE.Options.model_validate(options | {"loss": "cdl1"}), Given())
    else:
        given = Given(image=None, text=13) if smc else Given(image=11, text=6)
        model = ReCon.build(backbone, ReCon.Options.model_validate(options | {"loss": "cdl1", "smc": smc}), given)
    config = {"NAME": method, "loss": "cdl1", "self_contrastive": smc, **sizes(backbone)}
    config["transformer_config"] = transformer(backbone) | own
    out = Recording(model, PRETRAIN, config, FREE_TOKENS if method == "Point_MAE" else ())
    hidden = int(0.45 * backbone.groups)
    batch = Batch(
        clouds(backbone, 5),
        torch.randn(5, 11) if method == "ReCon" and not smc else None,
        torch.randn(5, 13 if smc else 6) if method == "ReCon" else None,
        torch.tensor([0, 1, 0, 2, 1]) if smc else None,
    )
    mask = torch.rand(5, backbone.groups).argsort(1) < hidden
    out.give(points=batch.points, mask=mask, img_feature=batch.image_features)
    out.give(text_feature=batch.text_features, text_label=batch.labels)
    prepared = model.prepare(batch, mask=mask)
    inner: list[Tensor] = []
    for part in (model.trunk.norm, model.contrast_head if smc else None):
        if part is not None:
            part.register_forward_hook(lambda *call: inner.append(call[2]))
    for mode in ("eval", "train"):
        losses = model.train(mode == "train").compute(prepared)
        if mode == "eval":  # a loss alone hardly tells a small change of one layer
            contrast = {"cls_proj": inner.pop()} if smc else {}
            out.put("mid/", encoder_output=torch.cat(inner, dim=1), **contrast)
        named = {f"loss_{name.replace('image', 'img')}": value for name, value in losses.items()}
        out.put(f"out/{mode}.", **({"loss": losses["total"]} if method == "Point_MAE" else named))
    out.learn(**({"loss": losses["total"]} if method == "Point_MAE" else {k: losses[k] for k in ("mdm", "total")}))
    return out


def classification(backbone: BackboneSpec, queries: bool, head: Any) -> Recording:
    method: Any = ReCon if queries else PointMAE
    model = Classifier(method.build_encoder(backbone, method.Options(reference=True)), 7, head, dropout=0.0)
    config = {"NAME": "PointTransformer", "cls_dim": 7, **sizes(backbone), **transformer(backbone)}
    out = Recording(model, CLASSIFY, config)
    points, label = clouds(backbone, 5), torch.tensor([6, 0, 3, 3, 1])
    out.give(points=points, label=label)
    for mode in ("eval", "train"):
        logits = model.train(mode == "train")(points)
        loss = F.cross_entropy(logits, label)
        out.put(f"out/{mode}.", logits=logits, loss=loss)
    out.learn(loss=loss)
    return out


def frozen_features(backbone: BackboneSpec, zero_shot: bool) -> Recording:
    model: Any = nn.Module()
    model.encoder = ReCon.build_encoder(backbone, ReCon.Options(reference=True))
    config: dict[str, Any] = {"NAME": "PointTransformerSVM", **sizes(backbone), **transformer(backbone)}
    if zero_shot:
        model.image_head, model.text_head = nn.Linear(backbone.width, 10), nn.Linear(backbone.width, 10)
        config |= {"NAME": "PointTransformerZeroShot", "ratio": 0.3}
    out = Recording(model, CLASSIFY, config)
    points, classes = clouds(backbone, 3), torch.randn(6, 10)
    out.give(points=points, class_text_feature=classes if zero_shot else None)
    with torch.no_grad():
        output = model.eval().encoder(points)
        out.put("out/", feature=model.encoder.feature(output, "svm"))
        if zero_shot:
            joint = 0.3 * model.text_head(output.globals["text"]) + model.image_head(output.globals["image"])
            similarity = F.normalize(joint, dim=-1) @ F.normalize(classes, dim=-1).T
            out.put("out/", feature_full=joint, similarity_full=similarity, prediction_full=similarity.argmax(1))
    return out


def segmentation(
    backbone: BackboneSpec, queries: bool, fetch: list[int], categories: int = 4, layout: Layout = PARTSEG
) -> Recording:
    method: Any = ReCon if queries else PointMAE
    encoder = method.build_encoder(backbone, method.Options(reference=True))
    widths = HeadWidths(hidden=22, propagated=16, category=6, mixed=14, narrow=10)
    model = PartSegmenter(encoder, 5, categories, 0.0, fetch_blocks=fetch, widths=widths)
    config = {"NAME": "partseg", "num_part": 5, "fetch_blocks": fetch, **sizes(backbone), **transformer(backbone)}
    out = Recording(model, layout, config, () if queries else FREE_TOKENS)
    points, target = clouds(backbone, 4), torch.randint(0, 5, (4, backbone.points))
    category = torch.tensor([0, 3, 1, 0]) if categories else None
    one_hot = None if category is None else F.one_hot(category, categories).float()
    out.give(points=points, target=target, category_one_hot=one_hot)
    for mode in ("eval", "train"):
        labels = model.train(mode == "train")(points, category)
        loss = F.nll_loss(labels.flatten(0, 1), target.flatten())
        out.put(f"out/{mode}.", log_prob=labels, loss=loss)
    out.learn(loss=loss)
    return out


VARIANTS: dict[str, Callable[[], Recording]] = {
    "Point-MAE": lambda: pretraining(ODD, "Point_MAE"),
    "Point-MAE, one block": lambda: pretraining(FLAT, "Point_MAE"),
    "ReCon": lambda: pretraining(ODD, "ReCon"),
    "ReCon, smc, text alone": lambda: pretraining(FLAT, "ReCon", smc=True),
    "Point-MAE classifier, mlp": lambda: classification(ODD, False, "mlp"),
    "Point-MAE classifier, linear": lambda: classification(FLAT, False, "linear"),
    "ReCon classifier, mlp": lambda: classification(FLAT, True, "mlp"),
    "ReCon classifier, linear": lambda: classification(ODD, True, "linear"),
    "ReCon svm": lambda: frozen_features(ODD, False),
    "ReCon zero-shot": lambda: frozen_features(FLAT, True),
    "Point-MAE parts": lambda: segmentation(ODD, False, [0, 2]),
    "Point-MAE parts, shallow levels": lambda: segmentation(ODD, False, [1]),
    "ReCon parts": lambda: segmentation(ODD, True, [1, 0], categories=5),
    "ACT scene classes": lambda: segmentation(FLAT, False, [0], categories=0, layout=ACT_PARTSEG),
}


UNUSED = {
    "Point-MAE parts, shallow levels": ("blocks.blocks.2.",),
    "ReCon parts": ("blocks.blocks.2.attn.", "blocks.blocks.2.norm2.", "blocks.blocks.2.mlp."),
}
"""Weights without influence: they lie behind the last level (ReCon's queries, from the last block, read before)."""


def spread(keys: list[str], most: int) -> list[str]:
    """Take a few of them at even distances, so that different kinds are visited."""
    return keys[:: -(-len(keys) // most)]


@pytest.mark.parametrize("name", VARIANTS)
def test_other_sizes_pass_and_every_deviation_fails(name: str, tmp_path: Path) -> None:
    """Verification would be tuned to the files at hand, or pass a network that is wrong somewhere."""
    torch.manual_seed(7)
    recording = VARIANTS[name]()
    arrays, path = recording.arrays, tmp_path / "file.npz"
    result = verify_file(recording.save(path))
    assert result.status == "pass", result.detail
    assert result.compared == result.total > 0
    floats = [key for key, value in arrays.items() if value.dtype.kind == "f" and np.any(np.isfinite(value))]
    outputs = [key for key in floats if key.startswith(("out/", "after/", "grad/"))]
    changed = {key: arrays[key].copy() for key in spread(outputs, 5)}  # a result names five
    for value in changed.values():
        value.reshape(-1)[int(np.nanargmax(np.abs(value)))] *= 1 + 1e-3
    np.savez(path, **(arrays | changed))
    result = verify_file(path)
    assert result.status == "fail"
    assert [key for key in changed if f"{key.removesuffix('.norms')}: " not in result.detail] == []
    unused = tuple(f"state/{start}" for start in UNUSED.get(name, ()))
    signs = np.random.default_rng(0)
    for key in spread([key for key in floats if key.startswith("state/")], 6):
        off = 1e-3 * signs.choice([-1, 1], arrays[key].shape).astype(np.float32)
        np.savez(path, **(arrays | {key: arrays[key] + off}))
        agrees = verify_file(path).status == "pass"
        assert agrees == bool(unused and key.startswith(unused)), key


def written(tmp_path: Path, **changes: Any) -> FileResult:
    """Verify the smallest recorded network with some arrays replaced (None: left out)."""
    with np.load(GOLDEN / "recon_classify_linear.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays |= {key.replace("__", "/", 1).replace("__", "."): value for key, value in changes.items()}
    path = tmp_path / "file.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return verify_file(path)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"config": None}, "the file lacks config"),
        ({"config": np.array("{")}, "cannot be read: Expecting property name"),
        ({"config": np.array("[1]")}, "config is not a JSON object"),
        ({"config": np.array('{"NAME": "PointTransformer"}')}, "the file lacks npoints"),
        ({"config": np.array('{"NAME": "ReCon", "transformer_config": 3}')}, "cannot be evaluated: TypeError"),
        ({"in__points": None}, "the file lacks in/points"),
        ({"in__label": None}, "the file lacks in/label"),
        ({"in__points": np.array(["a", "b"])}, "in/points is of type <U1, expected numbers"),
        ({"in__points": np.full((4, 128, 3), 0.1)}, "values that float32 cannot hold"),
        ({"in__points": np.zeros((4, 128), np.float32)}, "cannot be evaluated"),
        ({"out__eval__logits": np.array("text")}, "out/eval.logits is of type <U4, expected numbers"),
        ({"out__eval__logits": np.zeros((4, 10), np.complex64)}, "out/eval.logits is of type complex64"),
        ({"out__eval__logits": np.zeros((4, 9), np.float32)}, "shape (4, 10), recorded (4, 9)"),
        ({"state__norm__weight": None}, "missing: encoder.norm.weight"),
        ({"state__norm__weight": np.zeros(7, np.float32)}, "of another shape: norm.weight"),
        ({"grad__loss__norms": None}, "the file lacks grad/loss.norms"),
        ({"grad__loss__names": None}, "the file lacks grad/loss.names"),
        ({"grad__loss__names": np.array("no list")}, "cannot be evaluated"),
    ],
)
def test_a_defective_file_fails_with_one_line(changes: dict[str, Any], detail: str, tmp_path: Path) -> None:
    """The user would see a traceback instead of which array of which file is wrong, or a pass."""
    result = written(tmp_path, **changes)
    assert result.status == "fail"
    assert detail in result.detail
    assert "\n" not in result.detail


def test_inputs_of_another_type_count_by_their_values(tmp_path: Path) -> None:
    """A file whose labels are 32-bit, or whose points are stored in half precision, would be refused."""
    with np.load(GOLDEN / "recon_classify_linear.npz") as archive:
        points, label = archive["in/points"], archive["in/label"]
    assert written(tmp_path, in__label=label.astype(np.int32), in__points=points.astype(np.float64)).status == "pass"


def test_damaged_archives_fail_and_do_not_stop_the_others(tmp_path: Path) -> None:
    """One bad download would hide the results of every other file."""
    whole = (GOLDEN / "recon_block_mask.npz").read_bytes()
    (tmp_path / "a_cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b_flipped.npz").write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    (tmp_path / "c_folder.npz").mkdir()
    with (tmp_path / "d_array.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    np.savez(tmp_path / "e_objects.npz", config=np.array([{}], dtype=object))
    (tmp_path / "f_whole.npz").write_bytes(whole)
    np.savez(tmp_path / "g_unknown.npz", config=np.array('{"NAME": "Point_M2AE"}'), **{"out/x": np.zeros(1)})
    np.savez(tmp_path / "h_empty.npz", config=np.array('{"num_group": 4, "mask_ratio": 0.5}'))
    results = verify_folder(tmp_path)
    assert [result.status for result in results] == ["fail"] * 5 + ["pass", "not-covered", "not-covered"]
    assert all(result.detail and "\n" not in result.detail for result in results if result.status != "pass")
    assert summary_line(results) == "8 files: 1 pass, 5 fail, 2 not-covered"
    assert (exit_code(results[5:]), exit_code(results[5:], strict=True), exit_code(results)) == (0, 1, 1)


def test_command_line_reports_counts_and_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CI would have to count lines itself, or take a folder with gaps for verified."""

    def call(*arguments: object) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "argv", ["bench", "verify", "golden", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out.splitlines(), captured.err

    (tmp_path / "mask.npz").write_bytes((GOLDEN / "recon_block_mask.npz").read_bytes())
    assert call(tmp_path)[:2] == (
        0,
        ["mask.npz pass worst=0.0e+00 tol=0e+00 compared=1/1", "1 file: 1 pass, 0 fail, 0 not-covered"],
    )
    np.savez(tmp_path / "other.npz", config=np.array('{"NAME": "Point_M2AE"}'), **{"out/x": np.zeros(1)})
    code, lines, _ = call(tmp_path)
    assert (code, lines[-1]) == (0, "2 files: 1 pass, 0 fail, 1 not-covered")
    code, lines, _ = call(tmp_path, "--strict")
    assert (code, lines[-1]) == (1, "2 files: 1 pass, 0 fail, 1 not-covered (counts as failed: --strict)")
    code, _, error = call(tmp_path / "nothing")
    assert code == 2
    assert error.count("\n") == 1
