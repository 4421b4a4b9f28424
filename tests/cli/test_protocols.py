"""Protocol cards: they say what is done, they change when that changes, and the documentation repeats them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from bench.cli.protocols import cards_as_markdown, read_card
from bench.protocols.cards import card_hash
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
        card = read_card(name, preset, form)
        assert card.form == form
        assert len(card.statement) > 200
        assert all(len(text) > 3 for text in card.particulars.model_dump().values())
        assert card.deviations


def test_the_hash_follows_text_revision_and_options() -> None:
    """Equal hashes of unequal protocols would let their numbers be compared."""
    protocol = PROTOCOLS.load("fewshot")
    card = read_card("fewshot", "nano", "fair")
    assert re.fullmatch(r"[0-9a-f]{64}", card.hash)
    assert card_hash(protocol, protocol.defaults("nano"), "fair") == card.hash
    other = [
        read_card("fewshot", "nano", "fair", ["fewshot.queries=7"]),
        card.model_copy(update={"revision": card.revision + 1}),
        card.model_copy(update={"statement": card.statement + " Votes."}),
        card.model_copy(update={"deviations": {}}),
        read_card("fewshot", "nano", "published"),
    ]
    assert len({card.hash, *(one.hash for one in other)}) == 1 + len(other)


def test_particulars_follow_the_options() -> None:
    """A card that ignored an option would state something that was not done."""
    plain = read_card("finetune", "nano", "fair").particulars
    assert plain.augmentation == "rotate_y, scale_translate"
    assert plain.votes == "none"
    changed = ["finetune.votes=10", "finetune.recipe.augmentation=[]", "finetune.normalise=false"]
    own = read_card("finetune", "nano", "fair", changed).particulars
    assert own.augmentation == "none"
    assert own.votes.startswith("10 draws")
    assert own.normalisation == "as stored"
    assert read_card("linear", "nano", "fair", ["protocol.validation_fraction=0.3"]).particulars.split.startswith("30%")


def test_show_prints_the_card_and_list_its_hash(call: Call) -> None:
    """What a run's ``card_hash`` stands for could not be looked up."""
    card = read_card("linear", "smoke", "fair")
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
        return str(getattr(read_card(name, "base", form).particulars, field))

    assert point("svm", "fair", "split").startswith("5 parts of the training split, each held out once")
    assert point("svm", "published", "split").startswith("all of the training split")
    assert point("zeroshot", "fair", "split").startswith("20% of every training class")
    assert point("zeroshot", "published", "split").endswith("nothing is set aside")
    assert point("zeroshot", "published", "normalisation").startswith("ScanObjectNN: as stored; other")
    assert point("finetune", "published", "normalisation").startswith("ModelNet: centred")
    for name in ("partseg", "semseg"):
        assert "--legacy adds that column" in read_card(name, "base", "fair").statement
        assert "here: selection=test" in read_card(name, "base", "published").statement


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


def test_the_documentation_is_up_to_date() -> None:
    """Documentation that lags behind would describe another protocol than the one that runs."""
    written = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    assert written == cards_as_markdown(), "run: bench protocols docs"
