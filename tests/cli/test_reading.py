"""Commands that read work on a results folder that may not be written, and leave it as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from compare_runs import Compare, rows

from bench.plan import answers
from bench.plan.encoders import stored_encoders
from bench.tuning.studies import open_storage
from tests.conftest import bench_environment


@pytest.fixture(scope="module")
def frozen(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stored runs, with a file of searches, as a colleague who may write nothing sees them."""
    open_storage(results).engine.dispose()
    if os.getuid() != 0:
        subprocess.run(["chmod", "-R", "a-w", results], check=True)
        yield results
        subprocess.run(["chmod", "-R", "u+w", results], check=True)
        return
    place = tmp_path_factory.mktemp("frozen") / "theirs"
    place.mkdir()
    for step in (["--bind", results, place], ["-o", "remount,bind,ro", place]):
        if subprocess.run(["mount", *step], capture_output=True, check=False).returncode:
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)
            pytest.skip("root may not mount a read-only folder here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def filled(command: str, results: Path, frozen: Path, out: Path) -> list[str]:
    """A command line with keys, data and places in it."""
    keys = [row.stored.key[:16] for row in rows(results, method="point-mae", protocol="linear")]
    values = {
        "A": keys[0], "B": keys[1], "E": stored_encoders(results)[0].key[:16],
        "DATA": f"modelnet-h5:{results.parent / 'toyset'}",
    }  # fmt: skip
    words = [str(values.get(word, word)).replace("OUT", str(out)) for word in command.split()]
    more = ["--preset", "smoke", "--compile", "off"] if words[0] == "run" else []
    return [*words, *more, *([] if words[0] == "list" else ["--results", str(frozen)])]


READING = [
    "runs",
    "runs --failed",
    "runs --verify",
    "report --out OUT",
    "bundle create OUT/mine.zip",
    "db rescore --dry-run",
    "report --selection --verify --out OUT",
    "report --format latex --where protocol.name=linear --group-by method --title Linear --out OUT",
    "claims R1 C5",
    "report --published --out OUT",
    "compare A B --out OUT/objects.csv",
    "compare point-mae scratch --protocol linear --ensemble",
    "why A B",
    "encoders --verify",
    "export E OUT/encoder.pth",
    "analyse losses --encoder E --out OUT",
    "analyse embedding --encoder E --dataset DATA --count 12 --out OUT",
    "analyse attention-distance --encoder E --dataset DATA --count 4 --out OUT",
    "data list",
    "data check DATA --json OUT/check.json --manifest OUT/files.csv",
    "data check shapes-cad --set data.train_per_class=1 --set data.test_per_class=1 --set data.points=64",
    "data show DATA --out OUT/one.png",
    "data audit DATA --a-split test",
    "db status",
    "list datasets",
    "protocols show linear --preset smoke",
    "teachers show tiny-clip",
    "run --method point-mae --protocol linear --dataset DATA --pretrain-data DATA --dry-run",
    "run --encoder E --protocol svm --dataset shapes-cad --dry-run",
]
WRITING = [
    "run --method point-mae --protocol linear --dataset DATA --pretrain-data DATA",
    "rerun A",
    "tune --method point-mae --protocol linear --trials 1 --dataset DATA --pretrain-data DATA --preset smoke",
    "import OUT/nothing.pth",
    "data add toys --format modelnet-h5 --root OUT",
    "data remove toys",
    "db rebuild",
    "db rescore",
    "teachers fit tiny-clip",
]


@pytest.mark.parametrize("command", READING)
def test_reading_needs_no_right_to_write(
    call: Compare, results: Path, frozen: Path, tmp_path: Path, command: str
) -> None:
    """A colleague's results could be listed, but neither compared nor looked into."""
    code, output, error = call(*filled(command, results, frozen, tmp_path))
    assert code == 0, error
    assert not [line for line in error.splitlines() if not line.startswith("reading ")]
    assert output


@pytest.mark.parametrize("command", WRITING)
def test_writing_where_nothing_may_be_written_is_one_line(
    call: Compare, results: Path, frozen: Path, tmp_path: Path, command: str
) -> None:
    """A failed write was found after minutes of work, or told by a traceback."""
    (tmp_path / "nothing.pth").write_bytes(b"no checkpoint")
    code, _, error = call(*filled(command, results, frozen, tmp_path))
    assert code == 4
    assert len(error.splitlines()) == 1
    assert str(frozen) in error
    assert "read-only" in error.lower() or "Permission denied" in error


def test_a_page_says_the_command_that_writes_it(
    call: Compare, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command in its first line named a file that is not in the folder it is typed in."""
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.yaml"
    page.write_text("title: Toys\ntext: Mine.\nsections: [{title: All, runs: {}}]\n")
    monkeypatch.chdir(tmp_path)
    for typed in ("docs/page.yaml", str(page)):
        code, _, error = call("report", "--page", typed, "--results", results)
        assert code == 0, error
        assert page.with_suffix(".md").read_text().startswith(f"<!-- Written by `bench report --page {typed}` from")
    for form, words in (("csv", "a page has several tables and no CSV"), ("latex-report", "is the whole report")):
        code, _, error = call("report", "--page", page, "--format", form, "--results", results)
        assert (code, len(error.splitlines())) == (2, 1)
        assert words in error


NEVER_IMPORTED = ("torch", "timm", "open_clip", "sklearn")


def test_reading_what_is_stored_imports_no_network_library(
    call: Compare, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing torch took longer than reading thousands of runs, and seven times the memory."""
    (a, b, *_) = [row.stored.key[:16] for row in rows(results, method="point-mae", protocol="linear")]
    commands = ["runs", "runs --json", "runs --failed", f"why {a} {b}", f"compare {a} {b}", "db status"]
    commands += ["compare point-mae scratch --ensemble", f"report --published --out {tmp_path}/report", "runs --help"]
    commands += ["claims R1 R14"]
    commands += [f"report --format latex --group-by preset --out {tmp_path}/report"]
    lines = [
        "import sys",
        "from bench.cli.main import main",
        f"for command in {commands}:",
        f"    sys.argv = ['bench', *command.split(), '--results', {str(results)!r}]",
        "    try: main()",
        "    except SystemExit as stop: assert not stop.code, (command, stop.code)",
        f"    print('imported:', command, [name for name in {NEVER_IMPORTED} if name in sys.modules])",
    ]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    answers._kept.cache_clear()
    said = ""
    for command in commands:  # The first time, methods are asked for their defaults, and the answers are kept.
        code, output, error = call(*command.split(), "--results", results)
        assert code == 0, error
        said += output
    asked = [sys.executable, "-P", "-c", "\n".join(lines)]
    environment = bench_environment(COLUMNS="300", XDG_CACHE_HOME=str(tmp_path / "cache"))
    again = subprocess.run(asked, capture_output=True, text=True, env=environment, check=False)
    found = [line for line in again.stdout.splitlines() if line.startswith("imported:")]
    assert found == [f"imported: {command} []" for command in commands], again.stdout + again.stderr
    assert said.splitlines() == [line for line in again.stdout.splitlines() if not line.startswith("imported:")]
