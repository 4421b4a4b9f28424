"""The kit itself, on data sets, protocols and teachers too. If these fail, it is silent about what it should say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import BaseModel
from torch import Tensor

import bench
from bench.conformance.checks import CheckFailed, Checks, Suite, fail, skip
from bench.conformance.method_kit import MethodKit
from bench.conformance.method_training import compare_devices
from bench.conformance.suites import dataset_suite, file_suites, method_suite, protocol_suite, teacher_suite
from bench.data.base import CloudSet, Dataset, DatasetCard, Progress, SplitName, silent
from bench.errors import SetupError, UsageError
from bench.protocols.base import Evaluation, Subject, Task
from bench.protocols.description import Description, split_stated
from bench.protocols.linear import Linear
from bench.registry import METHODS
from bench.teachers.base import Teacher
from tests.conformance.broken_methods import TINY, Sound, SoundModel

NO_PROCESS = {"import": "starts a process"}


def failed(suite: Suite[Any]) -> dict[str, str]:
    return {outcome.check: outcome.remark for outcome in suite.run() if outcome.status == "fail"}


def test_one_mistake_is_one_failure_and_unexpected_errors_are_failures() -> None:
    """A crash in a check must not hide the others, and what hangs on it must say so."""
    checks: Checks[int] = Checks()

    @checks.add("first")
    def _first(kit: int) -> str:
        """First."""
        raise KeyError("lost")

    @checks.add("second", "first")
    def _second(kit: int) -> str:
        """Second."""
        return "never made"

    @checks.add("third", "second")
    def _third(kit: int) -> str:
        """Third."""
        fail("never made")

    @checks.add("fourth")
    def _fourth(kit: int) -> str:
        """Fourth."""
        skip("not\nhere")

    suite = Suite("toy", 0, checks)
    assert [(o.check, o.status, o.remark) for o in suite.run()] == [
        ("first", "fail", "KeyError: 'lost'"),
        ("second", "skip", "depends on 'first', which failed"),
        ("third", "skip", "depends on 'first', which failed"),
        ("fourth", "skip", "not here"),
    ]
    with pytest.raises(ValueError, match="before what it needs"):
        checks.add("fifth", "sixth")(_first)


def test_a_failed_check_stops_only_those_that_use_its_subject() -> None:
    """An author with a typo in the card would fix it blind, and learn of the next fault only afterwards."""

    class Unnamed(Sound):
        """A sound method under a name that cannot be typed."""

        name = "Not A Name"

    outcomes = {one.check: one for one in method_suite(Unnamed, size=TINY, device="cpu", left_out=NO_PROCESS).run()}
    assert outcomes.pop("metadata").status == "fail"
    assert not [one for one in outcomes.values() if one.status == "fail"]
    assert not [one for one in outcomes.values() if "depends on" in one.remark]


def test_texts_of_the_example_are_named(tmp_path: Path) -> None:
    """Another paper's name would stand in every report beside the author's numbers."""
    file, _ = bench.new_plugin("dataset", "texted", out=tmp_path / "texted.py")
    (suite,) = file_suites(file)
    outcome = suite.outcome("texts")
    assert outcome.status == "warn"
    assert "card.summary and the docstring still say" in outcome.remark


def test_checks_leave_the_random_state_alone() -> None:
    """Checking a plugin within a longer test session must not change other tests' draws."""
    before = torch.get_rng_state()
    suite = method_suite(Sound, size=TINY, device="cpu")
    assert suite.outcome("draws").status == "pass"
    assert suite.outcome("encoder repeats").status == "pass"
    assert torch.equal(torch.get_rng_state(), before)


def test_devices_are_compared_loss_by_loss_and_feature_by_feature() -> None:
    """Without a GPU at hand, the comparison itself must still be known to work."""

    class Drifts(SoundModel):
        calls: ClassVar[list[int]] = []

        def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
            self.calls.append(1)
            total = super().compute(prepared)["total"] * len(self.calls)
            return {"mdm": total, "total": total}

    class Drifting(Sound):
        """Gives another loss on what it takes for another device."""

        network = Drifts

    assert compare_devices(MethodKit(Sound, TINY), torch.device("cpu")) == "largest relative difference 0"
    with pytest.raises(CheckFailed, match=r"loss 'mdm' differs by 1 \(relative\) between the CPU and cpu"):
        compare_devices(MethodKit(Drifting, TINY), torch.device("cpu"))


