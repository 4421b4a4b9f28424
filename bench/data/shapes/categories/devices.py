"""Electronics and appliances."""

from __future__ import annotations

from bench.data.shapes.primitives import (
    arc,
    blade,
    box,
    curve,
    cylinder,
    disc,
    dome,
    ellipsoid,
    lathe,
    plank,
    rod,
    slab,
    sweep,
    torus,
)
from bench.data.shapes.sketch import Sketch, category


@category("laptop", "seen", ("base", "screen", "keyboard", "hinge", "stand"))
def laptop(s: Sketch) -> None:
    """Clamshells, thick old ones, tablets with a cover, on stands."""
    width, depth, thick = s.real(0.8, 1.2, "small", "large"), s.real(0.5, 0.85), s.real(0.02, 0.12, "thin", "thick")
    angle = s.real(-20, 75)
    kind = s.pick("clamshell", "tablet", "raised", "clamshell")
    lift = 0.0
    if kind == "raised":
        lift = s.real(0.2, 0.5)
        s.add("stand", plank([0, 0, -depth * 0.3], [0, lift, 0], 0.3, 0.03), slab(width * 0.6, 0.03, depth * 0.7))
        s.detail("a stand underneath")
    s.add("base", slab(width, thick, depth, bevel=s.real(0, 0.02)).move(y=lift))
    rows = s.count(3, 5)
    for k in range(rows):
        z = -depth * 0.3 + depth * 0.4 * k / rows
        s.add("keyboard", slab(width * 0.88, 0.015, depth * 0.3 / rows).move(y=lift + thick, z=z))
    s.add("keyboard", slab(width * 0.3, 0.008, depth * 0.2).move(y=lift + thick, z=depth * 0.33))
    tall = depth * s.real(0.85, 1.1)
    screen = slab(width, tall, max(thick * 0.5, 0.015), bevel=0.006).turn("x", -angle)
    s.add("screen", screen.move(y=lift + thick, z=-depth / 2))
    if kind == "tablet":
        s.add(
            "stand",
            plank([0, lift + tall * 0.6, -depth * 0.5 - 0.05], [0, lift, -depth * 0.5 - tall * 0.5], width * 0.8, 0.01),
        )
        s.detail("a folding support behind")
    else:
        s.add("hinge", rod([-width * 0.4, lift + thick, -depth / 2], [width * 0.4, lift + thick, -depth / 2], 0.025))
    s.detail("the screen wide open" if angle > 45 else "the screen upright" if angle > 5 else "the screen half closed")
    s.detail_count(rows, "row of keys", "rows of keys")


def _television_stand(s: Sketch, width: float, lift: float) -> None:
    """Stand a television whose lower edge is at `lift`."""
    stand = s.pick("foot", "two feet", "legs", "pole")
    if stand == "foot":
        s.add("stand", cylinder(0.05, lift), slab(width * s.real(0.3, 0.6), 0.03, 0.35, bevel=0.01))
    elif stand == "two feet":
        s.add_mirrored(
            "stand",
            plank([width * 0.3, lift, 0], [width * 0.35, 0, 0.2], 0.04, 0.04),
            plank([width * 0.3, lift, 0], [width * 0.35, 0, -0.2], 0.04, 0.04),
        )
    elif stand == "legs":
        s.add_corners("stand", rod([0, lift, 0], [0.06, -0.3, 0.06], 0.025), width * 0.35, 0.12)
    else:
        s.add("stand", cylinder(0.03, lift + 0.8).move(y=-0.8), cylinder(0.25, 0.04).move(y=-0.8))
    s.detail(
        {"foot": "a central foot", "two feet": "two feet", "legs": "four thin legs", "pole": "a floor pole"}[stand]
    )


