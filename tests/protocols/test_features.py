"""Frozen features: computed once, whole or absent, never silently wrong."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import BenchError, DataError, SetupError, UsageError
from bench.models.encoder import EncoderOutput
from bench.models.frozen import NotFrozenError
from bench.protocols.base import Candidate, CorruptedTest, Task
from bench.protocols.features import clipped_points, features_of, frozen_features, prepared_clouds

from .conftest import POINTS, MakeTask, MomentEncoder, cloud_set


class Counted:
    """A candidate that counts how often its encoder is built."""

    def __init__(self, key: str = "k", **options: bool) -> None:
        self.built = 0
        self.options = options
        self.candidate = Candidate("c", self.build, key)

    def build(self) -> MomentEncoder:
        self.built += 1
        return MomentEncoder(**self.options)


def test_an_encoder_runs_once_per_data_set(make_task: MakeTask) -> None:
    """Four settings, two features and a second session cost one pass over the data."""
    counted = Counted()
    first = frozen_features(counted.candidate, make_task(), "transfer", normalise=True)
    again = frozen_features(counted.candidate, make_task(), "transfer", normalise=True)
    other = frozen_features(counted.candidate, make_task(), "svm", normalise=True)
    assert counted.built == 1
    np.testing.assert_array_equal(first["train"], again["train"])
    np.testing.assert_array_equal(first["test"], again["test"])
    np.testing.assert_array_equal(other["test"], again["test"][:, :12])


def test_features_are_what_the_encoder_gives(make_task: MakeTask) -> None:
    """Batching and caching change no row."""
    task = make_task()
    stored = frozen_features(Counted().candidate, task, "transfer", normalise=True)["test"]
    clouds = torch.from_numpy(np.array(prepared_clouds(task, "test", normalise=True)))
    with torch.no_grad():
        encoder = MomentEncoder()
        direct = encoder.feature(encoder(clouds)).numpy()
    np.testing.assert_allclose(stored, direct, atol=1e-6)


def test_other_weights_data_or_points_are_computed_anew(make_task: MakeTask) -> None:
    """A cache hit for the wrong encoder or cloud would be a silently wrong number."""
    base = frozen_features(Counted().candidate, make_task(), "transfer", normalise=True)["train"]
    other_key, raw, fewer, other_data = Counted("other"), Counted(), Counted(), Counted()
    frozen_features(other_key.candidate, make_task(), "transfer", normalise=True)
    plain = frozen_features(raw.candidate, make_task(), "transfer", normalise=False)["train"]
    task = make_task()
    task.points = 8
    coarse = frozen_features(fewer.candidate, task, "transfer", normalise=True)["train"]
    task = make_task(train=cloud_set(25, 77))
    task.data_manifest = "another"
    moved = frozen_features(other_data.candidate, task, "transfer", normalise=True)["train"]
    assert [c.built for c in (other_key, raw, fewer, other_data)] == [1, 1, 1, 1]
    for changed in (plain, coarse, moved):
        assert np.abs(changed - base).max() > 1e-3


def test_a_damaged_cache_file_is_made_again(make_task: MakeTask, tmp_path: Path) -> None:
    """A copy cut short by a full disk is not read as features."""
    counted = Counted()
    first = np.array(frozen_features(counted.candidate, make_task(), "transfer", normalise=True)["train"])
    files = sorted((tmp_path / "c" / "features").glob("*.npy"))
    assert len(files) == 4
    for file in files:
        file.write_bytes(file.read_bytes()[:-40])
    again = frozen_features(counted.candidate, make_task(), "transfer", normalise=True)["train"]
    np.testing.assert_array_equal(first, again)
    assert counted.built == 2
    assert not list((tmp_path / "c").rglob("*.part"))


def test_clouds_are_reduced_by_farthest_points_inside_the_unit_sphere(make_task: MakeTask) -> None:
    """Evaluation clouds are deterministic and of the size the encoder was built for."""
    task = make_task()
    clouds = prepared_clouds(task, "train", normalise=True)
    assert clouds.shape == (len(task.train), POINTS, 3)
    assert float(np.linalg.norm(clouds, axis=-1).max()) <= 1 + 1e-5
    raw = prepared_clouds(task, "train", normalise=False)
    for cloud, kept in zip(task.train.points[:5], raw[:5], strict=True):
        assert {tuple(p) for p in kept.tolist()} <= {tuple(p) for p in cloud.tolist()}
        np.testing.assert_array_equal(kept[0], cloud[0])
    assert clipped_points(task) is None


def test_thin_clouds_are_used_whole_and_say_so(make_task: MakeTask) -> None:
    """Clouds with fewer points than asked for are neither padded nor refused in silence."""
    task = make_task()
    task.points = 64
    assert prepared_clouds(task, "test", normalise=True).shape[1] == 32
    assert "64 points wanted, the clouds have 32" in (clipped_points(task) or "")


def test_broken_encoders_and_places_are_one_line(make_task: MakeTask, tmp_path: Path) -> None:
    """Diverged weights, a misspelt feature and an unwritable cache are told apart."""
    with pytest.raises(BenchError, match="not finite for 150 of 150 train objects"):
        frozen_features(Counted("nan", broken=True).candidate, make_task(), "transfer", normalise=True)
    with pytest.raises(UsageError, match="did you mean transfer"):
        frozen_features(Counted().candidate, make_task(), "transfr", normalise=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot write"):
        prepared_clouds(make_task(cache="file"), "train", normalise=True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_clouds_are_blamed_for_their_features(make_task: MakeTask, value: float) -> None:
    """A broken point was answered with 'the weights are damaged, lower recipe.lr'."""
    task = make_task()
    task.train.points[3, 5, 1] = value
    with pytest.raises(DataError, match=rf"train object 3 as stored row 5 axis y is {value}"):
        frozen_features(Counted().candidate, task, "transfer", normalise=True)


def test_listing_protocols_imports_nothing_heavy() -> None:
    """`bench list protocols` and `--dry-run` stay instant."""
    code = (
        "import sys, bench.protocols.fewshot as f, bench.protocols.linear as l\n"
        "for p in (f.FewShot, l.Linear):\n"
        "    for preset in ('smoke', 'nano', 'tiny', 'small', 'base'):\n"
        "        o = p.defaults(preset); assert p.settings(o) and p.card(o) and p.summary\n"
        "        assert p.Options.model_validate(o.model_dump(mode='json')) == o\n"
        "assert not {'numpy', 'torch', 'sklearn', 'pandas'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], timeout=60)


def test_published_clouds_are_cut_as_the_released_sampler_does(make_task: MakeTask) -> None:
    """A point near the middle would be in a cloud that the authors' networks never saw it in."""
    fair = make_task()
    fair.train.points[:, -1] = 0.01  # far from every other point of some clouds, and within the sampler's blind spot
    published = replace(fair, form="published")

    def near_the_middle(task: Task) -> int:
        clouds = np.array(prepared_clouds(task, "train", normalise=False))
        return int((np.square(clouds[:, 1:]).sum(-1) <= 1e-3).sum())

    assert near_the_middle(published) == 0
    assert near_the_middle(fair) > 0


