"""Searches: scored on validation alone, the same for every method, and what was drawn survives everything."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError, SetupError, UsageError
from bench.plan.request import RunRequest, read_request, validated, write_request
from bench.registry import PROTOCOLS
from bench.report.document import Document, Figure
from bench.report.markdown import to_markdown
from bench.report.plots import svg
from bench.report.studies import StudyFacts, TrialFacts
from bench.report.tuning import draw_history, groups
from bench.report.tuning import part as part_of
from bench.spec import TunedSpec
from bench.stats.cells import judging
from bench.store.records import Metric
from bench.tuning import sampling, studies
from bench.tuning.objective import ValidationScore, objective, validation_score
from bench.tuning.sampling import open_trial
from bench.tuning.spaces import Dimension, search_space, validated_what
from tests.conftest import ROOT, bench_environment

SPACE = search_space("finetune", {"form": "fair", "recipe": {"lr": 5e-4, "weight_decay": 0.05}}, "downstream")


def run_rows(validation: float = 0.5, test: float = 0.6) -> list[Metric]:
    """What a run of a protocol that trains by epochs reports, the other candidates and settings included."""
    return [
        Metric(value=validation, split="val", n_objects=10),
        Metric(value=0.99, split="val", selection="last", n_objects=10),
        Metric(value=0.98, split="val", variant="other", headline=False, n_objects=10),
        Metric(value=0.97, split="val", fold=0, n_objects=10),
        Metric(name="accuracy[pilot]", value=0.96, split="val", n_objects=10),
        Metric(value=test, split="test", n_objects=10),
        Metric(value=test + 0.1, split="test", selection="test", n_objects=10),
    ]


@given(
    tests=st.lists(
        st.builds(
            Metric,
            name=st.sampled_from(["accuracy", "miou"]),
            value=st.floats(0, 1),
            split=st.just("test"),
            selection=st.sampled_from(["val", "last", "test"]),
            n_objects=st.just(5),
        ),
        max_size=6,
    ),
    validation=st.floats(0, 1),
    front=st.booleans(),
)
@settings(derandomize=True, max_examples=40, deadline=None)
def test_no_test_number_moves_the_objective(tests: list[Metric], validation: float, front: bool) -> None:
    """A search that could see test numbers would select on test: every tuned result would be worthless."""
    held = [row for row in run_rows(validation) if row.split == "val"]
    alone = validation_score(held, "accuracy")
    assert alone == ValidationScore("accuracy", validation)
    assert validation_score([*tests, *held] if front else [*held, *tests], "accuracy") == alone
    assert validation_score(tests, "accuracy") is None


def test_the_objective_is_the_chosen_row_and_the_mean_over_settings() -> None:
    """Another row (last epoch, a fold, a candidate not chosen) would reward the wrong values."""
    score = validation_score(run_rows(0.5), "accuracy")
    assert score is not None
    assert score.value == 0.5
    rooms = [Metric(name="block_miou", value=0.3, split="val", n_objects=9)]
    assert validation_score(rooms, "miou") == ValidationScore("block_miou", 0.3)
    assert objective([ValidationScore("a", 0.2), ValidationScore("a", 0.4)]) == pytest.approx(0.3)
    with pytest.raises(BenchError, match="not a number"):
        objective([ValidationScore("a", float("nan"))])
    with pytest.raises(BenchError, match="found a, b"):
        objective([ValidationScore("a", 0.2), ValidationScore("b", 0.4)])


def test_every_protocol_that_chooses_has_a_space_within_its_options() -> None:
    """A path or a value that the protocol does not know would fail after hours, in the first trial."""
    for name in PROTOCOLS.standalone():
        protocol = PROTOCOLS.load(name)
        options = protocol.defaults("nano").model_dump(mode="json")
        space = search_space(name, options, "downstream")
        assert space.dimensions
        for dimension in space.dimensions:
            ends = [first for first, _ in dimension.choices] or [dimension.low, dimension.high]
            for drawn in ends:
                value = dimension.value(drawn)
                assert dimension.drawn(value) == drawn
                changed = json.loads(json.dumps(options))
                *above, last = dimension.path.removeprefix(f"{name}.").split(".")
                place = changed
                for part in above:
                    place = place[part]
                assert last in place
                place[last] = value
                protocol.Options.model_validate(changed)


def test_scratch_has_the_same_space() -> None:
    """Methods searched in different spaces would not have had the same chances."""
    both = search_space("linear", {"strengths": [1.0]}, "both")
    downstream = search_space("linear", {"strengths": [1.0]}, "downstream")
    assert both.of(pretrained=True) == both
    assert both.of(pretrained=False) == downstream
    assert downstream.of(pretrained=False) == downstream.of(pretrained=True)
    assert both.digest != downstream.digest
    assert {d.path for d in both.dimensions} - {d.path for d in downstream.dimensions} == {
        "recipe.lr",
        "recipe.weight_decay",
    }


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("retrieval", {}, "nothing to tune"),
        ("finetune", {"form": "published"}, "fair form only"),
        ("finetune", {"recipe": None}, "recipe is not set"),
    ],
)
def test_what_cannot_be_searched_says_why(protocol: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search_space(protocol, options, "downstream")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected downstream, pretrain, both"):
        validated_what("all")


def test_what_is_printed_is_what_ran() -> None:
    """A rounded value on the screen that is not the one that ran could not be repeated."""
    rate = Dimension("finetune.recipe.lr", "log", 1e-5, 1e-2)
    assert rate.value(0.000123456789) == 0.0001235
    assert Dimension("linear.strengths", "log", 0.01, 100, listed=True).value(3.14159) == [3.142]
    assert rate.drawn(1.0) is None
    assert rate.drawn(True) is None


def draw(results: Path, count: int, *, reopen: bool) -> list[dict[str, object]]:
    """Draw and score trials; with `reopen` a process draws each of them and dies before it is scored."""
    drawn = []
    for at in range(count):
        storage = studies.open_storage(results)
        study = studies.create(storage, "toy", {}, {"finetune.recipe.lr": 5e-4}, whole=False)
        if reopen:
            open_trial(storage, study, SPACE, seed=3)
            storage = studies.open_storage(results)
            study = studies.load(storage, "toy")
        trial = open_trial(storage, study, SPACE, seed=3)
        assert len(study.get_trials()) == at + 1
        drawn.append(dict(trial.params))
        study.tell(trial.number, -abs(trial.params["finetune.recipe.head_lr_scale"] - 3.0))
    return drawn


def test_interruptions_change_nothing_of_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that draws other values after an interruption could not be repeated from its seed."""
    monkeypatch.setattr(sampling, "STARTUP_TRIALS", 2)  # so that few trials reach the model
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = draw(tmp_path / "a", 5, reopen=False)
    assert draw(tmp_path / "b", 5, reopen=True) == whole
    assert whole[0]["finetune.recipe.lr"] == 5e-4  # as shipped comes first
    assert len({json.dumps(params) for params in whole}) == len(whole)


