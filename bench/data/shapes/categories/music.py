"""Musical instruments."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.primitives import (
    box,
    ellipsoid,
    extrude,
    lathe,
    outline,
    plank,
    rod,
    slab,
    torus,
)
from bench.data.shapes.sketch import Sketch, category


@category("guitar", "seen", ("body", "neck", "head", "string", "bridge"))
def guitar(s: Sketch) -> None:
    """Acoustic and electric guitars, ukuleles, violins, banjos, basses."""
    size, deep, neck = (
        s.real(0.35, 0.5),
        s.real(0.05, 0.22, "thin-bodied", "deep-bodied"),
        s.real(0.6, 1.2, "short-necked", "long-necked"),
    )
    kind = s.pick("waisted", "round", "horned", "pointed", "pear")
    waist = s.real(0.1, 0.3)
    outlines = {
        "waisted": lambda a: (
            size * (1 - waist * np.cos(2 * a + np.pi) * 0.2 + waist * np.cos(2 * a) * -0.9 - 0.12 * np.sin(a))
        ),
        "round": lambda a: size * np.ones_like(a),
        "horned": lambda a: size * (1 + 0.3 * np.maximum(np.sin(a), 0) * np.cos(a) ** 2 * 4 - waist * np.cos(a) ** 2),
        "pointed": lambda a: size * (0.75 + 0.4 * np.abs(np.cos(1.5 * a + np.pi / 4))),
        "pear": lambda a: size * (0.95 - 0.35 * np.sin(a)),
    }
    s.add("body", extrude(outline(outlines[kind], 36), deep))
    s.detail(f"a {kind} body")
    top = size * 0.8 + neck
    s.add("neck", box(0.09, neck + 0.2, 0.05).move(0, size * 0.7 + neck / 2, deep / 2))
    peg = s.pick("straight", "angled", "scroll")
    tilt = {"straight": 0.0, "angled": -20.0, "scroll": 0.0}[peg]
    if peg == "scroll":
        s.add("head", torus(0.06, 0.03).turn("y", 90).move(0, top + 0.08, deep / 2))
    else:
        s.add("head", slab(0.16, 0.25, 0.04).turn("x", tilt).move(0, top, deep / 2))
    pegs = s.count(2, 3)
    for k in range(pegs):
        s.add_mirrored(
            "head", rod([0.05, top + 0.04 + 0.07 * k, deep / 2], [0.14, top + 0.04 + 0.07 * k, deep / 2], 0.015)
        )
    s.detail_count(2 * pegs, "tuning peg")
    s.add("bridge", box(size * s.real(0.4, 0.7), 0.04, 0.04).move(0, -size * s.real(0.3, 0.6), deep / 2 + 0.02))
    if s.chance(0.4):
        s.add("bridge", torus(size * 0.25, 0.02).move(y=size * 0.1, z=deep / 2))
        s.detail("a sound hole")
    for k in range(s.pick(2, 4)):
        x = (k - 1) * 0.02
        s.add("string", rod([x, -size * 0.4, deep / 2 + 0.04], [x, top, deep / 2 + 0.04], 0.005, sides=4))


def _grand_piano(s: Sketch, width: float, height: float, thick: float) -> None:
    """Case, lid and legs of a grand piano."""
    deep = s.real(1.0, 1.9)
    t = np.linspace(0, 1, 10)
    right = width / 2 - width * 0.55 * (1 / (1 + np.exp(-9 * (t - 0.5))))
    shape = [
        [-width / 2, 0.0],
        *[[float(x), float(-deep * u)] for x, u in zip(right, t, strict=True)],
        [-width / 2, -deep],
    ]
    s.add("case", extrude(shape, thick).turn("x", 90).move(y=height + thick / 2))
    if s.chance(0.6):
        lid = (
            extrude(shape, 0.03)
            .turn("x", 90)
            .move(x=width / 2)
            .turn("z", s.real(25, 45))
            .move(-width / 2, height + thick, 0)
        )
        s.add("lid", lid, rod([width * 0.2, height + thick, -0.5], [width * 0.1, height + thick + 0.4, -0.5], 0.012))
        s.detail("an open lid")
    else:
        s.detail("a closed lid")
    s.add(
        "leg",
        *(
            rod([x, height, w], [x, 0, w], 0.06, 0.04)
            for x, w in ((-width * 0.4, -0.1), (width * 0.4, -0.1), (-width * 0.3, -deep * 0.85))
        ),
    )


@category("piano", "seen", ("case", "keys", "lid", "leg", "pedal", "stool"))
def piano(s: Sketch) -> None:
    """Grand, upright, electric pianos."""
    kind = s.pick("grand", "upright", "electric", "spinet")
    width, height = s.real(1.1, 1.5, "narrow", "wide"), s.real(0.55, 0.75)
    thick = s.real(0.15, 0.28)
    z = 0.0
    if kind == "grand":
        _grand_piano(s, width, height, thick)
    elif kind in ("upright", "spinet"):
        rise = s.real(0.4, 0.8) if kind == "upright" else s.real(0.15, 0.3)
        s.add(
            "case",
            slab(width, height + rise, 0.35, bevel=0.02).move(z=-0.3),
            slab(width, thick * 0.7, 0.4).move(y=height, z=0.0),
        )
        s.add_mirrored("leg", slab(0.08, height, 0.1).move(x=width * 0.46, z=0.1))
        s.detail("a tall case" if rise > 0.4 else "a low case")
    else:
        s.add("case", slab(width, 0.14, 0.4, bevel=0.02).move(y=height))
        if s.chance():
            s.add(
                "leg",
                plank([-width * 0.4, 0, 0], [width * 0.4, height, 0], 0.05, 0.04),
                plank([width * 0.4, 0, 0.05], [-width * 0.4, height, 0.05], 0.05, 0.04),
            )
            s.detail("crossed legs")
        else:
            s.add_corners("leg", rod([0, height, 0], [0.05, 0, 0.05], 0.03), width * 0.4, 0.12)
            s.detail("four legs")
        z = 0.05
    n = s.count(8, 14)
    for k in range(n):
        s.add(
            "keys",
            slab(width * 0.9 / n * 0.85, 0.03, 0.16).move(
                (k + 0.5) * width * 0.9 / n - width * 0.45,
                height + (0.14 if kind == "electric" else thick * 0.8),
                z + 0.12,
            ),
        )
    s.adjective(kind)
    if s.chance(0.5):
        s.add("stool", slab(0.5, 0.06, 0.3).move(y=0.42, z=0.65))
        s.add("stool", *(rod([x, 0.42, w], [x, 0, w], 0.025) for x in (-0.2, 0.2) for w in (0.55, 0.75)))
        s.detail("a stool in front")
    else:
        s.detail("pedals below")
        for x in (-0.08, 0.0, 0.08):
            s.add("pedal", box(0.04, 0.02, 0.15).move(x, 0.08, 0.05))
        s.add("pedal", box(0.25, height, 0.04).move(0, height / 2, -0.02))


@category("drum", "seen", ("shell", "skin", "rim", "leg", "stick"))
def drum(s: Sketch) -> None:
    """Snare, bass, bongo, goblet and hand drums."""
    radius, height = s.real(0.3, 0.55), s.real(0.2, 1.2, "shallow", "tall")
    kind = s.pick("straight", "barrel", "goblet", "tapered")
    profiles: dict[str, list[tuple[float, float]]] = {
        "straight": [(1, 0), (1, 1)],
        "barrel": [(0.85, 0), (1.05, 0.35), (1.05, 0.65), (0.85, 1)],
        "goblet": [(0.7, 0), (0.4, 0.35), (0.5, 0.6), (1, 0.8), (1, 1)],
        "tapered": [(s.real(0.5, 0.8), 0), (1, 1)],
    }
    profile = profiles[kind]
    laid = s.chance(0.2)
    body = lathe([(radius * r, height * y) for r, y in profile])
    pieces = [("shell", body), ("rim", torus(radius * profile[-1][0], 0.03).turn("x", 90).move(y=height))]
    pieces.append(("rim", torus(radius * profile[0][0], 0.03).turn("x", 90)))
    cords = s.pick(0, 6, 8, 10)
    for k in range(cords):
        a = 2 * np.pi * k / cords
        r0, r1 = radius * profile[0][0] * 1.04, radius * profile[-1][0] * 1.04
        b = a + s.pick(0.0, np.pi / cords)
        pieces.append(
            ("skin", rod([r0 * np.cos(a), 0, r0 * np.sin(a)], [r1 * np.cos(b), height, r1 * np.sin(b)], 0.015, sides=5))
        )
    s.detail("tension cords" if cords else "a smooth shell")
    for part, piece in pieces:
        s.add(part, piece.turn("x", 90).move(y=radius, z=-height / 2) if laid else piece)
    s.detail(
        {
            "straight": "straight sides",
            "barrel": "bulging sides",
            "goblet": "a goblet outline",
            "tapered": "tapered sides",
        }[kind]
    )
    if laid:
        s.add_mirrored("leg", rod([radius * 0.8, radius * 0.6, 0.1], [radius * 1.3, 0, 0.2], 0.025))
        s.detail("the skin facing sideways")
    elif s.chance(0.35):
        drop = s.real(0.3, 0.7)
        s.add_around("leg", rod([radius * 0.8, 0, 0], [radius * s.real(0.9, 1.4), -drop, 0], 0.025), s.count(3, 4))
        s.detail("a stand")
    if s.chance(0.35) and not laid:
        for z in (-0.12, 0.1):
            s.add(
                "stick",
                rod([-radius * 0.6, height + 0.05, z], [radius * 1.2, height + s.real(0.05, 0.3), z * 2], 0.02),
                ellipsoid(0.04, 0.03, 0.03).move(-radius * 0.6, height + 0.05, z),
            )
        s.detail("two sticks")
