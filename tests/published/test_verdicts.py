"""Verdicts on claims: what stored differences support, and what they never do."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.published.claimfile import Claim, shipped_claims
from bench.published.evidence import Evidence, RunFact, StoredCell
from bench.published.verdicts import Judged, judge
from bench.report.claims import as_json, sentence
from bench.stats.cells import Cell, natural
from bench.stats.comparisons import compare
from bench.stats.deviations import Deviation, Deviations
from bench.stats.intervals import Unit

SHARED = {"setting": "all", "metric": "accuracy", "form": "fair", "dataset": "toys"}


def stored(
    method: str,
    values: Sequence[float],
    *,
    protocol: str = "linear",
    deviations: Deviations = (),
    spec: Mapping[str, str] | None = None,
    validation: float | None = None,
    lost: int = 0,
    **labels: str,
) -> StoredCell:
    """A stored cell with one score per seed."""
    own = {"protocol.name": protocol, "data.name": "toys", "encoder.method": method, **(spec or {})}
    scores = {Unit(seed): {None: value} for seed, value in enumerate(values)}
    return StoredCell(
        Cell(
            preset=labels.get("preset", "nano"), protocol=protocol, method=method, architecture="recon",
            pretrain_data="none" if method == "scratch" else "shapes", difference="", scores=scores, by_selection={},
            candidates=(), seen=(), seen_total=1, older_code=False, n_objects=10, votes=1,
            runs={unit: f"{method}-{protocol}-{sorted((spec or {}).items())}-{unit}" for unit in scores},
            lost={Unit(90 + n): "diverged" for n in range(lost)}, spec=own, **SHARED,
        ),
        deviations, True, lambda _: validation,
    )  # fmt: skip


def claim(
    *contrasts: Mapping[str, object], seeds: int = 3, protocols: Sequence[str] = ("linear",), **more: object
) -> Claim:
    given_: dict[str, object] = {
        "id": "mine", "paper": "p", "statement": "It holds.", "source": "s", "written": "2026-01-01",
        "study": {"protocols": protocols, "datasets": ["toys"], "seeds": seeds}, "contrasts": contrasts, **more,
    }  # fmt: skip
    return Claim.model_validate(given_)


ABOVE = {"first": "recon", "second": "act", "direction": "above"}
fractions = st.floats(0.01, 0.99)
seeds_of = st.lists(fractions, min_size=3, max_size=7)
directions = st.sampled_from(["above", "below", "equal", "not-above", "not-below"])


def one(of: Claim, *cells: StoredCell) -> Judged:
    return judge([of], Evidence(cells), "nano")[0]


@given(a=seeds_of, b=seeds_of, direction=directions, margin=st.floats(0.1, 20))
def test_a_verdict_is_what_the_interval_says(a: list[float], b: list[float], direction: str, margin: float) -> None:
    """A claim would be supported by an interval that reaches to the other side of its margin."""
    n = min(len(a), len(b))
    a, b = a[:n], b[:n]
    fits = direction != "equal" or n >= 5
    contrast = {"first": "recon", "second": "act", "direction": direction, "margin": margin}
    found = one(claim(contrast, seeds=5 if direction == "equal" else 3), stored("recon", a), stored("act", b))
    if not fits:
        assert found.verdict == "not run"
        return
    told = compare(("a", "b"), *({Unit(s): {None: v} for s, v in enumerate(values)} for values in (a, b)))
    if told.low is None or told.high is None:
        assert found.verdict == "not shown"
        return
    low, high = found.parts[0].contrast.bounds
    inside = low < told.low and told.high < high
    outside = told.high < low or told.low > high
    if direction == "equal":  # two one-sided tests: the narrower 90 % interval counts
        assert found.verdict in (("equivalent",) if inside else ("equivalent", "not shown", "contradicted"))
        assert (found.verdict == "contradicted") == outside
    else:
        assert found.verdict == ("supported" if inside else "contradicted" if outside else "not shown")


@given(a=seeds_of, b=seeds_of, c=seeds_of)
def test_further_parts_never_help_a_claim(a: list[float], b: list[float], c: list[float]) -> None:
    """Whoever adds contrasts until one is significant would have support for the whole."""
    n = min(map(len, (a, b, c)))
    cells = [stored("recon", a[:n]), stored("act", b[:n]), stored("point-mae", c[:n])]
    alone = one(claim(ABOVE), *cells)
    both = one(claim(ABOVE, {"first": "recon", "second": "point-mae"}), *cells)
    assert both.in_favour >= alone.in_favour
    if both.verdict == "supported":
        assert alone.verdict == "supported"


@given(values=st.lists(seeds_of, min_size=2, max_size=5))
def test_holm_runs_over_the_claims_shown_and_moves_no_interval(values: list[list[float]]) -> None:
    """Twenty claims at 0.05 each would give one by chance; and a quoted interval must not depend on its neighbours."""
    base = [0.5, 0.52, 0.47, 0.5, 0.51, 0.49, 0.5]
    cells = [stored("act", base)]
    cells += [stored("recon", own, protocol=f"p{at}") for at, own in enumerate(values)]
    cells += [stored("act", base, protocol=f"p{at}") for at in range(len(values))]
    every = [claim(ABOVE, protocols=[f"p{at}"], id=f"c{at}") for at in range(len(values))]
    together = judge(every, Evidence(cells), "nano")
    for of, found in zip(every, together, strict=True):
        alone = judge([of], Evidence(cells), "nano")[0]
        assert alone.parts == found.parts
        if alone.p_holm is not None and found.p_holm is not None:
            assert found.p_holm >= alone.p_holm
            assert found.family == sum(one.p is not None for one in together)


def test_equivalence_needs_a_margin_and_five_seeds() -> None:
    """ "No difference" would be said of what three noisy seeds did not show."""
    near, base = [0.50, 0.505, 0.495, 0.50, 0.502], [0.501, 0.503, 0.497, 0.499, 0.503]
    assert one(claim(ABOVE), stored("recon", near), stored("act", base)).verdict == "not shown"
    assert one(claim(ABOVE, equivalence=2), stored("recon", near), stored("act", base)).verdict == "equivalent"
    few = one(claim(ABOVE, equivalence=2), stored("recon", near[:4]), stored("act", base[:4]))
    assert few.verdict == "not shown"
    assert one(claim(ABOVE, equivalence=0.1), stored("recon", near), stored("act", base)).verdict == "not shown"


def test_missing_seeds_lost_seeds_and_smoke_give_no_verdict() -> None:
    high, low = [0.8, 0.81, 0.79], [0.5, 0.505, 0.493]
    assert one(claim(ABOVE), stored("recon", high), stored("act", low)).verdict == "supported"
    fewer = one(claim(ABOVE), stored("recon", high[:2]), stored("act", low))
    assert (fewer.verdict, fewer.parts[0].reason) == ("not run", "2 of 3 seeds are stored")
    lost = one(claim(ABOVE), stored("recon", high, lost=1), stored("act", low))
    assert (lost.verdict, "diverged" in lost.parts[0].reason) == ("not shown", True)
    assert one(claim(ABOVE), stored("recon", high)).verdict == "not run"
    smoke = judge(
        [claim(ABOVE)], Evidence([stored("recon", high, preset="smoke"), stored("act", low, preset="smoke")]), "smoke"
    )
    assert smoke[0].verdict == "not testable here"


@pytest.mark.parametrize(
    ("overrides", "answered"),
    [
        ({"recon.teachers": "frozen"}, True),
        ({"recon.teachers": "tuned"}, False),
        ({"method.teachers": "tuned"}, False),
        ({"backbone.block": "attention", "backbone.norm_options": {}}, True),
        ({"backbone.block": "mine"}, False),
        ({"numerics.threads": None}, True),
        ({"finetune.adapt": "full", "finetune.strengths": [1.0]}, True),  # of another protocol
        ({"recon.no_such": 1}, False),
    ],
)
def test_an_option_at_its_default_is_answered_by_runs_that_leave_it_out(
    overrides: dict[str, object], answered: bool
) -> None:
    """A claim that names a default was "not run" for ever, however many runs were stored."""
    arms = {"plain": {"method": "recon", "overrides": overrides}}
    of = claim({"first": "plain", "second": "act", "direction": "above"}, arms=arms)
    facts = {"encoder.backbone.width": "128", "encoder.numerics.device": "cpu"}
    cells = stored("recon", [0.8, 0.81, 0.82], spec=facts), stored("act", [0.5, 0.51, 0.52], spec=facts)
    assert (one(of, *cells).verdict != "not run") == answered


def test_only_runs_that_deviate_as_the_claim_says_count() -> None:
    """A run with another learning rate would answer a claim about the mask ratio."""
    spec, wanted = {"encoder.options.mask_ratio": "0.20"}, (Deviation("method.mask_ratio", "0.20", "0.6"),)
    arms = {"low": {"method": "recon", "overrides": {"recon.mask_ratio": 0.2}}}
    about = claim({"first": "low", "second": "act"}, arms=arms)
    high, other = [0.8, 0.81, 0.79], stored("act", [0.5, 0.505, 0.493])
    assert one(about, stored("recon", high, spec=spec, deviations=wanted), other).verdict == "supported"
    assert one(about, stored("recon", high), other).verdict == "not run"
    more = (*wanted, Deviation("recipe.lr", "0.1", "0.001"))
    assert one(about, stored("recon", high, spec=spec, deviations=more), other).verdict == "not run"
    unknown = (*wanted, Deviation("defaults", "not known here"))
    assert one(about, stored("recon", high, spec=spec, deviations=unknown), other).verdict == "not run"
    assert one(claim(ABOVE), stored("recon", high, spec=spec, deviations=wanted), other).verdict == "not run"


def sweep(tests: Sequence[float], validations: Sequence[float | None]) -> Judged:
    arms = {f"m{at}": {"method": "recon", "overrides": {"recon.mask_ratio": at / 10}} for at in range(len(tests))}
    cells = [
        stored(
            "recon", [test, test + 0.01 * at, test - 0.012],
            spec={"encoder.options.mask_ratio": str(at / 10)},
            deviations=(Deviation("method.mask_ratio", str(at / 10), "0.6"),), validation=validation,
        )
        for at, (test, validation) in enumerate(zip(tests, validations, strict=True))
    ]  # fmt: skip
    about = claim(contrasts=(), arms=arms, best={"arms": list(arms), "chosen": "m1"})
    return one(about, *cells)


def test_a_best_value_is_best_by_validation_and_above_both_ends() -> None:
    """The best value on test of a sweep would be called best, which some value always is."""
    assert sweep([0.5, 0.8, 0.78, 0.4], [0.5, 0.8, 0.7, 0.4]).verdict == "supported"
    assert sweep([0.5, 0.8, 0.78, 0.4], [0.5, 0.6, 0.7, 0.4]).verdict == "not shown"
    assert sweep([0.5, 0.8, 0.78, 0.4], [0.5, 0.8, None, 0.4]).verdict == "not shown"
    assert sweep([0.5, 0.8, 0.78, 0.79], [0.5, 0.8, 0.7, 0.4]).verdict == "not shown"
    assert sweep([0.5, 0.7, 0.9, 0.4], [0.5, 0.8, 0.7, 0.4]).verdict == "contradicted"


def test_a_published_number_is_something_to_compare_with() -> None:
    reaches = {"first": "recon", "second": 50.0, "direction": "not-below", "margin": 1}
    assert one(claim(reaches), stored("recon", [0.51, 0.512, 0.509])).verdict == "supported"
    assert one(claim(reaches), stored("recon", [0.41, 0.412, 0.409])).verdict == "contradicted"


def test_a_frozen_encoder_is_a_fixed_number_against_the_seeds_of_others() -> None:
    """One pretraining has no interval; its claims would never be judged, or its one seed counted as many."""
    arms = {"mine": {"encoder": "my-net:folder/weights.pt"}}
    above = {"first": "mine", "second": "recon", "direction": "above"}
    mine = stored("my-net (weights)", [0.6], spec={"encoder.imported": "ab"})
    recon = stored("recon", [0.51, 0.52, 0.5])
    asked = claim(above, arms=arms)
    assert one(asked, mine, recon).verdict == "supported"
    assert "A single pretraining, whose score counts as fixed: my-net (weights)." in sentence(one(asked, mine, recon))
    assert one(asked, stored("my-net (weights)", [0.51], spec={"encoder.imported": "ab"}), recon).verdict == "not shown"
    turned = claim({"first": "recon", "second": "mine", "direction": "above"}, arms=arms)
    assert one(turned, mine, recon).verdict == "contradicted"
    assert one(asked, mine, stored("recon", [0.5])).verdict == "not run"
    two = stored("recon", [0.5], spec={"encoder.imported": "cd"})
    assert one(asked, mine, two).verdict == "not run"
    for wrong in ({}, {"method": "recon", "encoder": "my-net"}):
        with pytest.raises(ValueError, match="an arm names a method, or an encoder"):
            claim(above, arms={"mine": wrong})


def test_it_is_said_when_a_claim_is_not_older_than_its_runs() -> None:
    """A rule made to fit the numbers would look as if it had been written before them."""
    cells = stored("recon", [0.8, 0.81, 0.79]), stored("act", [0.5, 0.505, 0.493])
    keys = [key for cell in cells for key in cell.cell.runs.values()]
    for day, late in (("2025-12-31", True), ("2026-01-01", True), ("2026-01-02", False)):
        facts = {key: RunFact(day, "one encoder", 10.0, 1.0) for key in keys}
        found = judge([claim(ABOVE)], Evidence(cells, facts=facts), "nano")[0]
        assert (found.written_late, found.seconds) == (late, 16.0)


def test_the_package_has_all_claims_and_all_can_be_judged() -> None:
    every = shipped_claims()
    named = [f"R{n}" for n in range(1, 16)] + [f"C{n}" for n in range(1, 6)] + [f"A{n}" for n in range(1, 6)]
    assert sorted(every, key=natural) == sorted(named, key=natural)
    for of in every.values():
        of.check_names()
        assert (of.study is None) == (of.not_testable is not None)
    verdicts = [found.verdict for found in judge(list(every.values()), Evidence(()), "nano")]
    assert set(verdicts) == {"not run", "not testable here"}
    assert {key for key, of in every.items() if of.not_testable} == {"C5", "R11", "R12"}
    texts = [f"{of.statement} {of.source}" for of in every.values()]
    assert all(a != b for a, b in itertools.combinations(texts, 2))


@pytest.mark.parametrize("preset", ["nano", "base"])
def test_presets_are_never_mixed(preset: str) -> None:
    cells = stored("recon", [0.8, 0.81, 0.79], preset=preset), stored("act", [0.5, 0.505, 0.493], preset=preset)
    assert judge([claim(ABOVE)], Evidence(cells), "nano")[0].verdict == ("supported" if preset == "nano" else "not run")


def test_a_quoted_p_value_says_what_it_is_of() -> None:
    """A claim whose opposite is almost shown was quoted with a small p value, as if it were almost shown itself."""
    above = {**ABOVE, "margin": 5}
    opposite = one(claim(above), stored("recon", [0.38, 0.44, 0.52]), stored("act", [0.5, 0.5, 0.52]))
    assert (opposite.verdict, as_json(opposite)["p_of"]) == ("not shown", "opposite")
    assert opposite.p_holm is not None
    assert opposite.p_holm < 0.5
    assert " against the claim after Holm's correction over 1 claim)" in sentence(opposite)
    assert "recon − act (claimed above 5) −6.0 [" in sentence(opposite)
    own = one(claim(above), stored("recon", [0.60, 0.64, 0.50]), stored("act", [0.5, 0.5, 0.42]))
    assert (own.verdict, as_json(own)["p_of"]) == ("not shown", "claim")
    assert " for the claim after Holm's correction" in sentence(own)


def test_missing_runs_are_named_with_the_way_to_judge_and_arms_with_their_options() -> None:
    """Nobody can make the runs of an arm called low; and there were runs of recon, but none by this protocol."""
    arms = {"low": {"method": "recon", "overrides": {"recon.mask_ratio": 0.4}}}
    against_low = {"first": "recon", "second": "low"}
    found = one(claim(ABOVE, against_low, arms=arms, protocols=["svm", "linear"]), stored("recon", [0.5, 0.6, 0.7]))
    said = sentence(found)
    assert "no run of recon is stored that was judged by svm on toys" in said
    assert "no run of act or low is stored that was judged by svm on toys and linear on toys" in said
    assert said.endswith("Here low is recon with recon.mask_ratio=0.4.")
