"""Sketch of an object: random parameters, parts, caption words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from bench.data.shapes.mesh import Floats, Ints, Mesh, join

T = TypeVar("T")
Group = Literal["seen", "novel"]

NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Solid:
    """A finished object.

    Attributes:
        mesh: All parts together, in the units of its program.
        part: int64 ``[F]``, index of the part name (within the category) per face.
        adjectives: Words that describe it.
        details: Phrases that fit after "with".
    """

    mesh: Mesh
    part: Ints
    adjectives: tuple[str, ...]
    details: tuple[str, ...]


@dataclass
class Sketch:
    """An object under construction.

    Attributes:
        rng: Source of every random parameter.
        part_names: Names `add` accepts.
    """

    rng: np.random.Generator
    part_names: tuple[str, ...]
    adjectives: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    _meshes: list[Mesh] = field(default_factory=list)
    _parts: list[int] = field(default_factory=list)

    def real(self, low: float, high: float, small: str = "", large: str = "") -> float:
        """Draw a uniform parameter.

        Its lowest and highest quarter add the adjectives `small` and `large`.
        """
        share = self.rng.random()
        if small and share < 0.25:
            self.adjectives.append(small)
        elif large and share > 0.75:
            self.adjectives.append(large)
        return low + share * (high - low)

    def count(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float = 0.5) -> bool:
        """Return True with the given probability."""
        return bool(self.rng.random() < probability)

    def pick(self, *options: T) -> T:
        """Return one of the options, equally likely."""
        return options[int(self.rng.integers(len(options)))]

    def adjective(self, word: str) -> None:
        """Add an adjective to the object's caption words."""
        self.adjectives.append(word)

    def detail(self, phrase: str) -> None:
        """Add a phrase that fits after "with" in the caption."""
        self.details.append(phrase)

    def detail_count(self, number: int, singular: str, plural: str = "") -> None:
        """Add a number to the caption, e.g. "three drawers"."""
        if number == 1:
            self.details.append(f"one {singular}")
        else:
            word = NUMBER_WORDS[number] if number < len(NUMBER_WORDS) else "many"
            self.details.append(f"{word} {plural or singular + 's'}")

    def add(self, part: str, *meshes: Mesh) -> None:
        """Add meshes to a part.

        Raises:
            ValueError: The category did not declare this part.
        """
        if part not in self.part_names:
            raise ValueError(f"part '{part}' is not declared; declared: {', '.join(self.part_names)}")
        index = self.part_names.index(part)
        self._meshes.extend(meshes)
        self._parts.extend([index] * len(meshes))

    def add_mirrored(self, part: str, *meshes: Mesh) -> None:
        """Add meshes and their mirror images at negative x."""
        self.add(part, *meshes, *(m.stretch(x=-1) for m in meshes))

    def add_corners(self, part: str, mesh: Mesh, x: float, z: float) -> None:
        """Add four copies at (+-x, +-z), mirrored to lean alike."""
        corner = mesh.move(x=x, z=z)
        self.add_mirrored(part, corner, corner.stretch(z=-1))

    def add_around(
        self, part: str, mesh: Mesh, count: int, start: float = 0.0, at: Sequence[float] | Floats = (0.0, 0.0, 0.0)
    ) -> None:
        """Add `count` copies evenly around the y axis.

        The first is turned by `start` degrees; all are then moved to `at`.
        """
        self.add(part, *(mesh.turn("y", start + 360 * k / count).move(*at) for k in range(count)))

    def finish(self) -> Solid:
        """Join the parts and orient closed ones outward."""
        mesh = join(*self._meshes)
        sizes = [len(m.faces) for m in self._meshes]
        corners = mesh.vertices[mesh.faces]
        volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
        signed = np.add.reduceat(volume, np.cumsum([0, *sizes[:-1]]))
        inside_out = np.repeat(signed < 0, sizes)
        faces = np.where(inside_out[:, None], mesh.faces[:, ::-1], mesh.faces)
        part = np.repeat(np.array(self._parts, dtype=np.int64), sizes)
        return Solid(Mesh(mesh.vertices, faces), part, tuple(self.adjectives), tuple(self.details))


Program = Callable[[Sketch], None]


@dataclass(frozen=True)
class Category:
    """A registered category.

    Attributes:
        name: Singular noun, spaces allowed.
        group: ``seen`` categories make up pretraining and teacher data, ``novel`` ones only evaluation.
        parts: Names of its parts.
        program: Draws one object on a `Sketch`.
    """

    name: str
    group: Group
    parts: tuple[str, ...]
    program: Program


_REGISTERED: dict[str, Category] = {}


def category(name: str, group: Group, parts: Sequence[str]) -> Callable[[Program], Program]:
    """Register a category program; names are unique across both groups."""

    def register(program: Program) -> Program:
        if name in _REGISTERED:
            raise ValueError(f"category '{name}' is registered twice")
        _REGISTERED[name] = Category(name, group, tuple(parts), program)
        return program

    return register


def registered(group: Group) -> tuple[Category, ...]:
    """Return the categories of a group, sorted by name.

    Labels therefore do not depend on the order of imports.
    """
    return tuple(c for _, c in sorted(_REGISTERED.items()) if c.group == group)
