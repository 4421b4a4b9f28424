"""A CLIP that we load computes what the release's teacher computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.errors import DataError, UsageError
from bench.interop.golden import verify_file
from bench.interop.names_clip import TEACHERS
from bench.interop.naming import release_state
from bench.teachers.open_clip_towers import ClipSizes, clip_sizes, empty_clip
from bench.teachers.weights import read_tensors

GOLDEN = Path(__file__).parents[1] / "golden" / "recon_teacher_tiny_clip.npz"
SIZES = ClipSizes(
    embed=20, image_size=24, image_width=64, image_layers=3, patch_size=8,
    context=9, vocabulary=30, text_width=128, text_heads=2, text_layers=1,
)  # fmt: skip


def small_clip(sizes: ClipSizes = SIZES) -> Any:
    torch.manual_seed(3)
    return empty_clip(sizes).eval()


def tokens() -> Tensor:
    return torch.randint(0, 30, (4, 9), generator=torch.Generator().manual_seed(1))


def features(model: Any) -> tuple[Tensor, Tensor]:
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.encode_image(images), model.encode_text(tokens())


def changed(tmp_path: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    with np.load(GOLDEN) as archive:
        arrays = {key: archive[key].copy() for key in archive.files}
    change(arrays)
    path = tmp_path / GOLDEN.name
    np.savez(path, **arrays)
    return path


def test_recorded_towers_are_reproduced() -> None:
    """Targets of ReCon's cross-modal terms would not be the published ones."""
    result = verify_file(GOLDEN)
    assert result.status == "pass", result.detail
    assert (result.compared, result.total) == (2, 2)
    assert "mid 2/2" in result.detail


@pytest.mark.parametrize(
    "key",
    [
        "state/img_encoder.proj",
        "state/img_encoder.cls_token",
        "state/img_encoder.blocks.1.mlp.c_fc.bias",
        "state/text_encoder.transformer.resblocks.0.attn.in_proj_bias",
        "state/text_encoder.positional_embedding",
        "in/tokens",
        "in/image",
    ],
)
def test_one_changed_number_is_noticed(key: str, tmp_path: Path) -> None:
    """A weight loaded into the wrong place, or not at all, would pass."""

    def change(arrays: dict[str, np.ndarray]) -> None:
        flat = arrays[key].reshape(-1)
        flat[int(np.argmax(np.abs(flat)))] += 1 if flat.dtype.kind != "i" else -1

    assert verify_file(changed(tmp_path, change)).status == "fail"


def test_configuration_and_weights_must_agree(tmp_path: Path) -> None:
    """A file whose description is wrong would be verified as if it said the truth."""

    def deepen(arrays: dict[str, np.ndarray]) -> None:
        config = json.loads(str(arrays["config"]))
        config["clip"]["vision_layers"] = 3
        arrays["config"] = np.array(json.dumps(config))

    result = verify_file(changed(tmp_path, deepen))
    assert result.status == "fail"
    assert "image_layers=2" in result.detail
    assert "image_layers=3" in result.detail


def test_other_sizes_pass_and_a_changed_output_fails(tmp_path: Path) -> None:
    """Verification would only know the one size it was written with."""
    model = small_clip()
    released = release_state({k: v for k, v in model.state_dict().items() if k != "logit_scale"}, TEACHERS)
    assert len(released) == len(model.state_dict()) - 1
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    image, text = features(model)
    config = {
        "NAME": "teachers",
        "clip": {
            "embed_dim": 20, "image_resolution": 24, "vision_width": 64, "vision_layers": 3, "vision_patch_size": 8,
            "context_length": 9, "vocab_size": 30, "transformer_width": 128, "transformer_heads": 2,
            "transformer_layers": 1,
        },
    }  # fmt: skip
    arrays = {f"state/{name}": value.numpy() for name, value in released.items()}
    arrays |= {"config": np.array(json.dumps(config)), "in/image": images.numpy(), "in/tokens": tokens().numpy()}
    arrays |= {"out/image_feature": image.numpy(), "out/text_feature": text.numpy().copy()}
    np.savez(tmp_path / "other.npz", **arrays)  # type: ignore[arg-type]
    result = verify_file(tmp_path / "other.npz")
    assert result.status == "pass", result.detail
    arrays["out/text_feature"][0, 0] += 1e-3 * np.abs(arrays["out/text_feature"]).max()
    np.savez(tmp_path / "other.npz", **arrays)  # type: ignore[arg-type]
    assert verify_file(tmp_path / "other.npz").status == "fail"


def test_sizes_are_read_off_the_weights() -> None:
    """A CLIP of another size than ViT-B/32 could not be a teacher."""
    assert clip_sizes(small_clip().state_dict()) == SIZES
    resnet = ClipSizes(
        embed=20, image_size=64, image_width=64, image_layers=(1, 2, 1, 1), patch_size=None,
        context=9, vocabulary=30, text_width=64, text_heads=1, text_layers=2,
    )  # fmt: skip
    assert clip_sizes(small_clip(resnet).state_dict()) == resnet


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_archive_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """OpenAI's own files are such archives: the user would see a torch error about unsafe loading."""
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "ViT-B-32.pt")
    with pytest.raises(UsageError, match=r"TorchScript archive.*save its weights alone") as refused:
        read_tensors(tmp_path / "ViT-B-32.pt", "teacher.checkpoint")
    assert "\n" not in str(refused.value)


def test_weights_that_are_no_clip_are_one_clear_line() -> None:
    """The user would get a traceback that does not say what is wrong with the file."""
    state = small_clip().state_dict()
    cases: list[tuple[dict[str, Tensor], int | None, str]] = [
        ({"fc.weight": torch.zeros(2, 2)}, None, "not CLIP in OpenAI's layout: it has no positional_embedding"),
        (state | {"visual.positional_embedding": torch.zeros(8, 64)}, None, "7 image positions form no square"),
        (state | {"text_projection": torch.zeros(8)}, None, "a weight has an unexpected shape"),
        (state, 3, "text tower is 128 wide, which 3 attention heads cannot share evenly"),
    ]
    for weights, heads, message in cases:
        with pytest.raises(DataError, match=message) as refused:
            clip_sizes(weights, text_heads=heads)
        assert "\n" not in str(refused.value)
