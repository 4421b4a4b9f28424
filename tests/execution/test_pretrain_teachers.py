"""Pretraining with teachers: cached and live must be one experiment, and tuned ones must learn, alone and resumed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import Tensor

from bench.data.base import CloudSet, DataPlace, Dataset, DatasetCard, SplitName
from bench.data.seen import UNKNOWN_TEXTS
from bench.errors import BenchError, Interrupted
from bench.execution.pretrain import PretrainJob, run_pretraining
from bench.methods.recon import ReCon
from bench.spec import BackboneSpec, DataSpec, PretrainSpec, Recipe, TeacherSpec
from bench.teachers.base import Teacher
from bench.teachers.captions import SUFFIXES
from bench.teachers.timm_tuned import TunableTimm
from bench.teachers.tiny_clip_blocks import LendingTinyClip
from bench.training.checkpoint import deserialise
from bench.training.precision import resolve_numerics
from tests.teachers.foreign_toys import TIMM, pictures, timm_file
from tests.teachers.teacher_toy import toy_teacher

OBJECTS = 24
BACKBONE = BackboneSpec(points=64, groups=8, group_size=8, width=32, depth=1, heads=2, tokenizer_width=16)


class Clouds(Dataset):
    """A few clouds with pictures and captions."""

    name: ClassVar[str] = "clouds"
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="toy", licence="MIT", terms="none", citation="none", normalisation="none", has_images=True
    )

    def manifest(self) -> str:
        return "clouds"

    def train_size(self) -> int:
        return OBJECTS

    def classes(self) -> tuple[str, ...]:
        return ("night_stand", "lamp")

    def load(self, split: SplitName) -> CloudSet:
        rng = np.random.default_rng(0)
        return CloudSet(
            points=rng.normal(size=(OBJECTS, 96, 3)).astype(np.float32),
            labels=np.arange(OBJECTS, dtype=np.int64) % 2,
            ids=tuple(f"object-{i}" for i in range(OBJECTS)),
            classes=self.classes(),
            captions=tuple(f"A {('red', 'green', 'blue')[i % 3]} square, above the middle." for i in range(OBJECTS)),
            views=pictures(2 * OBJECTS, side=32).reshape(OBJECTS, 2, 32, 32, 3),
            views_kind="shaded",
        )


@dataclass
class Made:
    """What a pretraining left."""

    curves: dict[str, list[list[float]]]
    cost: dict[str, float]
    texts: list[str]
    weights: dict[str, np.ndarray]
    notes: list[str]
    rest: set[str]
    checkpoint: dict[str, Tensor]


Pretrain = Callable[..., Made]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Teacher]:
    """The embedded teacher, fitted on toy pictures, and a timm model of random weights from a file."""
    folder = tmp_path_factory.mktemp("teachers")
    toy = toy_teacher(folder, epochs=1)
    toy.prepare()
    embedded = LendingTinyClip(toy.cache, toy.options, toy.source())
    foreign = TunableTimm(folder, TunableTimm.Options(model=TIMM, checkpoint=str(timm_file(folder / "w"))))
    return {"tiny-clip": embedded, "timm": foreign}


@pytest.fixture(scope="module")
def pretrain(tmp_path_factory: pytest.TempPathFactory, teachers: dict[str, Teacher]) -> Pretrain:
    """Pretrain a tiny ReCon as a job does; what several tests ask for is done once."""
    place, made = tmp_path_factory.mktemp("pretrain"), dict[str, Made]()

    def run(*asked: str, **more: Any) -> Made:
        key = json.dumps([asked, more], sort_keys=True)
        made[key] = made.get(key) or pretrain_anew(*asked, **more)
        return made[key]

    def pretrain_anew(
        name: str = "tiny-clip",
        *,
        live: bool = False,
        options: dict[str, Any] | None = None,
        captions: str = "dataset",
        stop: bool = False,
        work: str = "",
        identity: str = "",
        cache: str = "cache",
        again: bool = False,
        **recipe: int,
    ) -> Made:
        teacher, speaker = teachers[name], None if name == "tiny-clip" else teachers["tiny-clip"]
        spec = PretrainSpec(
            method="recon",
            options=ReCon.parse({"decoder_depth": 1, **(options or {})}).model_dump(mode="json"),
            backbone=BACKBONE,
            recipe=Recipe(**{"epochs": 3, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 0, **recipe}),
            data=DataSpec(name="clouds", manifest="clouds"),
            images="dataset",
            captions=captions,  # type: ignore[arg-type]
            teacher=TeacherSpec(name=name, identity=identity or teacher.identity()),
            text_teacher=None if speaker is None else TeacherSpec(name="tiny-clip", identity=speaker.identity()),
            live_teacher=live,
            numerics=resolve_numerics("cpu", "fp32", compile=False),
            seed=3,
        )
        notes = []

        def progress(done: int, total: int, stage: str = "", note: str = "") -> None:
            notes.append(f"{stage}: {note}")
            if stop and stage == "pretrain":
                os.kill(os.getpid(), signal.SIGTERM)

        destination = place / f"encoder-{len(list(place.iterdir()))}"
        destination.mkdir()
        workdir = place / (work or f"work-{destination.name}")
        job = PretrainJob(
            spec=spec,
            method=ReCon,
            dataset=Clouds(DataPlace(place)),
            teacher=teacher,
            text_teacher=speaker,
            cache=place / cache,
            workdir=workdir,
            progress=progress,
            checkpoint_seconds=0.0,
        )
        run_pretraining(job, destination)
        texts, curves, cost = (
            json.loads((destination / f"{part}.json").read_text()) for part in ("texts", "curves", "cost")
        )
        weights = {k: v.numpy() for k, v in load_file(destination / "encoder.safetensors").items()}
        rest = set(load_file(destination / "pretraining.safetensors"))
        checkpoint, _ = deserialise(max(workdir.glob("step-*")).read_bytes())
        return Made(curves, cost, texts, weights, notes, rest, checkpoint)

    return run


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("timm", {}), ("tiny-clip", {"teacher_crops": 3, "teacher_prompts": 4})],
    ids=["two teachers", "drawn crops and prompts"],
)
def test_a_live_teacher_gives_the_cached_losses(pretrain: Pretrain, name: str, recipe: dict[str, int]) -> None:
    """The speed of a cache may be claimed only if it changes nothing but time."""
    cached, live = pretrain(name, **recipe), pretrain(name, live=True, **recipe)
    assert {"csc_image", "csc_text"} <= cached.curves.keys() == live.curves.keys()
    for loss, curve in cached.curves.items():
        np.testing.assert_allclose(live.curves[loss], curve, rtol=1e-5, atol=1e-5, err_msg=loss)
    assert any(key.startswith("teacher_images_") for key in cached.cost)
    assert not any(key.startswith("teacher_images_") for key in live.cost)
    assert live.texts == cached.texts


def test_crops_and_prompts_change_what_is_regressed(pretrain: Pretrain) -> None:
    """An option that is read nowhere would still be printed in every report."""
    plain, drawn = pretrain(), pretrain(teacher_crops=3, teacher_prompts=4)
    for loss in ("csc_image", "csc_text"):
        assert abs(plain.curves[loss][0][1] - drawn.curves[loss][0][1]) > 1e-5


def test_the_cache_says_what_it_costs_and_when_it_has_paid(pretrain: Pretrain) -> None:
    """Two views and three crops are six epochs of a live teacher; whoever trains for three should know."""
    first, again = (pretrain(teacher_crops=3, cache="own", again=again) for again in (False, True))
    assert first.cost["teacher_images_features"] == first.cost["teacher_images_computed"] == OBJECTS * 6
    assert first.cost["teacher_images_pay_after_epochs"] == 6
    assert again.cost["teacher_images_computed"] == 0
    assert any("paid after 6 of the 3 epochs" in note and "computed once in" in note for note in first.notes)
    assert any("paid after 6 of the 3 epochs" in note and "found in the cache" in note for note in again.notes)
    assert first.cost["teacher_captions_pay_after_epochs"] == pytest.approx(3 / OBJECTS)


def test_a_stopped_live_run_ends_as_an_uninterrupted_one(pretrain: Pretrain) -> None:
    """Draws belong to the step, so a resumed run must show its teacher the same crops."""
    recipe = {"teacher_crops": 2, "teacher_prompts": 3}
    whole = pretrain(live=True, **recipe)
    with pytest.raises(Interrupted):
        pretrain(live=True, stop=True, work="live", **recipe)
    resumed = pretrain(live=True, work="live", **recipe)
    assert resumed.curves == whole.curves
    assert all(np.array_equal(resumed.weights[name], whole.weights[name]) for name in whole.weights)


def test_a_teacher_from_elsewhere_never_reads_as_none_seen(pretrain: Pretrain) -> None:
    """What a web-scale teacher has seen is unknown; the embedded one's captions are all known."""
    assert UNKNOWN_TEXTS in pretrain("timm").texts
    own = pretrain("tiny-clip")
    assert UNKNOWN_TEXTS not in own.texts
    assert "A red square, above the middle." in own.texts