def test_an_import_that_changes_global_state_is_noticed(tmp_path: Path) -> None:
    """Listing plugins would change the numbers of every other method."""
    file = tmp_path / "nosy.py"
    file.write_text(
        "import random\nimport torch\nfrom bench.methods.point_mae import PointMAE\n"
        "random.seed(0)\ntorch.set_num_threads(7)\n\n"
        "class Nosy(PointMAE):\n    '''Nosy.'''\n    name = 'nosy'\n"
    )
    threads = torch.get_num_threads()
    (suite,) = file_suites(file)
    torch.set_num_threads(threads)
    outcome = suite.outcome("import")
    assert outcome.status == "fail"
    changed = "torch's threads, random's state"
    assert outcome.remark == f"importing it changes {changed} for everybody; leave global state alone"


CARD = DatasetCard(summary="toy", licence="MIT", terms="none", citation="none", normalisation="none")


class ToySet(Dataset):
    """Random clouds."""

    name = "toy-set"
    card = CARD

    def manifest(self) -> str:
        return hashlib.sha256(b"toy").hexdigest()

    def train_size(self) -> int:
        return 6

    def classes(self) -> tuple[str, ...]:
        return ("left", "right")

    def load(self, split: SplitName) -> CloudSet:
        rng = np.random.default_rng(len(split))
        return CloudSet(
            points=rng.normal(size=(6, 20, 3)).astype(np.float32),
            labels=np.arange(6, dtype=np.int64) % 2,
            ids=tuple(f"{split}{i}" for i in range(6)),
            classes=self.classes(),
        )


def change(**fields: Any) -> type[Dataset]:
    """A toy set whose splits differ in one field."""

    class Changed(ToySet):
        """Changed."""

        def load(self, split: SplitName) -> CloudSet:
            return replace(super().load(split), **fields)

    return Changed


class Restless(ToySet):
    """Other clouds at every call."""

    def load(self, split: SplitName) -> CloudSet:
        return replace(super().load(split), points=np.random.default_rng().normal(size=(6, 20, 3)).astype(np.float32))


class Promises(ToySet):
    """Promises captions."""

    card = CARD.model_copy(update={"has_captions": True})


@pytest.mark.parametrize(
    ("dataset", "check", "words"),
    [
        (ToySet, None, ""),
        (change(points=np.zeros((6, 20, 3))), "splits", "points are float64 [6, 20, 3], expected float32"),
        (change(labels=np.full(6, 2)), "splits", "labels reach from 2 to 2, expected 0 to 1"),
        (change(ids=("a",) * 6), "splits", "1 different ids for 6 objects"),
        (change(ids=tuple("abcdef")), "splits", "objects in both splits: a, b, c, d and 2 more"),
        (change(captions=("one",)), "extras", "1 captions for 6 objects"),
        (Promises, "extras", "the card says has_captions, but the training split has no captions"),
        (Restless, "repeats", "train differs when it is loaded again"),
    ],
)
def test_data_sets(dataset: type[Dataset], check: str | None, words: str) -> None:
    """A set that breaks its promise would fail hours into a run, or quietly give other numbers."""
    found = failed(dataset_suite(dataset, left_out=NO_PROCESS))
    assert list(found) == ([check] if check else [])
    assert words in "".join(found.values())


class Peeks(Linear):
    """Reads test labels twice."""

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: Any) -> Evaluation:
        task.test.reveal()
        return super().evaluate(subject, task, setting, options)


class Guesses(Linear):
    """Draws its splits without a seed."""

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: Any) -> Evaluation:
        found = super().evaluate(subject, task, setting, options)
        found.split_digest = str(np.random.default_rng().random())
        return found


class Denies(Linear):
    """Sets objects aside and says that it does not."""

    @classmethod
    def describe(cls, options: BaseModel) -> Description:
        split = split_stated("nothing is set aside", drawn=False)
        return super().describe(options).model_copy(update={"split": split})


class Percent(Linear):
    """Gives per cent instead of a fraction."""

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: Any) -> Evaluation:
        found = super().evaluate(subject, task, setting, options)
        found.metrics = [one.model_copy(update={"value": 100 * one.value}) for one in found.metrics]
        return found


class NotANumber(Linear):
    """Gives answers that are NaN, of which the first class is the largest."""

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: Any) -> Evaluation:
        found = super().evaluate(subject, task, setting, options)
        found.predictions["logits"] = np.full_like(found.predictions["logits"], np.nan)
        return found


class Short(Linear):
    """Leaves out the label of an object."""

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: Any) -> Evaluation:
        found = super().evaluate(subject, task, setting, options)
        found.predictions["labels"] = found.predictions["labels"][1:]
        return found


class Silent(Linear):
    """Has an option that its description leaves out."""

    class Options(Linear.Options):
        """One more."""

        secret: int = 3
        choice: Literal["near", "far"] | None = "near"
        text: str = "plain"


