"""Frozen encoders from plugin to table. If these fail, any network and any file of features is judged wrongly."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bench
from bench.chosen import chosen_protocol
from bench.conformance.suites import encoder_suite, file_suites
from bench.errors import BenchError, DataError, UsageError
from bench.execution.evaluate import EncoderSource
from bench.models.encoder import Encoder
from bench.protocols.base import Candidate, HeldOut, Subject, Task
from bench.protocols.features import prepared_clouds
from bench.registry import ENCODERS, METHODS, PROTOCOLS, REGISTRIES
from bench.rerun import _brought as brought_again
from bench.spec import RunSpec, content_key
from tests.conftest import ROOT, bench_here
from tests.protocols.conftest import NUMERICS, cloud_set
from tests.test_docs import block

BROKEN = Path(__file__).with_name("broken_encoders.py")
NO_PROCESS = {"import": "tests/conformance tries all examples in one process"}
RUN = ("linear", "fewshot")
HEADS = {"linear": {}, "mlp": {}, "svm": {}, "knn": {}, "fewshot": {"head": "linear"}}


@pytest.fixture(autouse=True)
def _forget_plugins() -> Iterator[None]:
    before = {kind: dict(registry._entries) for kind, registry in REGISTRIES.items()}
    yield
    for kind, registry in REGISTRIES.items():
        registry._entries = before[kind]


def test_the_kit_finds_each_mistake_under_its_own_check() -> None:
    """An author would publish numbers of a network that learnt, dropped or drew."""
    suites = {suite.kit.kind: suite for suite in file_suites(BROKEN, device="cpu")}
    mutants = {kind.name: told for kind, told in sys.modules[next(iter(suites)).__module__].MUTANTS.items()}
    for kind, suite in suites.items():
        suite.left_out = NO_PROCESS
        failed = {outcome.check: outcome.remark for outcome in suite.run() if outcome.status == "fail"}
        if kind.name == "sound":
            assert failed == {}
            continue
        check, words = mutants[kind.name]
        assert list(failed) == [check], (kind.name, failed)
        assert words in failed[check]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Results of one request: a sound encoder, two broken ones, and the file of features that the page writes."""
    folder = tmp_path_factory.mktemp("brought")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_RESULTS", str(folder / "results"))
        patch.chdir(folder)
        exec(compile(block("add-an-encoder.md", 2).replace('preset="nano"', 'preset="smoke"'), "page", "exec"), {})
    done = bench_here(
        "run", "--plugin", BROKEN, "--preset", "smoke", "--results", folder / "results", "--set", "fewshot.head=linear",
        *(word for name in ("sound", "moves-buffer", f"features:{folder / 'd2.npz'}") for word in ("--encoder", name)),
        *(word for name in RUN for word in ("-p", name)), "-p", "finetune", "-p", "zeroshot",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    return folder / "results", " ".join(done.stdout.split())


def records(results: Path) -> dict[tuple[str, str], tuple[dict[str, object], dict[str, object]]]:
    """Return spec and provenance of every run by method (or architecture of scratch) and protocol."""
    found = {}
    for folder in results.glob("runs/*/*"):
        spec, told = (json.loads((folder / f"{name}.json").read_text()) for name in ("spec", "provenance"))
        encoder = spec["encoder"]
        name = encoder["options"].get("architecture", encoder["method"])
        found[f"{'scratch ' * (encoder['method'] == 'scratch')}{name}", spec["protocol"]["name"]] = spec, told
    return found


def test_a_network_and_a_file_are_judged_beside_scratch(ran: tuple[Path, str]) -> None:
    """Scratch stands beside the network, and the file says why it has none; what would train an encoder is skipped."""
    results, said = ran
    found = records(results)
    done = {name: {protocol for one, protocol in found if one == name} for name, _ in found}
    assert done["sound"] == done["scratch sound"] == done["features"] == set(RUN)
    assert "no scratch beside features:d2.npz: a file of features holds no network" in said
    assert "sound is judged by its frozen features of whole clouds, and finetune goes beyond these" in said
    assert "none of its features lies in the space of a teacher" in said
    assert "moves-buffer" not in done
    assert "tensor 'network.norm.running_mean' (and 2 more) changed while features were computed" in said


def test_the_record_proves_that_it_was_frozen(ran: tuple[Path, str]) -> None:
    """A reviewer asks for the digests."""
    found = records(ran[0])
    spec, told = found["sound", "linear"]
    assert told["frozen"]["trained"]["before"] == told["frozen"]["trained"]["after"]  # type: ignore[index]
    assert told["encoder"]["identity"] == spec["encoder"]["imported"]  # type: ignore[index]
    _, file = found["features", "fewshot"]
    assert file["encoder"]["file"].endswith("d2.npz")  # type: ignore[index]
    assert found["scratch sound", "linear"][1]["frozen"].keys() >= {"default", "trunc"}  # type: ignore[attr-defined]


def test_report_compare_and_rerun_take_them(ran: tuple[Path, str]) -> None:
    """A row that no command can use would be no result."""
    results = bench.load(ran[0])
    names = set(results.cells()["method"])
    assert {"sound", "features (d2)"} <= names
    compared = results.compare("features (d2)", "sound", protocol="linear")
    assert "features (d2)" in str(compared)
    key = next(folder.name for folder in ran[0].glob("runs/*") if _is(folder, "features", "linear"))
    record = results.record(key)
    again = brought_again(RunSpec.model_validate(record.spec), record)
    assert again.file is not None
    assert again.kind.identity(again.chosen.options, again.file, ran[0] / "cache") == again.identity
    gone = again.file.rename(again.file.with_suffix(".moved"))
    with pytest.raises(UsageError, match=r"d2.npz of encoder 'features', which is gone; put it back"):
        brought_again(RunSpec.model_validate(record.spec), record)
    gone.rename(again.file)


def _is(folder: Path, method: str, protocol: str) -> bool:
    spec = json.loads(next(folder.glob("*/spec.json")).read_text())
    return (spec["encoder"]["method"], spec["protocol"]["name"]) == (method, protocol)


def plan(*encoders: str, results: Path, **more: object) -> bench.StudyPlan:
    return bench.study(
        encoders=encoders,
        protocols=["linear"],
        preset="smoke",
        results=results,
        **more,  # type: ignore[arg-type]
    ).plan()


def test_another_file_is_another_run_and_an_edited_copy_is_not(tmp_path: Path) -> None:
    """Weights count, the name of their file does not."""
    bench.load_plugins(BROKEN)
    kind = ENCODERS.load("sound")
    keys = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(seed)
        torch.save(kind.fresh(kind.parse({})).state_dict(), tmp_path / f"{name}.pt")
        found = plan(f"sound:{tmp_path / name}.pt", results=tmp_path / "r", baseline=False)
        keys.append(content_key(found.plan.runs[0].spec))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("features", "encoder 'features' needs its file: --encoder features:FILE"),
        ("features:no.npz", "no such file, expected that of encoder features"),
        ("features:.", "is no file, expected that of encoder features"),
        ("featurs:x.npz", "did you mean features"),
        ("my_encoder.py:MyEncoder", "register the file with --plugin my_encoder.py"),
        ("nothing-here", "no encoder 'nothing-here'"),
    ],
)
def test_a_wrong_name_is_one_line(tmp_path: Path, encoder: str, words: str) -> None:
    """The user has to learn which form is meant."""
    with pytest.raises(BenchError, match=words.replace("(", r"\(")) as error:
        plan(encoder, results=tmp_path)
    assert "\n" not in str(error.value)


