"""``bench claims``: from a claim's file to its runs, its verdict and its page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compare_runs import Compare, perform

import bench
from bench.errors import UsageError
from bench.paths import Workspace
from bench.published.claimfile import find_claims
from tests.conftest import bench_environment, bench_here, write_modelnet

TINY = {
    "backbone.points": 64, "backbone.groups": 8, "backbone.group_size": 8, "backbone.width": 24, "backbone.depth": 1,
    "backbone.heads": 2, "backbone.tokenizer_width": 8, "recipe.epochs": 1, "method.decoder_depth": 1,
    "linear.strengths": [1.0, 10.0],
}  # fmt: skip


def write_claim(path: Path, data: str, **changes: object) -> Path:
    content: dict[str, object] = {
        "id": "mine", "paper": "my paper", "statement": "Point-MAE helps a linear head.", "source": "its draft",
        "written": "2020-01-01",
        "study": {
            "protocols": ["linear"], "datasets": [data], "pretrain_data": data, "seeds": 2, "overrides": TINY,
        },
        "arms": {"low": {"method": "point-mae", "overrides": {"point-mae.mask_ratio": 0.3}}},
        "contrasts": [
            {"first": "point-mae", "second": "scratch"},
            {"first": "low", "second": "point-mae", "direction": "not-above", "margin": 1},
        ],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A claim, the results folder of exactly the runs that it asks for, and its data."""
    folder = tmp_path_factory.mktemp("claims")
    data = f"modelnet-h5:{write_modelnet(folder / 'toyset', train=5, test=4, points=80)}"
    claim, place = write_claim(folder / "mine.yaml", data), Workspace.at(folder / "results")
    place.prepare()
    claims = bench.claims(str(claim), results=place.results)
    assert claims.judged[0].verdict == "not run"
    for study in claims.studies(claims.claims[0], "cpu"):
        perform(place, study.request)
    return claim, place.results, data


def test_the_runs_that_a_claim_asks_for_answer_it(call: Compare, ran: tuple[Path, Path, str]) -> None:
    """A claim would plan one thing and look for another, and be not run for ever."""
    claim, results, _ = ran
    code, output, error = call("claims", claim, "--results", results)
    assert (code, error) == (0, "")
    code, output, _ = call("claims", claim, "--results", results, "--json")
    (found,) = json.loads(output)
    assert found["verdict"] not in ("not run", "not testable here")
    assert (found["seeds"], found["preset"], len(found["parts"]), found["family"]) == (2, "nano", 2, 1)
    assert all(fragment in found["sentence"] for fragment in ("at nano", "2 pretraining seeds", "modelnet-h5:"))
    cells = bench.load(results).cells()
    plain = cells[(cells["method"] == "point-mae") & (cells["metric"] == "accuracy")]
    known = [value for value in plain["paired_difference"] if value == value]
    assert any(found["parts"][0]["difference"] == pytest.approx(value) for value in known)
    dry = json.loads(call("claims", claim, "--results", results, "--dry-run", "--json")[1])
    assert (dry[0]["complete"], dry[0]["jobs"]) == (True, 0)


def test_a_copied_folder_is_warned_of_once(ran: tuple[Path, Path, str], tmp_path: Path) -> None:
    """Fourteen equal lines hid the table below them."""
    claim, results, _ = ran
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    for file in copy.glob("runs/*/*/MANIFEST.json"):
        os.utime(file)
    for words in (("claims", claim, "R1", "C1", "--dry-run"), ("claims", claim), ("runs",), ("power",), ("report",)):
        more = ("--out", tmp_path / "report") if words == ("report",) else ()
        error = bench_here(*words, *more, "--results", copy).stderr
        assert sum("does not agree with the run folders" in line for line in error.splitlines()) == 1, (words, error)


