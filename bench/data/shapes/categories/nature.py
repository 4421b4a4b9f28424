"""Growing things."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.mesh import Floats, Mesh
from bench.data.shapes.primitives import curve, cylinder, dome, ellipsoid, lathe, rod, shell, sweep
from bench.data.shapes.sketch import Sketch, category


def leaf(length: float, width: float, droop: float) -> Mesh:
    """Leaf whose flat side faces up."""
    path = curve([[0, 0, 0], [length * 0.5, length * 0.35, 0], [length, length * (0.4 - droop), 0]], 7)
    return sweep(path, 0.008, [0.01, width, width * 0.8, 0.01], up="z", sides=6)


@category("tree", "seen", ("trunk", "branch", "crown", "root"))
def tree(s: Sketch) -> None:
    """Broadleaf, conifer, palm, bare and clipped trees."""
    height, thick = s.real(0.8, 1.8, "short", "tall"), s.real(0.04, 0.12, "slim", "sturdy")
    kind = s.pick("broadleaf", "conifer", "palm", "bare", "clipped")
    lean = s.real(-0.25, 0.25)
    trunk = curve(
        [[0, 0, 0], [lean, height * 0.4, 0], [lean * 0.5, height * 0.8, s.real(-0.2, 0.2)], [lean, height, 0]]
    )
    s.add("trunk", sweep(trunk, [thick * 1.5, thick, thick * 0.5]))
    top = trunk[-1]
    if kind == "broadleaf":
        n = s.count(3, 8)
        for _ in range(n):
            at = top + s.rng.normal(0, 0.25, 3) + np.array([0, 0.1, 0])
            size = s.real(0.2, 0.45)
            s.add("crown", ellipsoid(size, size * s.real(0.6, 1.0), size, sides=10).move(*at))
            s.add("branch", rod(trunk[8].tolist(), at.tolist(), thick * 0.4))
        s.detail("a bushy crown" if n > 5 else "a loose crown")
    elif kind == "conifer":
        n, wide = s.count(2, 6), s.real(0.4, 0.75)
        for k in range(n):
            t = k / n
            s.add(
                "crown",
                cylinder(wide * (1 - 0.75 * t), height * 1.1 / n, top=wide * 0.12).move(
                    lean * t, height * (0.3 + 0.8 * t), 0
                ),
            )
        s.detail_count(n, "tier")
    elif kind == "palm":
        n, reach = s.count(6, 11), s.real(0.5, 0.9)
        s.add_around("crown", leaf(reach, s.real(0.05, 0.1), s.real(0.3, 0.9)), n, at=top)
        s.detail("long palm leaves")
    elif kind == "clipped":
        levels, size = s.count(1, 3), s.real(0.25, 0.42)
        for k in range(levels):
            at = trunk[11 - 4 * k]
            ball = ellipsoid(size, size * s.real(0.7, 1.2), size, rise=s.pick(2, 5))
            s.add("crown", ball.move(*at))
            size *= 1.25
        s.detail("a crown clipped into balls")
    if kind == "bare" or s.chance(0.2):
        for _ in range(s.count(5, 10)):
            start = trunk[s.count(5, 11)]
            end = start + s.rng.normal(0, 0.3, 3) + np.array([0, 0.3, 0])
            s.add("branch", rod(start.tolist(), end.tolist(), thick * 0.5, thick * 0.15, sides=6))
            for _ in range(2):
                twig = end + s.rng.normal(0, 0.18, 3) + np.array([0, 0.12, 0])
                s.add("branch", rod(end.tolist(), twig.tolist(), thick * 0.2, 0.005, sides=5))
        s.detail("bare branches")
    if s.chance(0.35):
        s.add_around("root", rod([thick, 0.12, 0], [thick * 3.5, 0, 0], thick * 0.6, 0.01), s.count(3, 6))
        s.detail("spreading roots")
    elif s.chance(0.25):
        s.add("root", shell([(0.2, -0.3), (0.3, 0.0)], 0.03))
        s.detail("a pot")
    s.adjective("leaning" if abs(lean) > 0.15 else "straight")


def _bloom(s: Sketch, kind: str, top: Floats, size: float, n: int) -> None:
    """One bloom at the end of a stem."""
    if kind == "daisy":
        s.add("centre", ellipsoid(size * 0.3, size * 0.15, size * 0.3, sides=10).move(*top))
        petal = (
            ellipsoid(size * 0.5, 0.015, size * s.real(0.12, 0.25), sides=8)
            .move(x=size * 0.65)
            .turn("z", s.real(-15, 35))
        )
        s.add_around("petal", petal, n, at=top)
    elif kind == "tulip":
        petal = sweep(
            curve([[0.02, 0, 0], [size * 0.6, size * 0.5, 0], [size * s.real(0.2, 0.6), size * 1.3, 0]], 7),
            0.012,
            [0.03, size * 0.35, size * 0.3, 0.01],
            up="z",
            sides=6,
        )
        s.add_around("petal", petal, s.count(3, 6), at=top)
    elif kind == "bell":
        bell = lathe(
            [(0.02, 0), (size * 0.4, -size * 0.15), (size * 0.45, -size * 0.7), (size * 0.75, -size)], caps=False
        )
        s.add("petal", bell.turn("z", s.real(-30, 30)).move(*top))
        s.add("centre", rod(top.tolist(), (top - np.array([0, size, 0])).tolist(), 0.02))
    else:
        for layer in range(3):
            petal = (
                ellipsoid(size * 0.35, size * 0.35, 0.02, sides=8)
                .turn("x", 20 + 22 * layer)
                .move(z=size * (0.12 + 0.17 * layer), y=size * 0.3)
            )
            s.add_around("petal", petal, 3 + 2 * layer, 30 * layer, at=top)


@category("flower", "seen", ("petal", "centre", "stem", "leaf", "pot"))
def flower(s: Sketch) -> None:
    """Daisies, tulips, bells, roses on stems."""
    height, size, n = (
        s.real(0.5, 1.5, "short", "tall"),
        s.real(0.2, 0.45, "small-petalled", "large-petalled"),
        s.count(4, 10),
    )
    kind = s.pick("daisy", "tulip", "bell", "rose")
    bow = s.real(-0.3, 0.3)
    stem = curve([[0, 0, 0], [bow, height * 0.5, 0], [bow * 0.3, height, 0]])
    s.add("stem", sweep(stem, 0.02, sides=6))
    blooms = 1 if s.chance(0.7) else s.count(2, 3)
    for b in range(blooms):
        top = stem[-1] if b == 0 else stem[-1] * np.array([1, 0.8, 1]) + np.array([0.3 * (-1) ** b, 0, 0.15 * b])
        if b:
            s.add("stem", rod(stem[7].tolist(), top.tolist(), 0.015, sides=6))
        _bloom(s, kind, top, size, n)
    s.detail(
        {"daisy": "open flat petals", "tulip": "upright petals", "bell": "a hanging bell", "rose": "layered petals"}[
            kind
        ]
    )
    leaves = s.count(0, 5)
    for k in range(leaves):
        s.add(
            "leaf",
            leaf(s.real(0.25, 0.5), s.real(0.04, 0.1), s.real(0, 0.6)).turn("y", s.real(0, 360)).move(*stem[2 + k]),
        )
    s.detail_count(leaves, "leaf", "leaves")
    if s.chance(0.3):
        s.add("pot", shell([(0.15, -0.35), (s.real(0.2, 0.3), 0.0)], 0.03))
        s.detail("a pot")


def _ribbed(mesh: Mesh, ribs: int) -> Mesh:
    """Add ribs along the y axis to a round body."""
    angle = np.arctan2(mesh.vertices[:, 2], mesh.vertices[:, 0])
    scale = 1 + 0.1 * np.cos(ribs * angle)
    return Mesh(mesh.vertices * np.stack([scale, np.ones_like(scale), scale], -1), mesh.faces)


def _cactus_arms(s: Sketch, height: float, radius: float) -> None:
    """Arms that leave a column and turn upwards."""
    n = s.count(0, 4)
    for k in range(n):
        low, out, up = s.real(0.25, 0.6) * height, s.real(0.2, 0.45), s.real(0.2, 0.6)
        arm = curve(
            [
                [radius * 0.5, low, 0],
                [radius + out, low, 0],
                [radius + out, low + 0.1, 0],
                [radius + out, low + up, 0],
            ]
        )
        s.add(
            "arm",
            sweep(arm, [radius * 0.6, radius * 0.55, radius * 0.5, radius * 0.2]).turn(
                "y", 360 * k / max(n, 1) + s.real(-40, 40)
            ),
        )
    s.detail_count(n, "arm")


@category("cactus", "seen", ("body", "arm", "pot", "spine"))
def cactus(s: Sketch) -> None:
    """Columns with arms, barrels, stacked pads."""
    height, radius, ribs = s.real(0.5, 1.6, "short", "tall"), s.real(0.13, 0.3, "thin", "plump"), s.count(5, 12)
    kind = s.pick("column", "barrel", "pads")
    if kind == "pads":
        for k in range(s.count(3, 7)):
            size = s.real(0.18, 0.3)
            pad = (
                ellipsoid(size, size * 1.4, 0.06, sides=10)
                .move(y=size * 1.3)
                .turn("z", s.real(-50, 50))
                .turn("y", s.real(0, 180))
            )
            s.add("body" if k < 2 else "arm", pad.move(s.real(-0.2, 0.2), height * 0.22 * k, s.real(-0.1, 0.1)))
        s.detail("flat pads")
    elif kind == "barrel":
        s.add(
            "body",
            _ribbed(
                ellipsoid(radius * 1.6, radius * s.real(1.2, 2.2), radius * 1.6, sides=30).move(y=radius * 1.3), ribs
            ),
        )
        s.detail("a barrel-shaped body")
        if s.chance():
            s.add_around("arm", ellipsoid(0.05, 0.08, 0.05, sides=8).move(x=radius * 0.4, y=radius * 3), s.count(3, 6))
            s.detail("buds on top")
    else:
        s.add(
            "body",
            _ribbed(
                sweep(
                    [[0, height * t, 0] for t in np.linspace(0, 1, 8)],
                    [radius * k for k in (1, 1, 1, 1, 1, 0.9, 0.3)],
                    sides=30,
                ),
                ribs,
            ),
        )
        _cactus_arms(s, height, radius)
    s.detail("deep ribs" if ribs < 8 and kind != "pads" else "fine spines")
    if s.chance(0.45):
        s.add("pot", shell([(radius * 1.1, -0.35), (radius * 1.7, 0.02)], 0.04))
        s.detail("a pot")


@category("mushroom", "seen", ("cap", "stem", "ring", "spot"))
def mushroom(s: Sketch) -> None:
    """Single mushrooms and clusters with caps of many outlines."""
    kind, n = s.pick("domed", "flat", "pointed", "funnel"), s.pick(1, 1, 2, 3, 4)
    wide, slim = s.real(0.25, 0.6, "narrow", "broad"), s.real(0.05, 0.14, "thin-stemmed", "thick-stemmed")
    for k in range(n):
        size = s.real(0.5, 1.0) if k else 1.0
        height, radius = size * s.real(0.4, 0.9), size * wide
        x, z = (0.55 * k * np.cos(2.2 * k), 0.55 * k * np.sin(2.2 * k)) if k else (0.0, 0.0)
        tilt = s.real(-0.15, 0.15)
        stem = curve([[0, 0, 0], [0, height * 0.5, 0], [tilt, height, 0]])
        s.add("stem", sweep(stem, [size * slim * 1.4, size * slim, size * slim * 0.8]).move(x, 0, z))
        cap = {
            "domed": [(0.1, -0.1), (1, -0.05), (0.9, 0.35), (0.5, 0.65), (0.02, 0.75)],
            "flat": [(0.1, -0.05), (1, -0.05), (1, 0.08), (0.5, 0.18), (0.02, 0.2)],
            "pointed": [(0.1, 0), (0.8, -0.2), (0.6, 0.5), (0.3, 1.0), (0.02, 1.3)],
            "funnel": [(0.1, -0.6), (0.6, -0.2), (1, 0.2), (0.9, 0.2), (0.3, -0.2), (0.02, -0.3)],
        }[kind]
        s.add("cap", lathe([(radius * r, radius * y) for r, y in cap], caps=False).move(x + tilt, height, z))
        if kind == "domed" and s.chance(0.4):
            for _ in range(6):
                a, b = s.real(0, 360), s.real(15, 65)
                s.add(
                    "spot",
                    dome(0.06 * size, 0.03)
                    .turn("z", b)
                    .move(-0.8 * radius * np.sin(np.deg2rad(b)), 0.75 * radius * np.cos(np.deg2rad(b)), 0)
                    .turn("y", a)
                    .move(x + tilt, height, z),
                )
        if s.chance(0.3):
            s.add("ring", lathe([(size * slim, 0), (size * slim * 2.2, -0.04)], caps=False).move(x, height * 0.7, z))
    s.detail(f"a {kind} cap")
    s.detail("a single stem" if n == 1 else f"a cluster of {n} stems")
