"""Reading other people's checkpoint files: everything they wrote, nothing that runs."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import os
import pickle
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.errors import DataError
from bench.interop.checkpoints import read_checkpoint
from bench.interop.importing import read_encoder
from bench.interop.naming import release_state
from bench.interop.releases import RELEASES
from bench.methods.point_mae import PointMAE
from bench.spec import BackboneSpec

TINY = BackboneSpec(points=16, groups=4, group_size=4, width=16, depth=2, heads=2, tokenizer_width=8)
EMBEDDED = next(kind for kind in RELEASES if (kind.method, kind.kind) == ("point-mae", "fine-tuning"))
WEIGHTS = {"module.norm.weight": torch.arange(3.0), "module.count": torch.tensor(7)}


class Hostile:
    """Writes a file when it is unpickled the ordinary way."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("wrapper", ["base_model", "model", "model_state_dict", "state_dict", ""])
@pytest.mark.parametrize("zipped", [True, False])
def test_every_wrapper_of_the_releases_is_read(tmp_path: Path, wrapper: str, zipped: bool) -> None:
    """An official file would be turned away although its weights are there."""
    path = tmp_path / "weights.pth"
    torch.save({wrapper: WEIGHTS} if wrapper else WEIGHTS, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)
    assert found.wrapper == wrapper
    assert found.tensors.keys() == {"norm.weight", "count"}
    assert torch.equal(found.tensors["norm.weight"], WEIGHTS["module.norm.weight"])


def test_metrics_of_the_releases_are_read_without_numpy_running(tmp_path: Path) -> None:
    """Segmentation files hold NumPy scalars; refusing them would refuse every one of those files."""
    path = tmp_path / "seg.pth"
    rest = {
        "epoch": 210,
        "train_acc": np.float64(0.93),
        "test_acc": np.float32(0.5),
        "count": np.int64(-3),
        "class_avg_iou": torch.tensor(0.84),
        "best_metrics": {"acc": np.float64("nan")},
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(2)}}},
    }
    torch.save({"model_state_dict": WEIGHTS, **rest}, path)
    found = read_checkpoint(path)
    assert found.facts["epoch"] == 210
    assert found.facts["train_acc"] == 0.93
    assert (found.facts["test_acc"], found.facts["count"]) == (0.5, -3)
    assert found.facts["class_avg_iou"] == pytest.approx(0.84)
    assert found.facts["best_metrics"] == {"acc": "nan"}
    assert found.left_out == ("optimizer_state_dict",)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"norm.weight": torch.ones(2)}, tmp_path / "encoder.safetensors")
    assert read_checkpoint(tmp_path / "encoder.safetensors").tensors.keys() == {"norm.weight"}


@pytest.mark.parametrize("how", ["zip", "legacy", "plain pickle", "old protocol"])
def test_code_in_a_file_is_named_and_does_not_run(tmp_path: Path, how: str) -> None:
    """Opening a stranger's checkpoint would hand over the machine."""
    path, mark = tmp_path / "evil.pth", tmp_path / "mark"
    content = {"base_model": WEIGHTS, "extra": Hostile(mark)}
    if how in ("plain pickle", "old protocol"):
        path.write_bytes(pickle.dumps(Hostile(mark), protocol=2 if how == "old protocol" else 5))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(DataError, match=r"evil.pth: asks for ((builtins\.|__builtin__\.)?getattr|pathlib)") as refused:
        read_checkpoint(path)
    assert "\n" not in str(refused.value)
    assert not mark.exists()