def test_methods_and_encoders_share_their_names(tmp_path: Path) -> None:
    """``-m sound`` would pretrain what cannot be pretrained, and a second ``recon`` would change every table."""
    bench.load_plugins(BROKEN)
    with pytest.raises(UsageError, match="'sound' is an encoder, no method: give it as --encoder sound"):
        bench.study(methods=["sound"], protocols=["linear"], results=tmp_path).plan()
    assert "sound" not in METHODS.names()
    assert METHODS.load("sound") is ENCODERS.load("sound")
    (tmp_path / "clash.py").write_text(BROKEN.read_text().replace('name = "sound"', 'name = "recon"'))
    with pytest.raises(UsageError, match="registers encoder 'recon', which built in already provides as a method"):
        bench.load_plugins(tmp_path / "clash.py")


def test_weights_that_change_after_planning_are_refused(tmp_path: Path) -> None:
    """The run would be filed under weights that it never had."""
    bench.load_plugins(BROKEN)
    kind = ENCODERS.load("sound")
    file = tmp_path / "w.pt"
    torch.save(kind.fresh(kind.parse({})).state_dict(), file)
    spec = plan(f"sound:{file}", results=tmp_path / "r", baseline=False).plan.runs[0].spec.encoder
    source = EncoderSource(spec, kind, kind, None, "f", file=file)
    source.verify(tmp_path)
    torch.save(kind.fresh(kind.parse({})).state_dict(), file)
    with pytest.raises(DataError, match="is not the one this run was planned with"):
        source.verify(tmp_path)


