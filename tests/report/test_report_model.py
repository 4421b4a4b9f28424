"""What a report says, before it is printed. If these fail, a table compares what must not be compared."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bench.report.curves import curve_panels
from bench.report.model import build_model
from bench.report.runs import RunFacts, environment, failures
from bench.report.scores import candidates, changes, how_measured, notes, scores
from bench.report.summary import summarise_report
from bench.stats.deviations import ALL, Deviation
from bench.store.queries import by_run

Maker = Callable[..., Any]


def test_a_table_holds_one_preset_protocol_data_set(full_results: Any) -> None:
    """A smoke number beside a nano number would look like a result."""
    model = build_model(by_run(full_results.rows), full_results.runs)
    for section in model.sections:
        assert {(r.cell.preset, r.cell.protocol, r.cell.dataset) for r in section.rows} == {
            (section.preset, section.protocol, section.dataset)
        }
    assert [s.preset for s in model.sections] == ["nano"] * 6 + ["smoke"]


def test_every_pretrained_row_is_compared_with_its_own_scratch(full_results: Any) -> None:
    """recon against the scratch of Point-MAE's network would mix up two differences."""
    model = build_model(by_run(full_results.rows), full_results.runs)
    compared = [(r.cell.method, r.versus.second) for s in model.sections for r in s.rows if r.versus]
    assert set(compared) == {("recon", "scratch (recon)"), ("point-mae", "scratch (point-mae)")}
    assert len(compared) == 2 * 5 * 3


def test_holm_family_is_the_table(full_results: Any) -> None:
    """Eight comparisons in a few-shot table: the smallest p is multiplied by eight, no more and no less."""
    model = build_model(by_run(full_results.rows), full_results.runs)
    (section,) = [s for s in model.sections if (s.protocol, s.dataset) == ("fewshot", "ldraw40")]
    family = [r.versus for r in section.rows if r.versus]
    smallest = min(family, key=lambda c: c.p if c.p is not None else 1.0)
    assert smallest.p is not None
    assert len(family) == 8
    assert smallest.p_holm == pytest.approx(8 * smallest.p)


def test_smoke_runs_are_never_compared(smoke: Any) -> None:
    """Smoke proves that paths work; a verdict on it would be nonsense."""
    (section,) = build_model(by_run(smoke.rows), smoke.runs).sections
    assert section.smoke
    assert section.pairs == ()
    assert all(row.versus is None for row in section.rows)


def test_protocol_options_and_data_content_split_tables(maker: Maker, make_grid: Maker) -> None:
    """The same protocol with another head, or the same data set with other content, is another table."""
    results = make_grid(maker(), datasets=("shapes-scan",), settings=("5w10s",), linear=False)
    other = maker(overrides=(("protocol.options.head", "mlp"),))
    results += make_grid(other, datasets=("shapes-scan",), settings=("5w10s",), linear=False)
    titles = [s.title for s in build_model(by_run(results.rows), results.runs).sections]
    assert titles == ["fewshot on shapes-scan [head=linear]", "fewshot on shapes-scan [head=mlp]"]


def test_changed_recipes_are_rows_of_their_own_against_the_same_scratch(maker: Maker, make_grid: Maker) -> None:
    """`--set` experiments must be told apart, and each is compared with scratch."""
    results = make_grid(maker(), datasets=("shapes-scan",), settings=("5w10s",), linear=False)
    short = maker(overrides=(("encoder.recipe", {"epochs": 5, "lr": 0.001}),))
    only_recon = (("recon", "recon"),)
    results += make_grid(short, datasets=("shapes-scan",), settings=("5w10s",), linear=False, encoders=only_recon)
    (section,) = build_model(by_run(results.rows), results.runs).sections
    labels = {row.cell.label: row.versus and row.versus.second for row in section.rows if not row.cell.is_scratch}
    assert labels == {
        "point-mae": "scratch (point-mae)",
        "recon [recipe.epochs=5]": "scratch (recon)",
        "recon [recipe.epochs=50]": "scratch (recon)",
    }


def test_another_encoder_in_every_setting_is_another_sentence(maker: Maker) -> None:
    """Settings of two encoders would be counted as those of one: "above scratch in 2 of 2 settings"."""
    results = maker().run("scratch", "recon", "fewshot", "ldraw40", 0, "5w10s")
    for epochs, setting in ((5, "5w10s"), (80, "10w10s")):
        changed = maker(overrides=(("encoder.recipe", {"epochs": epochs}),))
        results += changed.run("recon", "recon", "fewshot", "ldraw40", 0, setting)
    said = [sentence.text for sentence in summarise_report(build_model(by_run(results.rows), results.runs))]
    assert [text.partition(" (")[0] for text in said] == ["recon [recipe.epochs=5]", "recon [recipe.epochs=80]"]


