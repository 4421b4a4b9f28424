"""Local names: a user's folder keeps its name, and a wrong reference is answered in one line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.data.local import add_local, list_local, remove_local, resolve_dataset_ref
from bench.errors import BenchError, DataError, SetupError, UsageError

FORMATS = ("modelnet-h5", "scanobjectnn-h5", "shapes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "Údaje" / "ldraw40"
    path.mkdir(parents=True)
    return path


def add(results: Path, name: str, folder: Path, force: bool = False, **options: str) -> None:
    add_local(results, name, "modelnet-h5", folder, dict(options), known_formats=FORMATS, force=force)


def line(error: pytest.ExceptionInfo[BenchError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_name_survives_and_resolves(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    assert list_local(results) == {}
    monkeypatch.chdir(folder.parent)
    add(results, "ldraw40", Path("ldraw40"), variant="x")
    monkeypatch.chdir(tmp_path)
    ref = resolve_dataset_ref("ldraw40", results, FORMATS)
    assert ref == ("modelnet-h5", folder.resolve(), {"variant": "x"}, "ldraw40")
    assert "Údaje" in (results / "datasets.yaml").read_text(encoding="utf-8")
    assert remove_local(results, "ldraw40").root == str(folder.resolve())
    assert list_local(results) == {}


def test_references_to_formats_and_embedded_sets(tmp_path: Path, folder: Path) -> None:
    assert resolve_dataset_ref("shapes", tmp_path, FORMATS) == ("shapes", None, {}, "shapes")
    ref = resolve_dataset_ref(f"modelnet-h5:{folder}", tmp_path, FORMATS)
    assert (ref.root, ref.label) == (folder, "modelnet-h5:ldraw40")
    inner = folder / "h5_files"
    assert resolve_dataset_ref(f"scanobjectnn-h5:{inner}", tmp_path, FORMATS).label == "scanobjectnn-h5:ldraw40"


def test_an_entry_is_replaced_only_by_force(tmp_path: Path, folder: Path) -> None:
    add(tmp_path, "mine", folder)
    add(tmp_path, "mine", folder)
    with pytest.raises(UsageError) as error:
        add(tmp_path, "mine", folder.parent)
    assert "exists already" in line(error)
    assert "--force" in line(error)
    add(tmp_path, "mine", folder.parent, force=True)
    assert list_local(tmp_path)["mine"].root == str(folder.parent.resolve())


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "a:b", "-x", ".x", "ü", "x" * 65, "modelnet-h5", "shapes"])
def test_bad_and_taken_names_are_refused(tmp_path: Path, folder: Path, name: str) -> None:
    """A name with ':' could never be referred to; one of a built-in set would hide it."""
    with pytest.raises(UsageError):
        add(tmp_path, name, folder)
    assert not (tmp_path / "datasets.yaml").exists()


def test_wrong_formats_and_folders_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="did you mean modelnet-h5"):
        add_local(tmp_path, "x", "modelnet-h", folder, known_formats=FORMATS)
    with pytest.raises(DataError, match="no such folder"):
        add(tmp_path, "x", folder / "gone")
    (folder / "file").touch()
    with pytest.raises(DataError, match="is not a folder"):
        add(tmp_path, "x", folder / "file")


def test_wrong_references_get_one_line(tmp_path: Path, folder: Path) -> None:
    add(tmp_path, "ldraw40", folder)
    for ref, words in (
        ("ldraw41", "unknown data set 'ldraw41': did you mean ldraw40?"),
        ("modelnet-h5:", "the folder after ':' is missing"),
        (f"ldraw40:{folder}", "has its folder"),
        ("modlnet-h5:x", "did you mean modelnet-h5"),
    ):
        with pytest.raises(UsageError) as error:
            resolve_dataset_ref(ref, tmp_path, FORMATS)
        assert words in line(error)
    with pytest.raises(UsageError, match="unknown data set format 'modelnet-h5'"):
        resolve_dataset_ref("ldraw40", tmp_path, ["shapes"])
    with pytest.raises(UsageError, match="did you mean ldraw40"):
        remove_local(tmp_path, "ldraw4")


def test_a_folder_that_went_away_is_named_with_the_way_out(tmp_path: Path, folder: Path) -> None:
    add(tmp_path, "ldraw40", folder)
    folder.rmdir()
    with pytest.raises(DataError) as error:
        resolve_dataset_ref("ldraw40", tmp_path, FORMATS)
    assert f"local data set 'ldraw40': {folder.resolve()} does not exist any more" in line(error)
    assert "bench data add ldraw40 --format modelnet-h5 --root DIR --force" in line(error)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("datasets: [", "cannot be read as YAML"),
        ("- a\n", "datasets.yaml"),
        ("version: 1\ndatasets:\n  x:\n    format: modelnet-h5\n", "datasets.x.root"),
        ("version: 2\nsomething: new\n", "newer version (layout 2, known: 1)"),
    ],
)
def test_a_broken_list_is_reported_and_not_overwritten(tmp_path: Path, folder: Path, content: str, words: str) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SetupError) as error:
        add(tmp_path, "x", folder)
    assert words in line(error)
    assert path.read_text(encoding="utf-8") == content


def test_names_added_at_once_are_all_kept(tmp_path: Path, folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: add(tmp_path, f"set{i}", folder), range(16)))
    assert len(list_local(tmp_path)) == 16