def _truncated(path: Path) -> None:
    torch.save({"base_model": {"w": torch.ones(10_000)}}, path)
    path.write_bytes(path.read_bytes()[:9000])


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = 3
            file.addfile(entry, io.BytesIO(b"abc"))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (_truncated, "is damaged or cut short"),
        (_tar, "old .tar format"),
        (lambda path: path.write_text("<html>404 not found</html>"), "is a web page"),
        (lambda path: torch.save({"w": torch.ones(1), "f": os.getcwd}, path), "asks for posix.getcwd"),
        (lambda path: path.write_text("some text that is no pickle at all"), "is not a file of torch.save"),
        (lambda path: zipfile.ZipFile(path, "w").writestr("a/b", "c"), "of something else than torch.save"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS pointer"),
        (lambda path: path.write_bytes(b"\0" * 4000), "holds zeros only"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)), "is an HDF5 file"),
        (lambda path: torch.save(torch.ones(2), path), "holds a Tensor, not a dict"),
        (lambda path: torch.save({"epoch": 3}, path), "no tensors found (it holds epoch)"),
        (lambda path: torch.save({"model": {}, "epoch": 3}, path), "no tensors found"),
        (lambda path: torch.save({"w": torch.tensor([1.0, float("nan")])}, path), "w holds NaN"),
        (lambda path: torch.save({"w": torch.ones(1), "module.w": torch.ones(1)}, path), "holds w twice"),
        (lambda path: torch.save({"w": torch.full((2,), 1e30)}, path), "w holds 1e+30"),
        (
            lambda path: torch.save({"w": torch.ones(2, dtype=torch.complex64)}, path),
            "quantised or complex",
        ),
        (lambda path: torch.save({"w": torch.eye(2).to_sparse()}, path), "w is sparse"),
        (lambda path: torch.save({"w": torch.ones(1), "f": torch.nn.functional.relu}, path), "functional.relu"),
        (lambda path: torch.save(torch.nn.Linear(1, 1), path), "asks for torch.nn.modules.linear.Linear"),
    ],
)
def test_what_is_no_checkpoint_is_one_line(tmp_path: Path, write: Callable[[Path], object], words: str) -> None:
    """A traceback would not tell which file is wrong and what to do."""
    path = tmp_path / "file.pth"
    write(path)
    with pytest.raises(DataError) as refused:
        read_checkpoint(path)
    line = str(refused.value)
    assert words in line
    assert str(path) in line
    assert "\n" not in line
    assert len(line) < 400


class Settings(dict[str, object]):
    """A configuration as the libraries of the field write them: a dict whose entries are attributes too."""

    __module__ = "easydict"
    __qualname__ = "EasyDict"

    def __init__(self, **entries: object) -> None:
        super().__init__(entries)
        self.__dict__ = self


def test_the_weights_are_taken_from_among_objects_that_hold_data(tmp_path: Path, monkeypatch: Any) -> None:
    """Nearly every training script saves its arguments, times and arrays beside the weights."""
    library = types.ModuleType("easydict")
    library.EasyDict = Settings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "easydict", library)
    rest = {
        "epoch": np.int64(3),
        "classes": np.array(["chair", "table"]),
        "objects": np.array([{"a": 1}, None], dtype=object),
        "curve": np.arange(5.0),
        "rng": np.random.get_state(),
        "name": np.str_("best"),
        "args": argparse.Namespace(lr=1e-3, path=Path("/data"), nested=argparse.Namespace(a=[1])),
        "config": Settings(lr=1e-3, model=Settings(width=3)),
        "more": types.SimpleNamespace(a=1),
        "when": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        "path": Path("/data/set"),
        "counts": collections.defaultdict(int, a=1),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3}]},
    }
    for zipped in (True, False):
        torch.save({"model": WEIGHTS, **rest}, tmp_path / "ckpt.pth", _use_new_zipfile_serialization=zipped)
        found = read_checkpoint(tmp_path / "ckpt.pth")
        assert torch.equal(found.tensors["norm.weight"], WEIGHTS["module.norm.weight"])
        assert found.facts == {"epoch": 3}
        assert set(found.left_out) == rest.keys() - {"epoch"}


OURS = PointMAE.build_encoder(TINY, PointMAE.Options()).state_dict()
NAMES = release_state({f"{EMBEDDED.inside}{name}": value for name, value in OURS.items()}, EMBEDDED.names())
"""Tensors of a fine-tuned Point-MAE under the release's names."""


