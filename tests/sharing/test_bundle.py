"""Bundles: the same runs give the same file, and a forged one is named."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sharing_runs import (
    SKIPPED,
    a_run,
    entries_of,
    forge,
    resealed,
    some_runs,
    spec_of,
    store_runs,
    with_skipped,
    write_zip,
)

import bench
from bench.store import codec, jsontext
from tests.conftest import bench_here, no_file_larger_than


def test_the_same_runs_give_the_same_bytes(results: Path, bundle: Path, tmp_path: Path) -> None:
    """Two authors could not tell whether they have the same evidence."""
    again = bench.load(results).bundle(tmp_path / "again.zip")
    assert again.path.read_bytes() == bundle.read_bytes()
    assert (again.done, again.failed) == (6, 1)
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
    assert {"bundle.json", "environment.json", "requests.json", "report/index.html", "report/results.csv"} < names
    assert json.loads(entries_of(bundle)["requests.json"])[0]["command"].startswith("bench run -m recon")


def test_a_bundle_holds(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reviewers verify what they were sent, and read which numbers nobody can verify."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    found = bench.verify_bundle(bundle)
    assert found.holds, found.findings
    assert found.followed == 12
    assert found.unverified == {"validation scores": 6, "points of curves": 6}
    assert not found.unverified_runs


def change_value(at: int, value: float) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        rows = json.loads(content)
        rows[at]["value"] = value
        return jsontext.dump_bytes(rows)

    return change


def change_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        arrays = codec.decode_arrays(content)
        return codec.encode_arrays({**arrays, name: change(arrays[name])})

    return changed


def flatter(csv: bytes) -> bytes:
    """Raise the mean of the first cell by a point."""
    head, first, *rest = csv.decode().splitlines()
    at = head.split(",").index("mean")
    fields = first.split(",")
    fields[at] = repr(float(fields[at]) + 0.01)
    return "\n".join([head, ",".join(fields), *rest, ""]).encode()


FORGERIES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "accuracy": ("metrics.json", change_value(1, 0.97), "accuracy is stored as 0.970000, but"),
    "mean class accuracy": ("metrics.json", change_value(2, 0.97), "mean_class_accuracy is stored as 0.970000"),
    "nan": ("metrics.json", change_value(1, float("nan")), "accuracy is stored as nan"),
    "labels": ("predictions.npz", change_array("labels", lambda a: a * 0), "accuracy is stored as"),
    "predicted": ("predictions.npz", change_array("predicted", lambda a: (a + 1) % 4), "accuracy is stored as"),
    "logits": ("predictions.npz", change_array("logits", lambda a: -a), "share of predictions that the logits name"),
    "objects": ("predictions.npz", change_array("labels", lambda a: a[:-1]), "different lengths"),
    "not finite": ("predictions.npz", change_array("logits", lambda a: a * np.nan), "not finite"),
    "csv": ("report/results.csv", flatter, "mean is reported as"),
    "page": ("report/index.html", lambda page: page.replace(b"recon", b"mine!"), "not the report of these runs"),
    "json": ("report/report.json", lambda page: page.replace(b"0.", b"1."), "not the report of these runs"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_with_right_checksums_is_named(bundle: Path, tmp_path: Path, name: str) -> None:
    """Checksums prove nothing: who changes a number makes new ones."""
    file, change, message = FORGERIES[name]
    forged, folder = forge(bundle, tmp_path / "forged.zip", file, change)
    found = bench.verify_bundle(forged)
    told = [*map(str, found.findings)]
    assert any(line.startswith(folder) and message in line for line in told), told
    assert not found.holds


@pytest.mark.parametrize("name", ["objects", "not finite"])
def test_predictions_that_cannot_be_scored_are_no_proof(bundle: Path, tmp_path: Path, name: str) -> None:
    """Any score could stand beside them; and who names another version of the report has no pages compared."""
    file, change, message = FORGERIES[name]
    forged, folder = forge(bundle, tmp_path / "forged.zip", file, change)
    entries = entries_of(forged)
    entries["bundle.json"] = json.dumps({**json.loads(entries["bundle.json"]), "report_code": "0" * 64}).encode()
    found = bench.verify_bundle(write_zip(tmp_path / "other.zip", entries))
    assert any(one.where == folder and message in one.what for one in found.findings)
    assert any("only results.csv was compared" in note for note in found.notes)
    merged = bench.merge(forged, tmp_path / "mine")
    assert [one.where for one in merged.refused] == [folder]
    assert not (tmp_path / "mine" / folder).exists()


def test_a_number_that_does_not_follow_is_shown_with_both_values(bundle: Path, tmp_path: Path) -> None:
    forged, folder = forge(bundle, tmp_path / "forged.zip", "metrics.json", change_value(1, 0.97))
    done = bench_here("bundle", "verify", forged)
    assert done.returncode == 1
    assert f"does not hold {folder}: accuracy is stored as 0.970000, but the stored predictions give 0." in done.stdout
    told = json.loads(bench_here("bundle", "verify", forged, "--json").stdout)
    first = told["findings"][0]
    assert (first["where"], first["metric"], first["stored"]) == (folder, "accuracy", 0.97)
    assert 0 < first["recomputed"] < 0.97


def test_a_candidate_that_validation_did_not_choose_is_named(tmp_path: Path) -> None:
    """Reporting the candidate with the best test score is the oldest way to gain a point."""
    run = a_run("scratch", 0)
    val, *tests = run.metrics
    other = run.predictions["labels"].copy()
    rows = [
        val.model_copy(update={"variant": "default", "value": 0.5, "headline": True}),
        val.model_copy(update={"variant": "trunc", "value": 0.7, "headline": False}),
        *(row.model_copy(update={"variant": "default"}) for row in tests),
        tests[0].model_copy(update={"variant": "trunc", "value": 1.0, "headline": False}),
    ]
    chosen = replace(run, metrics=rows, predictions={**run.predictions, "predicted.trunc": other})
    found = bench.verify_bundle(bench.load(store_runs(tmp_path / "r", chosen)).bundle(tmp_path / "x.zip").path)
    (finding,) = found.findings
    words = "validation accuracy of the reported candidate of default is stored as 0.500000"
    assert words in str(finding)
    assert (finding.stored, finding.recomputed) == (0.5, 0.7)


DAMAGES: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "changed file": (
        lambda e: {n: c.replace(b"0.5", b"0.6") if n.endswith("metrics.json") else c for n, c in e.items()},
        "metrics.json does not match its checksum",
    ),
    "lost run": (lambda e: {n: c for n, c in e.items() if not n.startswith("failed/")}, "does not have it"),
    "lost file": (lambda e: {n: c for n, c in e.items() if not n.endswith("curves.json")}, "curves.json is missing"),
    "lost page": (lambda e: {n: c for n, c in e.items() if n != "report/results.md"}, "it is missing"),
    "renamed run": (
        lambda e: {n.replace("runs/", "runs/0", 1) if n.startswith("runs/") else n: c for n, c in e.items()},
        "it belongs to key",
    ),
    "requests": (lambda e: resealed({**e, "requests.json": b"{}"}), "not what a bundle says"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(bundle: Path, tmp_path: Path, name: str) -> None:
    change, message = DAMAGES[name]
    found = bench.verify_bundle(write_zip(tmp_path / "damaged.zip", change(entries_of(bundle))))
    assert any(message in str(one) for one in found.findings), found.findings


def test_pickles_are_not_opened(bundle: Path, tmp_path: Path) -> None:
    """Opening somebody's predictions must not run their code."""

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "trapped"),)  # type: ignore[return-value]

    stream = io.BytesIO()
    np.savez(stream, ids=np.array([Trap()], dtype=object))
    forged, folder = forge(bundle, tmp_path / "forged.zip", "predictions.npz", lambda _: stream.getvalue())
    found = bench.verify_bundle(forged)
    assert any(str(one).startswith(f"{folder}: predictions.npz") for one in found.findings)
    assert not (tmp_path / "trapped").exists()


