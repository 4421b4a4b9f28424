"""``bench tune`` as a user meets it: one clear line where it cannot, and exactly N trials where it can."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.execution.engines import EngineSetup
from bench.paths import Workspace
from bench.plan.request import RunRequest
from bench.spec import RunSpec, canonical_json
from bench.store.queries import metric_rows, run_rows
from bench.store.store import Store
from bench.tuning import studies
from bench.tuning.engine import Searcher
from bench.tuning.problems import make_problems
from tests.conftest import bench_here, environment_of_jobs, wait_for

Call = Callable[..., tuple[int, str, str]]


def search(data: Path, results: Path, trials: int) -> list[object]:
    """Scratch with a linear head on the toy set: nothing to pretrain, a second per trial."""
    return [
        "tune", "--method", "scratch", "--protocol", "linear", "--trials", trials, "--preset", "smoke", "--dataset",
        f"modelnet-h5:{data}", "--seed", 3, "--results", results, "--set", "scratch.architecture=point-mae",
    ]  # fmt: skip


def asked(data: Path) -> RunRequest:
    """The same search, as Python asks for it."""
    return RunRequest(
        methods=("scratch",), protocols=("linear",), datasets=(f"modelnet-h5:{data}",), preset="smoke", seeds=(3,),
        baseline=False, overrides={"scratch.architecture": "point-mae"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, toy_modelnet: Path) -> tuple[Path, str]:
    """Results of a search that a searcher and a command worked on at once, and what the command printed.

    Both are in this process, which saves starting another; that leases hold between processes is for tests/store.
    """
    results = tmp_path_factory.mktemp("searched") / "results"
    place = Workspace.at(results)
    place.prepare()
    problems, _ = make_problems(asked(toy_modelnet), "downstream", place, baseline=False)

    def beside() -> list[str]:
        searcher = Searcher(place, EngineSetup(), lambda job, event: None, lambda line: None)
        return searcher.search(problems, 2)

    with environment_of_jobs(), ThreadPoolExecutor(1) as pool:
        other = pool.submit(beside)
        wait_for((results / studies.FILE).exists)
        here = bench_here(*search(toy_modelnet, results, 2))
        assert other.result(timeout=200) == []
    assert here.returncode == 0, here.stdout + here.stderr
    return results, here.stdout


def trials_of(results: Path) -> list[tuple[dict[str, object], float]]:
    """Values and score of every trial of the one search there is."""
    storage = studies.open_storage(results)
    (name,) = studies.names(storage)
    found = studies.counted(studies.load(storage, name).get_trials())
    return [(dict(trial.user_attrs["values"]), float(trial.value or 0.0)) for trial in found]


def test_two_at_once_make_the_trials_of_one(searched: tuple[Path, str], toy_modelnet: Path) -> None:
    """Two searchers at once must neither spoil a search nor give it more trials, nor change what it tries."""
    results, output = searched
    together = trials_of(results)
    assert len(together) == 2
    assert len({json.dumps(values) for values, _ in together}) == 2
    assert "--set 'linear.strengths=" in output
    (alone,), _ = make_problems(asked(toy_modelnet), "downstream", Workspace.at(results), baseline=False)
    assert studies.names(studies.open_storage(results)) == [alone.name]


def test_continuing_adds_what_is_missing_and_repeats_nothing(searched: tuple[Path, str], toy_modelnet: Path) -> None:
    """A second command would else begin anew, or give the method more trials than the others."""
    results, _ = searched
    before = trials_of(results)
    done = bench_here(*search(toy_modelnet, results, 3))
    assert done.returncode == 0
    assert "trial 3 of 3" in done.stdout
    assert "trial 2 of 3" not in done.stdout
    after = trials_of(results)
    assert after[:2] == before
    assert len(after) == 3
    done = bench_here(*search(toy_modelnet, results, 2))
    assert done.returncode == 0
    assert "trial 3 of" not in done.stdout
    assert len(trials_of(results)) == 3


def test_trials_are_runs_scored_on_validation_and_in_no_table(
    searched: tuple[Path, str], call: Call, tmp_path: Path
) -> None:
    """Trials in tables would show test scores of many settings, and the best of them would be picked on test."""
    results, _ = searched
    store = Store(results)
    runs = run_rows(store)
    assert len(runs) == len(trials_of(results))
    spec = RunSpec.model_validate(store.load(runs[0].stored).spec)
    assert spec.trial
    assert '"trial"' not in canonical_json(spec.model_copy(update={"trial": False}))
    assert re.fullmatch(r"[0-9a-f]{64}", str(runs[0].provenance["card_hash"]))
    held = {
        row.run_key: row.value
        for row in metric_rows(store)
        if row.split == "val" and row.headline and row.name == "accuracy"
    }
    assert sorted(held.values()) == pytest.approx(sorted(score for _, score in trials_of(results)))
    code, listed, _ = call("runs", "--results", results)
    assert code == 0
    assert listed.count("trial of a search") == len(runs), "a listed test score is one looked at"
    code, _, _ = call("report", "--results", results, "--out", tmp_path / "reports")
    assert code == 0
    page = (tmp_path / "reports" / "index.html").read_text()
    assert 'id="tuning-1"' in page
    assert '<table class="scores"' not in page


def test_the_best_values_are_a_request_that_says_so(searched: tuple[Path, str], call: Call, toy_modelnet: Path) -> None:
    """A tuned number that looked like an untuned one would hide the search behind it."""
    results, _ = searched
    (config,) = (results / "tuned").glob("*.yaml")
    code, out, _ = call("run", "--config", config, "--results", results, "--dry-run")
    assert code == 0
    assert "1 run: 0 stored already, 1 to do" in out  # no trial passes for a tuned run
    code, _, err = call("run", "--config", config, "--results", results, "--method", "recon", "--dry-run")
    assert code == 2
    assert "was chosen for method scratch" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "reconn"], "unknown method 'reconn': did you mean recon"),
        (["-m", "scratch", "-p", "linea"], "unknown protocol 'linea': did you mean linear"),
        (["-m", "scratch", "-p", "retrieval"], "nothing to tune"),
        (["-m", "scratch", "--what", "head"], "'head' is not one of 'downstream', 'pretrain', 'both'"),
        (["-m", "scratch", "--what", "pretrain"], "scratch (recon): it is not pretrained"),
        (["-m", "render-classify"], "it has no encoder"),
        (["-m", "scratch", "-p", "zeroshot"], "no text-aligned output"),
        (["-m", "scratch", "-p", "all"], "one protocol at a time"),
        (["-m", "scratch", "--set", "linear.strengths=[1]"], "--set linear.strengths: this field is searched"),
        (["-m", "scratch", "--set", "act.mask_ratio=1"], "--set act.mask_ratio: no method of this request"),
        (["-m", "point-mae", "--gpus", "3", "--device", "cpu"], "does not divide among 3 ranks"),
        (["-m", "scratch", "--preset", "nanoo"], "unknown preset 'nanoo': did you mean nano"),
    ],
)
def test_wrong_requests_are_one_line(call: Call, toy_modelnet: Path, arguments: list[str], message: str) -> None:
    given = {"-p": "linear", "--dataset": f"modelnet-h5:{toy_modelnet}", "--preset": "smoke", "--trials": "2"}
    rest = [part for name, value in given.items() if name not in arguments for part in (name, value)]
    code, _, err = call("tune", *arguments, *rest)
    assert code == 2, err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_every_method_gets_the_same_space_and_scratch_of_its_own_architecture(
    toy_modelnet: Path, tmp_path: Path
) -> None:
    """The fair form: a space that depended on the method would favour one."""
    request = RunRequest(
        methods=("point-mae", "recon"),
        protocols=("finetune",),
        datasets=(f"modelnet-h5:{toy_modelnet}",),
        pretrain_data=f"modelnet-h5:{toy_modelnet}",
        preset="smoke",
        baseline=False,
    )
    place = Workspace.at(tmp_path / "results")
    place.prepare()
    problems, left_out = make_problems(request, "both", place, baseline=True)
    assert left_out == []
    assert [one.label for one in problems] == ["point-mae", "recon", "scratch (point-mae)", "scratch (recon)"]
    assert len({one.offered.digest for one in problems}) == 1
    own = {one.label: [d for d in one.space.dimensions if not d.pretraining] for one in problems}
    assert own["point-mae"] == own["recon"] == own["scratch (point-mae)"] == own["scratch (recon)"]
    assert not any(d.pretraining for d in problems[-1].space.dimensions)
    assert problems[0].first["finetune.recipe.augmentation"] == "rotate_y+scale_translate"
    assert problems[0].first["recipe.lr"] > 0
    downstream, _ = make_problems(request, "downstream", place, baseline=True)
    assert len({one.space.digest for one in downstream}) == 1