KILLED = """
import os, signal, sys
from pathlib import Path
from bench.tuning import studies
from bench.tuning.sampling import open_trial
from tests.execution.test_tune import SPACE
storage = studies.open_storage(Path(sys.argv[1]))
study = studies.create(storage, "toy", {}, {}, whole=False)
trial = open_trial(storage, study, SPACE, seed=5)
print(sorted(trial.params.items()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_no_trial(tmp_path: Path) -> None:
    """``kill -9`` in the middle must cost at most the running trial; here it is even gone on with."""
    environment = bench_environment() | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    died = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    storage = studies.open_storage(tmp_path)
    study = studies.load(storage, "toy")
    trial = open_trial(storage, study, SPACE, seed=5)
    assert str(sorted(trial.params.items())) == died.stdout.strip()
    study.tell(trial.number, 0.5)
    assert [t.number for t in studies.counted(study.get_trials())] == [0]


def test_failed_trials_count_and_lost_ones_do_not(tmp_path: Path) -> None:
    """Methods whose trials fail would else be given more of them; those lost unscored would be missing."""
    storage = studies.open_storage(tmp_path)
    study = studies.create(storage, "toy", {}, {}, whole=False)
    study.ask()  # a process that died before any value was drawn
    trial = open_trial(storage, study, SPACE, seed=0)
    studies.note(storage, study, trial, {studies.ERROR: "diverged"})
    study.tell(trial.number, state=studies.state("PRUNED"))
    assert len(study.get_trials()) == 2
    assert studies.counted(study.get_trials()) == [study.get_trials()[1]]
    assert studies.best(study.get_trials()) is None


def test_a_damaged_file_of_searches_is_one_line(tmp_path: Path) -> None:
    (tmp_path / studies.FILE).write_text("no database at all, but long enough to be looked at" * 40)
    with pytest.raises(SetupError, match=r"move it away and run the same command again"):
        studies.open_storage(tmp_path)


def tuned_request() -> RunRequest:
    values = {"finetune.recipe.lr": 1e-05, "finetune.recipe.augmentation": ["rotate_y"]}
    spec = TunedSpec(study="s", method="point-mae", trials=4, space="d" * 64, values=values)
    given = {"methods": ["point-mae"], "protocols": ["finetune"], "baseline": False, "overrides": values}
    request: RunRequest = validated(RunRequest, {**given, "tuned": spec}, "request")
    return request


def test_tuned_values_survive_their_file_and_are_not_passed_off_as_others(tmp_path: Path) -> None:
    """A file that says "tuned" about values, a method or a scratch that were not would be a false claim."""
    request = tuned_request()
    write_request(request, tmp_path / "best.yaml")
    fields = read_request(tmp_path / "best.yaml")
    assert validated(RunRequest, fields, "request") == request
    for changed in (
        {"methods": ["recon"]},
        {"baseline": True},
        {"protocols": ["finetune", "linear"]},
        {"overrides": {**fields["overrides"], "finetune.recipe.lr": 0.1}},
    ):
        with pytest.raises(UsageError, match="delete 'tuned'"):
            validated(RunRequest, {**fields, **changed}, "request")


def flat(lr: str, method: str, trials: str = "4") -> dict[str, str]:
    return {
        "protocol.name": "finetune",
        "protocol.options.recipe.lr": lr,
        "protocol.options.recipe.epochs": "15",
        "tuned.values.finetune.recipe.lr": lr,
        "tuned.space": "d",
        "tuned.trials": trials,
        "tuned.study": method,
        "encoder.method": method,
    }


def test_methods_tuned_alike_are_judged_alike() -> None:
    """Else every tuned method would stand alone in a table, with nothing to compare it with."""
    assert judging(flat("0.1", "recon")) == judging(flat("0.001", "point-mae"))
    assert judging(flat("0.1", "recon")) != judging(flat("0.1", "recon", trials="8"))
    untuned = {name: value for name, value in flat("0.1", "recon").items() if not name.startswith("tuned.")}
    assert judging(untuned)["protocol.options.recipe.lr"] == "0.1"


def study(method: str, values: list[float | None], **changes: object) -> StudyFacts:
    trials = tuple(
        TrialFacts(at, value, (("linear.strengths", f"[{10.0**at}]"),), "" if value is not None else "diverged")
        for at, value in enumerate(values)
    )
    scored = {at: value for at, value in enumerate(values) if value is not None}
    facts: dict[str, object] = {
        "name": f"{method} | x 0badcafe",
        "method": method,
        "protocol": "linear",
        "dataset": "shapes-scan",
        "preset": "nano",
        "settings": ("all",),
        "what": "downstream",
        "seed": 0,
        "metric": "accuracy",
        "space": "d",
        "dimensions": ("linear.strengths: 0.01 to 100000, logarithmic",),
        "trials": trials,
        "best": max(scored, key=lambda at: scored[at]) if scored else None,
        "importance": (("linear.strengths", 1.0),),
    }
    return StudyFacts(**{**facts, **changes})  # type: ignore[arg-type]


def test_reports_warn_of_different_budgets() -> None:
    """A method that was searched longer looks better for that alone."""
    (equal,) = groups([study("recon", [0.5, 0.7, None]), study("scratch (recon)", [0.4, 0.3, 0.6])])
    assert equal.warnings == []
    assert [one.method for one in equal.studies] == ["recon", "scratch (recon)"]
    (unequal,) = groups([study("recon", [0.5, 0.7]), study("point-mae", [0.4])])
    assert unequal.warnings == [
        "Tuned with different budgets (trials: 1: point-mae; 2: recon). Give all of them the same --trials before "
        "comparing."
    ]
    (apart,) = groups([study("recon", [0.5]), study("point-mae", [0.4], space="e")])
    assert "different search spaces" in apart.warnings[0]


def test_reports_show_best_values_history_and_importance() -> None:
    """The path of a tuned number: what was tried, what was best, and what mattered."""
    (group,) = groups([study("recon", [0.5, 0.7, None]), study("act", [None], importance=())])
    shown = Document("Tuning", (part_of(group),))
    text = to_markdown(shown)
    assert "| recon | 3 | 1 | 70.0 | 2 | linear.strengths=[10.0] | not tried |" in text
    assert "| act | 1 | 1 | – | – | – | not tried |" in text
    history, importance = (svg(block.draw, block.name) for block in shown.walk() if isinstance(block, Figure))
    assert "recon, trial 2: 70.0 (linear.strengths=[10.0])" in history[0]
    assert "recon: linear.strengths 100 percent" in importance[1]
    assert svg(lambda: draw_history(group), "tuning-1-history") == history
    (few,) = map(part_of, groups([study("act", [0.1], importance=())]))
    assert len([block for block in few.blocks if isinstance(block, Figure)]) == 1
