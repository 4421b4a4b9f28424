"""``bench import``, ``bench export``, ``bench encoders`` and ``bench run --encoder``, as a user types them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.interop.names_transformer import PRETRAIN
from bench.interop.naming import release_state
from bench.methods.base import Given
from bench.methods.recon import ReCon
from bench.plan.presets import preset
from bench.plan.request import RunRequest, read_request, write_request
from bench.spec import BackboneSpec
from tests.conftest import bench_command, bench_environment, bench_here

Call = Callable[..., tuple[int, str, str]]
SIZES = ("--set", "backbone.heads=2", "--set", "backbone.points=128", "--set", "backbone.groups=16")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining file as ReCon's authors write them, at smoke size."""
    torch.manual_seed(0)
    return write_recon(tmp_path_factory.mktemp("official") / "recon.pth", preset("smoke").backbone)


def write_recon(path: Path, backbone: BackboneSpec) -> Path:
    model = ReCon.build(backbone, ReCon.Options(reference=True), Given(image=8, text=8))
    state = {f"module.{name}": value for name, value in release_state(model.state_dict(), PRETRAIN).items()}
    torch.save({"base_model": state, "epoch": 300, "metrics": {"acc": torch.tensor(91.0)}}, path)
    return path


def encoder_folder(results: Path) -> Path:
    (folder,) = results.glob("artifacts/encoder/*/*")
    return folder


def test_an_import_says_what_became_of_every_tensor(call: Call, official: Path, tmp_path: Path) -> None:
    """Without the account nobody knows whether the network is whole."""
    code, output, error = call("import", official, "--method", "recon", *SIZES)
    assert (code, error) == (0, "")
    for words in (
        "recon, pretraining",
        "76 tensors, 39.1 k numbers: the encoder",
        "decoder, for pretraining only",
        "img_proj, text_proj (projection head",
        "width 24, depth 2, tokenizer_width 16, group_size 8",
        "heads 2, points 128, groups 16",
        "drop_path 0.1 (published",
        "reference true",
        "55: airplane",
        "epoch 300, metrics acc 91",
        "bench run --encoder recon --protocol linear",
    ):
        assert words in output, words
    facts = json.loads((encoder_folder(tmp_path / "results") / "provenance.json").read_text())
    assert facts["name"] == "recon"
    assert facts["source"]["file"] == "recon.pth"
    assert re.fullmatch(r"[0-9a-f]{64}", facts["source"]["sha256"])
    assert {"torch", "python", "bench"} <= facts["versions"].keys()
    assert str(tmp_path) not in json.dumps(facts["source"])


def test_names_and_repeats(call: Call, official: Path, tmp_path: Path) -> None:
    """One file, one encoder; a name never comes to mean other weights."""
    assert call("import", official, *SIZES)[0] == 0
    code, output, _ = call("import", official, *SIZES)
    assert code == 0
    assert "is imported already as recon" in output
    assert len(list((tmp_path / "results").glob("artifacts/encoder/*"))) == 1
    code, _, error = call("import", official, *SIZES, "--name", "other")
    assert code == 2
    assert "imported already, as 'recon'" in error
    code, _, error = call("import", official, *SIZES, "--set", "recon.reference=false")
    assert code == 2
    assert "the name 'recon' belongs to another encoder" in error
    assert call("import", official, *SIZES, "--set", "recon.reference=false", "--name", "sane")[0] == 0
    code, output, _ = call("encoders")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()[2:]] == ["recon", "sane"]


