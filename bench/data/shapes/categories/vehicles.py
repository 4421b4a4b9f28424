"""Vehicles on the ground."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.mesh import Mesh
from bench.data.shapes.primitives import (
    arc,
    box,
    curve,
    cylinder,
    ellipsoid,
    extrude,
    lathe,
    plank,
    rod,
    slab,
    sweep,
    torus,
)
from bench.data.shapes.sketch import Sketch, category


def roller(radius: float, width: float) -> Mesh:
    """Wheel whose axle is x, centred at the origin."""
    half = width / 2
    rim = [(radius * 0.3, -half), (radius * 0.92, -half), (radius, -half * 0.6), (radius, half * 0.6)]
    return lathe([*rim, (radius * 0.92, half), (radius * 0.3, half)], 16).turn("z", 90)


def _cabin(s: Sketch, kind: str, length: float, width: float, height: float, y: float) -> None:
    """Cabin of a car body, with bumpers and rails.

    Its top is at `y`.
    """
    start, stop = {
        "saloon": (0.25, -0.3),
        "hatchback": (0.22, -0.47),
        "van": (0.42, -0.48),
        "convertible": (0.15, 0.1),
        "off-road": (0.2, -0.46),
    }[kind]
    rise = s.real(0.22, 0.34) * (1.7 if kind == "van" else 1)
    slant = 0.05 if kind == "van" else s.real(0.1, 0.25)
    z0, z1 = start * length, stop * length
    rear = slant * s.real(0.1, 1.0)
    side = np.array([[z0, y - 0.02], [z0 - slant, y + rise], [z1 + rear, y + rise], [z1, y - 0.02]])
    s.add("cabin", extrude(side, width * 0.9).turn("y", -90))
    s.detail(
        {
            "saloon": "a boot at the rear",
            "hatchback": "a sloping rear",
            "van": "a tall cargo body",
            "convertible": "an open top",
            "off-road": "high ground clearance",
        }[kind]
    )
    if s.chance(0.4):
        s.add(
            "bumper",
            slab(width * 0.95, 0.08, 0.08).move(y=y - height, z=length / 2),
            slab(width * 0.95, 0.08, 0.08).move(y=y - height, z=-length / 2),
        )
        s.detail("bumpers")
    if s.chance(0.25) and kind != "convertible":
        s.add_mirrored(
            "roof",
            plank([width * 0.35, y + rise + 0.04, z0 - slant], [width * 0.35, y + rise + 0.04, z1 + rear], 0.03, 0.03),
        )
        s.detail("roof rails")


@category("car", "seen", ("body", "cabin", "wheel", "bumper", "roof"))
def car(s: Sketch) -> None:
    """Saloons, hatchbacks, coupes, vans, open cars."""
    length, width, height = s.real(1.6, 2.2, "short", "long"), s.real(0.7, 0.9), s.real(0.25, 0.42)
    kind = s.pick("saloon", "hatchback", "van", "convertible", "off-road", "racing")
    r = s.real(0.13, 0.24) * (1.3 if kind == "off-road" else 1)
    clear = r * (0.9 if kind != "racing" else 0.5)
    if kind == "racing":
        s.add(
            "body",
            sweep(
                [[0, clear + 0.1, length / 2], [0, clear + 0.15, -length / 2]],
                [0.08, 0.12, 0.28, 0.3, 0.2],
                [0.04, 0.1, 0.16, 0.2],
                power=4,
            ),
        )
        s.add("roof", plank([-0.4, 0.55, -length / 2], [0.4, 0.55, -length / 2], 0.2, 0.03))
        s.add_mirrored(
            "bumper",
            rod([0.2, 0.3, -length / 2], [0.2, 0.55, -length / 2], 0.02),
            plank([0, 0.12, length / 2], [0.4, 0.12, length / 2], 0.15, 0.03),
        )
        s.detail("exposed rollers and a rear spoiler")
    else:
        s.add("body", slab(width, height, length, bevel=s.real(0.02, 0.12)).move(y=clear))
        _cabin(s, kind, length, width, height, clear + height)
    if kind == "convertible":
        s.add("cabin", slab(width * 0.8, 0.2, 0.15).move(y=clear + height, z=-0.1 * length))
    s.adjective(
        "sporty" if kind == "racing" else "boxy" if kind == "van" else "family" if kind == "saloon" else "small"
    )
    gap = s.real(0.28, 0.36) * length
    s.add_corners("wheel", roller(r, s.real(0.1, 0.2)).move(y=r), width / 2, gap)


def _cargo(s: Sketch, length: float, width: float, height: float, bed: float, y: float) -> None:
    """Load or body on a bed at height `y`."""
    z = -length / 2 + bed / 2
    kind = s.pick("closed", "flat", "tanker", "dumper", "logs")
    if kind == "closed":
        s.add("cargo", slab(width * 1.05, height * s.real(1, 1.4), bed, bevel=0.02).move(y=y, z=z))
    elif kind == "tanker":
        s.add(
            "cargo",
            lathe([(0.2, 0), (0.36, 0.08), (0.36, bed - 0.08), (0.2, bed)])
            .turn("x", 90)
            .move(y=y + 0.34, z=z - bed / 2),
        )
    else:
        s.add("cargo", slab(width, 0.06, bed).move(y=y, z=z))
        if kind == "dumper":
            tilt = s.pick(0, 0, 25)
            sides = [
                slab(0.04, 0.35, bed).move(x=width / 2, z=0),
                slab(0.04, 0.35, bed).move(x=-width / 2),
                slab(width, 0.35, 0.04).move(z=bed / 2),
            ]
            s.add("cargo", *(m.move(z=bed / 2).turn("x", -tilt).move(y=y, z=z - bed / 2) for m in sides))
        elif kind == "logs":
            for k in range(5):
                s.add(
                    "cargo",
                    cylinder(0.11, bed)
                    .turn("x", 90)
                    .move((k % 3 - 1) * 0.23 + (k // 3) * 0.11, y + 0.15 + k // 3 * 0.2, z - bed / 2),
                )
    s.detail(
        {
            "closed": "a closed cargo body",
            "flat": "a flat bed",
            "tanker": "a round tank",
            "dumper": "a tipping bed",
            "logs": "a load of logs",
        }[kind]
    )


@category("truck", "seen", ("cab", "cargo", "wheel", "frame", "exhaust"))
def truck(s: Sketch) -> None:
    """Lorries: flatbed, tanker, closed, dumper, pickup."""
    length, width = s.real(1.8, 3.2, "short", "long"), s.real(0.7, 0.9)
    r = s.real(0.14, 0.22)
    cab, height = s.real(0.4, 0.7), s.real(0.55, 0.95, "low", "tall")
    front = length / 2
    s.add("frame", slab(width * 0.7, 0.1, length).move(y=r))
    if s.chance():
        s.add("cab", slab(width, height, cab, bevel=s.real(0.02, 0.1)).move(y=r, z=front - cab / 2))
        s.detail("a flat-nosed cab")
    else:
        hood = s.real(0.3, 0.5)
        s.add("cab", slab(width, height, cab, bevel=0.05).move(y=r, z=front - hood - cab / 2))
        s.add("cab", slab(width * 0.8, height * 0.5, hood, bevel=0.05).move(y=r, z=front - hood / 2))
        cab += hood
        s.detail("a long hood")
    _cargo(s, length, width, height, length - cab - 0.08, r + 0.1)
    axles = [front - cab * 0.55, -length / 2 + 0.25] + ([-length / 2 + 0.25 + 2.2 * r] if s.chance() else [])
    for at in axles:
        s.add_mirrored("wheel", roller(r, 0.16).move(width / 2, r, at))
    if s.chance(0.3):
        s.add_mirrored("exhaust", rod([width / 2, r, front - cab], [width / 2, height * 1.5, front - cab], 0.03))
        s.detail("upright exhaust pipes")


@category("bus", "seen", ("body", "wheel", "deck", "mirror", "seat"))
def bus(s: Sketch) -> None:
    """City, double-deck, articulated and school buses, trams."""
    length, width, height = s.real(2.2, 3.2, "short", "long"), s.real(0.65, 0.85), s.real(0.7, 0.95)
    r, soft = s.real(0.13, 0.18), s.real(0.02, 0.12)
    kind = s.pick("city", "double", "jointed", "open", "nosed")
    if kind == "jointed":
        bend = s.real(0, 12)
        half = length / 2
        front = slab(width, height, half * 0.95, bevel=soft).move(y=r, z=half / 2)
        s.add("body", front, front.stretch(z=-1).turn("y", bend))
        s.add("deck", slab(width * 0.85, height * 0.9, 0.3).move(y=r))
    elif kind == "open":
        s.add("body", slab(width, 0.3, length, bevel=0.02).move(y=r))
        s.add("deck", slab(width, 0.06, length).move(y=r + height))
        for z in np.linspace(-length / 2 + 0.05, length / 2 - 0.05, s.count(4, 6)):
            s.add_mirrored("body", rod([width / 2 - 0.03, r, z], [width / 2 - 0.03, r + height, z], 0.025))
            s.add("seat", slab(width * 0.8, 0.35, 0.06).move(y=r + 0.25, z=float(z) * 0.9))
    else:
        s.add("body", slab(width, height, length, bevel=soft).move(y=r))
    if kind == "double":
        s.add("deck", slab(width * 0.97, height * 0.8, length * s.real(0.85, 1), bevel=soft).move(y=r + height * 0.97))
    elif kind == "nosed":
        s.add("body", slab(width * 0.8, height * 0.5, 0.4, bevel=0.06).move(y=r, z=length / 2 + 0.18))
    s.detail(
        {
            "city": "one flat deck",
            "double": "two decks",
            "jointed": "a flexible joint",
            "open": "open sides",
            "nosed": "a short nose",
        }[kind]
    )
    for at in [length * 0.33, -length * 0.3] + ([-length * 0.4] if s.chance(0.3) else []):
        s.add_mirrored("wheel", roller(r, 0.14).move(width / 2 - 0.04, r, at))
    if s.chance(0.5):
        s.add_mirrored(
            "mirror",
            box(0.06, 0.18, 0.05).move(width / 2 + 0.1, r + height * 0.7, length / 2),
            rod([width / 2, r + height * 0.8, length / 2], [width / 2 + 0.1, r + height * 0.8, length / 2], 0.015),
        )
        s.detail("large mirrors")
    s.adjective("rounded" if soft > 0.07 else "angular")


@category("bicycle", "seen", ("wheel", "frame", "saddle", "steering", "basket"))
def bicycle(s: Sketch) -> None:
    """Diamond, step-through, penny-farthing and motor frames."""
    kind = s.pick("diamond", "low", "penny", "motor", "tandem")
    r, thick = s.real(0.3, 0.38), s.real(0.015, 0.03)
    front, rear, base = (r * 1.7, r * 0.6, 0.75) if kind == "penny" else (r, r, s.real(0.95, 1.2))
    base *= 1.5 if kind == "tandem" else 1
    tyre = thick * (3 if kind == "motor" else s.real(0.8, 1.6))
    for z, radius in ((base / 2, front), (-base / 2, rear)):
        s.add("wheel", torus(radius - tyre, tyre, steps=22, sides=6).turn("y", 90).move(y=radius, z=z))
        spokes = s.count(4, 9)
        for k in range(spokes):
            a = np.pi * k / spokes
            dy, dz = (radius - tyre) * np.sin(a), (radius - tyre) * np.cos(a)
            s.add("wheel", rod([0, radius - dy, z - dz], [0, radius + dy, z + dz], 0.006, sides=4))
    tall = s.real(0.75, 0.95)
    head, seat, crank = [0, tall + 0.05, base * 0.33], [0, tall, -base * 0.15], [0, r * 0.8, -base * 0.02]
    hubs = [0, front, base / 2], [0, rear, -base / 2]
    if kind == "penny":
        head, seat = [0, 2 * front + 0.08, base / 2], [0, 2 * front, base / 2 - 0.2]
        s.add("frame", sweep(curve([hubs[1], [0, front * 1.4, -base / 2], seat, head]), thick))
    else:
        s.add(
            "frame",
            rod(head, crank, thick),
            rod(crank, seat, thick),
            rod(seat, hubs[1], thick),
            rod(crank, hubs[1], thick),
        )
        if kind != "low":
            s.add("frame", rod(head, seat, thick * (4 if kind == "motor" else 1)))
    if kind == "motor":
        s.add(
            "frame", box(0.2, 0.3, 0.35, bevel=0.05).move(*crank), ellipsoid(0.13, 0.11, 0.22).move(0, tall, base * 0.1)
        )
    s.add("frame", rod(head, hubs[0], thick))
    wide = s.real(0.2, 0.35)
    drop = s.real(-0.1, 0.12)
    grip = curve([[0, 0.1, 0], [wide, 0.12, 0.05], [wide, 0.1 + drop, -0.05], [wide, 0.1 + drop, -0.18]], 8)
    s.add_mirrored("steering", sweep(grip, 0.016).move(*head))
    s.add("saddle", ellipsoid(0.08, 0.04, 0.16).move(seat[0], seat[1] + 0.06, seat[2]))
    if kind == "tandem":
        s.add("saddle", ellipsoid(0.08, 0.04, 0.16).move(0, seat[1] + 0.06, seat[2] - 0.55))
    s.detail(
        {
            "diamond": "a diamond frame",
            "low": "a step-through frame",
            "penny": "one huge front rim",
            "motor": "a motor and tank",
            "tandem": "two saddles",
        }[kind]
    )
    s.detail("dropped handles" if drop < 0 else "upright handles")
    if s.chance(0.3):
        s.add("basket", slab(0.3, 0.2, 0.22).move(y=head[1], z=head[2] + 0.2))
        s.detail("a basket in front")


def _runner(radius: float, stop: float) -> Mesh:
    """Curled sled runner in the yz plane."""
    curl = arc(radius, -90, 160, 10)
    path = np.concatenate([[[0, 0, -stop]], np.stack([0 * curl[:, 0], curl[:, 1] + radius, curl[:, 0]], -1)])
    return sweep(path, 0.025)


@category("sled", "seen", ("runner", "deck", "strut", "back"))
def sled(s: Sketch) -> None:
    """Wooden sleds, sleighs, toboggans."""
    length, width, height = s.real(0.6, 1.1, "short", "long"), s.real(0.2, 0.35), s.real(0.12, 0.35, "low", "high")
    kind = s.pick("slatted", "toboggan", "sleigh")
    curl = s.real(0.12, 0.3)
    if kind == "toboggan":
        for x in np.linspace(-width, width, s.count(3, 6)):
            s.add("deck", _runner(curl, 2 * length).stretch(x=width * 6).move(x=float(x)))
        for k in range(s.count(2, 4)):
            s.add("strut", plank([-width, 0.05, -0.5 * k * length], [width, 0.05, -0.5 * k * length], 0.05, 0.04))
    else:
        s.add_mirrored("runner", _runner(curl, 2 * length).move(x=width))
        for k in range(3):
            z = -length * (0.2 + 0.75 * k)
            s.add_mirrored("strut", rod([width, 0, z], [width * 0.9, height, z], 0.02))
        n = s.count(2, 5)
        for x in np.linspace(-width, width, n):
            s.add("deck", slab(1.6 * width / n, 0.025, 2 * length).move(float(x), height, -length))
    if kind == "sleigh":
        rise = s.real(0.3, 0.6)
        s.add("back", plank([0, height, -1.9 * length], [0, height + rise, -2.1 * length], 0.05, 2 * width))
        s.add_mirrored("back", slab(0.03, rise * 0.5, length).move(width, height, -1.4 * length))
        s.detail("a seat with a back")
    s.detail({"slatted": "a slatted deck", "toboggan": "a curled front", "sleigh": "curled runners"}[kind])
    s.detail("tight curls" if curl < 0.2 else "wide curls")