def test_another_option_is_another_claim(call: Compare, ran: tuple[Path, Path, str], tmp_path: Path) -> None:
    """Runs that were made otherwise would answer it."""
    _, results, data = ran
    arms = {"low": {"method": "point-mae", "overrides": {"point-mae.mask_ratio": 0.4}}}
    other = write_claim(tmp_path / "other.yaml", data, arms=arms)
    found = json.loads(call("claims", other, "--results", results, "--json")[1])[0]
    assert (found["verdict"], found["parts"][1]["reason"]) == ("not run", "no run of low is stored")
    assert json.loads(call("claims", other, "--results", results, "--preset", "base", "--json")[1])[0]["seeds"] == 0
    (dry,) = json.loads(call("claims", other, "--results", results, "--dry-run", "--json")[1])
    assert dry["jobs"] > 0
    assert dry["stored"] > 0


def test_a_page_has_every_claim_with_verdict_or_command(
    call: Compare, ran: tuple[Path, Path, str], tmp_path: Path
) -> None:
    claim, results, _ = ran
    code, _, error = call("claims", claim, "R12", "A5", "--results", results, "--page", tmp_path / "page.md")
    assert code == 0, error
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert page.startswith(f"<!-- Written by `bench claims --page {tmp_path / 'page.md'}`")
    assert "| bench claims A5 --run |" in page.replace("`", "")
    assert all(heading in page for heading in ("## Answered", "## Not run", "## Not testable here"))
    assert "verdict about nano" in page


def test_nothing_is_loaded_or_made_without_run(tmp_path: Path) -> None:
    """Reading verdicts takes a laptop; and a question must not create a results folder."""
    code = (
        "import sys\nfrom bench.cli.main import main\nsys.argv = ['bench', 'claims']\n"
        "try: main()\nexcept SystemExit as stop: assert not stop.code\n"
        "print([name for name in ('torch', 'timm', 'open_clip', 'sklearn') if name in sys.modules])"
    )
    environment = bench_environment(BENCH_RESULTS=str(tmp_path / "results"), COLUMNS="80")
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert sum(line.startswith(("R", "C", "A")) for line in done.stdout.splitlines()) == 25
    assert not (tmp_path / "results").exists()


GOOD = """
id: mine
paper: p
statement: s
source: s
written: 2026-01-01
study: {protocols: [linear]}
contrasts: [{first: recon, second: scratch}]
"""


def changed(**lines: str | None) -> str:
    """The good claim with some lines replaced."""
    kept = [line for line in GOOD.strip().splitlines() if line.partition(":")[0] not in lines]
    return "\n".join([*kept, *(f"{name}: {value}" for name, value in lines.items() if value is not None)])


