"""Verification against recorded numbers: it must agree where we are right and notice where we are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import DataError
from bench.interop.golden import exit_code, report_lines, verify_file, verify_folder

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(path.name for path in GOLDEN.glob("*.npz"))
Arrays = dict[str, np.ndarray]


def changed(tmp_path: Path, name: str, change: Callable[[Arrays], None]) -> Path:
    with np.load(GOLDEN / name) as archive:
        arrays = {key: archive[key].copy() for key in archive.files}
    change(arrays)
    path = tmp_path / name
    np.savez(path, **arrays)
    return path


def nudge(key: str, relative: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        value = arrays[key].astype(np.float64)
        flat = value.reshape(-1)
        at = int(np.nanargmax(np.abs(flat)))
        flat[at] *= 1 + relative
        arrays[key] = value.reshape(arrays[key].shape).astype(
            np.float32 if arrays[key].dtype == np.float16 else arrays[key].dtype
        )

    return change


def swap(key: str) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        flat = arrays[key].reshape(-1)
        flat[-1] = ~flat[-1] if flat.dtype == bool else flat[-1] + 1

    return change


def spread(keys: list[str], most: int) -> list[str]:
    """Take a few of them at even distances."""
    return keys[:: -(-len(keys) // most)]


@pytest.mark.parametrize("name", FILES)
def test_recorded_numbers_are_reproduced(name: str) -> None:
    """Our model would not be the published one."""
    result = verify_file(GOLDEN / name)
    assert result.status == "pass", result.detail
    assert result.compared == result.total > 0


@pytest.mark.parametrize("name", FILES)
def test_every_recorded_output_is_really_compared(name: str, tmp_path: Path) -> None:
    """An array that is counted but not looked at would hide a wrong model."""
    with np.load(GOLDEN / name) as archive:
        keys = [key for key in archive.files if key.startswith(("out/", "after/", "mid/")) or key.endswith(".norms")]
        kinds = {key: archive[key].dtype.kind for key in keys}
        ambiguous = {key for key in keys if key.endswith("knn_idx") and ("duplicates" in key or "exhausted" in key)}
        zeros = {key for key in keys if kinds[key] == "f" and not np.any(archive[key])}  # nothing to scale
    # Some arrays of every file keep this quick; the stride visits different kinds of array. A result names five.
    chosen = spread(sorted(set(keys) - ambiguous - zeros), 5)

    def change(arrays: Arrays) -> None:
        for key in chosen:
            (nudge(key, 1e-3) if kinds[key] == "f" else swap(key))(arrays)

    result = verify_file(changed(tmp_path, name, change))
    assert result.status == "fail"
    assert [key for key in chosen if f"{key.removesuffix('.norms')}: " not in result.detail] == []


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("recon_pretrain.npz", "state/MAE_encoder.blocks.blocks.1.attn_contrast.kv.weight"),
        ("recon_pretrain.npz", "state/MAE_encoder.encoder.second_conv.0.weight"),
        ("recon_pretrain_smc.npz", "state/cls_proj.3.weight"),
        ("pointmae_pretrain.npz", "state/increase_dim.0.weight"),
        ("recon_classify.npz", "state/text_token"),
        ("recon_classify_linear.npz", "state/cls_head_finetune.0.bias"),
        ("pointmae_classify.npz", "state/encoder.first_conv.1.running_var"),
    ],
)
def test_one_changed_weight_is_noticed(name: str, key: str, tmp_path: Path) -> None:
    """A weight that is not loaded, or loaded in another place, would go unnoticed."""
    assert verify_file(changed(tmp_path, name, nudge(key, 0.02))).status == "fail"


def test_changed_input_is_noticed(tmp_path: Path) -> None:
    """A verification that ignores its inputs would always pass."""
    for key in ("in/points", "in/img_feature"):
        assert verify_file(changed(tmp_path, "recon_pretrain.npz", nudge(key, 0.05))).status == "fail"


def test_lost_renamed_and_added_weights_are_named(tmp_path: Path) -> None:
    """A half-loaded checkpoint would be compared as if it were whole."""
    key = "state/MAE_encoder.norm.weight"
    result = verify_file(changed(tmp_path, "recon_pretrain.npz", lambda a: a.__delitem__(key)))
    assert result.status == "fail"
    assert "missing: trunk.norm.weight" in result.detail
    result = verify_file(changed(tmp_path, "recon_pretrain.npz", lambda a: a.update({"state/extra": np.zeros(3)})))
    assert result.status == "fail"
    assert "unexpected: extra" in result.detail


def test_an_unknown_output_is_not_called_a_pass(tmp_path: Path) -> None:
    """A pass would not mean that everything was compared."""
    path = changed(tmp_path, "chamfer.npz", lambda a: a.update({"out/emd": np.ones(1)}))
    result = verify_file(path)
    assert result.status == "not-covered"
    assert (result.compared, result.total) == (27, 28)
    assert "out/emd" in result.detail


def test_not_a_number_never_agrees(tmp_path: Path) -> None:
    """NaN compares false with everything; a careless comparison lets it pass."""

    def poison(arrays: Arrays) -> None:
        arrays["out/eval.logits"][0, 0] = np.nan

    assert verify_file(changed(tmp_path, "recon_classify.npz", poison)).status == "fail"


def test_missing_gradient_and_zero_gradient_are_the_same(tmp_path: Path) -> None:
    """The files record a cut-off gradient as 0 and an absent one as NaN."""

    def exchange(arrays: Arrays) -> None:
        norms = arrays["grad/csc_img.norms"]
        norms[norms == 0] = np.nan

    assert verify_file(changed(tmp_path, "recon_pretrain.npz", exchange)).status == "pass"


def test_unknown_models_and_damaged_files(tmp_path: Path) -> None:
    """A folder with one bad file would end in a traceback instead of one line per file."""

    def rename(arrays: Arrays) -> None:
        config = json.loads(str(arrays["config"]))
        arrays["config"] = np.array(json.dumps(config | {"NAME": "Point_M2AE"}))

    changed(tmp_path, "pointmae_classify.npz", rename)
    (tmp_path / "truncated.npz").write_bytes((GOLDEN / "recon_pretrain.npz").read_bytes()[:5000])
    (tmp_path / "zero.npz").write_bytes(b"")
    np.savez(tmp_path / "noconfig.npz", x=np.zeros(2))
    changed(tmp_path, "recon_classify.npz", lambda a: a.__delitem__("in/points"))
    results = {result.name: result for result in verify_folder(tmp_path)}
    assert results["pointmae_classify.npz"].status == "not-covered"
    assert "Point_M2AE" in results["pointmae_classify.npz"].detail
    for name in ("truncated.npz", "zero.npz", "noconfig.npz", "recon_classify.npz"):
        assert results[name].status == "fail", name
    assert "lacks in/points" in results["recon_classify.npz"].detail
    lines = report_lines(list(results.values()))
    assert len(lines) == 5
    assert all(line.count("\n") == 0 for line in lines)
    assert exit_code(list(results.values())) == 1


def test_exit_codes() -> None:
    """CI would not notice a failure, or fail on models that are not built yet."""
    good = verify_file(GOLDEN / "recon_block_mask.npz")
    other = type(good)("x.npz", "not-covered", 0.0, 0.0, 0, 3, "")
    assert (exit_code([good]), exit_code([good, other]), exit_code([good, other], strict=True)) == (0, 0, 1)
    assert report_lines([good])[0].startswith("recon_block_mask.npz pass worst=0.0e+00 tol=0e+00 compared=1/1")


def test_folder_errors(tmp_path: Path) -> None:
    """A mistyped folder would count as verified."""
    with pytest.raises(DataError, match="not a folder"):
        verify_folder(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"holds no \.npz"):
        verify_folder(tmp_path)


def test_other_sizes_and_seeds_are_read_from_the_file(tmp_path: Path) -> None:
    """Verification would only work for the widths and depths it was written with."""
    from bench.interop.names_transformer import PRETRAIN
    from bench.interop.naming import release_state
    from bench.methods.base import Batch, Given
    from bench.methods.point_mae import PointMAE
    from bench.spec import BackboneSpec

    torch.manual_seed(5)
    backbone = BackboneSpec(
        points=90, groups=10, group_size=5, width=40, depth=3, heads=5, tokenizer_width=24, drop_path=0
    )
    options = PointMAE.Options(mask_ratio=0.5, decoder_depth=1, tokenize="all", loss="cdl1", reference=True)
    model = PointMAE.build(backbone, options, Given()).eval()
    points, mask = torch.rand(3, 90, 3) + 0.1, torch.rand(3, 10).argsort(1) < 5
    with torch.no_grad():
        loss = model.compute(model.prepare(Batch(points), mask=mask))["total"].numpy()
    state = {k: v for k, v in release_state(model.state_dict(), PRETRAIN).items() if "cls_" not in k}
    config = {
        "NAME": "Point_MAE", "npoints": 90, "num_group": 10, "group_size": 5, "loss": "cdl1",
        "transformer_config": {
            "trans_dim": 40, "depth": 3, "num_heads": 5, "decoder_depth": 1, "drop_path_rate": 0.0,
            "mask_ratio": 0.5, "mask_type": "rand",
        },
    }  # fmt: skip
    arrays = {f"state/{name}": value.numpy() for name, value in state.items()}
    arrays |= {"in/points": points.numpy(), "in/mask": mask.numpy(), "out/eval.loss": loss}
    arrays["config"] = np.array(json.dumps(config))
    np.savez(tmp_path / "other.npz", **arrays)  # type: ignore[arg-type]
    result = verify_file(tmp_path / "other.npz")
    assert result.status == "pass", result.detail
