"""Categories only for evaluation: objects that resemble other categories."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.primitives import (
    arc,
    box,
    curve,
    cylinder,
    disc,
    dome,
    ellipsoid,
    lathe,
    plank,
    rod,
    shell,
    slab,
    sweep,
    torus,
)
from bench.data.shapes.sketch import Sketch, category


@category("lighthouse", "novel", ("tower", "gallery", "lantern", "base"))
def lighthouse(s: Sketch) -> None:
    """Round, square, skeleton and caisson lighthouses."""
    height, wide = s.real(0.9, 2.0), s.real(0.25, 0.5)
    kind, top = s.pick("round", "stepped", "skeleton", "square"), wide * s.real(0.45, 0.8)
    if kind == "skeleton":
        s.add_corners("tower", rod([wide, 0, wide], [top, height, top], 0.03), 0, 0)
        for t in (0.3, 0.65):
            w = wide + t * (top - wide)
            for a in (0, 90, 180, 270):
                s.add("tower", rod([-w, t * height, w], [w, t * height, w], 0.02).turn("y", a))
        s.add("tower", cylinder(0.08, height))
    elif kind == "stepped":
        n = s.count(2, 4)
        for k in range(n):
            r = wide + k / n * (top - wide)
            s.add("tower", cylinder(r, height / n, top=r * 0.92).move(y=k * height / n))
    else:
        s.add("tower", cylinder(wide, height, top=top, sides=4 if kind == "square" else 18))
    reach = top * s.real(1.2, 1.8)
    s.add("gallery", cylinder(reach, 0.05).move(y=height), torus(reach, 0.012).turn("x", 90).move(y=height + 0.15))
    glass = s.real(0.15, 0.35)
    s.add("lantern", cylinder(top * 0.6, glass).move(y=height))
    cap = dome(top * 0.75, 0.2) if s.chance() else cylinder(top * 0.8, s.real(0.15, 0.4), top=0.0)
    s.add("lantern", cap.move(y=height + glass))
    if s.chance(0.5):
        s.add("base", slab(s.real(0.5, 0.9), 0.4, 0.5).move(x=wide + 0.2))
    if s.chance(0.4):
        s.add("base", lathe([(wide * 2.4, -0.25), (wide * 1.7, -0.05), (wide, 0)], 9))


@category("candlestick", "novel", ("base", "stem", "arm", "candle"))
def candlestick(s: Sketch) -> None:
    """Single holders, chambersticks and branched candelabra."""
    height, base = s.real(0.25, 1.2), s.real(0.2, 0.45)
    kind = s.pick("turned", "chamber", "branched", "branched")
    candle, thick = s.real(0.2, 0.7), s.real(0.04, 0.07)
    if kind == "chamber":
        height = 0.1
        s.add("base", shell([(base * 0.7, 0), (base, 0.08)], 0.02))
        s.add("arm", torus(0.1, 0.025).move(x=base + 0.08, y=0.07))
    else:
        s.add(
            "base", lathe([(base, 0), (base * 0.9, 0.04), (base * s.real(0.2, 0.5), 0.1), (0.03, 0.16)], s.pick(6, 18))
        )
        knots = [(s.real(0.025, 0.1), height * t) for t in (0.2, 0.4, 0.6, 0.8)]
        s.add("stem", lathe([(0.03, 0.1), *knots, (0.04, height)]))
    ends = [(0.0, height)] if kind != "branched" or s.chance(0.6) else []
    if kind == "branched":
        for k in range(s.count(1, 3)):
            reach, low = s.real(0.2, 0.4) + 0.18 * k, height * s.real(0.5, 0.9)
            up = height * s.real(0.8, 1.1)
            path = curve([[0, low, 0], [reach * 0.6, low - 0.15, 0], [reach, low - 0.1, 0], [reach, up, 0]])
            s.add_mirrored("arm", sweep(path, 0.025))
            ends += [(reach, up), (-reach, up)]
    for x, y in ends:
        s.add("candle", lathe([(thick * 2.2, y + 0.03), (thick * 1.2, y)]).move(x=x))
        s.add("candle", cylinder(thick, candle * s.real(0.7, 1.0), top=thick * 0.9).move(x, y, 0))
        s.add("candle", ellipsoid(0.02, 0.06, 0.02, sides=8).move(x, y + candle + 0.03, 0))


@category("hourglass", "novel", ("glass", "plate", "post", "sand"))
def hourglass(s: Sketch) -> None:
    """Sand timers in round and square frames."""
    half, radius, waist = s.real(0.35, 0.7), s.real(0.22, 0.42), s.real(0.02, 0.06)
    full = s.real(0.4, 1.0)
    t = np.linspace(-1, 1, 15)
    r = waist + radius * np.abs(np.sin(np.pi / 2 * np.abs(t))) ** s.real(0.7, 2.2) * (1 - 0.3 * np.abs(t) ** 6)
    s.add("glass", lathe([(float(a), float(b) * half + half) for a, b in zip(r, t, strict=True)]))
    if s.chance(0.6):
        s.add("sand", cylinder(radius * 0.7, half * 0.6 * full, top=0.02))
    kind, reach = s.pick("round", "square", "hexagonal"), radius * s.real(1.1, 1.5)
    sides = {"round": 20, "square": 4, "hexagonal": 6}[kind]
    disk = cylinder(reach, s.real(0.04, 0.12), sides=sides)
    s.add("plate", disk.stretch(y=-1), disk.move(y=2 * half))
    n = 4 if kind == "square" else s.count(3, 6)
    if s.chance(0.85):
        if s.chance():
            post = cylinder(s.real(0.015, 0.04), 2 * half)
        else:
            post = lathe([(0.05, 0), (0.02, half * 0.5), (0.055, half), (0.02, half * 1.5), (0.05, 2 * half)], 10)
        s.add_around("post", post.move(x=reach * 0.88), n, 45)


@category("robot", "novel", ("body", "skull", "arm", "leg", "antenna"))
def robot(s: Sketch) -> None:
    """Toy robots: boxy, round, tracked, on wheels."""
    width, tall, deep = s.real(0.3, 0.55), s.real(0.4, 0.7), s.real(0.2, 0.4)
    kind, foot = s.pick("boxy", "round", "tapered"), s.pick("legs", "tracks", "ball")
    low = s.real(0.3, 0.6) if foot == "legs" else 0.25
    if kind == "boxy":
        s.add("body", slab(width, tall, deep, bevel=s.real(0, 0.06)).move(y=low))
    elif kind == "round":
        s.add("body", ellipsoid(width * 0.6, tall * 0.55, deep * 0.8).move(y=low + tall / 2))
    else:
        s.add("body", cylinder(width * 0.35, tall, top=width * 0.65).stretch(z=deep / width).move(y=low))
    top, size = low + tall, s.real(0.12, 0.25)
    skull = box(2 * size, 1.6 * size, 1.7 * size, bevel=0.03) if s.chance() else ellipsoid(size, size * 0.9, size)
    s.add("skull", skull.move(y=top + size + 0.04), cylinder(0.05, 0.1).move(y=top - 0.02))
    for x in (-0.45, 0.45):
        s.add("skull", disc(size * 0.25, 0.05).move(x * size, top + size * 1.2, size))
    if s.chance(0.6):
        s.add("antenna", rod([0, top + 1.7 * size, 0], [0, top + 1.7 * size + 0.2, 0], 0.012))
        s.add("antenna", ellipsoid(0.03, 0.03, 0.03, sides=8).move(y=top + 1.7 * size + 0.2))
    for side in (-1, 1):
        shoulder = [side * width * 0.58, top - 0.08, 0]
        elbow = [side * (width * 0.6 + s.real(0.02, 0.25)), top - s.real(-0.1, 0.35), s.real(0, 0.1)]
        hand = [elbow[0] + side * 0.03, elbow[1] - s.real(-0.3, 0.25), s.real(0.1, 0.35)]
        s.add("arm", disc(0.07, 0.1).turn("y", 90).move(*shoulder), rod(shoulder, elbow, 0.04), rod(elbow, hand, 0.035))
        s.add("arm", torus(0.06, 0.02, steps=10).move(*hand))
        if foot == "legs":
            x = side * width * 0.28
            s.add("leg", slab(0.1, low, 0.1).move(x=x), slab(0.16, 0.08, 0.28, bevel=0.02).move(x=x, z=0.05))
        elif foot == "tracks":
            loop = arc(0.2, steps=18, squash=0.5)
            s.add(
                "leg", sweep(loop, 0.05, 0.08, loop=True).turn("y", 90).stretch(z=1.6).move(side * width * 0.5, 0.13, 0)
            )
    if foot == "ball":
        s.add("leg", ellipsoid(0.22, 0.22, 0.22).move(y=0.15))


@category("octopus", "novel", ("mantle", "tentacle", "eye"))
def octopus(s: Sketch) -> None:
    """Octopuses, squid and jellyfish."""
    size, n = s.real(0.25, 0.4), s.count(6, 10)
    kind = s.pick("octopus", "squid", "jelly")
    rise = size * {"octopus": s.real(0.9, 1.5), "squid": s.real(1.8, 3.0), "jelly": s.real(0.5, 0.9)}[kind]
    if kind == "jelly":
        s.add("mantle", lathe([(size * 1.2, -0.08), (size * 1.3, 0), (size, rise * 0.7), (0.02, rise)], caps=False))
    elif kind == "squid":
        s.add("mantle", lathe([(size * 0.5, 0), (size * 0.8, rise * 0.4), (size * 0.5, rise * 0.8), (0.02, rise)]))
        s.add_mirrored("mantle", plank([0, rise * 0.85, 0], [size * s.real(0.8, 1.3), rise * 0.7, 0], 0.03, 0.3))
    else:
        tilt = s.real(-30, 30)
        s.add("mantle", ellipsoid(size, rise * 0.7, size).move(y=rise * 0.6).turn("x", tilt))
    reach, drop, curl = s.real(0.5, 1.1), s.real(0.1, 0.7), s.real(-0.3, 0.4)
    for k in range(n):
        out, sway = reach * s.real(0.7, 1.1), s.real(-0.25, 0.25)
        if kind == "octopus":
            path = [
                [size * 0.4, 0.05, 0],
                [size * 1.3, drop * 0.3 - 0.1, 0],
                [out, -0.15, sway],
                [out * 1.2, curl, sway * 2],
            ]
        else:
            path = [
                [size * 0.4, 0, 0],
                [size * 0.6, -drop, sway],
                [size * 0.3, -drop - out * 0.6, -sway],
                [size * 0.7, -drop - out, 0],
            ]
        arm = sweep(curve(path, 14), [size * 0.25, size * 0.18, size * 0.1, 0.01], sides=6, up="z")
        s.add("tentacle", arm.turn("y", 360 * k / n + s.real(-8, 8)))
    for side in (-1, 1):
        s.add("eye", ellipsoid(0.05, 0.05, 0.05, sides=8).move(side * size * 0.5, rise * 0.2, size * 0.75))


@category("stroller", "novel", ("seat", "hood", "frame", "wheel", "handle"))
def stroller(s: Sketch) -> None:
    """Prams, buggies, shopping carts and wheelchairs."""
    kind = s.pick("pram", "buggy", "cart", "wheelchair")
    width, length, height = s.real(0.2, 0.32), s.real(0.4, 0.6), s.real(0.4, 0.7)
    r = s.real(0.08, 0.2)
    front, rear = length * 0.8, -length * 0.7
    if kind == "pram":
        tub = shell([(0.5, 0), (0.9, 0.1), (1, 0.3)], 0.05).stretch(width, 1, length)
        s.add("seat", tub.move(y=height))
        hood = dome(1, 1).stretch(width, s.real(0.3, 0.5), length * 0.5)
        s.add("hood", hood.turn("x", -s.real(0, 35)).move(y=height + 0.28, z=-length * 0.4))
    elif kind == "cart":
        deep = s.real(0.25, 0.4)
        for y in (height, height + deep / 2, height + deep):
            w, z = width * (0.8 + 0.3 * (y - height)), length * (0.8 + 0.3 * (y - height))
            s.add("seat", sweep([[w, y, z], [w, y, -z], [-w, y, -z], [-w, y, z]], 0.012, loop=True, sides=5))
        for z in np.linspace(-0.8, 0.8, s.count(4, 7)) * length:
            s.add_mirrored("seat", rod([width * 0.8, height, z], [width * 0.92, height + deep, z * 1.1], 0.01, sides=4))
            s.add("seat", rod([-width * 0.8, height, z], [width * 0.8, height, z], 0.01, sides=4))
    else:
        lean = s.real(0.1, 0.35) if kind == "buggy" else 0.05
        s.add("seat", box(2 * width, 0.04, length).move(y=height))
        s.add("seat", plank([0, height, -length / 2], [0, height + 0.5, -length / 2 - lean], 0.04, 2 * width))
        s.add("frame", plank([-width, 0.12, front], [width, 0.12, front], 0.1, 0.02))
        if kind == "buggy" and s.chance(0.7):
            hood = sweep(arc(width, 0, 180, 9), 0.02, 0.22).turn("x", 30)
            s.add("hood", hood.move(y=height + 0.35, z=-length * 0.45))
    big = r * 2.2 if kind == "wheelchair" else r * (1.5 if s.chance(0.4) else 1.0)
    for z, size in ((front, r), (rear, big)):
        wheel = torus(size, 0.025, steps=16, sides=5).turn("y", 90)
        spoke = rod([0, -size, 0], [0, size, 0], 0.008, sides=4)
        s.add_mirrored("wheel", *(m.move(width * 1.1, size, z) for m in (wheel, spoke, spoke.turn("x", 90))))
    s.add_mirrored(
        "frame",
        rod([width, r, front], [width, height, rear * 0.5], 0.02),
        rod([width, big, rear], [width, height, front * 0.4], 0.02),
    )
    grip, back = height + s.real(0.3, 0.6), rear - s.real(0.05, 0.3)
    s.add_mirrored("handle", rod([width, height, rear * 0.5], [width, grip, back], 0.02))
    if kind != "wheelchair":
        s.add("handle", rod([-width, grip, back], [width, grip, back], 0.025))
