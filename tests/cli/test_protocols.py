"""Protocol cards: they say what is done, they change when that changes, and the documentation repeats them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

import bench
from bench.protocols.base import Evaluation, Protocol, ProtocolOptions, Subject, Task
from bench.protocols.cards import NOT_STATED, card_hash, card_of
from bench.protocols.description import Description, augmented, set_aside, stated
from bench.registry import PROTOCOLS
from tests.conftest import ROOT

Call = Callable[..., tuple[int, str, str]]


def cards() -> list[tuple[str, str]]:
    names = [entry.name for entry in PROTOCOLS if entry.source == "built in"]
    return [(name, form) for name in names for form in PROTOCOLS.load(name).forms]


@pytest.mark.parametrize(("name", "form"), cards())
def test_every_protocol_says_what_it_does_and_where_it_leaves_the_papers(name: str, form: str) -> None:
    """A reader could not tell what a number stands for, nor why it differs from the paper's."""
    for preset in ("smoke", "base"):
        card = bench.card(name, preset=preset, form=form)
        assert card.form == form
        assert len(card.statement) > 200
        assert all(len(words) > 3 for words in card.points.values())
        assert NOT_STATED not in card.points.values()
        assert card.deviations


def test_the_hash_follows_what_is_done_and_no_sentence() -> None:
    """Equal hashes of unequal protocols would hide a difference; better wording is none."""
    protocol = PROTOCOLS.load("fewshot")
    card = bench.card("fewshot", preset="nano", form="fair")
    assert re.fullmatch(r"[0-9a-f]{64}", card.hash)
    assert card_hash(protocol, protocol.defaults("nano"), "fair") == card.hash
    other = [
        bench.card("fewshot", preset="nano", form="fair", assignments=["fewshot.queries=7"]),
        card.model_copy(update={"revision": card.revision + 1}),
        card.model_copy(update={"description": card.description.model_copy(update={"split": None})}),
        card.model_copy(update={"description": card.description.model_copy(update={"votes": stated("none", votes=1)})}),
        bench.card("fewshot", preset="nano", form="published"),
    ]
    assert len({card.hash, *(one.hash for one in other)}) == 1 + len(other)
    points = {name: getattr(card.description, name) for name in Description.model_fields}
    reworded = {name: point.model_copy(update={"words": "said better"}) for name, point in points.items()}
    wording = [
        card.model_copy(update={"statement": card.statement + " Votes."}),
        card.model_copy(update={"deviations": {}}),
        card.model_copy(update={"description": Description(**reworded)}),
    ]
    assert {one.hash for one in wording} == {card.hash}


class Halves(Protocol):
    """A protocol of somebody else, which sets half aside and rotates clouds."""

    name: ClassVar[str] = "linear"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "a stranger's"

    class Options(ProtocolOptions):
        """One option of a name that our protocols use otherwise."""

        validation_fraction: float | None = None
        votes: int = 0

    @classmethod
    def settings(cls, options: BaseModel) -> tuple[str, ...]:
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: str = "fair") -> Options:
        return cls.Options()

    @classmethod
    def card(cls, options: BaseModel) -> str:
        return "Half of the objects are set aside and clouds are rotated at random."

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: BaseModel) -> Evaluation:
        raise NotImplementedError


class HalvesStated(Halves):
    """The same, described."""

    @classmethod
    def describe(cls, options: BaseModel) -> Description:
        return Description(augmentation=augmented(["rotate_so3"]), split=set_aside(0.5))


def test_nothing_is_said_about_a_strangers_protocol_that_it_does_not_say_itself() -> None:
    """Its card said that nothing is set aside and nothing augmented, because of its name and its options' names."""
    card = card_of(Halves, Halves.Options(), "fair")
    assert set(card.points.values()) == {NOT_STATED}
    assert card.deviations == {}
    own = card_of(HalvesStated, Halves.Options(), "fair")
    assert own.points["split"].startswith("50% of every training class")
    assert own.points["augmentation"] == "rotate_so3"
    assert own.points["votes"] == NOT_STATED
    assert own.hash != card.hash


