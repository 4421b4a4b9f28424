"""What is lost if these fail: a data set larger than the memory would give other weights than the same in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from safetensors.torch import load_file

from bench.data.base import CloudSet, DataPlace, Dataset, DatasetCard, SplitName
from bench.data.contents import pretraining_contents
from bench.execution.pretrain import PretrainJob, run_pretraining
from bench.methods.base import Method
from bench.methods.crosspoint import CrossPoint
from bench.methods.point_mae import PointMAE
from bench.spec import BackboneSpec, DataSpec, PretrainSpec, Recipe, TeacherSpec
from bench.training.precision import resolve_numerics
from tests.teachers.foreign_toys import pictures
from tests.teachers.teacher_toy import toy_teacher

OBJECTS = 24
BACKBONE = BackboneSpec(points=64, groups=8, group_size=8, width=16, depth=1, heads=2, tokenizer_width=8)


class MappedClouds(Dataset):
    """Clouds with three pictures each, in files."""

    name: ClassVar[str] = "mapped"
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="toy", licence="MIT", terms="none", citation="none", normalisation="none", has_images=True
    )

    def manifest(self) -> str:
        return "mapped"

    def train_size(self) -> int:
        return OBJECTS

    def classes(self) -> tuple[str, ...]:
        return ("chair", "lamp")

    def load(self, split: SplitName) -> CloudSet:
        files = {name: self.place.cache / f"{name}.npy" for name in ("points", "views")}
        if not files["points"].exists():
            points = np.random.default_rng(0).normal(size=(OBJECTS, 96, 3)).astype(np.float32)
            np.save(files["points"], points)
            np.save(files["views"], pictures(3 * OBJECTS, side=32).reshape(OBJECTS, 3, 32, 32, 3))
        points, views = (np.load(file, mmap_mode="r") for file in files.values())
        labels = np.arange(OBJECTS, dtype=np.int64) % 2
        ids = tuple(f"object-{i}" for i in range(OBJECTS))
        return CloudSet(points, labels, ids, self.classes(), views=views, views_kind="shaded")


@pytest.mark.parametrize(("method", "fraction"), [(PointMAE, 0.5), (CrossPoint, 1.0)], ids=["part", "with pictures"])
def test_streamed_data_give_the_same_bits(
    method: type[Method], fraction: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is in no key, so results of both ways are taken for one another."""
    options = method.defaults("smoke").model_dump(mode="json")
    spec = PretrainSpec(
        method=method.name,
        options=options,
        backbone=BACKBONE,
        recipe=Recipe(epochs=2, batch_size=8, lr=1e-3, warmup_epochs=0, augmentation=("rotate_y",)),
        data=DataSpec(name="mapped", manifest="mapped"),
        fraction=fraction,
        images="dataset" if method is CrossPoint else "none",
        held_out=True,
        numerics=resolve_numerics("cpu", "fp32", compile=False),
        seed=3,
    )
    found, contents = {}, {}
    monkeypatch.setattr("bench.data.contents._BLOCK_BYTES", 5000)
    for limit in ("8", "0"):
        monkeypatch.setenv("BENCH_RESIDENT_GB", limit)
        destination = tmp_path / f"encoder-{limit}"
        destination.mkdir()
        place = DataPlace(tmp_path)
        work = tmp_path / f"work-{limit}"
        job = PretrainJob(spec, method, MappedClouds(place), None, tmp_path, work, lambda *_: None)
        run_pretraining(job, destination)
        costs = json.loads((destination / "cost.json").read_text())
        weights = {
            **load_file(destination / "encoder.safetensors"),
            **load_file(destination / "pretraining.safetensors"),
        }
        found[limit] = (costs.get("streamed_bytes", 0), weights, json.loads((destination / "curves.json").read_text()))
        contents[limit] = json.loads((destination / "contents.json").read_text())
    (in_memory, weights, curves), (streamed, same, again) = found["8"], found["0"]
    size = 96 * 12 + (3 * 32 * 32 * 3 if method is CrossPoint else 0)
    assert (in_memory, streamed) == (0, round(fraction * OBJECTS) * size), "one in memory, the other not"
    assert curves == again
    whole = MappedClouds(place).load("train")
    monkeypatch.undo()
    assert contents["8"] == contents["0"] == pretraining_contents(whole, pictures=method is CrossPoint)
    assert weights.keys() == same.keys()
    assert all(np.array_equal(weights[name].numpy(), same[name].numpy()) for name in weights)


def test_streamed_teacher_features_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of many views can be larger than the clouds; a step draws the same view from memory and disk."""
    from bench.methods.recon import ReCon

    teacher = toy_teacher(tmp_path, epochs=1)
    teacher.prepare()
    spec = PretrainSpec(
        method="recon",
        options=ReCon.Options(decoder_depth=1).model_dump(mode="json"),
        backbone=BACKBONE,
        recipe=Recipe(epochs=2, batch_size=8, lr=1e-3, warmup_epochs=0),
        data=DataSpec(name="mapped", manifest="mapped"),
        fraction=0.5,
        images="dataset",
        teacher=TeacherSpec(name="tiny-clip", identity=teacher.identity()),
        numerics=resolve_numerics("cpu", "fp32", compile=False),
        seed=3,
    )
    weights = []
    for limit in ("8", "0"):
        monkeypatch.setenv("BENCH_RESIDENT_GB", limit)
        destination = tmp_path / f"encoder-{limit}"
        destination.mkdir()
        dataset, work = MappedClouds(DataPlace(tmp_path)), tmp_path / f"work-{limit}"
        run_pretraining(PretrainJob(spec, ReCon, dataset, teacher, tmp_path, work, lambda *_: None), destination)
        weights.append(load_file(destination / "encoder.safetensors"))
    assert all(np.array_equal(weights[0][name].numpy(), weights[1][name].numpy()) for name in weights[0])