@category("television", "seen", ("screen", "frame", "stand", "speaker", "antenna"))
def television(s: Sketch) -> None:
    """Flat, curved and tube televisions, monitors, on feet or poles."""
    width, tall = s.real(0.9, 1.7, "small", "large"), s.real(0.55, 0.9)
    kind = s.pick("flat", "curved", "tube", "twin")
    lift = s.real(0.1, 0.4)
    middle = lift + tall / 2
    if kind == "flat":
        s.add("screen", box(width, tall, s.real(0.03, 0.1), bevel=0.01).move(y=middle))
    elif kind == "curved":
        bow = s.real(0.08, 0.3)
        s.add(
            "screen",
            sweep(
                curve([[-width / 2, 0, bow], [0, 0, -bow], [width / 2, 0, bow]], 14), 0.02, tall / 2, power=6, up="y"
            ).move(y=middle),
        )
    elif kind == "twin":
        for side in (-1, 1):
            s.add(
                "screen",
                box(width * 0.6, tall * 0.8, 0.04)
                .turn("y", -side * s.real(5, 30))
                .move(x=side * width * 0.31, y=middle),
            )
    else:
        deep = s.real(0.4, 0.8)
        s.add("screen", box(width, tall, 0.25, bevel=0.04).move(y=middle))
        s.add(
            "frame",
            lathe([(0.7, 0), (0.45, 1)], sides=4)
            .turn("y", 0)
            .turn("x", -90)
            .stretch(width * 0.9, tall * 0.9, deep)
            .move(y=middle, z=-0.1),
        )
        if s.chance():
            for side in (-1, 1):
                s.add(
                    "antenna",
                    rod([0, lift + tall, 0], [side * s.real(0.2, 0.5), lift + tall + s.real(0.3, 0.6), 0], 0.012),
                )
            s.detail("a V antenna")
    s.detail({"flat": "a flat screen", "curved": "a curved screen", "tube": "a deep tube", "twin": "two screens"}[kind])
    _television_stand(s, width, lift)
    if s.chance(0.3):
        s.add_mirrored("speaker", box(0.16, tall, 0.12, bevel=0.01).move(x=width / 2 + 0.12, y=middle))
        s.detail("speakers at both sides")


@category("camera", "seen", ("body", "lens", "finder", "strap", "tripod"))
def camera(s: Sketch) -> None:
    """Compact, reflex, bellows, film and security cameras."""
    width, tall, deep = s.real(0.6, 0.9), s.real(0.4, 0.6), s.real(0.15, 0.35)
    kind = s.pick("compact", "reflex", "bellows", "film")
    if kind == "film":
        deep = s.real(0.8, 1.1)
        s.add("body", box(tall * 0.7, tall, deep, bevel=0.03))
        for z in (-0.2, 0.25):
            s.add("finder", disc(0.22, 0.08).turn("y", 90).move(y=tall * 0.5 + 0.2, z=z))
        s.detail("two film reels")
    else:
        s.add("body", box(width, tall, deep, bevel=s.real(0.01, 0.08)))
        if kind == "reflex":
            s.add("finder", slab(width * 0.35, 0.14, deep * 0.9, bevel=0.04).move(y=tall / 2))
            s.add("body", box(0.14, tall, deep + 0.15, bevel=0.04).move(x=-width / 2 + 0.06, z=0.05))
            s.detail("a hump on top")
        elif kind == "compact":
            s.add("finder", box(0.12, 0.06, 0.03).move(width * 0.25, tall * 0.3, deep / 2))
            s.add("finder", cylinder(0.05, 0.05).move(-width * 0.3, tall / 2, 0))
            s.detail("a shutter button on top")
    radius, reach = s.real(0.12, 0.22, "", "wide-angle"), s.real(0.1, 0.8, "short-lensed", "long-lensed")
    if kind == "bellows":
        n = s.count(4, 7)
        for k in range(n):
            size = tall * (0.9 - 0.4 * k / n)
            s.add("lens", box(size, size, reach / n * 0.6).move(z=deep / 2 + reach * k / n))
        s.detail("folded bellows")
    steps = [
        (radius, 0),
        (radius, reach * 0.5),
        (radius * s.real(0.8, 1.2), reach * 0.55),
        (radius * s.real(0.8, 1.3), reach),
    ]
    s.add("lens", lathe(steps).turn("x", 90).move(z=deep / 2))
    s.add("lens", torus(steps[-1][0], 0.025).move(z=deep / 2 + reach))
    if s.chance(0.35):
        s.add_around(
            "tripod", rod([0, -tall / 2, 0], [s.real(0.3, 0.6), -tall / 2 - s.real(0.8, 1.4), 0], 0.03, 0.02), 3, 30
        )
        s.detail("a tripod")
    elif s.chance(0.4):
        s.add(
            "strap",
            sweep(
                curve(
                    [
                        [-width / 2, tall * 0.3, 0],
                        [-width * 0.8, tall * 1.8, -0.1],
                        [width * 0.8, tall * 1.8, -0.1],
                        [width / 2, tall * 0.3, 0],
                    ]
                ),
                0.008,
                0.03,
                up="z",
            ),
        )
        s.detail("a neck strap")
    else:
        s.detail("no strap")


