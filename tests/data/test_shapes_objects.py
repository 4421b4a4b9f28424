"""The objects themselves: category lists, captions without leaks, disjoint streams, believable scans."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from bench.data.shapes import novel_categories, part_names, pretraining_categories
from bench.data.shapes.caption import article, caption
from bench.data.shapes.mesh import face_geometry
from bench.data.shapes.objects import (
    Thing,
    categories,
    cloud_of,
    make_thing,
    part_offsets,
    stream,
    unit_sphere,
    views_of,
)
from bench.data.shapes.scan import BACKGROUND, scan_of
from bench.data.shapes.sketch import Group, Sketch, Solid

TEST_SET_CLASSES = frozenset(
    """
    brick plate tile slope wedge arch bracket panel window door windscreen wheel tyre wing hinge baseplate container
    boat animal plant cylinder cone propeller bar figure constraction beam gear axle pin connector hair helmet hat
    head weapon train track bottle box cup fruit pen tool
    """.split()  # noqa: SIM905
)
"""Class names of the real sets in use; a caption that names one would leak it into a 'saw none' row."""

GROUPS: tuple[Group, ...] = ("seen", "novel")


@cache
def things(group: Group, each: int = 14) -> dict[str, list[Thing]]:
    kinds = categories(group)
    return {
        c.name: [make_thing("test-objects", k * len(kinds) + i, c) for k in range(each)] for i, c in enumerate(kinds)
    }


def test_there_are_enough_categories_and_the_groups_share_none() -> None:
    """Ten-way few-shot on novel categories needs more than ten; a shared one would not be novel."""
    assert len(pretraining_categories()) >= 34
    assert len(novel_categories()) >= 12
    assert not set(pretraining_categories()) & set(novel_categories())
    assert list(pretraining_categories()) == sorted(pretraining_categories())
    assert not set(pretraining_categories()) & TEST_SET_CLASSES


def test_captions_never_name_a_novel_category_or_a_class_of_the_real_sets() -> None:
    """Rows that claim 'saw class names: none' rest on this."""
    words = [re.escape(w) for w in (*TEST_SET_CLASSES, *novel_categories())]
    banned = re.compile(rf"\b({'|'.join(words)})(e?s)?\b", re.IGNORECASE)
    kinds = categories("seen")
    captions = []
    for i in range(780):
        kind = kinds[i % len(kinds)]
        rng = stream("test-captions", i, "shape")
        sketch = Sketch(rng, kind.parts)
        kind.program(sketch)
        captions.append((kind.name, caption(kind.name, sketch.finish(), stream("test-captions", i, "caption"))))
    assert not [line for _, line in captions if banned.search(line)]
    assert all(re.search(rf"\b{name}\b", line) for name, line in captions), "each names its own category"
    assert all(line[0].isupper() and line.endswith(".") and "  " not in line for _, line in captions)
    assert not [line for _, line in captions if re.search(r"\ba [aeiou]|\ban [^aeiou]", line)]
    assert len({line for _, line in captions}) > 700, "captions must tell objects of a category apart"


def test_a_caption_has_two_to_four_attributes_and_good_grammar() -> None:
    solid = Solid(None, None, ("tall", "wide", "tall"), ("a lid", "two feet", "no arms", "a lid"))  # type: ignore[arg-type]
    for seed in range(60):
        line = caption("glasses", solid, np.random.default_rng(seed))
        said = sum(phrase in line for phrase in ("tall", "wide", "a lid", "two feet", "no arms"))
        assert 2 <= said <= 4
        assert re.search(r"\bpair of (\w+ )*glasses", line)
    assert (article("oval top"), article("top")) == ("an oval top", "a top")


@pytest.mark.parametrize("group", GROUPS)
def test_every_category_varies_in_structure_and_uses_all_its_parts(group: Group) -> None:
    """One template per category would let memory of a template pass for recognition."""
    for kind in categories(group):
        made = things(group)[kind.name]
        structures = {tuple(np.bincount(t.part, minlength=len(kind.parts)).tolist()) for t in made}
        assert len(structures) >= 3, kind.name
        used = set(np.concatenate([np.unique(t.part) for t in made]).tolist())
        assert len(used) >= len(kind.parts) - 1, f"{kind.name}: {kind.parts} but only {used}"


@pytest.mark.parametrize("group", GROUPS)
def test_meshes_are_finite_and_light(group: Group) -> None:
    for name, made in things(group).items():
        for t in made:
            area, _ = face_geometry(t.mesh)
            assert np.isfinite(t.mesh.vertices).all(), name
            assert area.sum() > 0, name
            assert len(t.part) == len(t.mesh.faces), name
            assert len(t.part) < 12_000, f"{name} is slow to draw"
            assert np.ptp(t.mesh.vertices, axis=0).min() > 1e-3, f"{name} is flat"


def test_an_object_depends_on_its_stream_and_index_alone() -> None:
    """Else the cache, the key and paired comparisons would lie."""
    kind = categories("seen")[0]
    first, again = make_thing("a", 5, kind), make_thing("a", 5, kind)
    assert np.array_equal(first.mesh.vertices, again.mesh.vertices)
    assert first.caption == again.caption
    for other in (make_thing("a", 6, kind), make_thing("b", 5, kind)):
        assert other.mesh.vertices.shape != first.mesh.vertices.shape or not np.allclose(
            other.mesh.vertices, first.mesh.vertices
        )


def test_clouds_fill_the_unit_sphere_and_carry_parts_and_normals() -> None:
    for t in things("seen")["chair"][:3]:
        points, normals, part = cloud_of(t, 512, np.random.default_rng(0))
        assert points.dtype == np.float32
        assert np.allclose(points.mean(axis=0), 0, atol=1e-5)
        assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=1e-5)
        assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        assert part.min() >= 0
        assert part.max() < len(t.category.parts)
    assert np.array_equal(unit_sphere(np.ones((4, 3))), np.zeros((4, 3))), "a constant cloud must not become NaN"


def test_part_ids_do_not_repeat_across_categories() -> None:
    names, offsets = part_names("seen"), part_offsets("seen")
    assert len(set(names)) == len(names)
    for c in categories("seen"):
        assert names[offsets[c.name]] == f"{c.name}/{c.parts[0]}"


def test_views_show_the_object_from_different_sides() -> None:
    t = things("seen")["chair"][0]
    for kind, empty in (("shaded", 255), ("depth", 0)):
        views = views_of(t, 4, 64, kind, np.random.default_rng(0))  # type: ignore[arg-type]
        assert views.shape == (4, 64, 64, 1)
        covered = (views != empty).mean(axis=(1, 2, 3))
        assert ((covered > 0.04) & (covered < 0.8)).all()
        assert all(not np.array_equal(views[0], v) for v in views[1:])


def test_scans_are_partial_noisy_and_cluttered_but_keep_the_object() -> None:
    """Too little of the object and no method could learn; no clutter and it would be shapes-cad again."""
    shares, sides = [], []
    for name, made in things("seen").items():
        for k, t in enumerate(made[:1]):
            points, normals, part = scan_of(t, f"test-{name}", k, 1024, stream("test-scan", k, name))
            assert points.shape == normals.shape == (1024, 3)
            assert np.isfinite(points).all()
            assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=1e-5)
            assert part.min() >= BACKGROUND
            assert part.max() < len(t.category.parts)
            own = part >= 0
            shares.append(own.mean())
            sides.append(np.linalg.norm(normals[own].mean(axis=0)))
    assert min(shares) >= 0.45
    assert 0.5 < np.mean(shares) < 0.85
    assert np.mean(sides) > 0.35, "normals of a single view all face one side"


def test_scans_of_one_object_differ_by_viewpoint_and_repeat_by_seed() -> None:
    t = things("seen")["car"][0]
    first = scan_of(t, "test", 0, 256, np.random.default_rng(0))
    again = scan_of(t, "test", 0, 256, np.random.default_rng(0))
    other = scan_of(t, "test", 0, 256, np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.allclose(first[0], other[0])


def test_undeclared_parts_are_refused() -> None:
    sketch = Sketch(np.random.default_rng(0), ("seat",))
    with pytest.raises(ValueError, match="part 'leg' is not declared; declared: seat"):
        sketch.add("leg")
