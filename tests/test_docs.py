"""Commands and snippets of README and pages: all are parsed, the cheap ones run."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from bench.cli.main import app
from bench.data.base import DataPlace
from bench.plan.request import parse_assignment
from bench.registry import DATASETS, METHODS, PROTOCOLS, TEACHERS
from tests.conftest import ROOT, bench_here

PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md", "re*s/README.md") for path in ROOT.glob(pattern))
OWN = re.compile(r"^(my-|[a-z-]+\+|KEY|A$|B$|NAME|DIR|FILE)|,")
"""Names that a page gives to what the reader makes, and the syntax of ``bench compare``."""
LOCAL = {"chairs", "parts", "forms", "capod15", "toys", "mine"}
"""Data sets that a page gives a name to first."""


@dataclass(frozen=True)
class Command:
    """One command of a page."""

    page: str
    line: int
    words: tuple[str, ...]
    whole: bool
    """False within a sentence, where required arguments may be left out."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {' '.join(self.words)}"


def commands_of(path: Path) -> Iterator[Command]:
    """Yield the commands of a page: lines of blocks, and what a sentence quotes."""
    name = str(path.relative_to(ROOT))
    fence, joined, began = "", "", 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            fence = "" if fence else line[3:] or "text"
            continue
        block = fence == "console" or (fence in ("", "text") and (line.startswith("    ") or fence == "text"))
        if not block:
            for quoted in re.findall(r"`bench ([^`]+)`", line) if not fence else []:
                if not re.search(r"\.\.\.|\||\[|COMMAND|KIND", quoted):
                    yield Command(name, number, tuple(shlex.split(quoted)), whole=False)
            continue
        text = joined + line.strip().removeprefix("$ ")
        began = began if joined else number
        joined = text[:-1] + " " if text.endswith("\\") else ""
        if not joined and text.startswith("bench "):
            yield Command(name, began, tuple(shlex.split(text, comments=True)[1:]), whole=True)


@cache
def commands() -> tuple[Command, ...]:
    """Return the commands of all pages."""
    return tuple(command for page in PAGES for command in commands_of(page))


@cache
def command_line() -> Any:
    """Return the real command line, made once."""
    return typer.main.get_command(app)


def parsed(command: Command) -> tuple[list[str], dict[str, Any]]:
    """Return the names of a command and the values of its parameters.

    Raises:
        Exception: The command line does not take it.
    """
    found: Any = command_line()
    words, names = list(command.words), []
    while hasattr(found, "commands"):
        if not words and not command.whole:
            return names, {}
        if getattr(found, "invoke_without_command", False) and (not words or words[0].startswith("-")):
            break
        assert words, "lacks a command"
        assert words[0] in found.commands, f"has no command {words[0]}"
        names.append(words[0])
        found = found.commands[words.pop(0)]
        found = getattr(found, "real", found)
    try:
        return names, dict(found.make_context("bench", words).params)
    except Exception as error:
        if type(error).__name__ == "MissingParameter" and not command.whole:
            return names, {}
        raise


def unknown(names: list[str], values: dict[str, Any]) -> Iterator[str]:
    """Yield the names of units that a command names and that neither we nor a plugin of the page have."""
    if values.get("plugin") or names[:1] == ["published"]:  # its names are the literature's, too
        return
    kinds = {"method": METHODS, "protocol": PROTOCOLS, "dataset": DATASETS, "teacher": TEACHERS}
    for option, registry in kinds.items():
        given = values.get(option) or ()
        for value in (given,) if isinstance(given, str) else given:
            name = str(value).partition(":")[0]
            if name not in {*registry.names(), "all", *LOCAL} and not OWN.search(name):
                yield name
    if names[:2] in (["protocols", "show"],) and values.get("name") not in {*PROTOCOLS.names(), None, "NAME"}:
        yield str(values["name"])
    for assignment in values.get("settings") or values.get("set_") or ():
        parse_assignment(assignment)