class Fickle(Linear):
    """Describes itself otherwise each time."""

    @classmethod
    def card(cls, options: BaseModel) -> str:
        return f"{super().card(options)} {np.random.default_rng().random()}"


class Quiet(Linear):
    """States no point of its description."""

    @classmethod
    def describe(cls, options: BaseModel) -> Description:
        return Description()


def test_a_protocol_may_leave_points_unstated() -> None:
    """Silence is honest; a guess is not."""
    outcomes = {one.check: one for one in protocol_suite(Quiet, left_out=NO_PROCESS).run()}
    assert outcomes["description"].status == outcomes["split seed"].status == "pass"
    assert "not stated: points, normalisation" in outcomes["description"].remark


@pytest.mark.parametrize(
    ("protocol", "check", "words"),
    [
        (Peeks, "evaluates", "test labels were read 2 times"),
        (Percent, "evaluates", "expected a fraction from 0 to 1"),
        (NotANumber, "evaluates", "numbers in predictions['logits'] are NaN or infinite"),
        (Short, "evaluates", "predictions differ in length (ids "),
        (Guesses, "same seed", "derive splits from"),
        (Denies, "split seed", "'nothing is set aside' with drawn=False, but another split seed gives other splits"),
        (Silent, "description", "say nothing of option secret, choice, text"),
        (Fickle, "description", "says something else when asked again"),
    ],
)
def test_protocols(protocol: type[Linear], check: str, words: str) -> None:
    """A protocol that peeks or cannot be repeated makes every number it gives worthless."""
    found = failed(protocol_suite(protocol, left_out=NO_PROCESS))
    assert list(found) == [check]
    assert words in found[check]


class ToyTeacher(Teacher):
    """Means of pixels, lengths of words."""

    name = "toy-teacher"
    summary = "toy"
    image_dim = 2
    text_dim = 3
    company = 0.0
    there = True

    def identity(self) -> str:
        return hashlib.sha256(b"toy").hexdigest()

    def ready(self) -> bool:
        return True

    def prepare(self, progress: Progress = silent) -> None:
        if not self.there:
            raise SetupError("no weights on disk; bench teachers fit toy-teacher makes them")

    def captions_seen(self) -> tuple[str, ...]:
        return ()

    def encode_images(self, images: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        mean = images.mean((1, 2, 3), keepdims=False)
        found: npt.NDArray[np.float32] = np.stack([mean, mean**2 + self.company * mean.mean()], 1).astype(np.float32)
        return found

    def encode_texts(self, texts: Sequence[str], progress: Progress = silent) -> npt.NDArray[np.float32]:
        return np.array([[len(text), text.count(" "), text.count("a")] for text in texts], np.float32)


class Companionable(ToyTeacher):
    """Features depend on the batch."""

    company = 5.0


class Wide(ToyTeacher):
    """Says it is wider than it is."""

    text_dim = 4


@pytest.mark.parametrize(
    ("teacher", "check", "words"),
    [
        (ToyTeacher, None, ""),
        (Companionable, "images", "depend on the others in the batch"),
        (Wide, "sentences", "features of sentences are float32 [4, 3], expected float32 [4, 4]"),
    ],
)
def test_teachers(teacher: type[Teacher], check: str | None, words: str) -> None:
    """Cached features would not be those of the live teacher."""
    found = failed(teacher_suite(teacher, left_out=NO_PROCESS))
    assert list(found) == ([check] if check else [])
    assert words in "".join(found.values())


def test_a_teacher_without_weights_is_skipped_with_the_way_to_get_them() -> None:
    """An author without the weights must not be told that the teacher is broken."""

    class Absent(ToyTeacher):
        """Weights are elsewhere."""

        there = False

    outcome = teacher_suite(Absent, left_out=NO_PROCESS).outcome("widths")
    assert outcome.status == "skip"
    assert "bench teachers fit toy-teacher makes them" in outcome.remark


def test_a_file_gives_a_suite_for_everything_in_it(tmp_path: Path) -> None:
    """A file with several plugins must not be half checked; a wrong name must help."""
    file = tmp_path / "several.py"
    file.write_text(
        "from bench.methods.point_mae import PointMAE\nfrom bench.protocols.linear import Linear\n"
        "class M(PointMAE):\n    '''M.'''\n    name = 'several-m'\n"
        "class P(Linear):\n    '''P.'''\n    name = 'several-p'\n"
    )
    assert [suite.subject for suite in file_suites(file)] == ["method several-m", "protocol several-p"]
    assert [suite.subject for suite in file_suites(file, ("several-p",))] == ["protocol several-p"]
    with pytest.raises(UsageError, match=r"unknown plugin of several\.py 'several-n': did you mean several-"):
        file_suites(file, ("several-n",))
    assert METHODS.load("several-m").name == "several-m"
