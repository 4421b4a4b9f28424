"""Reading other people's checkpoint files: everything they wrote, nothing that runs."""

from __future__ import annotations

import io
import pickle
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.errors import DataError
from bench.interop.checkpoints import read_checkpoint

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
        (lambda path: path.write_text("<html>404 not found</html>"), "is no file of torch.save"),
        (lambda path: path.write_text("some text that is no pickle at all"), "is no file of torch.save"),
        (lambda path: zipfile.ZipFile(path, "w").writestr("a/b", "c"), "is damaged or cut short"),
        (lambda path: torch.save(torch.ones(2), path), "holds a Tensor, not a dict"),
        (lambda path: torch.save({"epoch": 3}, path), "no tensors found (it holds epoch)"),
        (lambda path: torch.save({"model": {}, "epoch": 3}, path), "no tensors found"),
        (lambda path: torch.save({"w": torch.tensor([1.0, float("nan")])}, path), "w holds NaN"),
        (lambda path: torch.save({"w": torch.ones(1), "module.w": torch.ones(1)}, path), "holds w twice"),
        (lambda path: torch.save({"w": torch.eye(2).to_sparse()}, path), "w is sparse"),
        (lambda path: torch.save({"w": torch.ones(1), "cfg": types.SimpleNamespace()}, path), "SimpleNamespace"),
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