def test_prompts_around_class_names_state_them(pretrain: Pretrain) -> None:
    """The column 'saw class names' rests on these texts."""
    texts = pretrain(captions="class-names", teacher_prompts=2).texts
    assert {"night stand", "lamp"} <= set(texts)
    assert SUFFIXES[1] in texts, "what templates add has reached the encoder too"


def test_replaced_weights_are_not_taken_for_those_planned(pretrain: Pretrain) -> None:
    """The key would name a teacher that was not used."""
    with pytest.raises(BenchError, match=r"'tiny-clip' is not the one this run was planned with.*run the same command"):
        pretrain(identity="another")


TUNED = {"teachers": "tuned", "teacher_lr_factor": 1.0}
IN_CHECKPOINT = "model/teachers.towers."


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("timm", {}), ("tiny-clip", {"teacher_crops": 3, "teacher_prompts": 4})],
    ids=["two teachers", "drawn crops and prompts"],
)
def test_tuned_teachers_that_do_not_learn_are_the_live_ones(
    pretrain: Pretrain, name: str, recipe: dict[str, int]
) -> None:
    """Frozen against tuned compares tuning only if nothing else differs: pictures, sentences, draws, initialisation."""
    live = pretrain(name, live=True, **recipe)
    tuned = pretrain(name, options={"teachers": "tuned", "teacher_lr_factor": 0.0}, **recipe)
    for loss, curve in live.curves.items():
        np.testing.assert_allclose(tuned.curves[loss], curve, rtol=1e-5, atol=1e-5, err_msg=loss)
    assert tuned.curves.keys() - live.curves.keys() == {"spread_image", "spread_text"}
    assert tuned.texts == live.texts, "which class names pretraining saw"
    assert not any(key.startswith("teacher_images_") for key in tuned.cost), "no feature is cached"


