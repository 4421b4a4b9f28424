"""Furniture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bench.data.shapes.primitives import (
    arc,
    box,
    curve,
    cylinder,
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


def legs(s: Sketch, part: str, height: float, x: float, z: float, kinds: tuple[str, ...]) -> None:
    """Add legs of a random kind under an object.

    Its underside is at `height` and reaches to +-x, +-z.
    """
    kind = s.pick(*kinds)
    thick = s.real(0.02, 0.055)
    if kind == "four":
        splay = s.real(0, 0.2) if s.chance() else 0.0
        foot = [splay * height, 0, splay * height]
        if s.chance():
            s.add_corners(part, rod([0, height, 0], foot, thick, thick * s.real(0.4, 1)), x - thick, z - thick)
            s.detail("four round legs")
        else:
            s.add_corners(part, plank([0, height, 0], foot, 2 * thick, 2 * thick), x - thick, z - thick)
            s.detail("four square legs")
        if s.chance(0.35):
            y = height * s.real(0.2, 0.5)
            s.add_mirrored(part, plank([x - thick, y, z], [x - thick, y, -z], thick, thick))
            s.add(part, plank([x, y, 0], [-x, y, 0], thick, thick))
            s.detail("stretchers between the legs")
    elif kind == "pedestal":
        base = min(x, z) * s.real(0.6, 1.0)
        s.add(part, lathe([(base, 0), (base * 0.9, 0.04), (thick * 1.5, 0.1), (thick, height)]))
        s.detail("a round pedestal")
    elif kind == "star":
        arms = s.count(3, 6)
        reach = min(x, z) * s.real(0.8, 1.2)
        s.add(part, cylinder(thick, height))
        s.add_around(part, plank([0, height * 0.2, 0], [reach, 0.03, 0], thick * 1.5, thick), arms)
        s.detail(f"a star base of {arms} spokes")
    elif kind == "sled":
        loop = [[x - thick, height, z], [x - thick, 0, z], [x - thick, 0, -z], [x - thick, height, -z]]
        for a, b in pairwise(loop):
            s.add_mirrored(part, plank(a, b, thick, thick))
        s.detail("a sled base")
    else:
        s.add_mirrored(part, slab(thick, height, 2 * z * s.real(0.7, 1)).move(x=x - thick))
        s.detail("solid side supports")


@category("chair", "seen", ("seat", "back", "leg", "arm"))
def chair(s: Sketch) -> None:
    """Seat, back, legs in several structures, with or without arms."""
    width, depth = s.real(0.38, 0.65, "narrow", "wide"), s.real(0.38, 0.6)
    height, thick = s.real(0.3, 0.6, "low", "high"), s.real(0.03, 0.12)
    x, z = width / 2, depth / 2
    round_seat = s.chance(0.3)
    if round_seat:
        s.add("seat", lathe([(1, 0), (1, thick)], power=s.real(2, 6)).stretch(x, 1, z).move(y=height))
        x, z = x * 0.75, z * 0.75
    else:
        s.add("seat", slab(width, thick, depth, bevel=s.real(0, thick / 2)).move(y=height))
    legs(s, "leg", height, x, z, ("four", "four", "pedestal", "star", "sled", "slab"))
    rise, lean = s.real(0.25, 0.75, "", "high-backed"), s.real(0, 0.15)
    kind = s.pick("solid", "slats", "spindles", "frame", "curved")
    top, back = height + thick + rise, -z - lean * rise
    if kind == "solid":
        s.add("back", plank([0, height, -z + 0.03], [0, top, back], s.real(0.03, 0.08), 2 * x * s.real(0.8, 1)))
        s.detail("a solid back")
    elif kind == "curved":
        spread = curve([[-x, 0, s.real(0.05, 0.2)], [0, 0, -0.08], [x, 0, s.real(0.05, 0.2)]])
        s.add("back", sweep(spread, 0.025, rise / 2, power=5).move(y=height + thick + rise / 2, z=-z))
        s.detail("a curved back")
    else:
        s.add_mirrored("back", plank([x - 0.02, height, -z + 0.02], [x - 0.02, top, back], 0.04, 0.04))
        s.add("back", plank([x, top, back], [-x, top, back], 0.05, 0.04))
        n = s.count(2, 6)
        for t in (np.arange(n) + 0.5) / n:
            if kind == "slats":
                at = [height + thick + t * rise, -z + 0.02 - t * lean * rise]
                s.add("back", plank([x, *at], [-x, *at], rise / n * 0.5, 0.02))
            elif kind == "spindles":
                at_x = (2 * t - 1) * (x - 0.02)
                s.add("back", rod([at_x, height + thick, -z + 0.02], [at_x, top, back], 0.014))
        s.detail({"slats": "a slatted back", "spindles": "a spindle back", "frame": "an open back"}[kind])
    if s.chance(0.45):
        y = height + thick + s.real(0.12, 0.28)
        reach = z * s.real(0.3, 1)
        s.add_mirrored("arm", plank([x, y, -z], [x, y, reach], 0.05, 0.04))
        s.add_mirrored("arm", rod([x, height + thick / 2, reach], [x, y, reach], 0.02))
        s.detail("two arms")


@category("stool", "seen", ("seat", "leg", "ring"))
def stool(s: Sketch) -> None:
    """A seat without a back."""
    height, radius = s.real(0.3, 1.0, "low", "tall"), s.real(0.14, 0.26)
    kind = s.pick("round", "square", "saddle", "padded")
    if kind == "round":
        s.add("seat", cylinder(radius, s.real(0.03, 0.08)).move(y=height))
    elif kind == "square":
        s.add("seat", slab(2 * radius, s.real(0.03, 0.08), 1.6 * radius, bevel=0.01).move(y=height))
    elif kind == "saddle":
        dip = curve([[-radius, 0.05, 0], [0, -0.06, 0], [radius, 0.05, 0]])
        s.add("seat", sweep(dip, 0.02, radius * 0.7, power=5).move(y=height + 0.03))
    else:
        s.add("seat", ellipsoid(radius, s.real(0.05, 0.12), radius, rise=3).move(y=height + 0.05))
    s.detail(f"a {kind} seat")
    inner = radius * 0.75
    if s.chance(0.4):
        n, splay = s.count(3, 4), s.real(0, 0.25)
        foot = inner + splay * height
        s.add_around("leg", rod([inner, height, 0], [foot, 0, 0], s.real(0.012, 0.03)), n, 45)
        s.detail_count(n, "leg")
        s.adjective("splayed" if splay > 0.12 else "upright")
        if s.chance(0.6):
            at = s.real(0.2, 0.5)
            s.add("ring", torus(foot + at * (inner - foot), 0.012).turn("x", 90).move(y=at * height))
            s.detail("a foot ring")
    else:
        legs(s, "leg", height, inner, inner, ("four", "pedestal", "star", "slab"))


@category("sofa", "seen", ("base", "back", "arm", "cushion", "leg"))
def sofa(s: Sketch) -> None:
    """Long upholstered seat, straight or with a chaise."""
    width, depth, height = s.real(0.9, 2.4, "compact", "long"), s.real(0.7, 1.0), s.real(0.25, 0.45)
    soft = s.real(0.01, 0.08)
    foot = s.real(0.03, 0.15)
    s.add("base", slab(width, height - foot, depth, bevel=soft).move(y=foot))
    s.add_corners("leg", cylinder(0.03, foot), width / 2 - 0.08, depth / 2 - 0.08)
    rise, thick = s.real(0.3, 0.6, "low-backed", "high-backed"), s.real(0.12, 0.25)
    back = slab(width, rise + height - foot, thick, bevel=soft).move(y=foot, z=-depth / 2)
    s.add("back", back if s.chance() else back.move(z=depth / 2).turn("x", -8).move(z=-depth / 2))
    arms = s.pick("boxy", "rolled", "no")
    reach = s.real(0.12, 0.3)
    if arms == "boxy":
        s.add_mirrored("arm", slab(reach, height + 0.18, depth, bevel=soft).move(x=width / 2, y=foot / 2))
    elif arms == "rolled":
        s.add_mirrored("arm", cylinder(reach / 2, depth).turn("x", 90).move(x=width / 2, y=height + 0.14, z=-depth / 2))
        s.add_mirrored("arm", slab(reach * 0.6, height + 0.1, depth).move(x=width / 2, y=foot / 2))
    s.detail(f"{arms} arms")
    n = s.count(1, 4)
    for k in range(n):
        size = width / n
        pad = slab(size * 0.96, s.real(0.1, 0.16), depth * 0.75, bevel=0.04)
        s.add("cushion", pad.move(x=(k + 0.5) * size - width / 2, y=height, z=depth * 0.1))
    s.detail_count(n, "seat cushion")
    if s.chance(0.3):
        side = s.pick(-1, 1)
        s.add("base", slab(width / 3, height, depth * 0.9, bevel=soft).move(x=side * width / 3, z=depth * 0.85))
        s.detail("a chaise on one side")


@category("table", "seen", ("top", "leg", "shelf"))
def table(s: Sketch) -> None:
    """Tables of any outline, from coffee to counter height."""
    width, depth = s.real(0.5, 2.0, "small", "long"), s.real(0.45, 1.0)
    height, thick = s.real(0.3, 1.0, "low", "high"), s.real(0.02, 0.1, "thin", "heavy")
    x, z = width / 2, depth / 2
    kind = s.pick("rectangular", "round", "oval", "hexagonal")
    if kind == "rectangular":
        s.add("top", slab(width, thick, depth, bevel=s.real(0, 0.02)).move(y=height))
    else:
        z = x if kind == "round" else z
        sides = 6 if kind == "hexagonal" else 22
        s.add("top", lathe([(1, 0), (1, thick)], sides=sides).stretch(x, 1, z).move(y=height))
        x, z = 0.7 * x, 0.7 * z
    s.detail(f"a {kind} top".replace("a oval", "an oval"))
    legs(s, "leg", height, x, z, ("four", "four", "pedestal", "star", "sled", "slab"))
    if s.chance(0.3):
        s.add("shelf", slab(1.7 * x, 0.03, 1.7 * z).move(y=height * s.real(0.2, 0.5)))
        s.detail("a shelf underneath")


@category("bed", "seen", ("frame", "mattress", "pillow", "headboard", "post"))
def bed(s: Sketch) -> None:
    """Beds with mattress and pillows; bunk, canopy and plain."""
    width, length = s.real(0.8, 1.9, "single", "broad"), s.real(1.8, 2.2)
    height, thick = s.real(0.2, 0.5, "low", "high"), s.real(0.12, 0.3)
    kind = s.pick("plain", "canopy", "bunk", "plain")
    levels = [height, height + s.real(0.8, 1.1)] if kind == "bunk" else [height]
    for y in levels:
        s.add("frame", slab(width, 0.12, length).move(y=y - 0.1))
        s.add("mattress", slab(width * 0.95, thick, length * 0.96, bevel=0.05).move(y=y))
        n = s.count(1, 2)
        for k in range(n):
            at = (k + 0.5) * width / n - width / 2
            s.add("pillow", ellipsoid(width / n * 0.4, 0.08, 0.2, rise=3).move(at, y + thick + 0.04, -length * 0.38))
        s.detail_count(n, "pillow")
    top = levels[-1] + (s.real(1.2, 1.6) if kind == "canopy" else s.real(0.1, 0.5) if kind == "bunk" else 0)
    s.add_corners("post", cylinder(s.real(0.025, 0.06), top), width / 2, length / 2)
    if kind == "canopy":
        s.add("frame", slab(width, 0.04, length).move(y=top))
        s.detail("a canopy on posts")
    elif kind == "bunk":
        s.detail("two bunks")
    if s.chance(0.7):
        rise = s.real(0.25, 0.8)
        if s.chance():
            s.add("headboard", slab(width, rise + thick, 0.07, bevel=0.02).move(y=height, z=-length / 2))
        else:
            curved = outline(lambda a: np.where(np.sin(a) > 0, 1, 0.6) * np.ones_like(a))
            board = extrude(curved, 0.06).stretch(width / 2, rise, 1)
            s.add("headboard", board.move(y=height + thick / 2, z=-length / 2))
        s.detail("a headboard")


@category("bookshelf", "seen", ("frame", "shelf", "book"))
def bookshelf(s: Sketch) -> None:
    """Bookshelves of boards or cubes, partly filled with books.

    Boards on uprights, in a case, or on a ladder frame.
    """
    width, height, depth = s.real(0.5, 1.6, "narrow", "wide"), s.real(0.8, 2.2, "low", "tall"), s.real(0.2, 0.45)
    kind, n, t = s.pick("case", "open", "leaning", "grid"), s.count(2, 6), 0.03
    lean = depth * 0.7 if kind == "leaning" else 0.0
    if kind in ("case", "grid"):
        s.add_mirrored("frame", slab(t, height, depth).move(x=width / 2))
        if s.chance():
            s.add("frame", slab(width, height, 0.01).move(z=-depth / 2))
            s.detail("a closed back")
    else:
        for z in (-depth / 2, depth / 2):
            s.add_mirrored(
                "frame", plank([width / 2, 0, z], [width / 2, height, z * (1 - lean / depth) - lean / 2], t, t)
            )
    if kind == "grid":
        for x in np.linspace(-width / 2, width / 2, s.count(3, 5))[1:-1]:
            s.add("frame", slab(t, height, depth).move(x=float(x)))
    s.detail(
        {"case": "closed sides", "open": "an open frame", "leaning": "leaning uprights", "grid": "a cubby grid"}[kind]
    )
    for k in range(n + 1):
        y = k / n * (height - t)
        reach = depth * (1 - lean / depth * k / n)
        s.add("shelf", slab(width, t, reach).move(y=y, z=-lean / 2 * k / n))
        if k < n and s.chance(0.6):
            count, size = s.count(2, 6), height / n * s.real(0.5, 0.85)
            start = s.real(-0.45, 0.0) * width
            for b in range(count):
                book = slab(0.045, size * s.real(0.8, 1), reach * 0.7)
                s.add("book", book.move(x=start + b * 0.06, y=y + t))
    s.detail_count(n, "shelf", "shelves")


@category("dresser", "seen", ("body", "drawer", "knob", "leg"))
def dresser(s: Sketch) -> None:
    """Chest with rows and columns of drawers."""
    width, height, depth = s.real(0.4, 1.5, "narrow", "wide"), s.real(0.5, 1.3, "low", "tall"), s.real(0.35, 0.6)
    foot = s.real(0.05, 0.3)
    legs(s, "leg", foot, width / 2, depth / 2, ("four", "four", "sled", "slab"))
    s.add("body", slab(width, height, depth, bevel=s.real(0, 0.03)).move(y=foot))
    rows, columns = s.count(2, 5), s.count(1, 3)
    knob, gap = s.pick("round knobs", "long pulls", "ring pulls"), s.real(0.01, 0.03)
    out = s.count(0, rows * columns) if s.chance() else -1
    for r in range(rows):
        for c in range(columns):
            w, h = width / columns - 2 * gap, height / rows - 2 * gap
            x, y = (c + 0.5) * width / columns - width / 2, foot + (r + 0.5) * height / rows
            pull = depth / 2 + (0.2 if r * columns + c == out else 0.01)
            deep = pull - depth / 2 + 0.03
            s.add("drawer", box(w, h, deep).move(x, y, pull - deep / 2))
            if knob == "round knobs":
                s.add("knob", ellipsoid(0.03, 0.03, 0.03, sides=8).move(x, y, pull + 0.03))
            elif knob == "long pulls":
                s.add("knob", box(w * 0.5, 0.025, 0.04).move(x, y, pull + 0.02))
            else:
                s.add("knob", torus(0.04, 0.01, steps=10, sides=5).move(x, y - 0.02, pull + 0.015))
    s.detail(knob)
    s.detail_count(rows * columns, "drawer")
    if out >= 0:
        s.detail("one drawer pulled out")


@category("lamp", "seen", ("base", "pole", "shade", "bulb"))
def lamp(s: Sketch) -> None:
    """Floor, desk, arc and hanging lamps."""
    kind = s.pick("straight", "jointed", "curved", "hanging", "turned")
    size, height = s.real(0.12, 0.28, "small", "large"), s.real(0.5, 1.6, "short", "tall")
    base = s.real(0.1, 0.22)
    top = [0.0, height, 0.0]
    if kind != "hanging":
        foot = cylinder(base, s.real(0.02, 0.08), top=base * s.real(0.5, 1))
        s.add("base", foot if s.chance(0.7) else slab(2 * base, 0.04, 1.6 * base, bevel=0.01))
    if kind == "straight":
        s.add("pole", cylinder(s.real(0.01, 0.03), height))
    elif kind == "jointed":
        elbow = [-s.real(0.1, 0.4), height * 0.55, 0]
        top = [s.real(0.1, 0.4), height * s.real(0.8, 1), 0]
        s.add("pole", rod([0, 0, 0], elbow, 0.02), rod(elbow, top, 0.02), ellipsoid(0.04, 0.04, 0.04).move(*elbow))
    elif kind == "curved":
        reach = s.real(0.3, 0.8)
        top = [reach, height * s.real(0.6, 0.9), 0]
        s.add("pole", sweep(curve([[0, 0, 0], [0, height, 0], [reach * 0.7, height * 1.1, 0], top]), 0.018))
    elif kind == "hanging":
        s.add("base", cylinder(0.06, 0.03).move(y=height * 1.6))
        s.add("pole", cylinder(0.008, height * 0.7).move(y=height * 0.95))
    else:
        waist = [(base * 0.5, 0)] + [(base * s.real(0.15, 0.6), height * t) for t in (0.2, 0.4, 0.6, 0.8)]
        s.add("pole", lathe([*waist, (0.02, height)]))
    s.detail({"hanging": "a ceiling mount"}.get(kind, f"a {kind} stem"))
    shade = s.pick("conical", "drum", "globe", "bell", "square")
    tall = size * s.real(0.8, 1.6)
    if shade == "globe":
        s.add("shade", ellipsoid(size, tall * 0.7, size).move(*top))
    else:
        profile = {
            "conical": [(size, -tall), (size * s.real(0.2, 0.5), 0.0)],
            "drum": [(size, -tall), (size * 0.95, 0.0)],
            "bell": [(size, -tall), (size * 0.6, -tall * 0.6), (size * 0.3, 0.0)],
            "square": [(size * 1.1, -tall), (size * 0.6, 0.0)],
        }[shade]
        hood = lathe(profile, sides=4 if shade == "square" else 18, caps=False)
        tilt = s.real(0, 45) if kind == "jointed" else 0.0
        s.add("shade", hood.move(y=tall * 0.4).turn("z", tilt).move(*top))
        s.add("bulb", ellipsoid(0.04, 0.055, 0.04, sides=8).move(top[0], top[1] - tall * 0.3, top[2]))
    s.detail(f"a {shade} shade")


@category("toilet", "seen", ("bowl", "seat", "lid", "tank", "foot"))
def toilet(s: Sketch) -> None:
    """Bowl with seat, lid and low, high or hidden tank."""
    rx, rz, height = s.real(0.17, 0.22), s.real(0.2, 0.3, "round", "elongated"), s.real(0.35, 0.48)
    kind = s.pick("standing", "hung", "boxed")
    bowl = shell([(0.5, height * 0.3), (0.8, height * 0.6), (1.0, height)], 0.12)
    s.add("bowl", bowl.stretch(rx, 1, rz))
    if kind == "standing":
        s.add("foot", lathe([(0.8, 0), (0.5, height * 0.2), (0.6, height * 0.6)]).stretch(rx, 1, rz).move(z=-0.03))
    elif kind == "boxed":
        s.add("foot", slab(rx * 1.9, height * 0.95, rz * 1.2, bevel=0.03).move(z=-rz * 0.5))
    else:
        s.add("foot", slab(0.5, s.real(0.9, 1.2), 0.08).move(z=-rz * 1.3))
    s.detail({"standing": "a standing foot", "boxed": "a boxed foot", "hung": "a wall mount"}[kind])
    s.add("seat", torus(1, 0.15, 0.02).turn("x", 90).stretch(rx, 1, rz).move(y=height + 0.02))
    if s.chance():
        tilt = s.real(70, 100)
        lid = cylinder(1, 0.025).stretch(rx, 1, rz).move(z=rz).turn("x", -tilt).move(y=height + 0.04, z=-rz)
        s.detail("an open lid")
    else:
        lid = cylinder(1.05, 0.03).stretch(rx, 1, rz).move(y=height + 0.04)
        s.detail("a closed lid")
    s.add("lid", lid)
    if kind != "hung":
        y = s.real(0.9, 1.3) if s.chance(0.2) else height * 0.9
        w, h = s.real(0.32, 0.5), s.real(0.25, 0.4)
        s.add("tank", slab(w, h, 0.17, bevel=s.real(0.005, 0.05)).move(y=y, z=-rz - 0.09))
        if y > height:
            s.add("tank", rod([0, height * 0.8, -rz - 0.05], [0, y, -rz - 0.09], 0.02))
        s.detail("a high tank" if y > height else "a tank behind")


@category("bathtub", "seen", ("tub", "foot", "rim", "tap"))
def bathtub(s: Sketch) -> None:
    """Free-standing, clawfoot and built-in tubs."""
    rx, rz, height = s.real(0.65, 0.95, "short", "long"), s.real(0.3, 0.42), s.real(0.35, 0.6, "shallow", "deep")
    kind = s.pick("oval", "square", "slipper")
    power = {"oval": 2.3, "square": 7.0, "slipper": 2.3}[kind]
    tub = shell([(0.7, 0), (0.85, height * 0.3), (1, height)], s.real(0.06, 0.14), power=power)
    body = tub.stretch(rx, 1, rz)
    if kind == "slipper":
        lift = 1 + 0.5 * np.clip(body.vertices[:, 0] / rx, 0, 1) ** 2
        body.vertices[:, 1] *= lift
    s.detail({"oval": "an oval basin", "square": "a square basin", "slipper": "one raised end"}[kind])
    foot = s.real(0.08, 0.2) if s.chance() else 0.0
    s.add("tub", body.move(y=foot))
    if foot:
        claw = curve([[0, foot * 1.3, 0], [0.06, foot * 0.8, 0.02], [0.02, 0.3 * foot, 0.02], [0.07, 0, 0.04]], 6)
        s.add_corners("foot", sweep(claw, [0.04, 0.02, 0.035]), rx * 0.5, rz * 0.5)
        s.detail("four claw feet")
    elif s.chance():
        s.add("rim", slab(2.1 * rx, height * 0.9, 0.03).move(z=rz), slab(0.03, height * 0.9, 2 * rz).move(x=rx))
        s.detail("an apron in front")
    else:
        s.add("foot", slab(rx * 1.4, 0.05, rz * 1.3))
        s.detail("a flat base")
    if s.chance(0.6):
        neck = arc(s.real(0.06, 0.12), 0, 180, 8)
        at = -rx * 0.95
        s.add(
            "tap",
            sweep(neck, 0.015).move(at, height + foot + 0.15),
            cylinder(0.02, 0.16).move(at - 0.08, height + foot),
        )
        s.add("tap", dome(0.03, 0.03).move(at, height + foot, 0.1), dome(0.03, 0.03).move(at, height + foot, -0.1))
        s.detail("taps at one end")
