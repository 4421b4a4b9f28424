"""Data set of mesh files, sampled to points.

The files are ``<class>/<file>``.
"""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bench.data.arrays import cloud, finite, read_bytes
from bench.data.base import DatasetCard
from bench.data.classfolders import ClassFolders
from bench.data.converted import Column, Reader
from bench.data.coordinates import LARGEST
from bench.data.off import read_off
from bench.data.ply import read_ply
from bench.data.polygons import triangulated
from bench.data.resample import RESAMPLE_SEED
from bench.data.shapes.mesh import Mesh, face_geometry, sample_surface
from bench.data.texttable import NUMBER
from bench.errors import DataError
from bench.seeds import numpy_stream

Up = Literal["y", "z"]
_AGAIN = "copy or download it again"


class Meshes(ClassFolders):
    """Meshes in common formats, with points sampled on their surfaces.

    OFF and PLY are read by bench, other formats by trimesh. `points` points are sampled on each surface, with density
    proportional to area, by a random stream fixed by the file's path; their normals are those of the triangles. All
    meshes of a scene are read, at their positions. Faces without area get no points; materials and textures are not
    read. Coordinates are not scaled.
    """

    name: ClassVar[str] = "meshes"
    revision: ClassVar[int] = 2
    suffixes: ClassVar[tuple[str, ...]] = (".off", ".obj", ".ply", ".glb", ".stl")
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="a folder of meshes, <class>/<file> in off, obj, ply, glb or stl; points drawn by area",
        licence="that of your files",
        terms="those of your files",
        citation="none: your files",
        normalisation="none: coordinates as in the files",
        how_to_get="your own files: meshes:DIR with DIR/<class>/<file>",
    )

    class Options(ClassFolders.Options):
        """Options of points, axes and split; they enter the key."""

        up: Up = Field("y", description="axis that points up in the files; z is rotated to y")

    def _reader(self, root: Path) -> Reader:
        options = self.options
        assert isinstance(options, Meshes.Options)
        up, points = options.up, options.points

        def read(path: Path) -> dict[str, npt.NDArray[np.float32]]:
            return sampled(path, path.relative_to(root).as_posix(), points, up)

        columns = {name: Column("float32", (points, 3)) for name in ("points", "normals")}
        return Reader("meshes", columns, read, revision=2, options={"up": up})


def sampled(path: Path, name: str, points: int, up: Up) -> dict[str, npt.NDArray[np.float32]]:
    """Sample points on the surface of a mesh file.

    Args:
        path: The file.
        name: Name of the random stream.
        points: Number of points.
        up: Axis that points up in the file.

    Returns:
        ``points`` and ``normals``, float32 ``[points, 3]``, y up.

    Raises:
        DataError: The file is damaged, has no faces, or no surface.
    """
    mesh = read_mesh(path)
    if up == "z":
        mesh = Mesh(_turned(mesh.vertices), mesh.faces)
    area, _ = face_geometry(mesh)
    if not np.isfinite(area).all():
        raise DataError(f"{path}: its coordinates are too large (up to {np.abs(mesh.vertices).max():.3g})")
    if area.sum() <= 0:
        raise DataError(f"{path}: all {len(area)} faces are degenerate, so there is no surface to draw points on")
    where, normals, _ = sample_surface(mesh, points, numpy_stream(RESAMPLE_SEED, "data", "mesh", name))
    return {"points": cloud(where, path), "normals": finite(normals, path, "normals")}


def _turned(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.stack([v[:, 0], v[:, 2], -v[:, 1]], axis=-1)


def read_mesh(path: Path) -> Mesh:
    """Read all triangles of a mesh file.

    Meshes of a scene are moved to their positions.

    Raises:
        DataError: The file is damaged, not as long as announced, or has no faces.
    """
    suffix = path.suffix.lower()
    content = read_bytes(path)
    if suffix in (".off", ".ply"):
        vertices, polygons = read_off(path, content) if suffix == ".off" else read_ply(path)
        faces = triangulated(polygons, vertices, path)
    else:
        if suffix == ".obj":
            content = _utf8(content)
        _CHECKS[suffix](path, content)
        try:
            vertices, faces = _triangles(content, suffix.removeprefix("."))
        except Exception as error:  # trimesh raises many kinds of errors
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}".rstrip(": ")
            raise DataError(f"{path}: cannot be read as {suffix} ({reason}); {_AGAIN}") from error
    if not len(faces):
        hint = "; for clouds of points use clouds:DIR" if suffix == ".ply" else ""
        raise DataError(f"{path}: has no faces{hint}")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise DataError(f"{path}: a face names vertex {faces.max()}, there are {len(vertices)}; {_AGAIN}")
    broken = np.flatnonzero(~(np.abs(vertices) <= LARGEST).all(axis=1))
    if len(broken):
        raise DataError(
            f"{path}: vertex {broken[0]} is {vertices[broken[0]].tolist()}, expected finite numbers up to {LARGEST:g}"
        )
    return Mesh(vertices, faces)