FORGED = {
    "nothing": ("", "must hold a mapping"),
    "a list": ("[1, 2]", "must hold a mapping"),
    "no YAML": ("id: [", "cannot be read as YAML"),
    "a tag": ("!!python/object/apply:os.system ['true']", "the tag"),
    "twice": (GOOD + "id: other\n", "stands twice"),
    "a billion laughs": ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(7)), "aliases"),
    "unknown field": (changed(verdict="supported"), "unknown field"),
    "near miss": (changed(contrasts=None, contrast="[]"), "did you mean contrasts"),
    "no statement": (changed(statement=None), "statement"),
    "an empty statement": (changed(statement="''"), "statement"),
    "a steering statement": (changed(statement='"\\e[2Jsupported"'), "control character"),
    "a long statement": (changed(statement="x" * 2001), "statement"),
    "an id of the package": (changed(id="R1"), "is a claim of the package"),
    "a path as id": (changed(id="../x"), "id"),
    "a day of the week": (changed(written="Monday"), "expected a day"),
    "a day that is none": (changed(written="2026-02-30"), "written"),
    "a number of a day": (changed(written="20260101"), "expected a day"),
    "no contrast": (changed(contrasts="[]"), "expected a study with contrasts"),
    "itself": (changed(contrasts="[{first: recon, second: recon}]"), "with itself"),
    "scratch first": (changed(contrasts="[{first: scratch, second: recon}]"), "stands second"),
    "both": (changed(not_testable="it cannot"), "either not_testable"),
    "a direction": (changed(contrasts="[{first: recon, second: act, direction: better}]"), "direction"),
    "no margin": (changed(contrasts="[{first: recon, second: act, direction: not-above}]"), "needs a margin"),
    "a negative margin": (changed(contrasts="[{first: recon, second: act, margin: -1}]"), "margin"),
    "no number": (changed(contrasts="[{first: recon, second: act, margin: .nan}]"), "finite"),
    "no end": (changed(contrasts="[{first: recon, second: .inf}]"), "finite"),
    "no percentage": (changed(contrasts="[{first: recon, second: 912.6}]"), "in percent, from 0 to 100"),
    "no id": (changed(id=None), "claim.yaml.id is missing"),
    "true": (changed(contrasts="[{first: recon, second: true}]"), "second"),
    "equal with three": (changed(contrasts="[{first: recon, second: act, direction: equal, margin: 1}]"), "at least 5"),
    "one seed": (changed(study="{protocols: [linear], seeds: 1}"), "seeds"),
    "no protocol": (changed(study="{protocols: []}"), "protocols"),
    "a protocol twice": (changed(study="{protocols: [linear, linear]}"), "distinct"),
    "an unknown protocol": (changed(study="{protocols: [liner]}"), "did you mean linear"),
    "an unknown method": (changed(contrasts="[{first: recn, second: scratch}]"), "did you mean recon"),
    "an unknown preset": (changed(arms="{recon: {method: recon, preset: bse}}"), "did you mean base"),
    "an idle arm": (changed(arms="{x: {method: recon}}"), "stands in no contrast"),
    "an arm of nothing": (changed(arms="{scratch: {method: recon}}"), "needs no arm"),
    "a fraction": (changed(arms="{recon: {method: recon, pretrain_fraction: 1.5}}"), "above 0 and up to 1"),
    "an undotted option": (changed(arms="{recon: {method: recon, overrides: {lr: 1}}}"), "GROUP.FIELD"),
    "best at an end": (changed(contrasts=None, best="{arms: [recon, act, multitask], chosen: recon}"), "the two ends"),
    "best of two": (changed(contrasts=None, best="{arms: [recon, act], chosen: act}"), "best.arms"),
    "best is scratch": (changed(contrasts=None, best="{arms: [recon, scratch, act], chosen: scratch}"), "pretrained"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_wrong_claim_file_is_one_line(call: Compare, tmp_path: Path, name: str) -> None:
    """Whoever writes a first claim reads a traceback, or a verdict on something else."""
    text, message = FORGED[name]
    path = tmp_path / "claim.yaml"
    path.write_text(text, encoding="utf-8")
    code, output, error = call("claims", path)
    assert (code, output, len(error.splitlines())) == (2, "", 1), error
    assert message in error
    assert "Traceback" not in error


def test_the_good_claim_is_good(call: Compare, tmp_path: Path) -> None:
    """The tests above would pass whatever they changed."""
    path = tmp_path / "claim.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert call("claims", path)[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("R99",), "unknown claim 'R99'"),
        (("none.yaml",), "does not exist"),
        ((".",), "cannot be read"),
        (("R1", "--preset", "nno"), "did you mean nano"),
        (("--run",), "name the claims to run"),
        (("R1", "--run", "--dry-run"), "give one of"),
        (("R1", "--device", "gpu"), "gpu"),
        (("R1", "--results", "/nowhere"), "no results folder"),
        (("R1", "--plugin", "none.py"), "none.py"),
        (("R1", "--page", "/nowhere/x.md"), "there is no folder /nowhere"),
    ],
)
def test_a_wrong_command_is_one_line(call: Compare, words: tuple[str, ...], message: str) -> None:
    code, _, error = call("claims", *words)
    assert code != 0
    assert len(error.splitlines()) == 1
    assert message in error


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "claim.yaml"
    path.write_bytes(b"\xff\xfe\x00id")
    with pytest.raises(UsageError, match="cannot be read as YAML"):
        find_claims([str(path)])
    same = [tmp_path / name for name in ("a.yaml", "b.yaml")]
    for at, one in enumerate(same):
        one.write_text(changed(statement=f"number {at}"), encoding="utf-8")
    with pytest.raises(UsageError, match="two claims have the id mine"):
        find_claims([str(one) for one in same])