class Moving(MomentEncoder):
    """Moves a weight while it is judged."""

    def forward(self, points: torch.Tensor) -> EncoderOutput:
        self.lift.bias.data += 1e-3
        return super().forward(points)


def test_an_encoder_that_moves_leaves_no_features(make_task: MakeTask, tmp_path: Path) -> None:
    """Features of a network that learnt meanwhile would be read from the cache by the next run."""
    for _ in range(2):
        with pytest.raises(NotFrozenError, match=r"encoder c is not frozen: tensor 'lift.bias' changed"):
            frozen_features(Candidate("c", Moving, "k"), make_task(), "transfer", normalise=True)
    assert not (tmp_path / "c" / "features").exists()


class MovingFarAway(MomentEncoder):
    """Moves a weight when clouds lie far from the origin."""

    def forward(self, points: torch.Tensor) -> EncoderOutput:
        if float(points.mean()) > 50:
            self.lift.bias.data += 1e-3
        return super().forward(points)


def test_an_encoder_that_moves_on_corrupted_clouds_leaves_no_features(make_task: MakeTask) -> None:
    """Corrupted clouds are not encoded twice each, but the weights are compared after every part."""
    task = make_task()
    task = replace(task, corrupted=CorruptedTest("toy", ("same-1",), lambda _: task.test.points + 100))
    with pytest.raises(NotFrozenError, match=r"tensor 'lift.bias' changed"):
        features_of(Candidate("c", MovingFarAway, "k"), task, "transfer", ("train", "test", "same-1"), normalise=False)
    clean = Counted()  # Of the clean splits all was well.
    features_of(replace(clean.candidate, key="k"), task, "transfer", ("train", "test"), normalise=False)
    assert not clean.built


def test_the_proof_stays_with_cached_features(make_task: MakeTask, tmp_path: Path) -> None:
    """A run that reads features from the cache records what was proven when they were made."""
    first, second, third = make_task(), make_task(), make_task()
    frozen_features(Counted().candidate, first, "transfer", normalise=True)
    frozen_features(Counted().candidate, second, "svm", normalise=True)
    assert first.frozen == second.frozen
    assert first.frozen["c"]["before"] == first.frozen["c"]["after"]
    for file in (tmp_path / "c" / "features").glob("*.json"):
        file.unlink()
    unproven = Counted()
    frozen_features(unproven.candidate, third, "transfer", normalise=True)
    assert (unproven.built, third.frozen) == (1, first.frozen)