def test_order_of_rows_and_runs_changes_nothing(full_results: Any) -> None:
    """A report must not depend on the order in which runs finished."""
    rows, runs = list(full_results.rows), list(full_results.runs)
    random.Random(0).shuffle(rows)
    random.Random(1).shuffle(runs)
    first, second = build_model(by_run(full_results.rows), full_results.runs), build_model(by_run(rows), runs)
    assert summarise_report(first) == summarise_report(second)
    assert first.runs == second.runs
    assert first.panels == second.panels
    assert [[r.cell.label for r in s.rows] for s in first.sections] == [
        [r.cell.label for r in s.rows] for s in second.sections
    ]


def test_summary_says_what_is_shown_and_what_is_not(full_results: Any) -> None:
    """The plain words carry the verdicts, and the reason why a row cannot carry a claim."""
    sentences = summarise_report(build_model(by_run(full_results.rows), full_results.runs))
    linear = {s.text.split(" (")[0]: s for s in sentences if "in linear on ldraw40" in s.text}
    assert linear["recon"].kind == "above"
    assert "above scratch, +" in linear["recon"].text
    fewshot = [s for s in sentences if "in fewshot" in s.text]
    assert any("no difference shown in 1 of 4 settings" in s.text and s.kind == "mixed" for s in fewshot)
    assert all(("saw 3 of 40" in s.text) == ("on shapes-scan," in s.text) for s in sentences if s.kind != "warning")
    warnings = " ".join(s.text for s in sentences if s.kind == "warning")
    assert "cannot carry a claim" in warnings
    assert "1 run without a result" in warnings
    assert "Smoke" in warnings
    assert not any("smoke" in s.text for s in sentences if s.kind != "warning")


def test_the_summary_says_which_settings_were_compared(maker: Maker, make_grid: Maker) -> None:
    """Scratch ran in one of two settings: "recon: above scratch" would stand for both."""
    only_recon, both = (("recon", "recon"),), (("recon", "recon"), ("scratch", "recon"))
    results = make_grid(maker(), ("ldraw40",), settings=("5w20s", "10w10s"), linear=False, encoders=only_recon)
    results += make_grid(maker(), ("ldraw40",), settings=("5w10s",), linear=False, encoders=both)
    (sentence,) = summarise_report(build_model(by_run(results.rows), results.runs))
    assert "above scratch in 1 of 3 settings (5w10s: +" in sentence.text
    assert "; 2 not compared" in sentence.text


def test_a_number_that_is_none_is_said(maker: Maker) -> None:
    """A seed that is missing from a table without a word looks as if it had never been run."""
    results = maker().run("recon", "recon", "fewshot", "ldraw40", 0, "5w10s")
    at = next(at for at, row in enumerate(results.rows) if row.fold == 3)
    results.rows[at] = replace(results.rows[at], value=float("nan"))
    model = build_model(by_run(results.rows), results.runs)
    assert model.sections == ()
    assert "1 finished run has a score that is NaN in some fold" in summarise_report(model)[-1].text


def test_one_seed_is_no_comparison(one_seed: Any) -> None:
    """One pretraining shows nothing about the next."""
    model = build_model(by_run(one_seed.rows), one_seed.runs)
    assert {s.kind for s in summarise_report(model)} == {"no-comparison"}
    assert all(not section.pairs for section in model.sections)


def test_a_failure_is_listed_until_a_run_made_it_good(maker: Maker) -> None:
    """A run that failed and then finished is no failure; three attempts at one run are one line."""
    make = maker()
    failed = make.run("recon", "recon", "linear", "ldraw40", 0, "all", status="failed").runs[0]
    done = make.run("recon", "recon", "linear", "ldraw40", 0, "all").runs[0]
    (line,) = failures([failed, replace(failed), replace(failed)])
    assert (line.seed, line.told("log")) == ("0", "results/logs/job.log")
    assert line.reason == "BenchError: loss is nan at epoch 3, step 41 (lr 0.001)"
    assert failures([failed, replace(done, key=failed.key)]) == ()


def test_shared_pretrainings_are_drawn_and_timed_once(maker: Maker, make_grid: Maker) -> None:
    """Four settings judge one encoder: one curve per seed, and its minutes count once."""
    results = make_grid(maker(), datasets=("ldraw40",), linear=False, encoders=(("recon", "recon"),), seeds=(0, 1))
    panels = curve_panels(results.runs)
    assert [(p.method, p.name, len(p.lines)) for p in panels] == [
        ("recon", f"pretrain/{name}", 2) for name in ("total", "image", "reconstruction", "text")
    ]
    assert environment(results.runs).seconds == pytest.approx((201 + 208) + 8 * 2.5)


def test_a_first_stage_counts_as_pretraining(full_results: Any) -> None:
    """A method with two stages would look cheaper than it is."""
    runs = [run for run in full_results.runs if "pretrain_seconds" in run.cost][:2]
    before = RunFacts.of(runs).pretrain_seconds
    for run in runs:
        run.cost["first_stage_pretrain_seconds"] = 100.0
    assert before is not None
    assert RunFacts.of(runs).pretrain_seconds == pytest.approx(before + 100)