def _clock_case(s: Sketch, kind: str, radius: float, deep: float) -> None:
    """Add the case around the dial."""
    if kind == "alarm":
        s.add_mirrored("bell", dome(0.16, 0.12).turn("z", -35).move(radius * 0.55, radius * 0.9, 0))
        s.add("bell", sweep(arc(0.2, 0, 180, 8), 0.015).move(y=radius * 1.1))
        s.add_mirrored("foot", rod([radius * 0.6, -radius * 0.7, 0], [radius * 0.8, -radius * 1.3, 0], 0.04))
        s.detail("two bells on top")
    elif kind == "longcase":
        tall, wide = s.real(1.2, 2.2), radius * s.real(0.7, 1.0)
        s.add(
            "frame",
            box(2 * wide, tall, deep + 0.15).move(y=-tall / 2 - radius * 0.8),
            box(2.4 * radius, 0.25, deep + 0.25).move(y=-tall - radius * 0.8),
        )
        s.add("frame", box(2.3 * radius, 2.3 * radius, deep).move(z=-0.03))
        s.detail("a tall wooden case")
    elif kind == "mantel":
        s.add(
            "frame",
            sweep(
                curve(
                    [
                        [-radius * 2.2, -radius, 0],
                        [-radius, -radius, 0],
                        [0, radius, 0],
                        [radius, -radius, 0],
                        [radius * 2.2, -radius, 0],
                    ],
                    16,
                ),
                0.08,
                deep,
            ),
        )
        s.add("foot", slab(radius * 4, 0.08, deep * 2).move(y=-radius * 1.2))
        s.detail("a curved mantel case")
    else:
        s.detail("a wall mount")
    if kind in ("wall", "longcase") and s.chance(0.5):
        drop = s.real(0.5, 1.1)
        s.add(
            "weight",
            rod([0, -radius, 0.12], [0, -radius - drop, 0.12], 0.012),
            disc(0.12, 0.04).move(0, -radius - drop, 0.12),
        )
        s.detail("a pendulum")


@category("clock", "seen", ("face", "frame", "hand", "bell", "foot", "weight"))
def clock(s: Sketch) -> None:
    """Wall, alarm, longcase, mantel and pendulum clocks."""
    radius, deep = s.real(0.3, 0.5), s.real(0.06, 0.25, "thin", "thick")
    kind = s.pick("wall", "alarm", "longcase", "mantel")
    square = s.chance(0.4)
    s.add("face", box(2 * radius, 2 * radius, deep, bevel=0.02) if square else disc(radius, deep, sides=24))
    s.detail("a square dial" if square else "a round dial")
    rim = radius * (1.38 if square else 1.0)
    s.add("frame", torus(rim, 0.04, 0.06, steps=4 if square else 24).turn("z", 45 if square else 0).move(z=deep / 2))
    for reach, thick in ((0.8, 0.02), (0.5, 0.035)):
        s.add(
            "hand",
            box(thick, radius * reach, 0.015)
            .move(y=radius * reach / 2)
            .turn("z", s.real(0, 360))
            .move(z=deep / 2 + 0.03),
        )
    marks = s.pick(4, 12)
    for k in range(marks):
        s.add("face", box(0.02, 0.08, 0.02).move(y=radius * 0.85).turn("z", 360 * k / marks).move(z=deep / 2))
    s.detail_count(marks, "hour mark") if marks == 4 else s.detail("twelve hour marks")
    _clock_case(s, kind, radius, deep)