def test_only_runs_that_were_asked_for_are_bundled(results: Path, tmp_path: Path) -> None:
    made = bench.load(results).bundle(tmp_path / "scratch.zip", method="scratch")
    assert (made.done, made.failed) == (3, 0)
    assert bench.verify_bundle(made.path).holds
    second = bench.load(results).where({"seed": "1"}).bundle(tmp_path / "second.zip")
    assert second.done == 2
    options = ["--where", "seed=1", "--where", "encoder.options.mask_ratio=0.6"]
    assert bench_here("bundle", "create", tmp_path / "same.zip", *options, "--results", results).returncode == 0
    assert (tmp_path / "same.zip").read_bytes() == second.path.read_bytes()
    assert bench.load(results).where({"seed": ["0", "1"]}).rescore(dry_run=True).unchanged == 4


def test_trials_of_searches_stay_at_home(tmp_path: Path) -> None:
    """Their test scores must not influence any choice."""
    trial = a_run("recon", 1)
    spec = {**trial.spec, "trial": True}
    results = store_runs(tmp_path / "results", a_run(), a_run(spec=spec))
    made = bench.load(results).bundle(tmp_path / "mine.zip")
    assert (made.done, made.trials) == (1, 1)


def _rows(*rows: object) -> bytes:
    return json.dumps([["m", "p", "d", "r"], *rows]).encode()


FORGED_SKIPS: dict[str, tuple[bytes, str]] = {
    "other reason": (_rows(), "report/index.html: it is not the report of these runs"),
    "no JSON": (b"[", "skipped.json: it is not what a bundle says"),
    "object": (b"{}", "skipped.json: it is not what a bundle says (no list of at most 5,000 combinations)"),
    "deep": (b"[" * 100_000, "skipped.json: it is not what a bundle says"),
    "three texts": (_rows(["m", "p", "d"]), "entry 2: expected four texts of at most 1,000 characters: method, proto"),
    "number": (_rows(["m", "p", "d", 1]), "entry 2: expected four texts"),
    "long": (_rows(["m", "p", "d", "r" * 1001]), "entry 2: expected four texts"),
    "many": (_rows(*([["m", "p", str(at), "r"] for at in range(5000)])), "no list of at most 5,000 combinations"),
}