def test_particulars_follow_the_options() -> None:
    """A card that ignored an option would state something that was not done."""
    plain = bench.card("finetune", preset="nano", form="fair").points
    assert plain["augmentation"] == "rotate_y, scale_translate"
    assert plain["votes"] == "none"
    changed = ["finetune.votes=10", "finetune.recipe.augmentation=[]", "finetune.normalise=false"]
    own = bench.card("finetune", preset="nano", form="fair", assignments=changed).points
    assert own["augmentation"] == "none"
    assert own["votes"].startswith("10 draws")
    assert own["normalisation"] == "as stored"
    third = bench.card("linear", preset="nano", form="fair", assignments=["protocol.validation_fraction=0.3"])
    assert third.points["split"].startswith("30%")


def test_show_prints_the_card_and_list_its_hash(call: Call) -> None:
    """What a run's ``card_hash`` stands for could not be looked up."""
    card = bench.card("linear", preset="smoke", form="fair")
    code, out, _ = call("protocols", "show", "linear", "--preset", "smoke")
    assert code == 0
    assert f"card {card.hash}" in out
    for text in ("revision 2", "CrossPoint", "validation_fraction", "what the papers do instead"):
        assert text in out
    code, out, _ = call("protocols", "list", "--preset", "smoke")
    assert code == 0
    assert card.hash[:12] in out


def test_cards_state_what_each_form_sets_aside_and_how_it_scales_clouds() -> None:
    """A card that states another split or scale than the one used makes its numbers look comparable with others."""

    def point(name: str, form: str, field: str) -> str:
        return bench.card(name, preset="base", form=form).points[field]

    assert point("svm", "fair", "split").startswith("5 parts of the training split, each held out once")
    assert point("svm", "published", "split").startswith("all of the training split")
    assert point("zeroshot", "fair", "split").startswith("20% of every training class")
    assert point("zeroshot", "published", "split").endswith("nothing is set aside")
    assert point("zeroshot", "published", "normalisation").startswith("ScanObjectNN: as stored; other")
    assert point("finetune", "published", "normalisation").startswith("ModelNet: centred")
    assert "except for crosspoint" in point("svm", "published", "normalisation")
    for name in ("partseg", "semseg"):
        assert "--legacy adds that column" in bench.card(name, preset="base", form="fair").statement
        assert "here: selection=test" in bench.card(name, preset="base", form="published").statement


def test_options_of_the_other_form_are_not_shown(call: Call) -> None:
    """Strengths that the published SVM never tries would read as if it tried them."""
    _, fair, _ = call("protocols", "show", "svm")
    _, published, _ = call("protocols", "show", "svm", "--form", "published")
    assert re.search(r"^ +strengths ", fair, re.MULTILINE)
    assert not re.search(r"^ +strengths ", published, re.MULTILINE)
    assert re.search(r"^ +published_c ", published, re.MULTILINE)
    assert not re.search(r"^ +published_c ", fair, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fewshots"], "unknown protocol 'fewshots': did you mean fewshot"),
        (["knn", "--form", "published"], "protocol 'knn' has no published form, only fair"),
        (["knn", "--preset", "nanoo"], "unknown preset 'nanoo'"),
        (["knn", "--set", "knn.kk=3"], "unknown field of knn 'kk'"),
        (["knn", "--set", "linear.strengths=[1]"], "unknown --set group 'linear'"),
    ],
)
def test_wrong_names_are_one_line(call: Call, arguments: list[str], message: str) -> None:
    code, _, err = call("protocols", "show", *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_the_documentation_is_up_to_date(tmp_path: Path) -> None:
    """Documentation that lags behind would describe another protocol than the one that runs."""
    written = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    assert written == bench.write_cards(tmp_path / "page.md").read_text(encoding="utf-8"), "run: bench protocols docs"
