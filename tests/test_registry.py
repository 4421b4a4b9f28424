"""The registry: a wrong name must help, and a plugin file must be enough to add a method."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import get_args

import pytest

from bench.errors import UsageError
from bench.plugins import load_entry_points, load_plugin_file
from bench.registry import METHODS, PROTOCOLS, REGISTRIES, Entry, Registry
from bench.summaries import summary_of


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
def test_every_built_in_target_imports_and_carries_its_name(kind: str) -> None:
    for entry in REGISTRIES[kind]:
        if entry.source == "built in":
            assert REGISTRIES[kind].load(entry.name).name == entry.name
            assert entry.needs


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
def test_a_unit_says_once_what_it_is(kind: str) -> None:
    """What `bench list` reads in the source is what the class says; the registry holds no second text."""
    for entry in REGISTRIES[kind]:
        if entry.source == "built in":
            loaded = REGISTRIES[kind].load(entry.name)
            card = getattr(loaded, "card", None)
            own = getattr(loaded, "summary", "") or getattr(card, "summary", "") if kind != "methods" else ""
            assert entry.told == ""
            assert entry.summary == (own or str(loaded.__doc__).partition("\n")[0].removesuffix("."))
            assert len(entry.summary) > 10


@pytest.mark.parametrize("name", [*METHODS.names(), *PROTOCOLS.names()])
def test_the_options_a_unit_names_are_those_its_hooks_get(name: str) -> None:
    """`Unit[OptionsT]` promises a model to the type checker that `parse` would not make."""
    registry = METHODS if name in METHODS else PROTOCOLS
    loaded = registry.load(name)
    (base,) = vars(loaded)["__orig_bases__"]
    assert get_args(base) == (loaded.Options,)
    parsed = loaded.parse(loaded.defaults("smoke").model_dump(mode="json"))
    assert type(parsed) is loaded.Options
    assert parsed == loaded.defaults("smoke")


def test_a_unit_that_is_not_written_out_where_it_is_registered_is_an_error() -> None:
    """A moved class would be listed without a word."""
    with pytest.raises(LookupError, match="no such class"):
        summary_of("bench.protocols.fewshot.protocol:Fewshot")


def test_a_wrong_name_gets_near_misses() -> None:
    with pytest.raises(UsageError, match="unknown method 'point_mae': did you mean point-mae"):
        METHODS.load("point_mae")


def test_a_missing_requirement_is_said() -> None:
    registry: Registry[object] = Registry(
        "methods", (Entry("methods", "m", "bench.errors:BenchError", "s", modules=("no_such_module",)),)
    )
    with pytest.raises(UsageError, match="'m' is not usable here: Python module 'no_such_module' is not installed"):
        registry.load("m")


PLUGIN = '''
"""A plugin."""
from bench.methods.point_mae import PointMAE

class Mine(PointMAE):
    """Point-MAE under another name."""
    name = "mine-{name}"
'''


def test_one_file_adds_a_method(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.format(name="a"))
    entries = load_plugin_file(file)
    assert [entry.name for entry in entries] == ["mine-a"]
    assert METHODS.load("mine-a").name == "mine-a"
    assert load_plugin_file(file) == entries, "loading a plugin twice must be harmless"


def test_a_plugin_cannot_take_a_built_in_name(tmp_path: Path) -> None:
    file = tmp_path / "thief.py"
    file.write_text(PLUGIN.format(name="a").replace("mine-a", "recon"))
    with pytest.raises(UsageError, match="'recon', which built in already provides; rename it"):
        load_plugin_file(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("import no_such_thing", "fails to import: ModuleNotFoundError"),
        ("x = 1", "defines no"),
    ],
)
def test_a_bad_plugin_file_is_one_clear_line(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "bad.py"
    if content is not None:
        file.write_text(textwrap.dedent(content))
    with pytest.raises(UsageError, match=message) as caught:
        load_plugin_file(file)
    assert "\n" not in str(caught.value)


def distribution(folder: Path, entry_points: str) -> None:
    """Lay down the metadata of an installed package."""
    info = folder / "their_package-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[bench.plugins]\n{entry_points}\n")


def test_an_installed_package_adds_names_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "methods.theirs = their_missing_module:Theirs")
    monkeypatch.syspath_prepend(str(tmp_path))
    load_entry_points()
    entry = METHODS.entry("theirs")
    assert (entry.source, entry.version) == ("package their-package", "1.2")
    with pytest.raises(UsageError, match="'theirs' from package their-package cannot be imported"):
        METHODS.load("theirs")


def test_a_malformed_entry_point_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "theirs = their_missing_module:Theirs")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=r"their-package declares the entry point 'theirs'.*expected KIND\.NAME"):
        load_entry_points()