def test_every_command_is_one_that_the_command_line_takes() -> None:
    """A reader would type it and read an error."""
    wrong = {}
    for command in commands():
        try:
            missing = sorted(set(unknown(*parsed(command))))
        except Exception as error:
            wrong[str(command)] = " ".join(str(getattr(error, "message", error)).split())
        else:
            if missing:
                wrong[str(command)] = f"unknown: {', '.join(missing)}"
    assert wrong == {}
    assert len(commands()) > 150, "the search for commands finds too few"


@pytest.mark.parametrize(
    "words",
    [
        "run --method recon --no-such",
        "run -m",
        "lst",
        "data chekc x",
        "new plugin mine",
        "rerun",
        "run -m recno",
    ],
)
def test_the_search_notices_a_wrong_command(words: str) -> None:
    """The test above would pass whatever the pages say."""
    with pytest.raises(Exception):  # noqa: B017, PT011 (click's errors and ours)
        assert not list(unknown(*parsed(Command("page", 1, tuple(words.split()), whole=True))))


def block(page: str, number: int = 0) -> str:
    """Return a Python block of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)[number]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_a_page_parses(page: Path) -> None:
    """A reader would copy a syntax error."""
    for snippet in re.findall(r"```(?:python|py)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        ast.parse(snippet)


CHEAP = ("list", "protocols show", "teachers show", "data list")


def test_what_the_first_pages_list_and_plan_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first commands of a newcomer would fail, or plan something else than the page says."""
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    ran = 0
    for command in (c for c in commands() if c.page in ("README.md", "docs/first-run.md")):
        words = " ".join(command.words)
        if command.whole and "-v" not in command.words and (words.startswith(CHEAP) or "--dry-run" in words):
            done = bench_here(*command.words)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            ran += 1
    assert ran >= 4
    assert not (tmp_path / "results" / "runs").exists()


def test_the_page_on_own_data_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader's first own data would be refused."""
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    exec(compile(block("own-data.md"), "own-data.md", "exec"), {})
    (tmp_path / "flat_text.py").write_text(block("own-data.md", 1), encoding="utf-8")
    (tmp_path / "flat").mkdir()
    for file in (tmp_path / "clouds").glob("*/*.csv"):
        rows = file.read_text(encoding="utf-8").partition("\n")[2]
        (tmp_path / "flat" / f"{file.parent.name}_{file.stem}.txt").write_text(rows.replace(",", " "), encoding="utf-8")
    steps = [c for c in commands() if c.page == "docs/own-data.md" and c.whole and c.words[:2] != ("data", "audit")]
    for command in steps:
        words = [*command.words, "--dry-run"] if command.words[0] == "run" else command.words
        if command.words[0] in ("data", "new", "run", "check-plugin"):
            done = bench_here(*words)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    opened = DATASETS.load("clouds")(DataPlace(tmp_path / "cache", tmp_path / "clouds"))
    assert opened.classes() == ("ball", "plate", "rod")


def test_a_page_has_one_title() -> None:
    """A reader who follows "Your own protocol" to "Adding a protocol" wonders whether it is the page that was meant."""
    text = re.sub(r"!!python\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    navigation = {page: title for group in yaml.safe_load(text)["nav"] for title, page in titles_in(group)}
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = {page: title for title, page in re.findall(r"\| \[([^]]+)\]\((\S+?)\)", index)}
    heads = {page: re.search(r"^# (.+)$", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.M) for page in listed}
    assert {page: head and head[1] for page, head in heads.items()} == listed
    assert {page: title for page, title in navigation.items() if page in listed} == listed


def titles_in(group: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield title and page of all entries of a group of the navigation."""
    for title, inner in group.items():
        if isinstance(inner, str):
            yield title, inner
        else:
            for one in inner:
                yield from titles_in(one)


def test_every_page_is_in_the_navigation() -> None:
    """Nobody would find the page on the web site."""
    text = re.sub(r"!!python\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    navigation = re.findall(r"[\w-]+\.md", str(yaml.safe_load(text)["nav"]))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert set(navigation) == pages
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page for page in sorted(pages - {"index.md"}) if f"({page})" not in index] == []


def test_the_readme_fits_on_one_screen() -> None:
    """It grew to a reference of everything once."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 60
