"""Vehicles for air, water and space."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.categories.vehicles import roller
from bench.data.shapes.mesh import Mesh
from bench.data.shapes.primitives import (
    blade,
    box,
    curve,
    cylinder,
    disc,
    dome,
    ellipsoid,
    lathe,
    rod,
    slab,
    sweep,
    torus,
)
from bench.data.shapes.sketch import Sketch, category


def fin(s: Sketch, span: float, chord: float, tip: float, sweep_back: float, rise: float = 0.0) -> Mesh:
    """Flat wing from the origin out to +x.

    The chord lies along z; the trailing edge sweeps back to -z.
    """
    path = [[0.0, 0.0, 0.0], [span, rise, -sweep_back]]
    return blade(path, [chord / 2, tip / 2], s.real(0.02, 0.06) * chord + 0.01, up="y")


@category("airplane", "seen", ("body", "wing", "tail", "engine", "strut"))
def airplane(s: Sketch) -> None:
    """Airliners, jets, gliders, biplanes, deltas."""
    length, radius = s.real(1.6, 2.4), s.real(0.09, 0.2, "slim", "stout")
    kind = s.pick("airliner", "glider", "biplane", "delta", "straight")
    t = [0.05, 0.6, 0.95, 1, 1, 0.95, s.real(0.5, 0.8), s.real(0.15, 0.35)]
    path = [[0, 0, length / 2], [0, 0, -length / 2]]
    spine = curve([path[0], [0, 0, 0], [0, radius * s.real(0, 0.8), -length / 2]], 14)
    s.add("body", sweep(spine, [radius * k for k in t], [radius * s.real(0.9, 1.2) * k for k in t], sides=12))
    span = {
        "airliner": s.real(0.9, 1.3),
        "glider": s.real(1.4, 2),
        "biplane": s.real(0.8, 1),
        "delta": s.real(0.5, 0.8),
        "straight": s.real(0.8, 1.2),
    }[kind]
    chord = length * (s.real(0.45, 0.6) if kind == "delta" else s.real(0.12, 0.22))
    back = {"airliner": s.real(0.3, 0.6), "delta": s.real(0.3, 0.5)}.get(kind, s.real(-0.05, 0.1)) * span
    y, z = s.pick(-0.6, 0.0, 0.8) * radius, s.real(-0.1, 0.2)
    tip = chord * (0.12 if kind == "delta" else s.real(0.3, 0.9))
    s.add_mirrored("wing", fin(s, span, chord, tip, back, s.real(-0.05, 0.2)).move(y=y, z=z))
    s.detail(
        {
            "airliner": "swept sides",
            "glider": "very long thin sides",
            "biplane": "a double deck of lifting surfaces",
            "delta": "a triangular outline",
            "straight": "straight lifting surfaces",
        }[kind]
    )
    if kind == "biplane":
        up = s.real(0.25, 0.4)
        s.add_mirrored("wing", fin(s, span, chord, tip, back).move(y=y + up, z=z))
        for x in (0.3, 0.8):
            s.add_mirrored("strut", rod([span * x, y, z], [span * x, y + up, z], 0.012))
    fin_height = s.real(0.25, 0.45)
    high = s.chance(0.3)
    end = -length / 2 + 0.1
    s.add("tail", fin(s, fin_height, 0.3, 0.15, 0.15).turn("z", 90).move(y=radius * 0.5, z=end))
    s.add_mirrored(
        "tail", fin(s, s.real(0.3, 0.5), 0.22, 0.1, 0.12).move(y=fin_height if high else radius * 0.5, z=end - 0.05)
    )
    s.detail("a high T-shaped tail" if high else "a low tail")
    engines = s.pick(0, 1, 2, 2, 4) if kind in ("airliner", "straight") else s.pick(0, 1)
    if engines == 1:
        s.add("engine", box(s.real(0.4, 0.6), 0.03, 0.02).turn("z", s.real(0, 180)).move(z=length / 2 + 0.02))
        s.detail("a nose engine")
    for k in range(engines // 2):
        x = span * (0.3 + 0.3 * k)
        pod = lathe([(0.06, -0.15), (0.075, 0), (0.07, 0.15)], 10).turn("x", 90)
        s.add_mirrored("engine", pod.move(x=x, y=y - 0.09, z=z - back * x / span + 0.1))
    if engines > 1:
        s.detail_count(engines, "engine")


@category("helicopter", "seen", ("body", "tail", "rotor", "skid"))
def helicopter(s: Sketch) -> None:
    """Single and tandem rotors on skids or wheels."""
    length, radius = s.real(0.7, 1.2), s.real(0.22, 0.34, "slim", "stout")
    kind, n, span = s.pick("tailed", "tandem", "bubble", "coaxial"), s.count(2, 5), s.real(0.7, 1.2)
    rotors = [(0.0, radius * 1.35)]
    if kind == "tandem":
        s.add(
            "body",
            sweep(
                [[0, 0, length], [0, 0, -length]], [radius * k for k in (0.4, 0.9, 1, 1, 0.9, 0.6)], power=3, sides=10
            ),
        )
        rotors = [(length * 0.8, radius * 1.4), (-length * 0.8, radius * 1.9)]
        s.add("tail", slab(0.12, radius * 1.8, 0.35).move(z=-length * 0.8))
    else:
        if kind == "bubble":
            s.add("body", ellipsoid(radius, radius, radius * 1.1))
        else:
            s.add("body", ellipsoid(radius, radius, length * 0.6, rise=2.5).move(z=0.05))
        end = -length * s.real(1.1, 1.5)
        s.add("tail", rod([0, radius * 0.3, 0], [0, radius * 0.5, end], radius * s.real(0.2, 0.4), 0.04))
        s.add("tail", fin(s, s.real(0.2, 0.35), 0.22, 0.12, 0.1).turn("z", 90).move(y=radius * 0.4, z=end))
        s.add("rotor", box(0.02, s.real(0.3, 0.45), 0.04).turn("x", s.real(0, 180)).move(0.05, radius * 0.5, end))
        if kind == "coaxial":
            rotors.append((0.0, radius * 1.75))
    for z, y in rotors:
        s.add("rotor", cylinder(0.03, y).move(z=z), cylinder(0.07, 0.05).move(y=y, z=z))
        s.add_around("rotor", box(span, 0.015, 0.07).move(x=span / 2), n, s.real(0, 90), at=(0, y + 0.03, z))
    s.detail(
        {
            "tailed": "a tail boom",
            "tandem": "two rotors in a row",
            "bubble": "a bubble cabin",
            "coaxial": "stacked rotors",
        }[kind]
    )
    s.detail_count(n, "rotor blade")
    low = -radius * s.real(1.3, 1.7)
    if s.chance(0.65):
        runner = curve(
            [
                [radius, low, -length * 0.5],
                [radius, low, 0],
                [radius, low, length * 0.5],
                [radius, low + 0.12, length * 0.65],
            ]
        )
        s.add_mirrored("skid", sweep(runner, 0.025))
        for z in (-0.25, 0.25):
            s.add_mirrored("skid", rod([radius * 0.5, -radius * 0.6, z], [radius, low, z], 0.02))
        s.detail("landing skids")
    else:
        s.add_corners("skid", roller(0.09, 0.06).move(y=-radius * 1.1), radius * 0.8, length * 0.4)
        s.detail("rolling feet")


@category("rocket", "seen", ("body", "nose", "fin", "engine", "booster"))
def rocket(s: Sketch) -> None:
    """Launchers, cartoon rockets, shuttles, missiles."""
    height, radius = s.real(1.6, 3.0, "short", "tall"), s.real(0.18, 0.36, "slender", "stout")
    kind = s.pick("straight", "bulging", "staged")
    tip = s.real(0.3, 0.8)
    if kind == "bulging":
        t = np.linspace(0, 1, 10)
        r = radius * (0.55 + 0.75 * np.sin(np.pi * (0.1 + 0.75 * t)))
        s.add("body", lathe(list(zip(r.tolist(), (t * height).tolist(), strict=True))))
        top = float(r[-1])
    elif kind == "staged":
        a, b = height * s.real(0.4, 0.6), radius * s.real(0.5, 0.8)
        s.add("body", lathe([(radius, 0), (radius, a), (b, a + 0.15), (b, height)]))
        top = b
    else:
        s.add("body", cylinder(radius, height))
        top = radius
    if s.chance():
        s.add("nose", cylinder(top, tip, top=0.0).move(y=height))
        s.detail("a pointed nose")
    else:
        s.add("nose", dome(top, tip).move(y=height))
        s.detail("a rounded nose")
    s.detail({"straight": "a straight body", "bulging": "a bulging body", "staged": "two stages"}[kind])
    n = s.pick(0, 3, 4, 4, 5)
    if n:
        span, chord = s.real(0.2, 0.55), s.real(0.4, 0.8)
        foot = (
            fin(s, span, chord, chord * s.real(0.2, 0.8), s.real(-0.1, 0.5))
            .turn("x", 90)
            .move(x=radius * 0.7, y=chord * 0.5)
        )
        s.add_around("fin", foot, n)
        s.detail_count(n, "fin")
    m = s.pick(1, 1, 3, 4)
    nozzle = lathe([(radius * 0.8, -0.25), (radius * 0.35, 0.0)], 12, caps=False).stretch(1 / m**0.5, 1, 1 / m**0.5)
    s.add_around("engine", nozzle.move(x=0 if m == 1 else radius * 0.5), m)
    if s.chance(0.35):
        k = s.count(2, 4)
        rb = radius * s.real(0.4, 0.7)
        pod = lathe([(rb, 0), (rb, height * 0.5), (0.01, height * 0.5 + 2 * rb)], 12)
        s.add_around("booster", pod.move(x=radius + rb), k, s.real(0, 90))
        s.detail_count(k, "side booster")


@category("submarine", "seen", ("hull", "tower", "fin", "mast"))
def submarine(s: Sketch) -> None:
    """Military, research and toy submarines."""
    length, radius = s.real(0.9, 1.7, "short", "long"), s.real(0.22, 0.36, "slim", "fat")
    kind = s.pick("cigar", "teardrop", "research")
    if kind == "research":
        s.add("hull", ellipsoid(radius * 1.1, radius * 1.1, radius * 1.5).move(z=radius))
        s.add("hull", slab(radius * 2.4, radius * 0.5, radius * 3.2, bevel=0.05).move(y=-radius * 1.3))
        s.add(
            "mast",
            rod([radius, -radius, radius * 2], [radius * 1.2, -radius * 1.2, radius * 3.2], 0.03),
            rod([-radius, -radius, radius * 2], [-radius * 0.8, -radius, radius * 3.2], 0.03),
        )
        length = radius * 2
    else:
        shape = (
            (0.05, 0.7, 0.95, 1, 1, 0.95, 0.7, 0.1) if kind == "cigar" else (0.05, 0.9, 1, 0.95, 0.8, 0.5, 0.25, 0.05)
        )
        s.add(
            "hull", sweep([[0, 0, z] for z in np.linspace(length, -length, 8)], [radius * k for k in shape], sides=16)
        )
    s.detail(
        {"cigar": "a cigar-shaped hull", "teardrop": "a teardrop hull", "research": "a round observation cabin"}[kind]
    )
    tall, at = s.real(0.2, 0.5, "", "high-towered"), s.real(-0.2, 0.5) * length
    s.add(
        "tower",
        lathe([(1, 0), (0.9, 1)], power=s.pick(2, 4)).stretch(0.1, tall, s.real(0.18, 0.4)).move(y=radius * 0.85, z=at),
    )
    masts = s.count(0, 3)
    for k in range(masts):
        top = radius + tall + s.real(0.1, 0.4)
        bend = [0, top, at + 0.1 * k + 0.08]
        s.add(
            "mast",
            rod([0, radius, at + 0.1 * k], [0, top, at + 0.1 * k], 0.02),
            rod([0, top, at + 0.1 * k], bend, 0.02),
        )
    s.detail_count(masts, "mast")
    cross = s.count(3, 4)
    tail = fin(s, s.real(0.25, 0.5), 0.25, 0.15, 0.08).move(z=-length * 0.85)
    s.add("fin", *(tail.turn("z", k * 360 / cross + 90) for k in range(cross)))
    s.add(
        "fin",
        torus(radius * 0.6, 0.03).move(z=-length)
        if s.chance(0.4)
        else disc(radius * 0.5, 0.05, sides=5).move(z=-length),
    )
    if s.chance(0.5):
        s.add_mirrored(
            "fin",
            fin(s, 0.35, 0.2, 0.12, 0.05).move(
                x=radius * 0.2, y=s.pick(0.0, 1.0) * radius, z=length * s.real(0.2, 0.6)
            ),
        )
        s.detail("diving planes")
