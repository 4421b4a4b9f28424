"""Categories only for evaluation: single standing objects."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.primitives import (
    arc,
    blade,
    box,
    curve,
    cylinder,
    disc,
    dome,
    ellipsoid,
    extrude,
    lathe,
    outline,
    plank,
    rod,
    shell,
    slab,
    sweep,
    torus,
)
from bench.data.shapes.sketch import Sketch, category


@category("bottle", "novel", ("body", "neck", "stopper", "handle"))
def bottle(s: Sketch) -> None:
    """Wine, flask, square, jug and spray bottles."""
    radius, height = s.real(0.2, 0.42), s.real(0.8, 1.4)
    neck, rise = s.real(0.06, 0.14), s.real(0.12, 0.5)
    kind = s.pick("shouldered", "sloping", "flask", "square", "waisted")
    top = height + rise
    profile = {
        "shouldered": [(radius, 0), (radius, height * 0.85), (radius * 0.8, height * 0.95)],
        "sloping": [(radius, 0), (radius, height * 0.5), (radius * 0.6, height * 0.8)],
        "flask": [(radius * 1.2, 0), (radius * 1.3, height * 0.1), (radius * 0.4, height * 0.8)],
        "square": [(radius, 0), (radius, height * 0.9)],
        "waisted": [(radius, 0), (radius * 0.75, height * 0.4), (radius, height * 0.75)],
    }[kind]
    power = 6.0 if kind == "square" else 2.0
    body = lathe([*profile, (neck, height)], power=power)
    s.add("body", body.stretch(z=s.real(0.4, 0.7)) if s.chance(0.25) else body)
    s.add("neck", cylinder(neck, rise, top=neck * s.real(0.7, 1.1)).move(y=height))
    ending = s.pick("cap", "cork", "pump", "trigger", "open")
    if ending == "cap":
        s.add("stopper", cylinder(neck * 1.3, s.real(0.06, 0.15)).move(y=top - 0.05))
    elif ending == "cork":
        s.add("stopper", cylinder(neck * 0.7, 0.1, top=neck).move(y=top))
    elif ending == "pump":
        s.add(
            "stopper", cylinder(0.03, 0.2).move(y=top), plank([-0.05, top + 0.2, 0], [0.22, top + 0.17, 0], 0.06, 0.05)
        )
    elif ending == "trigger":
        s.add("stopper", box(0.35, 0.13, 0.12, bevel=0.02).move(0.08, top + 0.06, 0))
        s.add("stopper", plank([0.14, top, 0], [0.2, top - 0.2, 0], 0.04, 0.05))
    if s.chance(0.2):
        knots = [[radius * 0.8, height * 0.9, 0], [radius + 0.25, height * 0.9, 0], [radius + 0.1, height * 0.35, 0]]
        s.add("handle", sweep(curve([*knots, [radius * 0.9, height * 0.3, 0]]), 0.035))


@category("hat", "novel", ("crown", "brim", "band", "pompon"))
def hat(s: Sketch) -> None:
    """Top hats, caps, beanies, cones, sun hats."""
    kind = s.pick("top", "cap", "beanie", "pointed", "sun", "cowboy")
    radius = s.real(0.3, 0.42)
    tall = radius * {"top": s.real(1.2, 2.4), "pointed": s.real(1.8, 3.5)}.get(kind, s.real(0.6, 1.2))
    if kind == "top":
        crown = cylinder(radius, tall, top=radius * s.real(0.8, 1.15))
    elif kind == "pointed":
        crown = cylinder(radius, tall, top=0.02)
    else:
        crown = lathe(
            [(radius, 0), (radius * 0.97, tall * 0.5), (radius * s.real(0.6, 0.85), tall * 0.9), (0.05, tall)]
        )
    deep = s.real(0.85, 1.25)
    s.add("crown", crown.stretch(z=deep))
    if kind == "cap":
        visor = extrude(outline(lambda a: np.where(np.sin(a) > -0.3, 1.0, 0.7)), 0.025).turn("x", 90)
        s.add(
            "brim",
            visor.stretch(radius * 0.9, 1, radius * s.real(0.8, 1.2)).turn("x", s.real(0, 20)).move(z=radius * 0.9),
        )
    elif kind != "beanie":
        reach = radius * s.real(1.25, 2.4)
        droop = s.real(-0.1, 0.1)
        brim = lathe([(radius * 0.9, 0.02), (reach, droop), (reach, droop - 0.02), (radius * 0.9, 0)], 24, caps=False)
        brim = brim.stretch(z=deep)
        if kind == "cowboy":
            brim.vertices[:, 1] += 0.3 * (brim.vertices[:, 0] / reach) ** 2
        s.add("brim", brim)
    else:
        s.add("brim", torus(radius, s.real(0.04, 0.08), 0.09).turn("x", 90).stretch(z=deep))
    if s.chance(0.4) and kind in ("beanie", "pointed"):
        s.add("pompon", ellipsoid(0.1, 0.1, 0.1).move(y=tall + 0.05))
    if s.chance(0.4):
        s.add("band", cylinder(radius * 1.03, s.real(0.05, 0.12)).stretch(z=deep).move(y=0.02))


@category("faucet", "novel", ("base", "spout", "lever"))
def faucet(s: Sketch) -> None:
    """Taps for kitchens, baths and gardens."""
    height, reach, thick = s.real(0.3, 1.1), s.real(0.3, 0.8), s.real(0.03, 0.08)
    kind = s.pick("goose", "straight", "wall", "block")
    if kind == "goose":
        knots = [[0.0, 0.0, 0.0], [0, height * 1.4, 0], [reach, height * 1.4, 0], [reach, height * 0.6, 0]]
        s.add("spout", sweep(curve(knots, 16), thick, sides=10))
    elif kind == "straight":
        s.add(
            "spout",
            cylinder(thick * 1.5, height),
            rod([0, height * 0.8, 0], [reach, height * s.real(0.7, 1.1), 0], thick),
        )
        s.add("spout", cylinder(thick * 0.8, 0.12).move(reach - thick, height * 0.72))
    elif kind == "wall":
        s.add("base", disc(0.18, 0.04).turn("y", 90).move(-0.3, height * 0.7))
        s.add("spout", rod([-0.3, height * 0.7, 0], [reach * 0.8, height * 0.7, 0], thick * 1.2))
        s.add(
            "spout",
            sweep(curve([[reach * 0.7, height * 0.7, 0], [reach, height * 0.7, 0], [reach, height * 0.3, 0]]), thick),
        )
    else:
        s.add(
            "spout",
            slab(thick * 3, height, thick * 3, bevel=0.01),
            slab(reach, thick * 1.5, thick * 3).move(reach / 2, height * 0.85),
        )
    if kind != "wall":
        s.add(
            "base",
            cylinder(thick * s.real(2, 3.5), 0.05) if s.chance() else slab(0.2, 0.04, s.real(0.4, 0.8), bevel=0.01),
        )
    lever = s.pick("cross", "two", "single", "wheel")
    if lever == "single":
        y = height * 0.9
        s.add(
            "lever",
            rod([0, y, 0], [-s.real(0.1, 0.3), y + s.real(0.0, 0.3), 0], thick * 0.6),
            ellipsoid(thick * 1.6, thick * 1.6, thick * 1.6).move(y=y),
        )
    elif lever == "wheel":
        s.add("lever", cylinder(0.03, 0.2).move(y=height * 0.8), torus(0.14, 0.03).turn("x", 90).move(y=height + 0.15))
    else:
        z = s.real(0.2, 0.4)
        for side in (-z, z):
            y = height * (0.7 if kind == "wall" else 0.0)
            s.add("lever", cylinder(thick, 0.18).move(0, y, side))
            if lever == "cross":
                s.add_around("lever", rod([0, 0, 0], [0.12, 0, 0], 0.025), 4, at=(0, y + 0.18, side))
            else:
                s.add("lever", plank([0, y + 0.18, side], [-0.05, y + 0.2, 1.6 * side], 0.05, 0.03))


@category("windmill", "novel", ("tower", "cap", "sail", "base"))
def windmill(s: Sketch) -> None:
    """Dutch mills, post mills, modern turbines, lattice wind pumps."""
    height, n = s.real(1.2, 2.4), s.count(3, 6)
    kind = s.pick("tower", "post", "turbine", "lattice")
    front = 0.2
    if kind == "tower":
        wide = s.real(0.3, 0.55)
        s.add("tower", cylinder(wide, height, top=wide * s.real(0.5, 0.8), sides=s.pick(6, 8, 16)))
        s.add(
            "cap",
            dome(wide * 0.75, 0.3).move(y=height) if s.chance() else cylinder(wide * 0.8, 0.4, top=0.0).move(y=height),
        )
        front = wide * 0.85
    elif kind == "post":
        s.add("base", cylinder(0.06, height * 0.6))
        s.add_around("base", rod([0, height * 0.4, 0], [0.5, 0, 0], 0.05), 4)
        s.add("tower", slab(0.6, height * 0.6, 0.7).move(y=height * 0.5))
        s.add("cap", extrude([[-0.35, 0], [0.35, 0], [0, 0.3]], 0.75).move(y=height * 1.1))
        front = 0.4
    elif kind == "turbine":
        s.add("tower", cylinder(0.07, height, top=0.04))
        s.add("cap", ellipsoid(0.08, 0.08, 0.2).move(y=height))
    else:
        s.add_corners("tower", rod([0.3, 0, 0.3], [0.03, height, 0.03], 0.02), 0, 0)
        for t in (0.25, 0.5, 0.75):
            w = 0.3 - 0.27 * t
            for z in (-w, w):
                s.add(
                    "tower",
                    rod([-w, t * height, z], [w, t * height, z], 0.012),
                    rod([z, t * height, -w], [z, t * height, w], 0.012),
                )
        s.add("cap", plank([0, height, 0], [0, height, -0.6], 0.04, 0.03), box(0.02, 0.3, 0.3).move(0, height, -0.7))
        n = s.count(8, 14)
    span, wide = s.real(0.5, 1.1), s.real(0.06, 0.2)
    phase = s.real(0, 90)
    for k in range(n):
        if kind == "turbine":
            sail = blade([[0, 0, 0], [0, span, 0]], [wide * 0.4, wide * 0.6, 0.01], 0.02, "z")
        elif kind == "lattice":
            sail = plank([0, 0.1, 0], [0, span * 0.6, 0], 0.01, 0.12).turn("y", 25)
        else:
            sail = box(wide, span * 0.8, 0.02).move(wide * 0.4, span * 0.6, 0.0)
            s.add(
                "sail", rod([0, 0, 0], [0, span, 0], 0.02).turn("z", phase + 360 * k / n).move(y=height * 0.97, z=front)
            )
        s.add("sail", sail.turn("z", phase + 360 * k / n).move(y=height * 0.97, z=front))
    s.add("sail", disc(0.07, 0.1).move(y=height * 0.97, z=front))


def _award(s: Sketch, kind: str, y: float, radius: float, height: float) -> None:
    """Add the top of a trophy, from height `y`."""
    if kind == "cup":
        s.add(
            "bowl",
            shell(
                [
                    (0.1, y),
                    (radius * 0.7, y + height * 0.3),
                    (radius * s.real(0.7, 0.9), y + height * 0.7),
                    (radius, y + height),
                ],
                0.03,
            ),
        )
        reach = s.real(0.15, 0.4)
        grip = curve(
            [
                [radius * 0.75, y + height * 0.2, 0],
                [radius + reach, y + height * 0.4, 0],
                [radius + reach, y + height, 0],
                [radius * 0.9, y + height * 0.85, 0],
            ]
        )
        s.add_mirrored("handle", sweep(grip, s.real(0.02, 0.04)))
        if s.chance(0.4):
            s.add("star", dome(radius, 0.15).move(y=y + height), ellipsoid(0.06, 0.1, 0.06).move(y=y + height + 0.2))
    elif kind == "star":
        n = s.count(4, 6)
        s.add(
            "star",
            extrude(outline(lambda a: radius * (0.75 + 0.4 * np.cos(n * (a - np.pi / 2))), 48), 0.1).move(y=y + radius),
        )
    elif kind == "ball":
        s.add("bowl", ellipsoid(radius * 0.8, radius * 0.8, radius * 0.8).move(y=y + radius * 0.75))
        s.add_mirrored(
            "handle",
            blade(
                curve([[0.05, y, 0], [radius * 1.1, y + 0.1, 0], [radius, y + radius * 1.5, 0]]),
                [0.05, 0.1, 0.01],
                0.03,
                "z",
            ),
        )
    else:
        shape = outline(
            lambda a: radius * np.where(np.sin(a) > 0, 1 / np.maximum(np.abs(np.cos(a)), np.abs(np.sin(a))), 1.1), 32
        )
        s.add("star", extrude(shape, 0.06).move(y=y + radius))


@category("trophy", "novel", ("bowl", "handle", "stem", "base", "star"))
def trophy(s: Sketch) -> None:
    """Award cups on plinths."""
    plinth, stem = s.real(0.12, 0.5), s.real(0.1, 0.5)
    w = s.real(0.25, 0.4)
    if s.chance():
        s.add(
            "base",
            slab(2 * w, plinth * 0.6, 2 * w, bevel=0.02),
            slab(1.5 * w, plinth * 0.4, 1.5 * w).move(y=plinth * 0.6),
        )
    else:
        s.add("base", cylinder(w, plinth, top=w * s.real(0.6, 1)))
    y = plinth
    s.add(
        "stem",
        lathe([(w * 0.7, y), (0.05, y + stem * 0.3), (0.1, y + stem * 0.5), (0.05, y + stem * 0.7), (0.12, y + stem)]),
    )
    y += stem
    kind = s.pick("cup", "cup", "star", "ball", "shield")
    radius, height = s.real(0.25, 0.42), s.real(0.35, 0.75)
    _award(s, kind, y, radius, height)


@category("anchor", "novel", ("shank", "arm", "fluke", "stock", "ring"))
def anchor(s: Sketch) -> None:
    """Admiralty, grapnel, plough and mushroom anchors."""
    height, thick = s.real(0.9, 1.5), s.real(0.03, 0.07)
    kind = s.pick("admiralty", "grapnel", "plough", "mushroom")
    s.add(
        "shank",
        rod([0, 0, 0], [0, height, 0], thick * 1.3, thick) if s.chance() else slab(2 * thick, height, 1.4 * thick),
    )
    s.add("ring", torus(s.real(0.08, 0.16), thick * 0.5).turn("y", s.real(0, 90)).move(y=height + 0.1))
    reach, lift = s.real(0.35, 0.65), s.real(0.25, 0.6)
    arm = sweep(curve([[0, 0, 0], [reach * 0.7, -0.05, 0], [reach, lift, 0]]), [thick * 1.2, thick * 0.8, thick * 0.4])
    fluke = (
        extrude([[-0.12, 0], [0.12, 0], [0, s.real(0.2, 0.35)]], 0.03)
        .turn("y", 90)
        .turn("z", -30)
        .move(reach - 0.05, lift - 0.15)
    )
    if kind == "grapnel":
        n = s.count(3, 5)
        s.add_around("arm", arm, n)
        if s.chance():
            s.add_around("fluke", fluke, n)
    elif kind == "plough":
        s.add("arm", plank([0, 0, 0], [reach, 0, 0], 3 * thick, thick))
        s.add(
            "fluke",
            plank([reach * 0.2, -0.1, 0.2], [reach * 1.4, 0.1, 0], 0.3, 0.02),
            plank([reach * 0.2, -0.1, -0.2], [reach * 1.4, 0.1, 0], 0.3, 0.02),
        )
    elif kind == "mushroom":
        s.add("fluke", shell([(0.05, 0), (reach * 0.6, 0.08), (reach * 0.8, lift * 0.6)], 0.04))
    else:
        s.add_mirrored("arm", arm)
        s.add_mirrored("fluke", fluke)
    if kind in ("admiralty", "plough") or s.chance(0.3):
        wide = s.real(0.3, 0.6)
        axis = [0, 0, wide] if s.chance() else [wide, 0, 0]
        y = height * s.real(0.8, 0.92)
        s.add("stock", rod([-axis[0], y, -axis[2]], [axis[0], y, axis[2]], thick))
        for k in (-1, 1):
            s.add("stock", ellipsoid(thick * 1.6, thick * 1.6, thick * 1.6).move(k * axis[0], y, k * axis[2]))


@category("trumpet", "novel", ("bell", "tube", "valve", "mouthpiece"))
def trumpet(s: Sketch) -> None:
    """Trumpets, bugles, horns, trombones."""
    bell, thick, length = s.real(0.15, 0.4), s.real(0.02, 0.04), s.real(0.8, 1.4)
    kind = s.pick("trumpet", "bugle", "horn", "trombone", "straight")
    flare = [
        (bell, length),
        (bell * 0.55, length - 0.08),
        (bell * 0.3, length - 0.25),
        (thick * 1.3, length - 0.6),
        (thick, 0),
    ]
    s.add("bell", lathe(flare, caps=False).turn("z", -90))
    if kind in ("trumpet", "bugle", "trombone"):
        drop, back = s.real(0.15, 0.35), s.real(0.1, 0.5)
        side = s.real(-0.08, 0.08)
        reach = length * (1.3 if kind == "trombone" else 0.7)
        loop = [[0.0, 0.0, 0.0], [-back, 0, 0], [-back, -drop, side], [reach, -drop, side]]
        s.add("tube", sweep(curve([*loop[:3], [0.1, -drop, side]]), thick), rod([0.1, -drop, side], loop[3], thick))
        s.add(
            "tube",
            sweep(arc(drop / 2, -90, 90, 8), thick).move(reach, -drop / 2, side),
            rod([reach, 0, side], [-back - 0.2, 0.05, side], thick),
        )
        s.add("mouthpiece", lathe([(thick, 0), (thick * 2, 0.08)]).turn("z", 90).move(-back - 0.2, 0.05, side))
        if kind == "trumpet":
            for k in range(s.count(3, 4)):
                s.add(
                    "valve",
                    cylinder(0.045, drop * 1.5).move(0.15 + 0.11 * k, -drop * 1.2, side),
                    cylinder(0.015, 0.15).move(0.15 + 0.11 * k, drop * 0.2, side),
                )
    elif kind == "horn":
        turns, radius = s.real(1.0, 2.0), s.real(0.2, 0.35)
        a = np.linspace(0, 2 * np.pi * turns, 30)
        coil = np.stack([-radius * np.sin(a), radius * (np.cos(a) - 1), 0.06 * a / np.pi], -1)
        s.add("tube", sweep(coil, [thick, thick * 0.6], up="z"))
        s.add("mouthpiece", ellipsoid(0.05, 0.05, 0.05).move(*coil[-1]))
    else:
        s.add("tube", *(torus(thick * 1.6, thick * 0.5).turn("y", 90).move(x=length * t) for t in (0.1, 0.35)))
        s.add("mouthpiece", lathe([(thick, 0), (thick * 2.2, 0.1)]).turn("z", 90))
