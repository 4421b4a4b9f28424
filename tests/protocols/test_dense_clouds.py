"""Clouds that published trainings draw from: cut anew at each look, as released."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from bench.protocols.dense_clouds import dense_clouds, dense_points, shuffled_cut

from .conftest import MakeTask, cloud_set


def test_a_cut_starts_anywhere_and_leaves_out_what_the_released_sampler_does(make_task: MakeTask) -> None:
    """One fixed cut would never show a network most of an object's points."""
    clouds = torch.randn(4, 64, 3, generator=torch.Generator().manual_seed(0))
    clouds[:, 7] = 0.01
    task = replace(make_task(), form="published")
    cut, generator = shuffled_cut(16, task), torch.Generator().manual_seed(1)
    looks = [cut(clouds, generator) for _ in range(30)]
    assert all(look.shape == (4, 16, 3) for look in looks)
    first = {tuple(look[0, 0].tolist()) for look in looks}
    assert len(first) > 15, "sampling starts at a random point"
    seen = {tuple(point) for look in looks for point in look[0].tolist()}
    assert seen <= {tuple(point) for point in clouds[0].tolist()}
    assert len(seen) > 40, "over the epochs nearly all points are seen"
    inner = [(look[:, 1:].square().sum(-1) <= 1e-3).any() for look in looks]
    assert not any(inner), "points near the origin come first or not at all"
    again = shuffled_cut(16, task)(clouds, torch.Generator().manual_seed(1))
    torch.testing.assert_close(again, looks[0], rtol=0, atol=0)
    assert any(not torch.equal(a, b) for a, b in pairwise(looks))


def test_the_fair_form_cuts_once_and_the_published_one_where_there_is_something_to_cut(make_task: MakeTask) -> None:
    """A fair training must see the same points for every method; a released one must not see fewer than it did."""
    fair = make_task()
    stored = fair.train.points.shape[1]
    assert dense_points(fair.points) < stored
    once = dense_clouds(fair, normalise=True)
    assert once.cut is None
    assert once.points.shape[1] == dense_points(fair.points)
    released = dense_clouds(replace(fair, form="published"), normalise=True)
    assert released.cut is not None
    assert released.points.shape[1] == stored
    np.testing.assert_allclose(np.linalg.norm(released.points, axis=-1).max(1), 1, atol=1e-5)
    thin = make_task(train=cloud_set(25, 1, points=20), test=cloud_set(12, 2, points=20))
    assert dense_clouds(replace(thin, form="published"), normalise=True).cut is None
