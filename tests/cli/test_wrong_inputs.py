"""What users get wrong must come back as one clear line, and nothing stored may suffer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.spec import content_key
from bench.store import Store
from tests.conftest import bench_here, write_modelnet

Call = Callable[..., tuple[int, str, str]]


def one_line(error: str) -> str:
    lines = [line for line in error.splitlines() if line.strip()]
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "reconn"], "unknown method 'reconn': did you mean recon"),
        (["--protocol", "few-shot"], "unknown protocol 'few-shot': did you mean fewshot"),
        (["--dataset", "shapes-scans"], "shapes-scan"),
        (["--dataset", "modelnet-h5"], "needs its folder: write modelnet-h5:DIR"),
        (["--dataset", "modelnet-h5:/no/such/folder"], "/no/such/folder"),
        (["--dataset", "shapes-scan:/tmp"], "takes no folder"),
        (["--preset", "nanoo"], "unknown preset 'nanoo': did you mean nano"),
        (["--seeds", "none"], "expected a count such as 5"),
        (["--setting", "7w3s"], "unknown setting of fewshot '7w3s'"),
        (
            ["--protocol", "fewshot", "--protocol", "linear", "--setting", "5w10x"],
            "unknown setting of fewshot or linear",
        ),
        (["--form", "publish"], "publish"),
        (["--set", "scratch.typo=1"], "--set scratch.typo: nothing in this request has that field"),
        (["--set", "numerics.compile=never"], "numerics.compile is 'never'"),
        (["--teacher", "clip"], "unknown teacher 'clip': did you mean tiny-clip"),
        (["--captions", "some"], "request.captions = 'some'"),
        (["--set", "recipe.lr"], "not of the form GROUP.FIELD=VALUE"),
        (["--set", "recipe.lrr=1"], "unknown field of recipe 'lrr': did you mean lr"),
        (["--set", "recipe.lr=fast"], "recipe.lr = 'fast': input should be a valid number"),
        (["--set", "recpe.lr=1"], "unknown --set group 'recpe': did you mean recipe"),
        (["--set", "method.no_such=1"], "--set method.no_such: nothing in this request has that field"),
        (["--set", "method.mask_ratio=2"], "recon.mask_ratio = 2"),
        (["--set", "backbone.groups=9999"], "must not exceed backbone.points"),
        (["--set", "backbone.heads=3"], "not a multiple of backbone.heads"),
        (["--set", "numerics.precision=fp8"], "fp8"),
        (["--config", "/no/such.yaml"], "'/no/such.yaml' does not exist"),
        (["--plugin", "/no/such.py"], "'/no/such.py' does not exist"),
        (["--reuse", "always"], "is not one of 'exact', 'same-spec'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_one_line_and_exit_code_2(call: Call, arguments: list[str], message: str) -> None:
    code, _, error = call("run", "--dry-run", *arguments)
    assert message in one_line(error)
    assert code == 2


def damaged(root: Path, damage: str) -> Path:
    """A ModelNet-style folder with one thing wrong."""
    write_modelnet(root, train=8, test=4)
    with h5py.File(root / "ply_data_train0.h5", "r+") as file:
        if damage == "no label":
            del file["label"]
        elif damage == "label out of range":
            file["label"][3] = 17
        elif damage == "nan":
            file["data"][5, 7, 1] = np.nan
        elif damage == "no data":
            del file["data"]
    if damage == "empty":
        with h5py.File(root / "ply_data_test0.h5", "w") as file:
            file["data"] = np.zeros((0, 160, 3), np.float32)
            file["label"] = np.zeros((0, 1), np.uint8)
    if damage == "truncated":
        path = root / "ply_data_train0.h5"
        path.write_bytes(path.read_bytes()[:5000])
    return root


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no label", ("ply_data_train0.h5", "label")),
        ("no data", ("ply_data_train0.h5", "data")),
        ("label out of range", ("ply_data_train0.h5", "17")),
        ("nan", ("ply_data_train0.h5", "5")),
        ("empty", ("ply_data_test0.h5",)),
        ("truncated", ("ply_data_train0.h5",)),
    ],
)
def test_a_damaged_file_is_named(call: Call, tmp_path: Path, damage: str, words: tuple[str, ...]) -> None:
    root = damaged(tmp_path / "broken", damage)
    code, _, error = call("data", "add", "mine", "--format", "modelnet-h5", "--root", root)
    line = one_line(error)
    for word in words:
        assert word in line
    assert code == 2


def test_damaged_evaluation_data_stop_a_run_before_it_starts(call: Call, tmp_path: Path, toy_modelnet: Path) -> None:
    """Else hours of pretraining would end in a message about one bad point."""
    root = damaged(tmp_path / "broken", "nan")
    code, output, error = call(
        "run", "--method", "point-mae", "--preset", "smoke", "--dataset", f"modelnet-h5:{root}",
        "--pretrain-data", f"modelnet-h5:{toy_modelnet}",
    )  # fmt: skip
    assert code == 2
    assert "ply_data_train0.h5" in one_line(error)
    assert "pretrain" not in output


def test_fewer_points_than_groups_is_said_before_training(tmp_path: Path) -> None:
    root = write_modelnet(tmp_path / "small", train=8, test=6, points=12)
    done = bench_here(
        "run", "--method", "point-mae", "--protocol", "linear", "--preset", "smoke", "--no-baseline",
        "--dataset", f"modelnet-h5:{root}", "--pretrain-data", f"modelnet-h5:{root}", "--results", tmp_path / "results",
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "12" in done.stdout
    assert "points" in done.stdout


def test_a_plan_is_printed_and_nothing_is_run(call: Call, tmp_path: Path, toy_modelnet: Path) -> None:
    data = f"modelnet-h5:{toy_modelnet}"
    code, output, error = call(
        "run", "--dry-run", "--method", "point-mae", "--dataset", data, "--pretrain-data", data, "--preset", "smoke"
    )
    assert (code, error) == (0, "")
    assert "pretrain point-mae " in output
    assert "estimated time" in output
    assert not list((tmp_path / "results").glob("runs/*"))


def test_a_request_survives_its_yaml(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "request.yaml"
    code, output, _ = call("run", "--method", "recon", "--seeds", "3", "--set", "recipe.lr=1e-3", "--save-config", path)
    assert code == 0
    assert str(path) in output.replace("\n", "")
    assert "recipe.lr" in path.read_text()


def test_a_name_serves_as_data_set(call: Call, toy_modelnet: Path) -> None:
    assert call("data", "add", "toys", "--format", "modelnet-h5", "--root", toy_modelnet)[0] == 0
    code, output, _ = call("data", "list")
    assert code == 0
    assert "toys" in output
    code, output, _ = call("run", "--dry-run", "--dataset", "toys", "--pretrain-data", "toys", "--method", "point-mae")
    assert code == 0
    assert "on toys" in output
    assert call("data", "remove", "toys")[0] == 0
    assert call("run", "--dry-run", "--dataset", "toys")[0] == 2


def test_keys_do_not_depend_on_where_the_data_lie(call: Call, tmp_path: Path, toy_modelnet: Path) -> None:
    """Else a colleague with the same files elsewhere could not share results."""
    from bench.paths import Workspace
    from bench.plan.request import RunRequest
    from bench.plan.resolve import resolve

    elsewhere = tmp_path / "räum lich"
    elsewhere.symlink_to(toy_modelnet)
    keys = []
    for root in (toy_modelnet, elsewhere):
        request = RunRequest(
            methods=("point-mae",),
            datasets=(f"modelnet-h5:{root}",),
            pretrain_data=f"modelnet-h5:{root}",
            preset="smoke",
        )
        workspace = Workspace(tmp_path / "results", tmp_path / "cache")
        keys.append([content_key(run) for run in resolve(request, workspace).runs])
    assert keys[0] == keys[1]


def test_help_lists_and_complaints_come_at_once() -> None:
    """Heavy imports at start-up would make every command feel slow; measured as modules, not as seconds."""
    code = (
        "import sys; sys.argv = ['bench', {}]\n"
        "from bench.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {{'torch', 'numpy', 'pandas', 'scipy', 'sqlalchemy', 'matplotlib', 'sklearn'}} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    wrong = ("'run', '-m', 'x'", "'check', '--baseline', 'x.json'", "'report', '--results', 'x'")
    for arguments in ("'--help'", "'list'", "'run', '--help'", *wrong):
        done = subprocess.run(
            [sys.executable, "-c", code.format(arguments)], capture_output=True, text=True, check=True
        )
        heavy = done.stdout.splitlines()[-1]
        assert "torch" not in heavy if arguments in wrong else heavy == "HEAVY []", done.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_one_line(small_disk: Path, toy_modelnet: Path) -> None:
    (small_disk / "ballast").write_bytes(b"x" * (1024 * 1024 - 80 * 1024))
    data = f"modelnet-h5:{toy_modelnet}"
    done = bench_here(
        "run", "--method", "point-mae", "--protocol", "linear", "--preset", "smoke", "--dataset", data,
        "--pretrain-data", data, "--results", small_disk / "results",
    )  # fmt: skip
    assert done.returncode in (1, 4)
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    assert "space" in text or "full" in text
    assert not list(small_disk.glob("results/runs/*/*"))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder on a read-only file system."""
    place = tmp_path / "readonly"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_read_only_results_folder_is_one_line(call: Call, read_only: Path) -> None:
    code, _, error = call("run", "--results", read_only / "results")
    assert "cannot write to" in one_line(error)
    assert "--results DIR" in error
    assert code == 4


