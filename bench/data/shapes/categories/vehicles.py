"""Vehicles."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.mesh import Mesh
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
    plank,
    rod,
    slab,
    sweep,
    torus,
)
from bench.data.shapes.sketch import Sketch, category


def roller(radius: float, width: float) -> Mesh:
    """Wheel whose axle is z, centred at the origin."""
    half = width / 2
    rim = [(radius * 0.3, -half), (radius * 0.92, -half), (radius, -half * 0.6), (radius, half * 0.6)]
    return lathe([*rim, (radius * 0.92, half), (radius * 0.3, half)], 16).turn("x", 90)


def fin(s: Sketch, span: float, chord: float, tip: float, sweep_back: float, rise: float = 0.0) -> Mesh:
    """Flat wing from the origin out to +x; the chord lies along z, the trailing edge sweeps back to -z."""
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
        start, stop = {
            "saloon": (0.25, -0.3),
            "hatchback": (0.22, -0.47),
            "van": (0.42, -0.48),
            "convertible": (0.15, 0.1),
            "off-road": (0.2, -0.46),
        }[kind]
        rise = s.real(0.22, 0.34) * (1.7 if kind == "van" else 1)
        slant = 0.05 if kind == "van" else s.real(0.1, 0.25)
        y = clear + height
        z0, z1 = start * length, stop * length
        rear = slant * s.real(0.1, 1.0)
        side = np.array([[z0, y - 0.02], [z0 - slant, y + rise], [z1 + rear, y + rise], [z1, y - 0.02]])
        cabin = extrude(side, width * 0.9, taper=1.0)
        s.add("cabin", cabin.turn("y", -90))
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
                slab(width * 0.95, 0.08, 0.08).move(y=clear, z=length / 2),
                slab(width * 0.95, 0.08, 0.08).move(y=clear, z=-length / 2),
            )
            s.detail("bumpers")
        if s.chance(0.25) and kind != "convertible":
            s.add_mirrored(
                "roof",
                plank(
                    [width * 0.35, y + rise + 0.04, z0 - slant], [width * 0.35, y + rise + 0.04, z1 + rear], 0.03, 0.03
                ),
            )
            s.detail("roof rails")
    if kind == "convertible":
        s.add("cabin", slab(width * 0.8, 0.2, 0.15).move(y=clear + height, z=-0.1 * length))
    s.adjective(
        "sporty" if kind == "racing" else "boxy" if kind == "van" else "family" if kind == "saloon" else "small"
    )
    gap = s.real(0.28, 0.36) * length
    s.add_corners("wheel", roller(r, s.real(0.1, 0.2)).move(y=r), width / 2, gap)


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
    bed, y = length - cab - 0.08, r + 0.1
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
        bend = s.real(0, 25)
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
        s.add_corners(
            "skid", roller(0.09, 0.06).turn("y", 90).turn("y", -90).move(y=-radius * 1.1), radius * 0.8, length * 0.4
        )
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
