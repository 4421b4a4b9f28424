"""Which runs a report is about. If these fail, it counts a run twice, or shows others than were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli.common import read_fields
from bench.errors import UsageError
from bench.report.choice import Runs, joined, narrowed
from bench.report.model import build_model
from bench.store.queries import by_run
from tests.report.conftest import Maker, Results, grid

A, B = Path("a"), Path("b")


def runs(results: Results, chosen: Callable[[Any], bool] = lambda record: True) -> Runs:
    records = [record for record in results.runs if chosen(record)]
    keys = {record.key for record in records}
    return [one for one in by_run(results.rows) if one.run_key in keys], records


def names(found: Runs) -> set[tuple[str, object]]:
    return {(record.label["method"], record.spec["seed"]) for record in found[1]}


@pytest.fixture(scope="module")
def some() -> Results:
    recipe = Maker(overrides=(("encoder.recipe", {"epochs": 90, "lr": 0.001}),))
    found = grid(Maker(), datasets=("ldraw40",), seeds=range(3), settings=())
    return found.__iadd__(grid(recipe, ("ldraw40",), range(3), (), encoders=(("recon", "recon"),)))


def test_a_run_of_two_folders_counts_once(some: Results) -> None:
    """Two copies of five seeds were ten seeds, with half the interval."""
    first, second = runs(some, lambda r: r.spec["seed"] < 2), runs(some, lambda r: r.spec["seed"] > 0)
    both = joined([(A, first), (B, second)])
    assert {record.key for record in both[1]} == {record.key for record in some.runs}
    assert len(both[1]) == len(some.runs) == len(both[0])
    whole = build_model(*runs(some)).sections[0].rows
    assert [row.cell.scores for row in build_model(*both).sections[0].rows] == [row.cell.scores for row in whole]


def test_other_numbers_of_one_run_are_refused_by_name(some: Results) -> None:
    """The mean of a number and its forgery is no number."""
    first = runs(some)
    forged = [replace(one, values=[v + 0.01 * (at == 3) for v in one.values]) for at, one in enumerate(first[0])]
    with pytest.raises(
        UsageError, match=rf"run {forged[3].run_key[:12]} \(.*seed \d\) has other numbers in b than in a"
    ):
        joined([(A, first), (B, (forged, first[1]))])
    fewer = [replace(one, paths=one.paths[:-1], values=one.values[:-1]) for one in first[0]]
    with pytest.raises(UsageError, match="none"):
        joined([(A, first), (B, (fewer, first[1]))])
    nan = [replace(one, values=[float("nan") for _ in one.values]) for one in first[0]]
    assert len(joined([(A, (nan, first[1])), (B, (nan, first[1]))])[0]) == len(nan)


@pytest.mark.parametrize("turned", [False, True])
def test_present_code_and_finished_runs_come_first(maker: type[Maker], turned: bool) -> None:
    """Which folder is named first must not decide what is reported."""
    done = maker().run("recon", "recon", "linear", "ldraw40", 0, "all")
    ((new,), (record,)) = runs(done)
    old = replace(new, fingerprint="0ld", older_code=True, values=[0.1 for _ in new.values], created_at="2030")
    failed = maker().run("recon", "recon", "linear", "ldraw40", 0, "all", status="failed").runs[0]
    failed.key = record.key
    places: list[tuple[Path, Runs]] = [(A, ([new], [record])), (B, ([old], [record]))]
    for other in (places, [places[0], (B, ([], [failed]))]):
        numbers, records = joined(other[::-1] if turned else other)
        assert [one.fingerprint for one in numbers] == [new.fingerprint]
        assert [one.status for one in records] == ["done"]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (["encoder.recipe.epochs=90"], {("recon", s) for s in range(3)} | {("scratch", s) for s in range(3)}),
        (["encoder.recipe.lr=1e-3", "seed=1"], {(m, 1) for m in ("recon", "point-mae", "scratch")}),
        (["method=recon", "seed=0", "seed=2"], {("recon", 0), ("recon", 2)}),
        (["protocol.name=linear", "encoder.options.mask_ratio=0.60"], None),
        (
            ["encoder.options.teachers=frozen", "encoder.backbone.block=attention", "protocol.rotation=none"],
            {(m, s) for m in ("recon", "scratch") for s in range(3)},
        ),
        (["label_fraction=1", "encoder.numerics.threads=null", "encoder.options.teachers=absent"], None),
        (["encoder.options.architecture=absent"], {(m, s) for m in ("recon", "point-mae") for s in range(3)}),
    ],
)
def test_fields_choose_runs(some: Results, where: list[str], kept: set[tuple[str, object]] | None) -> None:
    """Numbers are compared as numbers; scratch stays beside what it is compared with."""
    found = names(narrowed(runs(some), read_fields(where)))
    assert found == (names(runs(some)) if kept is None else kept)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (["encoder.recipe.epoch=90"], "did you mean encoder.recipe.epochs"),
        (["encoder.recipe.epochs=70"], "value of encoder.recipe.epochs"),
        (["encoder.options.teachers=tuned"], "known: absent, frozen"),
        (["encoder.options.techers=frozen"], "unknown field"),
        (["seed=9"], "known: 0, 1, 2"),
        (["seed"], "expected FIELD=VALUE"),
        (["=1"], "expected FIELD=VALUE"),
        (["seed="], "expected FIELD=VALUE"),
        (["method=point-mae", "encoder.recipe.epochs=90"], "together"),
    ],
)
def test_a_choice_of_nothing_is_one_line(some: Results, where: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        narrowed(runs(some), read_fields(where))


def test_groups_have_tables_and_families_of_their_own(some: Results) -> None:
    """Holm over two recipes at once punishes each for the other; scratch stands beside both."""

    def tables(group_by: str) -> dict[str, list[str]]:
        sections = build_model(*runs(some), group_by=group_by).sections
        return {section.difference: [row.cell.label for row in section.rows] for section in sections}

    by_epochs = tables("encoder.recipe.epochs")
    assert list(by_epochs) == ["recipe.epochs=50", "recipe.epochs=90"]
    assert all("scratch (recon)" in labels for labels in by_epochs.values())
    assert not any("point-mae" in label for label in by_epochs["recipe.epochs=90"][:1])
    assert set(tables("method")) == {"method=point-mae", "method=recon"}
    assert list(tables("protocol")) == ["protocol=linear"]
    rows = build_model(*runs(some), group_by="method").sections[0].rows
    assert all(row.versus is None or row.versus.p == pytest.approx(row.versus.p_holm) for row in rows)


@pytest.mark.parametrize(("field", "message"), [("epochs", "unknown field"), ("seed", "a score is a mean over seeds")])
def test_a_group_that_is_none_is_one_line(some: Results, field: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_model(*runs(some), group_by=field)


def test_anchors_stay_unique_in_groups(some: Results) -> None:
    """A link would lead to the table of another group."""
    sections = build_model(*runs(some), group_by="encoder.recipe.epochs").sections
    anchors: Iterable[str] = [section.anchor for section in sections]
    assert len(set(anchors)) == len(sections)