def test_a_file_as_results_folder_is_named(call: Call, tmp_path: Path) -> None:
    """The advice was to free the space of a disk that is not full."""
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    for place in (file, file / "results"):
        code, _, error = call("runs", "--results", place)
        assert f"{file} is a file; choose another place with --results DIR" in one_line(error)
        assert code == 4
    assert file.read_text() == "mine"


def test_a_database_of_a_newer_version_is_left_alone(call: Call, tmp_path: Path) -> None:
    import sqlite3

    results = tmp_path / "results"
    Store(results)
    with sqlite3.connect(results / "bench.sqlite") as database:
        database.execute("UPDATE bench_schema SET version = 9999")
    database.close()
    before = (results / "bench.sqlite").stat().st_size
    code, _, error = call("runs", "--results", results)
    assert "newer" in one_line(error)
    assert code == 4
    assert (results / "bench.sqlite").stat().st_size == before


def test_debug_shows_where(tmp_path: Path) -> None:
    done = bench_here("run", "--method", "nothing", "--debug", "--results", tmp_path / "results")
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "-j", "0"], "error: invalid value for '--jobs' / '-j': Input should be greater than or equal to 1"),
        (["tune", "--method", "recon", "--protocol", "linear"], "error: missing option '--trials'; see bench tune"),
        (["list", "metods"], "error: invalid value for 'kind': 'metods' is not one of 'methods'"),
        (["runn"], "error: no such command 'runn'"),
        (["run", "--sedes", "3"], "error: no such option: --sedes"),
        (["analyse", "embedding", "--split", "val"], "'val' is not one of 'train', 'test'"),
    ],
)
def test_what_the_parser_refuses_is_one_line_too(call: Call, arguments: list[str], message: str) -> None:
    """A frame of five lines hides the one that matters, and a script cannot read it."""
    code, _, error = call(*arguments)
    assert code == 2
    assert message in one_line(error)


