"""Categories only for evaluation: outdoors and vehicles."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.mesh import loft
from bench.data.shapes.primitives import (
    arc,
    box,
    curve,
    cylinder,
    disc,
    ellipsoid,
    extrude,
    lathe,
    plank,
    rod,
    shell,
    slab,
    sweep,
    torus,
)
from bench.data.shapes.sketch import Sketch, category


def _rigging(s: Sketch, masts: int, length: float, beam: float) -> None:
    """Masts with sails."""
    for k in range(masts):
        z, tall = (0.2 - 0.55 * k) * length, s.real(0.9, 1.7)
        s.add("mast", cylinder(0.02, tall).move(z=z))
        if s.chance(0.6):
            s.add(
                "sail",
                extrude([[0, 0.12], [0.6 * length, 0.12], [0, tall * 0.95]], 0.012)
                .turn("y", 90 + s.real(-25, 25))
                .move(z=z),
            )
            s.add(
                "sail",
                extrude([[0, 0.1], [-0.55 * length, 0.1], [0, tall * 0.8]], 0.012).turn("y", 90).move(z=z + 0.03),
            )
        else:
            for y in (0.35, 0.75):
                s.add(
                    "sail",
                    sweep(
                        curve([[-beam * 1.4, 0, 0], [0, 0, 0.15], [beam * 1.4, 0, 0]]), 0.008, tall * 0.18, up="y"
                    ).move(y=y * tall, z=z),
                )


@category("boat", "novel", ("hull", "mast", "sail", "cabin", "oar", "funnel"))
def boat(s: Sketch) -> None:
    """Sailing, rowing, steam and motor boats, catamarans."""
    length, beam, depth = s.real(0.8, 1.3), s.real(0.2, 0.4), s.real(0.15, 0.4)
    kind = s.pick("sail", "row", "steam", "motor", "catamaran")
    t = np.linspace(-1, 1, 12)
    stern = s.real(0.0, 0.8)
    narrowing = np.where(t > 0, 1.0, 1 - stern) * t**2
    wide = np.sqrt(np.maximum(1 - narrowing, 1e-3))
    angle = np.linspace(0, np.pi, 9)
    section = np.stack([np.cos(angle), -(np.sin(angle) ** s.real(0.5, 1.0))], -1)
    rings = np.empty((12, 9, 3))
    rings[:, :, 0] = wide[:, None] * beam * section[None, :, 0]
    rings[:, :, 1] = depth * (section[None, :, 1] * wide[:, None] ** 0.5 + s.real(0, 0.6) * t[:, None] ** 2)
    rings[:, :, 2] = length * t[:, None]
    hull = loft(rings, closed=False)
    if kind == "catamaran":
        gap = s.real(0.3, 0.6)
        narrow = hull.stretch(x=0.35)
        s.add_mirrored("hull", narrow.move(x=gap))
        s.add("cabin", slab(2 * gap, 0.05, length).move(y=0.02))
    else:
        s.add("hull", hull)
        if kind != "row":
            deck = np.stack([rings[:, 0], rings[:, -1]], axis=1)
            s.add("hull", loft(deck, closed=False).move(y=-0.03))
    if kind in ("sail", "catamaran"):
        _rigging(s, s.count(1, 3) if kind == "sail" else 1, length, beam)
    elif kind == "row":
        for k in range(s.count(1, 3)):
            z = (0.3 - 0.35 * k) * length
            s.add("cabin", slab(beam * 1.7, 0.03, 0.12).move(y=-0.06, z=z))
            reach, dip, swing = s.real(0.7, 1.1), s.real(-20, 25), s.real(-30, 30)
            for piece in (rod([0, 0, 0], [reach, 0, 0], 0.018), box(0.25, 0.015, 0.1).move(x=reach)):
                s.add_mirrored("oar", piece.turn("z", dip).turn("y", swing).move(x=beam * 0.5, y=0.03, z=z))
    else:
        levels = s.count(1, 3)
        y = -0.03
        for k in range(levels):
            high = s.real(0.15, 0.3)
            s.add(
                "cabin",
                slab(beam * (1.4 - 0.3 * k), high, length * (1.0 - 0.25 * k), bevel=0.02).move(y=y, z=-0.15 * length),
            )
            y += high
        if kind == "steam":
            for k in range(s.count(1, 3)):
                s.add("funnel", cylinder(0.08, s.real(0.25, 0.5)).turn("x", -8).move(y=y, z=(-0.3 + 0.22 * k) * length))
        else:
            s.add("mast", rod([0, y, -0.3 * length], [0, y + 0.4, -0.4 * length], 0.015))


@category("wheelbarrow", "novel", ("tray", "wheel", "handle", "leg"))
def wheelbarrow(s: Sketch) -> None:
    """Garden barrows, hand carts, sack trucks."""
    length, width, depth = s.real(0.5, 0.8), s.real(0.4, 0.7), s.real(0.15, 0.4)
    kind = s.pick("tub", "flat", "cart", "sack")
    r = s.real(0.15, 0.28)
    wheel = torus(r * 0.8, r * 0.2, s.real(0.03, 0.07)).turn("y", 90)
    hub = rod([-0.06, 0, 0], [0.06, 0, 0], r * 0.3)
    back = length * s.real(1.2, 1.7)
    if kind == "sack":
        rise = s.real(1.0, 1.4)
        s.add_mirrored("handle", plank([width * 0.35, r, 0], [width * 0.3, rise, -0.2], 0.04, 0.04))
        for k in range(s.count(2, 5)):
            t = 0.15 + 0.2 * k
            s.add(
                "handle",
                plank([-width * 0.35, r + t * rise, -0.2 * t], [width * 0.35, r + t * rise, -0.2 * t], 0.03, 0.03),
            )
        s.add("tray", slab(width, 0.03, depth).move(y=0.04, z=depth / 2))
        s.add_mirrored("wheel", wheel.move(x=width * 0.5, y=r, z=-0.1), hub.move(x=width * 0.5, y=r, z=-0.1))
        return
    y = r * s.real(1.2, 1.8)
    if kind == "flat":
        s.add("tray", slab(width, 0.04, length * 1.4).move(y=y), slab(width, depth, 0.04).move(y=y, z=length * 0.7))
    else:
        flare = s.real(0.5, 0.85)
        tray = shell([(flare, 0), (1, depth)], 0.04, sides=s.pick(4, 16), power=2).turn("y", 0)
        s.add("tray", tray.stretch(width * 0.7, 1, length * 0.8).move(y=y))
    for side in (-1, 1):
        x = side * width * 0.4
        s.add(
            "handle",
            rod([x * 0.3, r, length * 0.9], [x, y, -length * 0.5], 0.025),
            rod([x, y, -length * 0.5], [x * 1.1, y + s.real(0.0, 0.3), -back], 0.025),
        )
        if kind != "cart":
            s.add("leg", rod([x, y, -length * 0.4], [x, 0, -length * 0.5], 0.025))
    if kind == "cart":
        s.add_mirrored(
            "wheel",
            wheel.stretch(1, 1.4, 1.4).move(x=width * 0.65, y=r * 1.2),
            rod([0, r * 1.2, 0], [width * 0.65, r * 1.2, 0], 0.03),
        )
    else:
        s.add("wheel", wheel.move(y=r, z=length * 0.95), hub.move(y=r, z=length * 0.95))


@category("backpack", "novel", ("bag", "pocket", "strap", "flap", "roll"))
def backpack(s: Sketch) -> None:
    """School bags, hiking packs, satchels."""
    width, height, depth = s.real(0.5, 0.8), s.real(0.7, 1.3), s.real(0.25, 0.45)
    kind = s.pick("school", "hiking", "duffel", "satchel")
    soft = s.real(2.5, 5)
    if kind == "duffel":
        s.add(
            "bag",
            lathe([(0.6, 0), (0.95, 0.05), (1, 0.5), (0.9, 0.9), (0.5, 1)], power=soft / 2 + 1).stretch(
                width / 2, height, depth / 1.6
            ),
        )
    else:
        bulge = [0.75, 0.97, 1, 0.95, s.real(0.5, 0.8)]
        spine = [[0, height * t, 0] for t in np.linspace(0, 1, 7)]
        s.add(
            "bag",
            sweep(spine, [width / 2 * b for b in bulge], [depth / 2 * b for b in bulge], power=soft, sides=16, up="z"),
        )
    if kind in ("school", "hiking"):
        s.add(
            "pocket",
            box(width * 0.75, height * s.real(0.3, 0.5), depth * 0.5, bevel=0.05).move(0, height * 0.28, depth * 0.5),
        )
    if kind == "hiking":
        s.add_mirrored("pocket", ellipsoid(0.08, height * 0.25, depth * 0.3).move(width / 2, height * 0.4, 0))
        s.add("roll", rod([-width * 0.55, height * 1.08, 0], [width * 0.55, height * 1.08, 0], s.real(0.1, 0.17)))
    if kind == "satchel" or s.chance(0.3):
        s.add(
            "flap",
            box(width, height * 0.5, 0.03, bevel=0.01).move(0, height * 0.72, depth * 0.52),
            box(width, 0.04, depth).move(0, height * 0.98, 0),
        )
    bow = s.real(0.1, 0.3)
    if kind == "satchel":
        s.add(
            "strap",
            sweep(
                curve(
                    [
                        [-width / 2, height * 0.8, 0],
                        [-width / 2, height * 1.9, 0],
                        [width / 2, height * 1.9, 0],
                        [width / 2, height * 0.8, 0],
                    ]
                ),
                0.015,
                0.05,
                up="z",
            ),
        )
    else:
        knots = [
            [width * 0.2, height * 0.92, -depth / 2],
            [width * 0.25, height * 0.85, -depth / 2 - 2 * bow],
            [width * 0.35, height * 0.3, -depth / 2 - bow],
            [width * 0.4, height * 0.08, -depth / 2],
        ]
        s.add_mirrored("strap", sweep(curve(knots), 0.015, 0.045, up="x"))
        s.add("strap", sweep(arc(0.1, 0, 180, 8), 0.02).move(y=height, z=-depth * 0.4))


@category("skateboard", "novel", ("deck", "wheel", "truck", "pole"))
def skateboard(s: Sketch) -> None:
    """Skateboards, longboards, scooters, roller boards."""
    length, width = s.real(0.7, 1.3), s.real(0.14, 0.26)
    kind = s.pick("popsicle", "long", "scooter", "penny")
    kick = {"popsicle": s.real(0.12, 0.25), "long": 0.0, "scooter": 0.03, "penny": s.real(0.05, 0.2)}[kind]
    nose = kick if kind == "popsicle" else 0.0
    path = curve(
        [
            [0, kick, -length * 1.1],
            [0, 0, -length * 0.75],
            [0, s.real(-0.04, 0.06), 0],
            [0, 0, length * 0.75],
            [0, nose, length * 1.1],
        ],
        16,
    )
    tip = s.real(0.3, 0.8)
    s.add(
        "deck", sweep(path, [width * tip, width * 0.95, width, width, width * 0.95, width * tip], 0.02, up="y", power=4)
    )
    r = s.real(0.06, 0.13)
    y = -r - 0.06
    for z in (-length * 0.6, length * 0.6):
        s.add("truck", box(0.1, 0.08, 0.16).move(y=-0.05, z=z))
        if kind == "scooter":
            s.add("wheel", disc(r * 1.6, 0.05).turn("y", 90).move(y=y + 0.06, z=z * 1.5))
        else:
            s.add("truck", rod([-width, y, z], [width, y, z], 0.025))
            s.add_mirrored("wheel", disc(r, 0.08).turn("y", 90).move(width * 0.9, y, z))
    if kind == "scooter":
        tall, lean = s.real(0.9, 1.4), s.real(0.0, 0.25)
        front = length * 0.9
        s.add(
            "pole",
            rod([0, y, front], [0, tall, front - lean], 0.03),
            rod([-0.3, tall, front - lean], [0.3, tall, front - lean], 0.025),
        )


@category("swing", "novel", ("frame", "rope", "seat"))
def swing(s: Sketch) -> None:
    """Playground swings, hammocks, hanging benches, seesaws."""
    width, height, spread = s.real(0.7, 1.5), s.real(1.0, 1.6), s.real(0.3, 0.6)
    kind = s.pick("seat", "tire", "bench", "hammock")
    thick = s.real(0.025, 0.05)
    if kind == "hammock":
        high = height * 0.6
        s.add_mirrored("frame", rod([width * 1.1, 0, 0], [width * 1.25, high, 0], thick))
        s.add(
            "frame",
            rod([-width * 1.1, 0.02, 0], [width * 1.1, 0.02, 0], thick),
            *(rod([x, 0.02, -spread], [x, 0.02, spread], thick) for x in (-width * 0.9, width * 0.9)),
        )
        sag = s.real(0.3, 0.5)
        bed = curve(
            [
                [-width * 1.25, high, 0],
                [-width * 0.8, high - sag, 0],
                [width * 0.8, high - sag, 0],
                [width * 1.25, high, 0],
            ],
            16,
        )
        s.add(
            "seat", sweep(bed, [0.02, spread * 0.9, spread, spread, spread * 0.9, 0.02], 0.012, up="y").stretch(z=1.0)
        )
        return
    if s.chance(0.75):
        for x in (-width, width):
            for z in (-spread, spread):
                s.add("frame", rod([x * 1.1, 0, z], [x, height, 0], thick))
            if s.chance():
                s.add(
                    "frame",
                    rod([x * 1.05, height * 0.5, -spread / 2], [x * 1.05, height * 0.5, spread / 2], thick * 0.8),
                )
    else:
        s.add("frame", *(slab(2 * thick, height, 2 * thick).move(x=x) for x in (-width, width)))
    s.add("frame", rod([-width * 1.05, height, 0], [width * 1.05, height, 0], thick))
    seats = 1 if kind == "bench" else s.count(1, 3)
    for k in range(seats):
        x = (k - (seats - 1) / 2) * 2 * width / (seats + 0.5)
        angle = np.deg2rad(s.real(-35, 35))
        drop = height * s.real(0.65, 0.8)
        y, z = height - drop * float(np.cos(angle)), drop * float(np.sin(angle))
        half = width * 0.7 if kind == "bench" else s.real(0.14, 0.22)
        s.add("rope", *(rod([x + e, height, 0], [x + e, y, z], 0.012, sides=5) for e in (-half, half)))
        if kind == "tire":
            s.add("seat", torus(half, 0.07).turn("x", s.pick(0, 90)).move(x, y - half * 0.3, z))
        else:
            s.add("seat", box(2 * half, 0.04, 0.3).move(x, y, z))
            if kind == "bench":
                s.add("seat", plank([x, y, z - 0.15], [x, y + 0.4, z - 0.25], 0.03, 2 * half))