def test_a_number_nothing_was_chosen_for_does_not_claim_validation(maker: Maker) -> None:
    """Retrieval and published settings choose nothing: "chosen on validation" would be made up."""
    results = maker().run("recon", "recon", "svm", "ldraw40", 0, "all")
    (section,) = build_model(by_run(row for row in results.rows if row.split == "test"), results.runs).sections
    assert (
        how_measured(section)
        == "1 pretraining seed (0), given split seed 0; nothing chosen, test split scored once; cpu in bf16"
    )
    assert "chosen_on" not in scores(section).texts()[0]
    (section,) = build_model(by_run(results.rows), results.runs).sections
    assert "chosen on validation" in how_measured(section)
    assert scores(section).texts()[0]["chosen_on"] == "val"


def test_queries_of_the_training_split_are_said(maker: Maker) -> None:
    """CrossPoint's episodes never score the test split, whatever a table says by habit."""
    results = maker().run("recon", "recon", "fewshot", "ldraw40", 0, "5w10s")
    results.runs[0].provenance["notes"] = {"queries": "training split, as in CrossPoint's script"}
    (section,) = build_model(by_run(results.rows), results.runs).sections
    assert "test split" not in how_measured(section)
    assert "5w10s: queries: training split, as in CrossPoint's script." in notes(section)


def test_candidates_stand_with_the_metric_they_are_chosen_by(maker: Maker) -> None:
    """Beside other metrics the same table would come again, without the validation score that chose."""
    results = maker().run("scratch", "recon", "linear", "ldraw40", 0, "all")
    other = [replace(row, name="mean_class_accuracy") for row in results.rows if row.split == "test"]
    first, second = build_model(by_run([*results.rows, *other]), results.runs).sections
    assert len(candidates(first).rows) == 1
    assert candidates(second).rows == ()


def test_tuned_methods_stand_in_a_table_that_says_so_under_their_own_names(maker: Maker) -> None:
    """A search's name and digest in place of words would hide what a table compares, and with what budget."""

    def tuned(method: str, strength: float, trials: int, study: str) -> Any:
        values = {"linear.strengths": [strength]}
        spec = {"study": study, "method": method, "trials": trials, "space": "d" * 64, "values": values}
        made = maker(overrides=(("tuned", spec), ("protocol.options.strengths", [strength])))
        return made.run(method, "recon", "linear", "ldraw40", 0, "all")

    plain = maker(overrides=(("protocol.options.strengths", [1.0, 10.0]),))
    results = plain.run("recon", "recon", "linear", "ldraw40", 0, "all")
    results += tuned("recon", 0.2, 8, "a")
    results += tuned("scratch", 3.0, 8, "b")
    model = build_model(by_run(results.rows), results.runs)
    assert [section.difference for section in model.sections] == [
        "strengths=[1.0, 10.0], as shipped",
        "tuned in 8 trials",
    ]
    assert [row.cell.label for row in model.sections[1].rows] == ["recon", "scratch (recon)"]
    assert model.sections[1].rows[0].versus is not None
    results += tuned("recon", 0.5, 8, "c")  # another search, with another outcome
    labels = [row.cell.label for row in build_model(by_run(results.rows), results.runs).sections[1].rows]
    assert labels == ["recon [linear.strengths=[0.2]]", "recon [linear.strengths=[0.5]]", "scratch (recon)"]


def test_processor_time_is_left_out_where_a_part_of_it_is_unknown(maker: Any) -> None:
    """A first stage of older code has no processor time: the sum of the rest would make a run look cheap."""
    (run,) = maker().run("recon", "recon", "linear", "shapes-scan", 0, "all").runs
    assert RunFacts.of([run]).pretrain_cpu_seconds is None
    run.cost |= {"pretrain_cpu_seconds": 40.0, "evaluate_cpu_seconds": 2.0}
    facts = RunFacts.of([run])
    assert (facts.pretrain_cpu_seconds, facts.evaluate_cpu_seconds) == (40.0, 2.0)
    run.cost["first_stage_pretrain_seconds"] = 30.0
    assert RunFacts.of([run]).pretrain_cpu_seconds is None
    run.cost["first_stage_pretrain_cpu_seconds"] = 20.0
    assert RunFacts.of([run]).pretrain_cpu_seconds == 60.0


def test_defaults_that_are_not_known_are_no_difference_from_the_preset(maker: Maker, make_grid: Maker) -> None:
    """Without its plugin a run "differs from preset" in nothing that anybody knows of."""
    results = make_grid(maker(), datasets=("shapes-scan",), settings=("5w10s",), linear=False)
    unknown = {run.key: (Deviation(ALL, "not known here (unknown method 'mine')"),) for run in results.runs[:1]}
    (section,) = build_model(by_run(results.rows), results.runs, unknown).sections
    said = " ".join(changes(section))
    assert "Differs" not in said
    assert "is not known here (unknown method 'mine')" in said