@pytest.mark.parametrize(
    ("asked", "shown", "stored"),
    [
        (None, "55: airplane", 55),
        ("none", "none (given: none", 0),
        ("unknown", "unknown (given", None),
        ("FILE", "2: chair, lamp (given: names.txt", 2),
    ],
)
def test_which_class_names_were_seen_can_be_said(
    call: Call, official: Path, tmp_path: Path, asked: str | None, shown: str, stored: int | None
) -> None:
    """The tables would claim that pretraining saw, or did not see, what it is judged on."""
    (tmp_path / "names.txt").write_text("chair\n\nlamp\nchair\n")
    given = str(tmp_path / "names.txt") if asked == "FILE" else asked
    code, output, _ = call("import", official, *SIZES, *(("--saw-class-names", given) if given else ()))
    assert code == 0
    assert shown in output
    texts = json.loads((encoder_folder(tmp_path / "results") / "texts.json").read_text())
    assert (None if texts is None else len(texts)) == stored


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("import", "/no/such.pth"), "/no/such.pth: no such file"),
        (("import", "FILE", "--method", "act", *SIZES), "is a file of recon (pretraining), not of act"),
        (("import", "FILE"), "give it: --set backbone.heads=N"),
        (("import", "FILE", *SIZES, "--name", "../x"), "'../x' cannot name an encoder"),
        (
            ("import", "FILE", *SIZES, "--set", "point-mae.mask_ratio=0.5"),
            "--set point-mae.mask_ratio: nothing in this",
        ),
        (("import", "FILE", *SIZES, "--set", "recipe.lr=1"), "unknown --set group 'recipe'"),
        (("import", "FILE", *SIZES, "--saw-class-names", "/no/names"), "expected none, unknown, or a text file"),
        (("export", "nothing", "out.pth"), "no results folder at "),
        (("run", "--encoder", "nothing", "--dry-run"), "no encoder 'nothing': none is stored yet"),
    ],
)
def test_a_wrong_command_is_one_line_and_leaves_nothing(
    call: Call, official: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, error = call(*(str(official) if part == "FILE" else part for part in arguments))
    assert code == 2
    assert words in error
    assert len(error.strip().splitlines()) == 1
    assert not list((tmp_path / "results").glob("artifacts/encoder/*/*"))


def test_export_and_import_again(call: Call, official: Path, tmp_path: Path) -> None:
    """Weights that leave must come back as they were, and no file of the user is overwritten by accident."""
    assert call("import", official, *SIZES)[0] == 0
    before = load_file(encoder_folder(tmp_path / "results") / "encoder.safetensors")
    out = tmp_path / "out" / "mine.pth"
    assert call("export", "recon", out)[0] == 0
    code, _, error = call("export", "recon", out)
    assert code == 2
    assert "exists already; add --force" in error
    assert call("export", "recon", out, "--force", "--layout", "finetune")[0] == 0
    assert [path.name for path in out.parent.iterdir()] == ["mine.pth"]
    assert call("import", out, "--results", tmp_path / "theirs")[0] == 0
    after = load_file(encoder_folder(tmp_path / "theirs") / "encoder.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    code, _, error = call("export", "reco", out)
    assert code == 2
    assert "unknown encoder 'reco': did you mean recon" in error


def test_an_encoder_is_planned_beside_its_scratch(call: Call, official: Path, toy_modelnet: Path) -> None:
    """Imported weights are one pretraining: more seeds must not turn them into an interval."""
    assert call("import", official, *SIZES)[0] == 0
    request = (
        "run",
        "--encoder",
        "recon",
        "--protocol",
        "linear",
        "--dataset",
        f"modelnet-h5:{toy_modelnet}",
        "--dry-run",
    )
    code, output, _ = call(*request, "--preset", "smoke", "--seeds", "3", "-v")
    assert code == 0
    assert "evaluate recon (recon): linear" in output
    assert [f"evaluate scratch (recon) seed {seed}" in output for seed in range(3)] == [True] * 3
    assert "is one pretraining, so it is judged with one seed, 0" in output
    assert "pretrain " not in output
    assert "4 runs: 0 stored already, 4 to do" in output
    code, output, _ = call(*request, "--preset", "nano", "--no-baseline")
    assert code == 0
    assert "1 run: 0 stored already, 1 to do" in output
    code, _, error = call(*request, "--set", "backbone.width=48")
    assert code == 2
    assert "--set backbone.width: nothing in this request has that field" in error


@pytest.mark.parametrize("methods", [None, ("recon",), ("point-mae", "recon")])
def test_a_request_for_encoders_survives_its_yaml(tmp_path: Path, methods: tuple[str, ...] | None) -> None:
    """A saved request would pretrain something that was not asked for, or leave out what was."""
    given = {"encoders": ("theirs",)} | ({} if methods is None else {"methods": methods})
    request = RunRequest.model_validate(given)
    assert request.methods == (methods or ())
    write_request(request, tmp_path / "request.yaml")
    assert RunRequest.model_validate(read_request(tmp_path / "request.yaml")) == request


def test_an_imported_encoder_is_judged_and_found_again(
    call: Call, official: Path, tmp_path: Path, toy_modelnet: Path
) -> None:
    """The purpose of it all: one command from the authors' file to a number, and nothing computed twice."""
    results = tmp_path / "results"
    assert call("import", official, *SIZES, "--name", "theirs")[0] == 0
    request = (
        "run", "--encoder", "theirs", "--protocol", "linear", "--preset", "smoke", "--no-baseline",
        "--dataset", f"modelnet-h5:{toy_modelnet}", "--results", results,
    )  # fmt: skip
    done = bench_here(*request)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recon (theirs)" in done.stdout
    assert "elsewhere (imported)" in done.stdout
    (record,) = results.glob("runs/*/*/provenance.json")
    imported = json.loads(record.read_text())["imported"]
    assert (imported["name"], imported["source"]["file"]) == ("theirs", "recon.pth")
    code, output, _ = call(*request)
    assert code == 0
    assert "1 run: 1 stored already, 0 to do" in output
    shutil.rmtree(encoder_folder(results))
    code, _, error = call(*request)
    assert code == 2
    assert "no encoder 'theirs'" in error


def test_a_killed_import_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A half-written encoder would be evaluated as if it were whole."""
    torch.manual_seed(0)
    official = write_recon(tmp_path / "recon.pth", BackboneSpec(width=192, heads=3, depth=6))
    results = tmp_path / "results"
    parent = results / "artifacts" / "encoder"
    command = bench_command("import", official, "--results", results)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=bench_environment()) as process:
        deadline = time.monotonic() + 120
        while not (parent.is_dir() and any(parent.iterdir())):  # the moment it starts to write
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    visible = [path for path in parent.glob("*/*") if not path.parent.name.startswith(".")]
    assert all((path / "MANIFEST.json").is_file() for path in visible)
    done = bench_here("import", official, "--results", results)
    assert done.returncode == 0, done.stderr
    assert "imported a" in done.stdout
    assert (encoder_folder_named(parent) / "encoder.safetensors").is_file()


def encoder_folder_named(parent: Path) -> Path:
    (folder,) = (path for path in parent.glob("*/*") if not path.parent.name.startswith("."))
    return folder
