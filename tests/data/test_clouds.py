"""Folders of clouds: every format gives the same coordinates, and a broken file is named in one line."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.data.base import DataPlace
from bench.data.cloudfiles import READERS, read_cloud
from bench.data.clouds import Clouds
from bench.errors import DataError


def xyz(count: int = 50, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def pcd(points: np.ndarray, form: str = "ascii", fields: str = "x y z intensity") -> bytes:
    """A PCD 0.7 file with an intensity behind the coordinates."""
    table = np.concatenate([points, np.ones((len(points), 1))], axis=1).astype("<f4")
    head = (
        f"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS {fields}\nSIZE 4 4 4 4\nTYPE F F F F\n"
        f"COUNT 1 1 1 1\nWIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\nDATA {form}\n"
    ).encode()
    return head + (
        table.tobytes() if form != "ascii" else b"\n".join(b"%.9g %.9g %.9g %.9g" % (*row,) for row in table)
    )


def ply(points: np.ndarray) -> bytes:
    head = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    return head.encode() + "\n".join(f"{x:.9g} {y:.9g} {z:.9g}" for x, y, z in points).encode() + b"\n"


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def text(points: np.ndarray, between: str, head: str = "") -> bytes:
    return (head + "\n".join(between.join(f"{v:.9g}" for v in row) for row in points) + "\n").encode()


P = xyz()
WIDE = np.concatenate([P, np.full((50, 3), 7, np.float32)], axis=1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", npy(P)),
        ("float64.npy", npy(WIDE.astype(np.float64))),
        ("fortran.npy", npy(np.asfortranarray(WIDE))),
        ("big.npy", npy(P.astype(">f4"))),
        ("a.npz", npz(anything=P)),
        ("b.npz", npz(label=np.array("cup"), points=P, normals=P + 1)),
        ("a.ply", ply(P)),
        ("a.pcd", pcd(P)),
        ("b.pcd", pcd(P, "binary")),
        ("c.PCD", pcd(P[:, [2, 0, 1]], "binary", "z x y intensity")),
        ("a.txt", text(WIDE, " ")),
        ("b.txt", text(P, "\t", "# x y z\n\n")),
        ("a.csv", text(WIDE, ",", "x,y,z,r,g,b\n")),
        ("b.csv", text(P, "; ")),
        ("a.xyz", text(P, "  ", "50\n")),
        ("bom.csv", b"\xef\xbb\xbf" + text(P, ",")),
    ],
)
def test_every_format_gives_the_same_coordinates(tmp_path: Path, name: str, content: bytes) -> None:
    """Colours or normals taken for coordinates would train on nonsense without a word."""
    path = tmp_path / name
    path.write_bytes(content)
    found = read_cloud(path)
    assert found.dtype == np.float32
    assert np.allclose(found, P, atol=1e-6)


def test_points_a_sensor_did_not_see_are_left_out(tmp_path: Path) -> None:
    holes = P.copy()
    holes[[3, 7]] = np.nan
    for form in ("ascii", "binary"):
        (tmp_path / "a.pcd").write_bytes(pcd(holes, form))
        assert np.allclose(read_cloud(tmp_path / "a.pcd"), np.delete(P, [3, 7], axis=0))


def bomb() -> bytes:
    """A kilobyte of zip that announces 2 GB."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("points.npy", "w") as member:
        member.write(npy(P))
    raw = bytearray(stream.getvalue())
    claimed = (2_000_000_000).to_bytes(4, "little")
    centre = raw.rfind(b"PK\x01\x02")
    raw[centre + 24 : centre + 28] = claimed
    return bytes(raw)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.npy", b"", "is empty"),
        ("x.npy", npy(P)[:-50], "truncated"),
        ("x.npy", npy(np.array([{"a": 1}], dtype=object)), "holds Python objects"),
        ("x.npy", npy(P[:, :2]), "has shape (50, 2), expected [N, 3]"),
        ("x.npy", npy(P.T), "it looks transposed"),
        ("x.npy", npy(np.where(np.arange(150).reshape(50, 3) == 4, np.inf, P)), "row 1 axis y is inf"),
        ("x.npy", npy(P.astype(str)), "holds <U"),
        ("x.npy", npy(np.ones((9, 3))), "identical"),
        ("x.npy", npy(np.zeros((0, 3))), "holds no"),
        ("x.npz", npz(a=P, b=P), "holds a, b; expected one array, or one called points"),
        ("x.npz", npz(points=np.array(["a"])), "expected numbers"),
        ("x.npz", npz(points=P)[:-40], "is not an .npz file, or is damaged"),
        ("x.npz", bomb(), "zip bomb"),
        ("x.pcd", b"nothing", "is not a PCD file"),
        ("x.pcd", pcd(P, "binary")[:-9], "is truncated: 50 points need 800 bytes"),
        ("x.pcd", pcd(P)[:-200], "is truncated: 50 points announced"),
        ("x.pcd", pcd(P, "binary_compressed"), "expected ascii or binary"),
        ("x.pcd", pcd(P, "ascii", "a b c d"), "expected FIELDS with x y z"),
        ("x.pcd", pcd(P * np.nan), "none is finite"),
        ("x.pcd", pcd(P, "ascii", "x y z"), "has a damaged header"),
        ("x.ply", ply(P)[:-200], "truncated"),
        ("x.txt", b"1 2 3\n1 2\n", "line 2 has 2 fields, expected 3"),
        ("x.txt", b"1 2 3\n\n1 b 3\n", "line 3: field 2 is 'b', expected a number"),
        ("x.csv", b"x,y,z\n", "holds no rows"),
        ("x.txt", b"\xff\xfe\x00", "is not UTF-8"),
        ("x.txt", b"1 2 3\n1 nan 3\n", "line 2: field 2 is 'nan', expected a finite number"),
    ],
)
def test_a_broken_cloud_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_cloud(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert words in line
    assert "\n" not in line


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "Töpfe"
    for place, name in enumerate(("cup", "Schüssel")):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            (folder / name / f"{number}.npy").write_bytes(npy(xyz(30 + 40 * number, 10 * place + number)))
    return folder


def clouds(root: Path, **options: object) -> Clouds:
    return Clouds(DataPlace(root.parent / "cache", root), Clouds.Options.model_validate({"points": 60, **options}))


def test_clouds_are_brought_to_one_size(root: Path) -> None:
    dataset = clouds(root)
    train, test = dataset.load("train"), dataset.load("test")
    assert train.points.shape == (6, 60, 3)
    assert test.points.shape == (2, 60, 3)
    assert train.classes == dataset.classes() == ("Schüssel", "cup")
    assert dataset.train_size() == 6
    for split in (train, test):
        for name, points in zip(split.ids, split.points, strict=True):
            source = np.load(root / name)
            known = {row.tobytes() for row in source}
            rows = [row.tobytes() for row in np.array(points)]
            assert set(rows) <= known
            assert len(set(rows)) == min(len(source), 60)


def test_a_changed_file_changes_the_manifest(root: Path) -> None:
    before = clouds(root).manifest()
    assert clouds(root).manifest() == before
    assert clouds(root, points=61).manifest() != before
    (root / "cup" / "0.npy").write_bytes(npy(xyz(30, 99)))
    assert clouds(root).manifest() != before


def test_the_second_start_reads_the_cache(root: Path) -> None:
    """Converted once: what is loaded again are memory maps, not the files."""
    clouds(root).load("train")
    again = clouds(root).load("train")
    assert isinstance(again.points, np.memmap)
    assert sorted(p.suffix for p in root.rglob("*") if p.is_file()) == [".npy"] * 8


def test_every_suffix_the_docs_name_is_read() -> None:
    assert set(READERS) == {".npy", ".npz", ".ply", ".pcd", ".txt", ".csv", ".xyz"}
