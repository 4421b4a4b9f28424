"""The code fingerprint: if it missed a module, results of old code would pass for results of new code."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.fingerprint import IN_THE_KEY, fingerprint, syntax_digest

PACKAGE = Path(bench.__file__).parent


def digest(source: str) -> str:
    return syntax_digest(ast.parse(source))


def test_comments_docstrings_and_layout_do_not_count() -> None:
    plain = "def f(x):\n    return x + 1\n"
    dressed = '"""Module."""\n\n\ndef f(x):  # comment\n    """Doc."""\n    return (\n        x + 1\n    )\n'
    assert digest(plain) == digest(dressed)


@pytest.mark.parametrize(
    "other",
    ["def f(x):\n    return x + 2\n", "def f(x):\n    return x - 1\n", "def g(x):\n    return x + 1\n", "f = 'x'\n"],
)
def test_code_counts(other: str) -> None:
    assert digest("def f(x):\n    return x + 1\n") != digest(other)


def test_a_string_that_is_no_docstring_counts() -> None:
    assert digest("def f():\n    x = 'a'\n    return x\n") != digest("def f():\n    x = 'b'\n    return x\n")


def test_the_closure_holds_what_a_job_imports() -> None:
    """Checked against Python itself: importing the module in a fresh process loads nothing outside the closure."""
    code = (
        "import os, sys, importlib, torch\n"
        "for root in sys.argv[1:]:\n"
        "    if os.fork() == 0:\n"
        "        importlib.import_module(root)\n"
        "        print(*(m for m in sys.modules if m.startswith('bench.')), flush=True)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    roots = ("bench.execution.pretrain", "bench.protocols.fewshot", "bench.methods.recon")
    done = subprocess.run([sys.executable, "-c", code, *roots], capture_output=True, text=True, check=True)
    for root, loaded in zip(roots, done.stdout.splitlines(), strict=True):
        assert root in loaded.split()
        assert set(loaded.split()) <= set(fingerprint([root]).modules) | {"bench", *IN_THE_KEY}


def test_results_do_not_depend_on_the_list_of_plugins_or_the_store() -> None:
    """Else registering one more data set would make every stored number stale."""
    modules = fingerprint(["bench.execution.pretrain", "bench.methods.recon", "bench.data.modelnet_h5"]).modules
    assert "bench.registry" not in modules
    for name in ("cached", "publish", "filelock", "scratch", "processes"):  # how cached arrays are written and believed
        modules.pop(f"bench.store.{name}")
    assert not any(name.startswith(("bench.cli", "bench.report", "bench.store.", "bench.plan")) for name in modules)


def test_changing_one_module_changes_exactly_its_dependents(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import pathlib, sys, bench.fingerprint as f\n"
        "target = pathlib.Path(sys.argv[1])\n"
        "for text in ('', '# a comment', 'EXTRA = 1'):\n"
        "    target.write_text(target.read_text() + text + chr(10))\n"
        "    f._read.cache_clear()\n"
        "    f._fingerprint.cache_clear()\n"
        "    print(*(f.fingerprint([root]).digest for root in ('bench.methods.recon', 'bench.data.modelnet_h5')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path / "bench" / "models" / "tokenizer.py")],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )
    before, commented, extended = (line.split() for line in done.stdout.splitlines())
    assert commented == before
    assert extended[0] != before[0]
    assert extended[1] == before[1]