@pytest.fixture(scope="module")
def skipping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose author's plan skipped combinations."""
    place = tmp_path_factory.mktemp("skipping")
    results = store_runs(with_skipped(some_runs(place / "results")), a_run("act", spec=spec_of("act", 0, "other-data")))
    return bench.load(results).bundle(place / "skipping.zip").path


def test_skipped_combinations_are_in_a_bundle(skipping: Path, tmp_path: Path) -> None:
    """A reader saw that a method has no number, and had to ask the author why."""
    found = bench.verify_bundle(skipping)
    assert found.holds, found.findings
    assert sorted(map(str, found.skipped)) == sorted(map(str, SKIPPED))
    report = json.loads(entries_of(skipping)["report/report.json"])
    assert "its teacher's weights are not here" in json.dumps(report)
    told = bench_here("bundle", "verify", skipping).stdout
    assert "skipped, as its author says: partseg on shapes-scan (recon): the data set has no part labels" in told
    assert json.loads(bench_here("bundle", "verify", skipping, "--json").stdout)["skipped"][0]["method"] == "act"
    results = skipping.parent / "results"
    made = bench.load(results).bundle(tmp_path / "act.zip", method="recon", protocol="linear")
    assert [one.reason for one in bench.verify_bundle(made.path).skipped] == ["few: another setting"]
    assert made.skipped == 1


@pytest.mark.parametrize("name", FORGED_SKIPS)
def test_a_forged_list_of_skipped_is_one_line(skipping: Path, tmp_path: Path, name: str) -> None:
    """The list is a stranger's: its checksums are right, its sizes and types need not be."""
    content, message = FORGED_SKIPS[name]
    forged, _ = forge(skipping, tmp_path / "forged.zip", "skipped.json", lambda _: content)
    told = [str(one) for one in bench.verify_bundle(forged).findings]
    assert any(message in line for line in told), told
    assert all("\n" not in line and len(line) < 300 for line in told)
    merged = bench.merge(forged, tmp_path / "mine")
    if name != "other reason":
        assert (merged.skipped, [one.where for one in merged.refused]) == (0, ["skipped.json"])
        assert not (tmp_path / "mine" / "skipped.json").exists()


def test_bundles_of_the_first_format_can_be_verified(bundle: Path, skipping: Path, tmp_path: Path) -> None:
    """Published bundles are cited by their digest and cannot be made anew."""
    entries = entries_of(bundle)
    del entries["skipped.json"]
    head = json.loads(entries["bundle.json"])
    del head["files"]["skipped.json"]
    older = write_zip(tmp_path / "old.zip", {**entries, "bundle.json": jsontext.dump_bytes({**head, "format": 1})})
    assert bench.verify_bundle(older).holds
    missing = write_zip(tmp_path / "missing.zip", {**entries, "bundle.json": jsontext.dump_bytes(head)})
    assert [str(one) for one in bench.verify_bundle(missing).findings] == ["skipped.json: it is missing"]
    entries = entries_of(skipping)
    entries["bundle.json"] = entries["bundle.json"].replace(b'"format": 2', b'"format": 1')
    strange = bench.verify_bundle(write_zip(tmp_path / "strange.zip", entries))
    assert "skipped.json: no bundle of format 1 has it" in map(str, strange.findings)


def test_wrong_use_is_one_line(results: Path, bundle: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.zip"
    there.write_bytes(b"mine")
    cases = {
        ("create", there): "exists already; add --force",
        ("create", tmp_path): "is a folder",
        ("create", tmp_path / "x.zip", "--method", "recn"): "did you mean recon",
        (
            "create",
            tmp_path / "x.zip",
            "--method",
            "recon",
            "--dataset",
            "modelnet",
        ): "unknown data set of a stored run",
        ("create", there / "x.zip"): "cannot write",
        ("verify", tmp_path / "none.zip"): "no bundle at",
        ("verify", there): "no zip file",
        ("verify", tmp_path): "no regular file",
        ("verify",): "missing argument",
    }
    for words, message in cases.items():
        more = ["--results", results] if words[0] == "create" else []
        done = bench_here("bundle", *words, *more)
        assert done.returncode in (2, 4), words
        assert message in done.stderr, (words, done.stderr)
        assert len(done.stderr.splitlines()) == 1
    assert there.read_bytes() == b"mine"
    assert bench_here("bundle", "create", there, "--force", "--results", results).returncode == 0
    assert there.read_bytes() == bundle.read_bytes()


def test_a_full_disk_leaves_nothing(results: Path, tmp_path: Path) -> None:
    with no_file_larger_than(5_000), pytest.raises(bench.SetupError, match="cannot write"):
        bench.load(results).bundle(tmp_path / "mine.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_verifier_needs_no_network_library(bundle: Path) -> None:
    """A reviewer's laptop has no torch loaded for reading numbers."""
    code = (
        "import sys, bench\n"
        f"assert bench.verify_bundle({str(bundle)!r}).holds\n"
        "print([name for name in ('torch', 'timm', 'open_clip', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
