"""Things held in the hand to work with."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.primitives import (
    arc,
    blade,
    box,
    curve,
    cylinder,
    disc,
    ellipsoid,
    extrude,
    lathe,
    plank,
    rod,
    sweep,
    torus,
)
from bench.data.shapes.sketch import Sketch, category


def _striker(s: Sketch, kind: str, y: float, size: float, width: float) -> None:
    """Working end of a hammer, centred at height `y`."""
    if kind == "mallet":
        if s.chance():
            s.add("head", box(2.6 * width, 2.6 * size, 2.6 * size, bevel=0.02).move(y=y))
        else:
            s.add("head", lathe([(1.5 * size, -width * 1.2), (1.5 * size, width * 1.2)]).turn("z", 90).move(y=y))
    elif kind == "pick":
        path = curve([[-2.2 * width, y - 0.2, 0], [0, y + 0.12, 0], [2.2 * width, y - 0.2, 0]])
        s.add(
            "head",
            sweep(
                path,
                [0.01, size * 0.5, size * 0.7, size * 0.5, 0.01],
                [0.02, size * 0.5, size * 0.6, size * 0.4, size * 0.9],
                up="z",
            ),
        )
    elif kind == "axe":
        flare = s.real(1.2, 2.5)
        edge = extrude(
            [[0, -size], [width * 1.3, -size * flare], [width * 1.5, 0], [width * 1.3, size * flare], [0, size]],
            size * 0.5,
            taper=1.0,
        )
        s.add("head", edge.move(y=y), box(width * 0.5, 2 * size, size).move(-width * 0.2, y, 0))
        if s.chance(0.3):
            s.add("head", edge.stretch(x=-1).move(y=y))
    else:
        s.add(
            "head",
            lathe([(size, 0), (size, width * 0.3), (size * 0.6, width * 0.5), (size * 0.7, width * 0.8)])
            .turn("z", 90)
            .move(x=width * 0.8, y=y),
        )
        s.add("head", box(width, size * 1.5, size * 1.3).move(y=y))
        if kind == "claw":
            for z in (-1, 1):
                claw = curve(
                    [
                        [-width * 0.4, y, z * 0.02],
                        [-width, y + 0.02, z * size * 0.4],
                        [-width * 1.5, y - s.real(0.05, 0.2), z * size * 0.8],
                    ],
                    7,
                )
                s.add("claw", sweep(claw, [size * 0.5, size * 0.4, 0.01]))
        else:
            s.add(
                "claw",
                ellipsoid(size * 0.8, size * 0.8, size * 0.8).move(-width * 0.8, y, 0),
                rod([-width * 0.3, y, 0], [-width * 0.8, y, 0], size * 0.4),
            )


@category("hammer", "seen", ("handle", "head", "claw", "grip"))
def hammer(s: Sketch) -> None:
    """Claw hammers, mallets, sledges, axes, picks."""
    reach, thick = s.real(0.7, 1.6, "short-handled", "long-handled"), s.real(0.025, 0.05)
    kind = s.pick("claw", "mallet", "ball", "pick", "axe")
    bow = s.real(-0.06, 0.06)
    s.add(
        "handle",
        sweep(
            curve([[0, 0, 0], [bow, reach * 0.5, 0], [0, reach, 0]]),
            [thick * 1.3, thick, thick * 0.9],
            thick * s.real(0.7, 1.2),
            up="z",
        ),
    )
    size, width = s.real(0.06, 0.13), s.real(0.15, 0.3)
    y = reach - size * 0.4
    _striker(s, kind, y, size, width)
    s.detail(
        {
            "claw": "a split claw",
            "mallet": "a blunt block",
            "ball": "a ball end",
            "pick": "two long points",
            "axe": "a cutting edge",
        }[kind]
    )
    if s.chance(0.5):
        s.add("grip", sweep([[0, 0.0, 0], [0, reach * s.real(0.25, 0.45), 0]], [thick * 1.6, thick * 1.4, thick * 1.6]))
        s.detail("a rubber grip")
    else:
        s.detail("a bare handle" if abs(bow) < 0.03 else "a curved handle")


@category("scissors", "seen", ("blade", "handle", "pivot", "spring"))
def scissors(s: Sketch) -> None:
    """Scissors, shears, pliers, tongs, secateurs."""
    length, back = s.real(0.5, 1.1, "short-bladed", "long-bladed"), s.real(0.35, 0.9)
    opening = s.real(3, 35, "nearly closed", "wide-open")
    kind = s.pick("rings", "long", "grips", "tongs")
    wide, thick = s.real(0.04, 0.1), s.real(0.02, 0.05)
    hook = s.real(0, 0.15)
    for side in (-1, 1):
        edge = blade(
            curve([[0, -0.05, 0], [side * wide * 0.4, length * 0.5, 0], [-side * hook * 0.2, length, 0]]),
            [wide, wide, wide * 0.7, 0.01],
            thick,
            "z",
        )
        turn = side * opening
        s.add("blade", edge.move(z=side * thick * 0.5).turn("z", -turn))
        out = side * s.real(0.12, 0.2)
        if kind == "rings":
            s.add("handle", rod([0, 0, 0], [-out * 0.8, -back * 0.6, 0], thick).turn("z", -turn))
            ring = torus(s.real(0.12, 0.17), thick * 0.9).stretch(y=s.real(1, 1.5))
            s.add("handle", ring.move(-out, -back * 0.6 - 0.16, 0).turn("z", -turn))
        elif kind == "tongs":
            s.add("handle", rod([0, 0, 0], [side * 0.02, -back, 0], thick).turn("z", turn * 0.3))
        else:
            bend = [[0.0, 0.0, 0.0], [-out, -back * 0.3, 0], [-out * (0.6 if kind == "grips" else 1.6), -back, 0]]
            s.add(
                "handle",
                sweep(curve(bend), [thick, thick * (2.2 if kind == "grips" else 1.2), thick * 1.2]).turn(
                    "z", -turn * 0.6
                ),
            )
    s.detail(
        {"rings": "ring handles", "long": "long straight handles", "grips": "thick grips", "tongs": "a sprung end"}[
            kind
        ]
    )
    s.add("pivot", disc(wide * s.real(0.5, 1.0), thick * 3))
    if kind == "grips" and s.chance(0.5):
        s.add("spring", sweep(arc(0.08, 200, 340, 10), 0.015).move(y=-0.1))
        s.detail("a spring")
    else:
        s.detail("broad blades" if wide > 0.075 else "narrow blades")


@category("ladder", "seen", ("rail", "rung", "brace", "platform"))
def ladder(s: Sketch) -> None:
    """Leaning, folding, rope and library ladders."""
    height, width, n = s.real(1.2, 2.6, "short", "tall"), s.real(0.2, 0.5, "narrow", "wide"), s.count(3, 9)
    kind = s.pick("straight", "folding", "steps", "tapered")
    thick, top = s.real(0.02, 0.05), (s.real(0.4, 0.7) if kind == "tapered" else 1.0)
    run = {
        "straight": s.real(0, 0.5),
        "tapered": s.real(0, 0.5),
        "folding": s.real(0.3, 0.6),
        "steps": s.real(0.4, 0.8),
    }[kind]
    square = s.chance()
    for side in (-1, 1):
        a, b = [side * width, 0, run], [side * width * top, height, 0]
        s.add("rail", plank(a, b, thick * 2, thick * 2.5) if square else rod(a, b, thick))
        if kind in ("folding", "steps"):
            s.add(
                "brace",
                plank([side * width, 0, -run], [side * width * top, height * 0.97, -0.03], thick * 1.4, thick * 1.4),
            )
            if s.chance(0.5):
                s.add(
                    "brace",
                    rod([side * width, height * 0.4, run * 0.6], [side * width, height * 0.4, -run * 0.6], thick * 0.5),
                )
    for k in range(n):
        t = (k + 0.7) / (n + 0.4)
        x, y, z = width * (1 - t + t * top), t * height, run * (1 - t)
        if kind == "steps" or (kind == "folding" and square):
            s.add("rung", box(2 * x, 0.03, s.real(0.1, 0.2)).move(0, y, z))
        else:
            s.add("rung", rod([-x, y, z], [x, y, z], thick * 0.7))
    s.detail("flat steps" if kind == "steps" else "square rails" if square else "round rails")
    s.detail_count(n, "rung")
    s.adjective(kind if kind != "steps" else "step")
    if kind in ("folding", "steps") and s.chance(0.6):
        s.add("platform", box(2.1 * width * top, 0.04, 0.25).move(y=height))
        s.detail("a top platform")


@category("key", "seen", ("bow", "shank", "bit", "collar"))
def key(s: Sketch) -> None:
    """Old and modern keys."""
    length, thick = s.real(0.6, 1.4, "short", "long"), s.real(0.025, 0.06, "thin", "thick")
    kind = s.pick("ring", "trefoil", "oval", "block", "heart")
    size = s.real(0.14, 0.26)
    flat = s.chance(0.4)
    shank = box(length, 2.2 * thick, thick) if flat else rod([-length / 2, 0, 0], [length / 2, 0, 0], thick)
    s.add("shank", shank.move(x=length / 2))
    s.detail("a flat shank" if flat else "a round shank")
    if kind == "trefoil":
        for a in (90, 180, 270):
            s.add("bow", torus(size * 0.55, thick * 0.8).move(size * 0.75, 0, 0).turn("z", a).move(x=-size * 0.6))
    elif kind == "block":
        s.add("bow", box(2 * size, 2 * size, thick * 2, bevel=0.02).move(x=-size))
    elif kind == "heart":
        heart = curve([[0, 0, 0], [-size, size * 1.5, 0], [-size * 2.2, size, 0], [-size * 1.3, 0, 0]])
        s.add("bow", sweep(heart, thick * 0.8), sweep(heart * (1, -1, 1), thick * 0.8))
    else:
        s.add("bow", torus(size, thick).stretch(y=1.0 if kind == "ring" else s.real(1.3, 1.8)).move(x=-size))
    s.detail(f"{'an' if kind == 'oval' else 'a'} {kind} bow")
    n, drop = s.count(2, 5), s.real(0.08, 0.24)
    both = s.chance(0.3)
    for k in range(n):
        tooth = box(0.05, drop * s.real(0.5, 1), thick * 1.2)
        x = length - 0.05 - 0.075 * k
        s.add("bit", tooth.move(x, -drop / 2, 0))
        if both:
            s.add("bit", tooth.move(x, drop / 2, 0))
    if not flat and s.chance(0.5):
        s.add("bit", box(0.075 * n, drop, thick * 0.8).move(length - 0.04 * n, -drop / 2, 0))
    s.detail("teeth on both sides" if both else f"{n} teeth")
    for k in range(s.count(0, 3)):
        s.add(
            "collar",
            lathe([(thick * 1.3, 0), (thick * 1.8, 0.025), (thick * 1.3, 0.05)]).turn("z", -90).move(x=0.06 * k),
        )


@category("umbrella", "seen", ("canopy", "shaft", "handle", "rib", "foot"))
def umbrella(s: Sketch) -> None:
    """Open, flat, inverted and closed umbrellas, parasols."""
    height, radius = s.real(0.9, 1.6, "short", "tall"), s.real(0.55, 1.0)
    kind = s.pick("domed", "flat", "blown", "closed", "pagoda")
    n = s.pick(6, 8, 8, 10)
    thick = s.real(0.015, 0.03)
    s.add("shaft", cylinder(thick, height * 1.05))
    t = np.linspace(0, 1, 7)
    if kind == "closed":
        radius = s.real(0.08, 0.16)
        s.add(
            "canopy",
            lathe([(0.02, height * 0.25), (radius, height * 0.5), (radius * 0.8, height * 0.75), (0.02, height)], n),
        )
    else:
        deep = s.real(0.25, 0.55) * radius
        fall = {"domed": t**2, "flat": t * 0.35, "blown": -0.8 * t**2 + 0.1, "pagoda": np.sqrt(t)}[kind] * deep
        s.add(
            "canopy",
            lathe(
                [(max(radius * float(a), 0.01), height - float(b)) for a, b in zip(t, fall, strict=True)], n, caps=False
            ),
        )
        spread = height * 0.75
        for k in range(n):
            a = 2 * np.pi * k / n
            tip = [radius * 0.6 * np.cos(a), height - float(np.interp(0.6, t, fall)), radius * 0.6 * np.sin(a)]
            s.add("rib", rod([0, spread, 0], tip, 0.01, sides=4))
    s.detail(
        {
            "domed": "a domed canopy",
            "flat": "a flat canopy",
            "blown": "a canopy blown inside out",
            "closed": "the canopy closed",
            "pagoda": "a pagoda canopy",
        }[kind]
    )
    s.detail_count(n, "rib")
    end = s.pick("hook", "knob", "stand")
    if end == "hook":
        r = s.real(0.06, 0.13)
        s.add("handle", sweep(arc(r, 180, 380, 10), thick * 1.5).move(x=r))
        s.detail("a hooked handle")
    elif end == "knob":
        s.add("handle", lathe([(0.02, -0.05), (0.05, 0), (0.04, 0.12), (0.02, 0.15)]))
        s.detail("a straight handle")
    else:
        s.add("foot", cylinder(s.real(0.2, 0.35), 0.08, top=0.15))
        s.detail("a heavy foot")
