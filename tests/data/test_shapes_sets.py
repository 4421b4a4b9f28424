"""The embedded data sets: contract, cache, manifest, disjointness, wrong places."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from pydantic import ValidationError

from bench.data.base import CloudSet, DataPlace, Dataset
from bench.data.shapes import Shapes, ShapesCad, ShapesCadNovel, ShapesScan, ShapesScanNovel, manifest, novel_categories
from bench.data.shapes.cache import cached
from bench.data.shapes.generate import Job, generate
from bench.errors import SetupError

PER_CLASS: dict[type[Dataset], int] = {ShapesCad: 2, ShapesScan: 1, ShapesCadNovel: 2, ShapesScanNovel: 1}
EVALUATION = tuple(PER_CLASS)
JOB = Job("test", "novel", 5, 64, 1, 32, "shaded", False)
MANY = replace(JOB, count=85, points=32, views=0)
"""Enough for several chunks."""


def small(kind: type[Dataset], place: Path, **options: object) -> Dataset:
    if kind is Shapes:
        options = {"objects": 60, "points": 128, **options}
    else:
        options = {"train_per_class": PER_CLASS[kind], "test_per_class": 1, "points": 128, **options}
    return kind(DataPlace(cache=place), kind.Options(**options))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def loaded(place: Path) -> dict[str, CloudSet]:
    sets = {}
    for kind in (Shapes, *EVALUATION):
        for split in ("train", "test"):
            sets[f"{kind.name}/{split}"] = small(kind, place).load(split)  # type: ignore[arg-type]
    sets["teacher/train"] = small(Shapes, place, stream="teacher").load("train")
    return sets


def test_sets_keep_the_contract(loaded: dict[str, CloudSet], place: Path) -> None:
    for name, data in loaded.items():
        n = len(data)
        assert n > 0
        assert data.points.shape == (n, 128, 3)
        assert data.points.dtype == np.float32
        assert data.labels.dtype == np.int64
        assert data.labels.max() < len(data.classes)
        assert len(set(data.ids)) == n
        assert all(data.classes[k].replace(" ", "_") in i for k, i in zip(data.labels, data.ids, strict=True))
        assert data.normals is not None
        assert data.normals.shape == data.points.shape
        assert data.parts is not None
        assert data.parts.dtype == np.int64
        assert np.isfinite(data.points).all(), name
    pretraining = loaded["shapes/train"]
    assert pretraining.views is not None
    assert pretraining.views.shape == (60, 1, 64, 64, 1)
    assert pretraining.views_kind == "shaded"
    assert pretraining.captions is not None
    assert len(pretraining.captions) == 60
    assert len(loaded["shapes/test"]) == 15
    assert loaded["shapes-scan/train"].views is None
    assert (np.asarray(loaded["shapes-scan/train"].parts) < 0).any()
    assert not (np.asarray(loaded["shapes-cad/train"].parts) < 0).any()


def test_sets_share_no_object(loaded: dict[str, CloudSet]) -> None:
    """Pretraining, teacher fitting and evaluation on a common object would be leakage."""
    ids = [i for data in loaded.values() for i in data.ids]
    assert len(ids) == len(set(ids))
    prints = [np.sort(np.round(np.asarray(p)[:, 1], 5)).tobytes() for data in loaded.values() for p in data.points]
    assert len(prints) == len(set(prints))


def test_novel_forms_have_other_categories_and_no_captions(loaded: dict[str, CloudSet]) -> None:
    for name in ("shapes-cad-novel/train", "shapes-scan-novel/test"):
        assert loaded[name].classes == novel_categories()
        assert loaded[name].captions is None
    assert not set(novel_categories()) & set(loaded["shapes/train"].classes)
    spoken = " ".join(loaded["shapes/train"].captions or ()).lower()
    assert not [c for c in novel_categories() if f" {c} " in spoken]


def test_evaluation_sets_are_balanced_and_sized_as_asked(loaded: dict[str, CloudSet], place: Path) -> None:
    for kind in EVALUATION:
        data = small(kind, place)
        assert np.bincount(loaded[f"{kind.name}/train"].labels).tolist() == [PER_CLASS[kind]] * len(data.classes())
        assert np.bincount(loaded[f"{kind.name}/test"].labels).tolist() == [1] * len(data.classes())
        assert data.train_size() == PER_CLASS[kind] * len(data.classes())


def test_a_second_load_makes_nothing_and_reads_the_same(loaded: dict[str, CloudSet], place: Path) -> None:
    calls: list[tuple[int, int]] = []
    data = Shapes(
        DataPlace(cache=place, progress=lambda a, b: calls.append((a, b))), Shapes.Options(objects=60, points=128)
    )
    again = data.load("train")
    assert calls == []
    assert np.array_equal(again.points, loaded["shapes/train"].points)
    assert again.captions == loaded["shapes/train"].captions
    assert isinstance(again.points, np.memmap)


def test_a_larger_set_begins_with_the_smaller_one(loaded: dict[str, CloudSet], place: Path) -> None:
    """Else a scaling curve over set sizes would also change the objects."""
    smaller = small(Shapes, place, objects=8).load("train")
    assert np.array_equal(smaller.points, loaded["shapes/train"].points[:8])


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    seen: list[int] = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        generate(MANY, folder, lambda done, total: seen.append(done), workers=workers)
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "2" / file.name).read_bytes(), file.name
    assert seen[-1] == 85


def test_manifest_follows_what_matters(tmp_path: Path) -> None:
    one = small(Shapes, tmp_path)
    assert one.manifest() == small(Shapes, tmp_path / "elsewhere").manifest()
    assert one.manifest() != small(Shapes, tmp_path, objects=61).manifest()
    assert one.manifest() != small(Shapes, tmp_path, stream="teacher").manifest()
    assert small(ShapesCad, tmp_path).manifest() != small(ShapesScan, tmp_path).manifest()
    assert len(one.manifest()) == 64


def test_manifest_follows_changed_programs_but_not_comments(tmp_path: Path) -> None:
    """A changed category program must never be served from an old cache."""
    copy = tmp_path / "shapes"
    shutil.copytree(Path(manifest.__file__).parent, copy)

    def digest() -> str:
        return run_path(str(copy / "manifest.py"))["source_digest"]()  # type: ignore[no-any-return]

    before = digest()
    assert before == manifest.source_digest()
    file = copy / "categories/kitchen.py"
    text = file.read_text()
    file.write_text(text.replace('"""Drinking vessel with a handle."""', '"""Other words."""') + "# comment\n")
    assert digest() == before
    file.write_text(text.replace("s.real(0.6, 1.5", "s.real(0.6, 1.6"))
    assert digest() != before


def test_a_half_written_cache_is_never_used(tmp_path: Path) -> None:
    leftover = tmp_path / f".split.{os.uname().nodename}.999999999.x.partial"
    leftover.mkdir()
    (leftover / "points.npy").write_bytes(b"half")
    made = cached(JOB, tmp_path / "split", lambda a, b: None)
    assert made.arrays["points"].shape == (5, 64, 3)
    assert not leftover.exists(), "what a killed process left is cleared"
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["split"]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cached split."""
    folder = tmp_path_factory.mktemp("split") / "split"
    cached(JOB, folder, lambda a, b: None)
    return folder