def test_the_encoder_that_is_written_passes_every_check(tmp_path: Path) -> None:
    """An author would begin by mending our file."""
    file, _ = bench.new_plugin("encoder", "own-encoder", out=tmp_path / "own.py")
    (suite,) = file_suites(file, device="cpu")
    suite.left_out = NO_PROCESS
    assert {o.check: o.remark for o in suite.run() if o.status in ("fail", "skip")} == {"import": NO_PROCESS["import"]}


def test_the_page_lists_every_check() -> None:
    """An author looks up what a failed check means."""
    (suite, *_) = file_suites(BROKEN, device="cpu")
    page = (ROOT / "docs" / "add-an-encoder.md").read_text(encoding="utf-8")
    for check in suite.checks:
        assert f"| `{check.name}` | {check.what} |" in page


def test_the_encoder_of_torch_geometric_conforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's first example would fail in the reader's hands."""
    pytest.importorskip("torch_geometric", reason="extra geometric is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pyg_encoder.py").write_text(block("add-an-encoder.md", 0), encoding="utf-8")
    exec(compile(block("add-an-encoder.md", 1), "page", "exec"), {})
    bench.load_plugins(tmp_path / "pyg_encoder.py")
    suite = encoder_suite(ENCODERS.load("pyg-pointnet2"), file=tmp_path / "weights.pt", left_out=NO_PROCESS)
    assert {o.check: o.remark for o in suite.run() if o.status == "fail"} == {}
    planned = plan(f"pyg-pointnet2:{tmp_path / 'weights.pt'}", results=tmp_path / "r")
    assert [run.label["method"] for run in planned.plan.runs] == ["pyg-pointnet2 (weights)", "scratch"]


@pytest.mark.parametrize("name", HEADS)
def test_every_frozen_protocol_judges_stored_features(tmp_path: Path, name: str) -> None:
    """Whoever has features and no network would get part of the report's columns."""
    train, test = cloud_set(8, 1, classes=5), cloud_set(6, 2, classes=5)
    sides = {"train": train.points.std(1), "test": test.points.std(1)}
    task = Task(train, HeldOut(test), "m", 0, 0, "cpu", NUMERICS, tmp_path, tmp_path, points=8)
    judged = Subject("features", "features", {"": Candidate("", _no_network, "k", stored=lambda feature: sides)})
    chosen = chosen_protocol(name, {**PROTOCOLS.load(name).defaults("smoke").model_dump(mode="json"), **HEADS[name]})
    setting = chosen.protocol.settings(chosen.options)[0]
    evaluation = chosen.protocol.evaluate(judged, task, setting, chosen.options)
    scores = [m.value for m in evaluation.metrics if m.headline and m.split == "test" and m.name == "accuracy"]
    assert scores
    assert max(scores) > (0 if name == "mlp" else 0.3)  # smoke trains the head for an epoch


def _no_network() -> Encoder:
    raise AssertionError("a file of features has no network to build")


def test_a_claim_plans_the_runs_of_an_encoder(tmp_path: Path) -> None:
    """``bench claims --run`` would make nothing, or a method of that name."""
    bench.load_plugins(BROKEN)
    file = tmp_path / "mine.yaml"
    file.write_text(
        "{id: mine, paper: p, statement: It holds., source: s, written: 2026-01-01,"
        " study: {protocols: [knn], datasets: [shapes-scan-novel], seeds: 2}, arms: {mine: {encoder: sound}},"
        " contrasts: [{first: mine, second: scratch}, {first: recon, second: scratch}]}"
    )
    claims = bench.claims(str(file), results=tmp_path / "results", new=True)
    (study,) = claims.studies(claims.claims[0])
    assert (study.request.methods, study.request.encoders) == (("recon",), ("sound",))


def test_normals_are_those_of_the_points_that_are_kept(tmp_path: Path) -> None:
    """Farthest points with the normals of other points would be noise that no check sees."""
    clouds = cloud_set(4, 1)
    clouds = replace(clouds, normals=(2 * clouds.points).astype(np.float32))
    task = Task(clouds, HeldOut(clouds), "m", 0, 0, "cpu", NUMERICS, tmp_path, tmp_path, points=8)
    both = prepared_clouds(task, "train", normalise=False, inputs=("points", "normals"))
    np.testing.assert_array_equal(both[..., 3:], 2 * both[..., :3])
    np.testing.assert_array_equal(both[..., :3], prepared_clouds(task, "train", normalise=False))
    bare = replace(task, train=cloud_set(4, 1))
    with pytest.raises(DataError, match="the encoder asks for normals and the train objects have none"):
        prepared_clouds(bare, "train", normalise=False, inputs=("points", "normals"))
