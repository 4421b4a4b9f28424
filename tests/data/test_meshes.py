"""Folders of meshes: points lie on the surface, splits stay put, and a broken file is named in one line."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.data.base import DataPlace, Dataset
from bench.data.h5set import SPLITS
from bench.data.meshes import Meshes, read_mesh
from bench.errors import DataError

trimesh = pytest.importorskip("trimesh")

KINDS = ("off", "obj", "ply", "glb", "stl")


def export(mesh: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = mesh.export(file_type=path.suffix[1:])  # type: ignore[attr-defined]
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def ball(radius: float = 1.0) -> object:
    return trimesh.creation.icosphere(subdivisions=2, radius=radius)


def brick(*size: float) -> object:
    return trimesh.creation.box(size or (1.0, 2.0, 3.0))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, five files each, one of every kind."""
    folder = tmp_path / "Möbel 家具"
    for place, kind in enumerate(KINDS):
        export(ball(1 + place), folder / "Kugel ö" / f"b{place}.{kind}")
        export(brick(1, 2, 3 + place), folder / "brick" / f"b{place}.{kind}")
    (folder / "brick" / "readme.txt").write_text("no mesh")
    (folder / "brick" / "._b0.off").write_bytes(b"\0Mac")
    return folder


def meshes(root: Path, **options: object) -> Meshes:
    return Meshes(DataPlace(root.parent / "cache", root), Meshes.Options.model_validate({"points": 200, **options}))