@pytest.mark.parametrize("damage", ["truncate", "remove", "captions"])
def test_a_damaged_cache_is_made_again(split: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(split, tmp_path / "split")
    points = np.load(split / "points.npy")
    target = tmp_path / "split" / ("captions.json" if damage == "captions" else "points.npy")
    if damage == "remove":
        target.unlink()
    else:
        target.write_bytes(target.read_bytes()[:100])
    again = cached(JOB, tmp_path / "split", lambda a, b: None)
    assert np.array_equal(again.arrays["points"], points)


def test_processes_that_want_the_same_split_make_it_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from bench.data.shapes.cache import cached;"
        "from bench.data.shapes.generate import Job; made = [];"
        "cached(Job('test', 'novel', 45, 64, 1, 32, 'shaded', False), Path(sys.argv[1]) / 'split',"
        " lambda a, b: made.append(a), workers=1); print(len(made))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [int(p.communicate()[0]) for p in running]
    assert sorted(o > 0 for o in outputs) == [False, False, True]
    assert all(p.returncode == 0 for p in running)


def test_a_script_without_a_main_guard_still_gets_its_data(tmp_path: Path) -> None:
    """Workers re-run such a script; they must fail at once and leave the work to the parent, not wait for it."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom bench.data.shapes.cache import cached\n"
        "from bench.data.shapes.generate import Job\n"
        f"job = Job('test', 'novel', 90, 32, 0, 32, 'shaded', False); folder = Path({str(tmp_path)!r}) / 'split'\n"
        "print(len(cached(job, folder, lambda a, b: None, workers=2).captions))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.stdout == "90\n"


def test_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom bench.data.shapes.generate import Job, generate\n"
        "generate(Job('test', 'novel', 20000, 32, 0, 32, 'shaded', False), Path(sys.argv[1]),"
        " lambda a, b: print(a, flush=True), workers=2)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        while int(parent.stdout.readline()) == 0:
            pass
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        for _ in range(100):
            try:
                os.killpg(parent.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)
    pytest.fail("workers outlive their parent")


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SetupError, match="cannot write the data cache") as caught:
        small(Shapes, blocked).load("train")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without reserving the space first, a worker would die of a bus error half-way."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SetupError, match=r"no space left .* needs \d+ MB for 60 generated objects"):
        small(Shapes, tmp_path).load("train")
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".npy", ".partial")]


def test_wrong_options_are_refused() -> None:
    for wrong in ({"objects": 0}, {"points": 1}, {"stream": "test"}, {"view_kind": "photo"}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            Shapes.Options(**wrong)  # type: ignore[arg-type]


def test_importing_and_loading_never_imports_torch(place: Path) -> None:
    script = "import sys, bench.data.shapes as s; s.novel_categories(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