def _triangles(content: bytes, kind: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return vertices and faces of all meshes of a file.

    It is parsed in memory, so other files that it names are never opened.
    """
    import trimesh

    logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # errors are reported below, once
    scene: Any = trimesh.load_scene(io.BytesIO(content), file_type=kind, process=False)
    vertices, faces, total = [np.empty((0, 3))], [np.empty((0, 3), dtype=np.int64)], 0
    for node in sorted(scene.graph.nodes_geometry, key=str):
        matrix, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh):  # curves and points of a scene have no surface
            continue
        placed = np.asarray(geometry.vertices, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        vertices.append(placed)
        faces.append(np.asarray(geometry.faces, dtype=np.int64).reshape(-1, 3) + total)
        total += len(placed)
    return np.concatenate(vertices), np.concatenate(faces)


def _utf8(content: bytes) -> bytes:
    """Return text as UTF-8, also if comments have another encoding."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1").encode("utf-8")
    return content


def _check_stl(path: Path, content: bytes) -> None:
    """Refuse an STL file whose content contradicts its header."""
    if content.lstrip()[:5].lower() == b"solid" and b"facet" in content[:4096]:
        words = content.lower().split()
        ends = [words.count(word) for word in (b"facet", b"endfacet", b"outer", b"endloop")]
        if words.count(b"endsolid") < words.count(b"solid") or b"endsolid" not in content[-4096:].lower():
            raise DataError(f"{path}: is truncated (no 'endsolid' at its end); {_AGAIN}")
        if len(set(ends)) > 1 or words.count(b"vertex") != 3 * ends[0]:
            raise DataError(f"{path}: has {ends[0]} facets and {words.count(b'vertex')} vertices, expected 3 of each")
        return
    announced = int.from_bytes(content[80:84], "little")
    if len(content) < 84 or len(content) != 84 + 50 * announced:
        what = "is truncated" if len(content) < 84 + 50 * announced else "holds more than its header announces"
        raise DataError(
            f"{path}: {what}: {announced} triangles need {84 + 50 * announced} bytes, {len(content)} were found; "
            f"{_AGAIN}"
        )


def _check_obj(path: Path, content: bytes) -> None:
    """Refuse an OBJ file with invalid vertices or faces."""
    text = content.decode("utf-8").replace("\\\r\n", " ").replace("\\\n", " ")
    vertices, highest, where = 0, 0, 0
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].split()
        if words[:1] == ["v"]:
            vertices += 1
            if not 4 <= len(words) <= 8 or not all(map(NUMBER.fullmatch, words[1:])):
                raise DataError(f"{path}: line {number} is '{line[:60]}', expected v and x y z; {_AGAIN}")
        elif words[:1] == ["f"]:
            named = [word.split("/")[0] for word in words[1:]]
            if len(named) < 3 or not all(re.fullmatch("-?[0-9]{1,18}", word) and int(word) for word in named):
                raise DataError(f"{path}: line {number} is '{line[:60]}', expected a face of 3 or more vertices")
            # trimesh would read texture indices as vertices
            if len({tuple(map(bool, word.split("/"))) for word in words[1:]}) > 1:
                raise DataError(f"{path}: line {number} is '{line[:60]}', expected corners of one form, as 1/1/1 2/2/2")
            if min(map(int, named)) < -vertices:
                raise DataError(f"{path}: line {number} names vertex {min(named)} of the {vertices} before; {_AGAIN}")
            if max(map(int, named)) > highest:
                highest, where = max(map(int, named)), number
    if highest > vertices:
        raise DataError(f"{path}: line {where} names vertex {highest}, there are {vertices}; {_AGAIN}")


def _check_glb(path: Path, content: bytes) -> None:
    """Refuse a binary glTF file of the wrong length."""
    stated = int.from_bytes(content[8:12], "little")
    if content[:4] == b"glTF" and stated != len(content):
        what = "is truncated" if len(content) < stated else "holds more than its header announces"
        raise DataError(f"{path}: {what}: its header states {stated} bytes, {len(content)} were found; {_AGAIN}")


_CHECKS = {".stl": _check_stl, ".obj": _check_obj, ".glb": _check_glb}
"""Checks before trimesh reads a file, since it accepts many truncated files."""