def refusal(dataset: Dataset, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        dataset.load(split)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def everything(dataset: Dataset) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for split in SPLITS:
        loaded = dataset.load(split)
        found |= dict(zip(loaded.ids, np.array(loaded.points), strict=True))
    return found


def test_points_of_every_format_lie_on_the_surface(root: Path) -> None:
    """A format read with the wrong scale, transform or order would give other shapes."""
    dataset = meshes(root)
    assert dataset.classes() == ("Kugel ö", "brick")
    found = everything(dataset)
    assert len(found) == 10
    for place, kind in enumerate(KINDS):
        radius = np.linalg.norm(found[f"Kugel ö/b{place}.{kind}"], axis=1)
        assert radius.max() <= (1 + place) * 1.001, kind
        assert radius.min() > (1 + place) * 0.95, kind
        half = np.array([1, 2, 3 + place]) / 2
        on_face = np.abs(np.abs(found[f"brick/b{place}.{kind}"]) - half).min(axis=1)
        assert on_face.max() < 1e-4, kind


def test_density_follows_area_and_normals_point_outward(root: Path) -> None:
    """Drawing points per face instead of per area would crowd them on small triangles."""
    export(brick(10, 1, 1), root / "brick" / "b0.off")
    (root / "train.txt").write_text("brick/b0.off\n")
    (root / "test.txt").write_text("brick/b1.obj\n")
    loaded = meshes(root, points=4200).load("train")
    assert loaded.normals is not None
    ends = (np.abs(np.abs(loaded.points[0][:, 0]) - 5) < 1e-4).mean()
    assert abs(ends - 2 / 42) < 0.01
    assert (np.einsum("ij,ij->i", loaded.points[0], loaded.normals[0]) > 0).all()


def test_z_up_files_are_turned(root: Path) -> None:
    found, turned = everything(meshes(root)), everything(meshes(root, up="z"))
    size = np.ptp(found["brick/b4.stl"], axis=0)
    other = np.ptp(turned["brick/b4.stl"], axis=0)
    assert np.allclose(other, size[[0, 2, 1]], atol=0.05)
    assert meshes(root, up="z").manifest() != meshes(root).manifest()


def test_a_scene_is_its_meshes_in_their_places(root: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(ball(), transform=trimesh.transformations.translation_matrix([10, 0, 0]))
    scene.add_geometry(brick(2, 2, 2))
    export(scene, root / "brick" / "b3.glb")
    points = everything(meshes(root))["brick/b3.glb"]
    assert (points[:, 0] > 8.9).any()
    assert (points[:, 0] < 1.1).any()
    assert not ((points[:, 0] > 1.1) & (points[:, 0] < 8.9)).any()


def test_degenerate_faces_get_no_points(root: Path) -> None:
    text = "OFF\n5 2 0\n0 0 0\n1 0 0\n0 1 0\n5 5 5\n5 5 5\n3 0 1 2\n3 3 4 3\n"
    (root / "brick" / "b0.off").write_text(text)
    points = everything(meshes(root))["brick/b0.off"]
    assert points.max() <= 1


def test_modelnets_heads_without_a_break_are_read(root: Path) -> None:
    """Hundreds of ModelNet's OFF files begin with 'OFF490 518 0'."""
    (root / "brick" / "b0.off").write_text("OFF4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2\n3 0 2 3\n")
    assert everything(meshes(root))["brick/b0.off"].max() <= 1


def test_obj_materials_are_not_looked_for(root: Path) -> None:
    text = "# Käse\nmtllib ../../gone.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nusemtl x\nf 1 2 3\nf 2 4 3\n"
    (root / "brick" / "b1.obj").write_bytes(text.encode("latin-1"))
    assert everything(meshes(root))["brick/b1.obj"].max() <= 1


def test_without_lists_the_split_is_stratified_and_stays(root: Path) -> None:
    """Adding a file must not move the others between train and test: old results would no longer be comparable."""
    dataset = meshes(root)
    assert len(dataset.load("test")) == 2
    assert set(dataset.load("test").labels.tolist()) == {0, 1}
    assert dataset.train_size() == len(dataset.load("train")) == 8
    before = set(dataset.load("test").ids)
    export(ball(), root / "Kugel ö" / "new.off")
    after = meshes(root)
    assert before - set(after.load("test").ids) <= {next(i for i in before if i.startswith("Kugel"))}
    brick_test = {i for i in after.load("test").ids if i.startswith("brick")}
    assert brick_test == {i for i in before if i.startswith("brick")}
    others = {tuple(sorted(meshes(root, split_seed=s).load("test").ids)) for s in range(6)}
    assert len(others) > 1


def test_split_folders(root: Path, tmp_path: Path) -> None:
    for layout in ("outer", "inner"):
        folder = tmp_path / layout
        for split in ("train", "test"):
            for name in ("a", "b"):
                inner = f"{split}/{name}" if layout == "outer" else f"{name}/{split}"
                export(brick(), folder / inner / f"{split}.off")
        dataset = meshes(folder)
        assert dataset.classes() == ("a", "b")
        assert all(i.endswith("train.off") for i in dataset.load("train").ids)
        assert all(i.endswith("test.off") for i in dataset.load("test").ids)
    export(brick(), tmp_path / "outer" / "test" / "c" / "x.off")
    assert "classes that no training file has: c" in refusal(meshes(tmp_path / "outer"))


def test_list_files(root: Path) -> None:
    (root / "train.txt").write_text("brick/b0.off\nKugel ö/b1\n", encoding="utf-8")
    (root / "test.txt").write_text("brick/b2.ply\n", encoding="utf-8")
    dataset = meshes(root)
    assert dataset.load("train").ids == ("brick/b0.off", "Kugel ö/b1.obj")
    assert dataset.load("test").ids == ("brick/b2.ply",)
    (root / "test.txt").write_text("brick/b2.ply\nbrick/gone.ply\n", encoding="utf-8")
    assert "test.txt: line 2 names brick/gone.ply, which does not exist" in refusal(meshes(root))
    (root / "test.txt").write_text("brick/b0.off\n", encoding="utf-8")
    assert "test.txt: line 1 names brick/b0.off, which train.txt names already" in refusal(meshes(root))
    (root / "test.txt").unlink()
    assert "test.txt: no such file" in refusal(meshes(root))


def write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def cut(share: float) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(len(path.read_bytes()) * share)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [cut(0.6), write(b""), write(b"\x00\x01 nothing like a mesh\n" * 9)])
def test_broken_files_of_every_format_are_named(root: Path, kind: str, damage: Callable[[Path], object]) -> None:
    damage(root / "brick" / f"b{KINDS.index(kind)}.{kind}")
    lines = []
    for split in SPLITS:
        try:
            meshes(root).load(split)
        except DataError as error:
            lines.append(str(error))
    assert len(lines) == 1
    assert f"brick/b{KINDS.index(kind)}.{kind}: " in lines[0]
    assert "\n" not in lines[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.off", b"OFF\n3 1 0\n0 0 0\n1 1 1\n2 2 2\n3 0 1 2\n", "all 1 faces are degenerate"),
        (
            "x.off",
            b"OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n",
            "3 vertices and 2 faces announced, 4 lines were found",
        ),
        ("x.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "face 0 names vertex 7, there are 3"),
        ("x.off", b"OFF\n3 1 0\n0 0 0\n1 nan 0\n0 1 0\n3 0 1 2\n", "expected finite numbers"),
        ("x.off", b"OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "has no faces"),
        ("x.obj", b"v 0 0 0\nv 1 0 0\n", "has no faces"),
        ("x.stl", b"\0" * 80 + struct.pack("<I", 9) + b"\0" * 100, "9 triangles need 534 bytes"),
        ("x.stl", b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\n", "is truncated (no 'endsolid'"),
        ("x.stl", b"\0" * 80 + struct.pack("<I", 1) + b"\0" * 100, "holds more than its header announces"),
        ("x.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "line 4 names vertex 4, there are 3"),
        ("x.obj", b"v 0 0 0\nv 1 0\nv 0 1 0\nf 1 2 3\n", "line 2 is 'v 1 0', expected v and x y z"),
        ("x.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1/1 2/1/1 3//1\n", "expected corners of one form"),
        ("x.off", b"OFF\n3 1 0\n0 0 0\n1e30 0 0\n0 1 0\n3 0 1 2\n", "vertex 1 is [1e+30, 0.0, 0.0], expected finite"),
        ("x.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n3 0 1 2\n", "holds more than its header announces"),
    ],
)
def test_meshes_without_a_surface_are_named(root: Path, name: str, content: bytes, words: str) -> None:
    for file in (root / "brick").iterdir():
        file.unlink()
    for twin in ("1", "2"):
        (root / "brick" / f"{twin}{name}").write_bytes(content)
    line = refusal(meshes(root))
    assert words in line
    assert name in line


def test_folders_that_are_no_classes_are_named(root: Path, tmp_path: Path) -> None:
    (root / "empty").mkdir()
    assert "empty: class has no files" in refusal(meshes(root))
    (root / "empty").rmdir()
    export(ball(), root / "lonely" / "one.off")
    assert "lonely: class has 1 file, and at least 2" in refusal(meshes(root))
    (tmp_path / "none").mkdir()
    assert "no class folders here" in refusal(meshes(tmp_path / "none"))
    export(ball(), tmp_path / "half" / "train" / "a" / "x.off")
    assert "has no folder test/" in refusal(meshes(tmp_path / "half"))


def test_links_are_followed_and_broken_ones_named(root: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("brick", "Kugel ö"):
        (linked / name).symlink_to(root / name)
    assert meshes(linked).manifest() == meshes(root).manifest()
    (root / "brick" / "b9.off").symlink_to(tmp_path / "gone.off")
    assert "b9.off: no such file" in refusal(meshes(root))


def test_sampling_is_fixed_by_path_and_content(root: Path, tmp_path: Path) -> None:
    """The same folder in another place is the same data."""
    other = tmp_path / "elsewhere"
    for path in root.glob("*/*.*"):
        target = other / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert meshes(other).manifest() == meshes(root).manifest()
    dataset = Meshes(DataPlace(tmp_path / "cache2", other), Meshes.Options(points=200))
    assert np.array_equal(dataset.load("train").points, meshes(root).load("train").points)
    export(ball(3), root / "brick" / "b0.off")
    assert meshes(other).manifest() != meshes(root).manifest()


SQUARE = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
ELL = "0 0 0\n2 0 0\n2 1 0\n1 1 0\n1 2 0\n0 2 0\n"
"""Six corners with a dent: a fan round the first would cover more than the face."""


@pytest.mark.parametrize(
    ("content", "area"),
    [
        ("OFF\n5 1 0\n0 0 0\n1 0 0\n1 1 0\n.5 1.5 0\n0 1 0\n5 0 1 2 3 4\n", 1.25),
        (f"OFF\n6 1 0\n{ELL}6 0 1 2 3 4 5\n", 3),
        (f"OFF 6 2 0\n{ELL}6 0 1 2 3 4 5 0.5 0.5 0.5\n4 0 1 2 3 255 0 0\n", 4.5),
        (f"# made by foo\nOFF # head\n\n4 1 0\n{SQUARE}# faces\n4 0 1 2 3\n", 1),
        ("COFF\n3 1 0\n0 0 0 255 0 0 255\n1 0 0 255 0 0 255\n0 1 0 0 0 0 255\n3 0 1 2\n", 0.5),
        (f"OFF4 3 0\n{SQUARE}3 0 1 2\n2 0 1\n3 0 2 3\n", 1),
    ],
)
def test_valid_off_files_are_read(tmp_path: Path, content: str, area: float) -> None:
    """Faces of five and six corners, colours and comments are in the format; they were called damaged."""
    (tmp_path / "a.off").write_text(content)
    mesh = read_mesh(tmp_path / "a.off")
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert np.isclose(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2, area)


def ply_mesh(form: str, faces: list[list[int]], kind: str = "float") -> bytes:
    """A PLY file with a list before its vertices, z before x, and properties of other types between."""
    order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[form]
    points = np.array([[float(v) for v in line.split()] for line in ELL.split("\n") if line])
    head = (
        f"ply\nformat {form} 1.0\ncomment Gr\u00f6\u00dfe end_header\nelement strip 2\n"
        f"property list uchar int numbers\nelement vertex 6\nproperty {kind} z\nproperty uchar red\n"
        f"property {kind} x\nproperty {kind} y\nelement face {len(faces)}\nproperty uchar flag\n"
        "property list uchar uint vertex_indices\nend_header\n"
    ).encode("latin-1")
    if form == "ascii":
        rows = [f"{z:g} 7 {x:g} {y:g}" for x, y, z in points]
        lines = ["2 5 6", "0", *rows, *(" ".join(map(str, (1, len(face), *face))) for face in faces)]
        return head + "\n".join(lines).encode() + b"\n"
    letter = {"float": "f", "double": "d"}[kind]
    body = struct.pack(f"{order}BiiB", 2, 5, 6, 0)
    body += b"".join(struct.pack(f"{order}{letter}B{letter}{letter}", z, 7, x, y) for x, y, z in points)
    return head + body + b"".join(struct.pack(f"{order}BB{len(f)}I", 1, len(f), *f) for f in faces)


FORMS = ("ascii", "binary_little_endian", "binary_big_endian")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("faces", [[[0, 1, 2], [0, 2, 3]], [[0, 1, 2, 3, 4, 5], [0, 1, 2]]])
def test_every_kind_of_ply_is_read(tmp_path: Path, form: str, kind: str, faces: list[list[int]]) -> None:
    (tmp_path / "a.ply").write_bytes(ply_mesh(form, faces, kind))
    mesh = read_mesh(tmp_path / "a.ply")
    assert mesh.vertices[1].tolist() == [2, 0, 0]
    assert [0, 1, 2] in mesh.faces.tolist()
    assert len(mesh.faces) == sum(len(face) - 2 for face in faces)


@pytest.mark.parametrize("kind", ["off", "ply"])
def test_meshes_that_were_read_before_are_read_alike(tmp_path: Path, kind: str) -> None:
    """Another order of faces draws other points, and stored results would no longer belong to the files."""
    export(ball(), tmp_path / f"a.{kind}")
    ours, theirs = read_mesh(tmp_path / f"a.{kind}"), trimesh.load(tmp_path / f"a.{kind}", process=False)
    assert np.array_equal(ours.faces, theirs.faces)
    assert np.array_equal(ours.vertices, theirs.vertices)


def contents() -> dict[str, bytes]:
    made = {f"a.{form}.ply": ply_mesh(form, [[0, 1, 2], [0, 2, 3, 5]]) for form in FORMS}
    made["a.off"] = f"OFF\n6 2 0\n{ELL}6 0 1 2 3 4 5\n3 0 1 2\n".encode()
    for suffix in ("stl", "glb"):
        made[f"a.{suffix}"] = brick().export(file_type=suffix)  # type: ignore[attr-defined]
    made["b.stl"] = brick().export(file_type="stl_ascii").encode()  # type: ignore[attr-defined]
    return made


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(contents())), share=st.floats(0, 1, exclude_max=True))
def test_a_mesh_that_breaks_off_anywhere_is_refused(tmp_path: Path, name: str, share: float) -> None:
    """Half a mesh has a surface, too, and points on it look like an object."""
    whole = contents()[name]
    path = tmp_path / name
    end = len(whole.rstrip(b"\n")) - (name.endswith((".off", "ascii.ply", "b.stl")))  # a digit less, or a line's end
    path.write_bytes(whole[: int(share * end)])
    with pytest.raises(DataError) as error:
        read_mesh(path)
    assert str(error.value).startswith(f"{path}: ")