def test_tuned_teachers_learn_and_stay_out_of_encoder_and_cache(
    pretrain: Pretrain, teachers: dict[str, Teacher]
) -> None:
    """Else the claim about tuned teachers is tested with frozen ones, or every later run has a changed teacher."""
    embedded = teachers["tiny-clip"]
    assert isinstance(embedded, LendingTinyClip)

    def stored() -> str:
        return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(embedded.folder.iterdir()))).hexdigest()

    before, texts = stored(), embedded.encode_texts(["A red square."])
    frozen, tuned = pretrain(live=True), pretrain(options=TUNED)
    assert abs(frozen.curves["csc_image"][-1][1] - tuned.curves["csc_image"][-1][1]) > 1e-3
    assert tuned.weights.keys() == frozen.weights.keys()
    assert tuned.rest == frozen.rest
    for space in ("image", "text"):
        start = {f"{IN_CHECKPOINT}{space}.{n}": t for n, t in embedded.tower(space).state_dict().items()}
        assert start.keys() <= tuned.checkpoint.keys()
        moved = {n for n, t in start.items() if not np.array_equal(t, tuned.checkpoint[n])}
        assert len(moved) > len(start) / 2
        assert not any("running_" in n or "num_batches" in n for n in moved), "BatchNorm keeps the teacher's statistics"
    assert stored() == before
    assert np.array_equal(embedded.encode_texts(["A red square."]), texts)
    towers = sum(p.numel() for space in ("image", "text") for p in embedded.tower(space).parameters())
    assert tuned.cost["parameters_pretraining"] == frozen.cost["parameters_pretraining"] + towers
    assert tuned.cost["parameters_encoder"] == frozen.cost["parameters_encoder"]
    assert tuned.cost["pretrain_step_flops"] > frozen.cost["pretrain_step_flops"], "the backward pass too"


def test_a_stopped_tuned_run_ends_as_an_uninterrupted_one(pretrain: Pretrain) -> None:
    """Towers or moments outside the checkpoint would start again from the teacher."""
    recipe = {"teacher_crops": 2, "teacher_prompts": 3}
    whole = pretrain(options=TUNED, **recipe)
    with pytest.raises(Interrupted):
        pretrain(options=TUNED, stop=True, work="tuned", **recipe)
    resumed = pretrain(options=TUNED, work="tuned", **recipe)
    assert resumed.curves == whole.curves
    assert resumed.checkpoint.keys() == whole.checkpoint.keys()
    assert all(np.array_equal(resumed.checkpoint[name], value) for name, value in whole.checkpoint.items())


def test_a_collapsing_teacher_shows_in_the_curves(pretrain: Pretrain) -> None:
    """Regression of a trainable target has a trivial solution, which a low loss alone would hide."""
    curves = pretrain(options={**TUNED, "modalities": "image", "teacher_lr_factor": 5.0}, epochs=5).curves
    assert "spread_text" not in curves
    assert curves["spread_image"][-1][1] < 0.5 * curves["spread_image"][0][1]