@pytest.mark.parametrize(
    "wrapped",
    [
        "_orig_mod.{}",
        "module._orig_mod.{}",
        "_orig_mod.module.{}",
        "model.{}",
        "model._orig_mod.net.module.{}",
        "_fsdp_wrapped_module.network.{}",
        "_forward_module.base_model.backbone.{}",
        "state_dict.ema_model.module.{}",
    ],
)
@pytest.mark.parametrize("keys", [(), ("state_dict",), ("model", "state_dict"), ("ema", "module", "net")])
def test_wrappers_alone_and_inside_each_other_are_removed(tmp_path: Path, wrapped: str, keys: tuple[str, ...]) -> None:
    """A complete file of a compiled or distributed network would be called incomplete."""
    content: dict[str, Any] = {wrapped.format(name): value for name, value in NAMES.items()}
    content |= {"criterion.weight": torch.ones(2)} if "model" in wrapped else {}
    for key in reversed(keys):
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth")
    assert found.tensors.keys() - {"criterion.weight"} == NAMES.keys()
    assert found.wrapper == ".".join(keys)
    assert read_encoder(found, EMBEDDED, {"heads": 2, "groups": 4, "points": 16, "group_size": 4}).used == len(NAMES)


def test_wrappers_inside_a_name_are_removed_and_other_parts_are_not(tmp_path: Path) -> None:
    """Blocks that are compiled one by one carry the wrapper in the middle of their names."""
    inner = {name.replace("blocks.blocks.0.", "blocks.blocks.0._orig_mod."): value for name, value in NAMES.items()}
    torch.save(inner, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").tensors.keys() == NAMES.keys()
    torch.save({"model.w": torch.ones(1), "net.w": torch.zeros(1)}, tmp_path / "b.pth")  # of no network known here
    assert read_checkpoint(tmp_path / "b.pth").tensors.keys() == {"model.w", "net.w"}


@pytest.mark.parametrize(
    ("other", "words"),
    [("ema.{}", "under ema. and under model."), ("{}", "twice"), ("model._orig_mod.{}", "twice")],
)
def test_two_networks_in_one_file_are_never_taken_for_one(tmp_path: Path, other: str, words: str) -> None:
    """Which of the two was judged would depend on the order of a dict."""
    twice = {f"model.{name}": value for name, value in NAMES.items()}
    twice |= {other.format(name): value + 1 for name, value in NAMES.items() if words != "twice" or "norm1" in name}
    torch.save(twice, tmp_path / "a.pth")
    with pytest.raises(DataError, match=words):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_no_damage_to_the_numbers_of_a_file_with_checksums_is_imported(tmp_path: Path, kind: str) -> None:
    """A flipped bit on a failing disk would be another network's features."""
    path = tmp_path / "a.pth"
    tensors = {"norm.weight": torch.linspace(-1, 1, 400)}
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    assert read_checkpoint(path).checked == (kind == "zip")
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(sound), 120):
        damaged = bytearray(sound)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = read_checkpoint(path)
        except DataError:
            continue
        if kind == "zip":
            assert torch.equal(found.tensors["norm.weight"], tensors["norm.weight"]), at


@pytest.mark.parametrize(
    ("dtype", "fits"),
    [(torch.float16, True), (torch.bfloat16, True), (torch.float64, True), (torch.int64, False), (torch.bool, False)],
)
def test_weights_are_floating_point_numbers_of_any_width(tmp_path: Path, dtype: torch.dtype, fits: bool) -> None:
    """Whole numbers loaded as weights come from a damaged or quantised file."""
    torch.save({name: value.to(dtype) for name, value in NAMES.items()}, tmp_path / "a.pth")
    found, sizes = read_checkpoint(tmp_path / "a.pth"), {"heads": 2, "groups": 4, "points": 16, "group_size": 4}
    if fits:
        assert all(v.dtype in (torch.float32, torch.int64) for v in read_encoder(found, EMBEDDED, sizes).state.values())
    else:
        with pytest.raises(DataError, match=r"do not fit: .* holds (int64|bool), .* float32"):
            read_encoder(found, EMBEDDED, sizes)
