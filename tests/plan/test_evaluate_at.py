"""Encoders kept along a pretraining: their keys, the jobs that make them, what they cost, and wrong shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.encoders import encoder_key
from bench.plan.estimate import Estimator
from bench.plan.graph import Job, Plan, Stored, build_plan
from bench.plan.recipes import kept_along
from bench.plan.request import RunRequest, validated
from bench.plan.resolve import Resolution
from bench.spec import Recipe, content_key
from tests.plan.small_requests import resolved


def planned(resolution: Resolution, *encoders: str) -> Plan:
    """Plan with some encoders stored, and no run."""
    stored = Stored(run=lambda key, code: False, encoder=lambda key, code: key in encoders, teacher=lambda spec: True)
    return build_plan(resolution, stored)


def pretrainings(plan: Plan) -> list[Job]:
    return [job for job in plan.jobs if job.kind == "encoder"]


def test_the_end_keeps_its_key_and_other_shares_name_the_whole_recipe(tmp_path: Path) -> None:
    """Stored encoders would be trained again, or one from half-way be taken for one of half the epochs."""
    plain = resolved(tmp_path)
    found = resolved(tmp_path, evaluate_at="0.5,1")
    assert {content_key(run) for run in plain.runs} < {content_key(run) for run in found.runs}
    half = next(run.encoder for run in found.runs if run.encoder.at == 0.5)
    whole = next(run.encoder for run in plain.runs if run.encoder.method != "scratch")
    assert half.recipe == whole.recipe
    assert half.whole == whole
    assert len({content_key(run.encoder) for run in found.runs}) == 3, "scratch has no course, and is there once"


def test_one_job_makes_all_encoders_of_a_pretraining(tmp_path: Path) -> None:
    plan = planned(resolved(tmp_path, evaluate_at="0.2,0.5,1", seeds=(0, 1)))
    jobs = pretrainings(plan)
    assert [job.shares for job in jobs] == [(0.2, 0.5, 1.0)] * 2
    assert all(job.encoder is not None and job.key == encoder_key(job.encoder) for job in jobs)
    waiting = [job for job in plan.jobs if job.kind == "evaluate" and job.needs]
    assert len(waiting) == 6
    assert {need for job in waiting for need in job.needs} == {job.id for job in jobs}
    assert "point-mae seed 0 after 20 %" in waiting[0].title


def test_a_share_asked_for_later_is_trained_up_to_there_and_said(tmp_path: Path) -> None:
    """It would be missing, or cost a whole pretraining once more without a word."""
    found = resolved(tmp_path, evaluate_at="0.2,0.5,1")
    keys = {run.encoder.at: encoder_key(run.encoder) for run in found.runs if run.encoder.recipe is not None}
    everything = planned(found)
    later = planned(found, keys[1.0])
    (job,) = pretrainings(later)
    assert job.shares == (0.2, 0.5)
    assert any("1 finished pretraining did not keep this, and is done again up to there" in n for n in later.notes)
    (whole,) = pretrainings(everything)
    estimator, start = Estimator(Workspace.at(tmp_path)), 5.0
    assert estimator.seconds(job) - start == pytest.approx((estimator.seconds(whole) - start) / 2)
    assert job.id != whole.id, "an engine would take one for the other"
    assert not pretrainings(planned(found, *keys.values()))
    rest = planned(found, keys[0.2], keys[0.5])
    assert [job.shares for job in pretrainings(rest)] == [(1.0,)]
    assert not any("done again" in note for note in (*rest.notes, *everything.notes))


def test_first_stages_are_trained_to_their_end(tmp_path: Path) -> None:
    """A share is one of the last stage; a student of half a teacher would be another method."""
    found = resolved(tmp_path, methods=["act"], evaluate_at="0.5", baseline=False)
    first, student = pretrainings(planned(found))
    assert (first.shares, student.shares) == ((1.0,), (0.5,))
    assert student.encoder is not None
    assert student.encoder.first_stage == first.encoder
    both = resolved(tmp_path, methods=["act-dvae", "act"], evaluate_at="0.5", baseline=False)
    assert [job.shares for job in pretrainings(planned(both)) if job.encoder == first.encoder] == [(0.5, 1.0)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0", "above 0 and up to 1"),
        ("1.5", "above 0 and up to 1"),
        ("half", "expected a list of fractions"),
        ("0.5,0.5", "distinct"),
        ("0,25", r"decimal point: is 0,25 meant as 0\.25"),
    ],
)
def test_wrong_shares_are_named(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as error:
        validated(RunRequest, {"evaluate_at": text}, "request")
    assert "\n" not in str(error.value)


def test_shares_are_whole_steps_and_each_another_one() -> None:
    recipe = Recipe(epochs=5, batch_size=8, warmup_epochs=0)
    told = "toy is judged after 25 %: step 5, epoch 1.25, 100 %: step 20, epoch 5 (of 20 steps in 5 epoch(s))"
    assert kept_along("toy", recipe, 37, (0.25, 1.0)) == told
    for shares, why in {
        (0.01,): "less than one step",
        (0.25, 0.26): "same step as 0.25",
        (0.99,): "same step as 1",
    }.items():
        with pytest.raises(UsageError, match=why):
            kept_along("toy", recipe, 37, shares)


def test_what_has_no_course_of_pretraining_is_said(tmp_path: Path) -> None:
    """The option would be dropped in silence."""
    with pytest.raises(UsageError, match="nothing is pretrained here"):
        resolved(tmp_path, methods=["scratch"], evaluate_at="0.5")
    found = resolved(tmp_path, methods=["point-mae", "scratch"], evaluate_at="0.5")
    assert "scratch is not pretrained here: --evaluate-at changes nothing for it" in found.notes