@category("headphones", "seen", ("band", "shell", "pad", "microphone", "cable"))
def headphones(s: Sketch) -> None:
    """Over-ear, on-ear, behind-the-neck, with or without microphone and cable."""
    span, rise = s.real(0.4, 0.55), s.real(0.45, 0.8, "low", "high")
    kind = s.pick("over-ear", "on-ear", "neck")
    size, thick = (
        (s.real(0.2, 0.32) if kind == "over-ear" else s.real(0.12, 0.18)),
        s.real(0.015, 0.05, "light", "heavy"),
    )
    loop = sweep(arc(span, 0, 180, 16, rise / span), thick, s.real(0.03, 0.1))
    tip = 75.0 if kind == "neck" else 0.0
    s.add("band", loop.turn("x", tip))
    if s.chance():
        s.add("pad", sweep(arc(span * 0.95, 50, 130, 8, rise / span), 0.04, 0.09).turn("x", tip))
        s.detail("a padded band")
    else:
        s.detail("a plain band")
    oval = s.real(0.8, 1.4)
    shell = lathe([(size * 0.6, -0.1), (size, -0.04), (size, 0.04)], 16).turn("z", -90).stretch(y=oval)
    pad = torus(size * 0.8, size * 0.25, 0.06).turn("y", 90).stretch(y=oval)
    s.add_mirrored("shell", shell.stretch(x=-1).move(x=span))
    s.add_mirrored("pad", pad.move(x=span - 0.1))
    s.adjective(kind if kind != "neck" else "neckband")
    if s.chance(0.4):
        boom = curve([[span, 0, 0], [span, -size * 1.3, 0.2], [span * 0.5, -size * 1.6, 0.45]])
        s.add("microphone", sweep(boom, 0.015), ellipsoid(0.05, 0.04, 0.04).move(*boom[-1]))
        s.detail("a microphone boom")
    if s.chance(0.4):
        knots = [
            [span, -size * oval, 0],
            [span, -size * 4, 0],
            [s.real(-0.4, 0.4), -size * 3, 0.2],
            [s.real(-0.4, 0.4), -size * 6, 0],
        ]
        s.add("cable", sweep(curve(knots, 18), 0.013, sides=6))
        s.detail("a cable")
    else:
        s.detail("no cable")


@category("fan", "seen", ("blade", "hub", "cage", "stand", "foot"))
def fan(s: Sketch) -> None:
    """Desk, floor, ceiling, box and hand fans."""
    radius, n = s.real(0.35, 0.6), s.count(3, 6)
    kind = s.pick("desk", "floor", "ceiling", "tower")
    drop = s.real(0.5, 0.8) if kind == "desk" else s.real(1.2, 1.8)
    if kind == "tower":
        wide, power = s.real(0.12, 0.22), s.pick(2, 4)
        s.add("cage", lathe([(wide, 0), (wide, drop)], power=power))
        for k in range(s.count(4, 9)):
            s.add("blade", torus(wide * 1.05, 0.02, steps=14).turn("x", 90).move(y=0.2 + 0.1 * k))
        s.add("foot", cylinder(wide * s.real(1.4, 2.2), 0.05))
        s.detail("a tower body")
        s.detail("a round base" if power == 2 else "a square-edged body")
        return
    pitch, wide = s.real(15, 40), s.real(0.1, 0.22, "narrow-bladed", "broad-bladed")
    path = [[0, 0.05, 0], [0, radius, 0]]
    vane = blade(path, [wide * 0.4, wide, wide * 0.8], 0.02, "z").turn("y", pitch)
    tip = 0.0 if kind == "ceiling" else s.real(-15, 15)
    blades = [vane.turn("z", 360 * k / n) for k in range(n)]
    hub = disc(0.08, 0.16)
    if kind == "ceiling":
        s.add("blade", *(b.stretch(1.4, 1.4, 1).turn("x", 90) for b in blades))
        s.add(
            "hub", cylinder(0.13, 0.15).move(y=-0.05), cylinder(0.025, s.real(0.3, 0.7)), dome(0.1, 0.08).turn("x", 180)
        )
        s.detail("a ceiling rod")
        s.detail_count(n, "blade")
        return
    s.add("blade", *(b.turn("x", tip) for b in blades))
    s.add("hub", hub.turn("x", tip), disc(0.13, 0.3).move(z=-0.22).turn("x", tip))
    if s.chance(0.75):
        ring = radius * 1.1
        s.add("cage", torus(ring, 0.02).turn("x", tip))
        m = s.count(6, 12)
        for k in range(m):
            for z in (-0.12, 0.12):
                bow = curve([[0.08, 0, z * 1.2], [ring * 0.8, 0, z * 1.2], [ring, 0, 0]], 6)
                s.add("cage", sweep(bow, 0.008, sides=4).turn("z", 360 * k / m).turn("x", tip))
        s.detail("a wire cage")
    else:
        s.detail("open blades")
    s.add("stand", rod([0, -0.05, -0.2], [0, -drop, -0.2], s.real(0.02, 0.05)))
    if s.chance():
        s.add("foot", cylinder(radius * s.real(0.5, 0.8), 0.05).move(y=-drop, z=-0.2))
        s.detail("a round foot")
    else:
        s.add_around(
            "foot", plank([0, 0.03, 0], [radius * 0.8, 0, 0], 0.06, 0.04), s.count(3, 4), 45, at=(0, -drop, -0.2)
        )
        s.detail("spread feet")
    s.detail_count(n, "blade")