def test_help_and_no_arguments_still_show_the_commands(call: Call) -> None:
    """Turning complaints into lines must not turn help into one."""
    code, out, _ = call("--help")
    assert code == 0
    assert "Pretrain and evaluate" in out
    code, out, error = call("analyse")
    assert code == 2
    assert "attention-maps" in out + error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "finetune.vote_repeats=3"], "error: finetune: vote_repeats, whose maximum releases report"),
        (["finetune", "finetune.form=published"], "use --form published instead of setting it"),
        (["finetune", "finetune.recipe.lrr=3"], "unknown field of finetune.recipe 'lrr': did you mean lr?"),
        (["zeroshot", "zeroshot.patches=published"], "error: zeroshot: patches belongs to the published form"),
    ],
)
def test_options_that_do_not_go_together_are_named_before_anything_runs(
    call: Call, arguments: list[str], message: str
) -> None:
    """Every option of the protocol in one line says nothing; a run that fails after pretraining says it too late."""
    protocol, assignment = arguments
    for command in (["run", "--protocol", protocol], ["protocols", "show", protocol]):
        code, _, error = call(*command, "--preset", "smoke", "--set", assignment)
        assert code == 2
        assert message in one_line(error)
        assert "value error" not in error


def test_all_protocols_in_the_published_form_are_those_that_have_one(call: Call) -> None:
    """One protocol without a published form would forbid all others theirs."""
    arguments = ["run", "--protocol", "all", "--form", "published", "--preset", "smoke", "--dry-run"]
    code, out, _ = call(*arguments)
    assert code == 0
    assert "knn is left out: it has no published form, only fair" in out
    assert "finetune on" in out
    code, _, error = call("run", "--protocol", "knn", "--form", "published", "--preset", "smoke", "--dry-run")
    assert code == 2
    assert one_line(error) == "error: protocol 'knn' has no published form, only fair"
