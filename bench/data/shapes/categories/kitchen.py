"""Kitchenware."""

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
    lathe,
    plank,
    rod,
    shell,
    slab,
    sweep,
    torus,
)
from bench.data.shapes.sketch import Sketch, category


def loop_handle(s: Sketch, x: float, low: float, high: float, reach: float, thick: float) -> Mesh:
    """Handle in the xy plane between two heights.

    It runs from (x, low) out to x + reach and back to (x, high).
    """
    kind, middle = s.pick("C", "D", "ear", "angular"), (low + high) / 2
    ends = [x - thick, low, 0], [x - thick, high, 0]
    if kind == "C":
        knots = [ends[0], [x + 1.4 * reach, low, 0], [x + 1.4 * reach, high, 0], ends[1]]
    elif kind == "D":
        knots = [ends[0], [x + reach, low, 0], [x + reach, middle, 0], [x + reach, high, 0], ends[1]]
    elif kind == "ear":
        up = high + 0.3 * (high - low)
        knots = [ends[0], [x + 0.6 * reach, low, 0], [x + 1.5 * reach, up, 0], [x + 0.3 * reach, up, 0], ends[1]]
    else:
        corner = [x + reach, high, 0]
        return sweep([ends[0], corner, ends[1]], thick, thick * s.real(0.6, 1.6), power=4)
    return sweep(curve(knots, 14), thick, thick * s.real(0.6, 1.8))


@category("mug", "seen", ("body", "handle", "lid"))
def mug(s: Sketch) -> None:
    """Drinking vessel with a handle."""
    height, radius = s.real(0.6, 1.5, "short", "tall"), s.real(0.35, 0.55, "slim", "wide")
    wall = s.real(0.02, 0.06)
    shapes: dict[str, list[tuple[float, float]]] = {
        "straight": [(1, 0), (1, 1)],
        "tapered": [(0.7, 0), (1, 1)],
        "rounded": [(0.5, 0), (0.95, 0.2), (1.05, 0.55), (0.9, 1)],
        "waisted": [(1, 0), (0.8, 0.5), (1, 1)],
        "square": [(1, 0), (1, 1)],
    }
    kind = s.pick(*shapes)
    profile = [(r * radius, y * height) for r, y in shapes[kind]]
    s.add("body", shell(profile, wall, power=5 if kind == "square" else 2))
    s.detail(f"a {kind} body")
    low, high = height * s.real(0.1, 0.35), height * s.real(0.6, 0.9)
    edge = float(np.interp((low + high) / 2, [y for _, y in profile], [r for r, _ in profile]))
    reach = s.real(0.15, 0.35)
    s.add("handle", loop_handle(s, edge, low, high, reach, s.real(0.025, 0.06)))
    s.detail("a large handle" if reach > 0.25 else "a small handle")
    if s.chance(0.2):
        s.add(
            "lid",
            dome(profile[-1][0] * 1.05, s.real(0.04, 0.15)).move(y=height),
            ellipsoid(0.06, 0.06, 0.06).move(y=height + 0.12),
        )
        s.detail("a lid")


@category("teapot", "seen", ("body", "spout", "handle", "lid", "knob"))
def teapot(s: Sketch) -> None:
    """Pot with spout, handle and lid."""
    radius, height = s.real(0.4, 0.6), s.real(0.5, 1.1, "squat", "tall")
    kind = s.pick("round", "pear", "cylindrical", "faceted")
    steps = np.linspace(0, 1, 8)
    if kind == "round":
        r = 0.35 + 0.65 * np.sin(np.pi * (0.12 + 0.72 * steps))
    elif kind == "pear":
        r = 0.45 + 0.55 * np.sin(np.pi * np.clip(0.2 + 0.9 * steps, 0, 1) ** 0.8)
    else:
        r = np.interp(steps, [0, 0.1, 0.9, 1], [0.9, 1, s.real(0.6, 1.0), 0.5])
    profile = list(zip((r * radius).tolist(), (steps * height).tolist(), strict=True))
    s.add("body", lathe(profile, sides=s.count(6, 8) if kind == "faceted" else 18))
    s.detail(f"a {kind} body")
    start, reach, thick = s.real(0.2, 0.5) * height, s.real(0.25, 0.5), s.real(0.05, 0.1)
    edge = float(np.interp(start, steps * height, r * radius))
    bend = s.real(0.0, 1.0, "", "")
    tip = [edge + reach, height * s.real(0.8, 1.1), 0]
    knots = [
        [edge * 0.7, start, 0],
        [edge + reach * (0.5 + 0.4 * bend), start, 0],
        [edge + reach * (0.6 - 0.3 * bend), tip[1], 0],
        tip,
    ]
    s.add("spout", sweep(curve(knots), [thick * 1.4, thick, thick * 0.5]))
    s.detail("a curved spout" if bend > 0.5 else "a straight spout")
    hold = s.real(0.025, 0.05)
    if s.chance(0.6):
        grip = loop_handle(s, edge * 0.95, height * 0.2, height * 0.8, s.real(0.2, 0.35), hold)
        s.add("handle", grip.stretch(x=-1))
        s.detail("a side handle")
    else:
        s.add("handle", sweep(arc(radius * 0.85, 0, 180, 12, s.real(0.7, 1.3)), hold).move(y=height * 0.85))
        s.detail("a handle over the top")
    s.add("lid", dome(profile[-1][0] * 1.1, s.real(0.05, 0.2)).move(y=height))
    s.add("knob", ellipsoid(0.06, s.real(0.04, 0.1), 0.06, sides=8).move(y=height + s.real(0.12, 0.22)))


@category("pan", "seen", ("body", "handle", "lid"))
def pan(s: Sketch) -> None:
    """Frying pans, saucepans, woks, stock pots."""
    radius = s.real(0.4, 0.7)
    kind = s.pick("flat", "deep", "round-bottomed", "square")
    height = {
        "flat": s.real(0.1, 0.2),
        "deep": s.real(0.35, 0.9),
        "round-bottomed": s.real(0.25, 0.45),
        "square": 0.15,
    }[kind]
    if kind == "round-bottomed":
        profile = [(radius * float(np.sin(t)), height * (1 - float(np.cos(t)))) for t in np.linspace(0.2, np.pi / 2, 7)]
    else:
        profile = [(radius * s.real(0.75, 1.0), 0.0), (radius, height)]
    s.add("body", shell(profile, s.real(0.02, 0.04), power=6 if kind == "square" else 2))
    s.adjective(kind)
    reach, thick = s.real(0.5, 1.2, "", "long-handled"), s.real(0.025, 0.05)
    if s.chance(0.7):
        end = [radius + reach, height + s.real(-0.05, 0.3), 0]
        s.add(
            "handle",
            sweep(
                curve([[radius * 0.95, height * 0.9, 0], [radius + reach * 0.4, height, 0], end]),
                [thick, thick, thick * 1.5],
                thick * 0.6,
            ),
        )
        s.detail("a stick handle")
        if s.chance(0.3):
            s.add("handle", torus(0.08, 0.02, steps=10).turn("x", 90).move(-radius - 0.06, height * 0.8))
            s.detail("a helper loop")
    else:
        grip = torus(s.real(0.1, 0.16), thick, steps=12).turn("x", 90).move(x=radius + 0.05, y=height * 0.85)
        s.add_mirrored("handle", grip)
        s.detail("two loop handles")
    if s.chance(0.3):
        s.add("lid", dome(radius * 1.03, s.real(0.06, 0.2)).move(y=height), cylinder(0.04, 0.06).move(y=height + 0.2))
        s.detail("a domed lid")


@category("bowl", "seen", ("body", "foot", "handle"))
def bowl(s: Sketch) -> None:
    """Open bowls from saucer-like to deep, on feet or rings."""
    radius, height = s.real(0.5, 0.8), s.real(0.15, 0.75, "shallow", "deep")
    fullness, flare = s.real(0.5, 2.5), s.real(0.0, 0.3, "", "flared")
    t = np.linspace(0.0, 1, 9)
    r = radius * (0.25 + 0.75 * np.sqrt(t) ** fullness + flare * np.clip(t - 0.8, 0, 1))
    foot = s.real(0.03, 0.3) if s.chance(0.6) else 0.0
    profile = list(zip(r.tolist(), (foot + t * height).tolist(), strict=True))
    kind = s.pick("round", "round", "square", "oval", "scalloped")
    body = shell(profile, s.real(0.02, 0.06), sides=24, power=5 if kind == "square" else 2)
    if kind == "oval":
        body = body.stretch(z=s.real(0.5, 0.8))
    elif kind == "scalloped":
        v = body.vertices
        angle = np.arctan2(v[:, 2], v[:, 0])
        v[:, [0, 2]] *= (1 + 0.07 * np.cos(s.count(5, 8) * angle) * (v[:, 1] - foot) / height)[:, None]
    s.add("body", body)
    s.detail({"square": "a square rim", "oval": "an oval rim", "scalloped": "a scalloped rim"}.get(kind, "a round rim"))
    if foot and s.chance(0.3):
        s.add_around("foot", ellipsoid(0.06, foot / 1.8, 0.06).move(x=radius * 0.35, y=foot / 2), 3)
        s.detail("three feet")
    elif foot:
        s.add(
            "foot", lathe([(radius * s.real(0.25, 0.55), 0), (radius * 0.12, foot * 0.5), (radius * 0.25, foot + 0.02)])
        )
        s.detail("a raised foot")
    else:
        s.detail("no foot")
    if s.chance(0.15):
        s.add_mirrored("handle", torus(0.1, 0.025, steps=12).move(x=radius * 0.95, y=foot + height * 0.8))
        s.detail("two handles")


@category("vase", "seen", ("body", "handle", "stem", "leaf"))
def vase(s: Sketch) -> None:
    """Turned vessels of any profile, sometimes with handles or twigs."""
    height = s.real(0.9, 2.2, "squat", "slender")
    knots = [s.real(0.15, 0.5), s.real(0.25, 0.6), s.real(0.3, 0.6), s.real(0.08, 0.45), s.real(0.1, 0.45)]
    t = np.linspace(0, 1, 12)
    y = np.array([0, 0.25, 0.5, s.real(0.7, 0.85), 1])
    r = curve(np.stack([np.array(knots), y, 0 * y], -1).tolist(), 12)
    s.add(
        "body",
        shell(
            [(float(a), float(b) * height) for a, b in r[:, :2]],
            0.03,
            sides=s.pick(6, 18, 18, 18),
            power=s.pick(2, 2, 4),
        ),
    )
    s.detail("a narrow neck" if knots[3] < 0.2 else "an open mouth" if knots[4] > 0.3 else "a plain neck")
    s.detail("a bulging belly" if max(knots[1:3]) > 0.45 else "a slim belly")
    kind = s.pick("plain", "handles", "twigs", "plain")
    if kind == "handles":
        edge = float(np.interp(0.5, t, r[:, 0]))
        knots3 = [
            [edge * 0.9, height * 0.45, 0],
            [edge + s.real(0.2, 0.5), height * 0.6, 0],
            [knots[3] + 0.2, height * 0.95, 0],
            [knots[3], height * 0.85, 0],
        ]
        s.add_mirrored("handle", sweep(curve(knots3), s.real(0.025, 0.05)))
        s.detail("two handles")
    elif kind == "twigs":
        for _ in range(s.count(2, 5)):
            lean, spin = s.real(0.1, 0.5), s.real(0, 360)
            twig = curve([[0, height * 0.6, 0], [0, height * 1.1, 0], [lean, height * s.real(1.3, 1.7), 0]], 7)
            s.add("stem", sweep(twig, 0.015, sides=5).turn("y", spin))
            s.add("leaf", ellipsoid(0.1, 0.06, 0.05, sides=8).move(*twig[-1]).turn("y", spin))
        s.detail("twigs inside")


@category("spoon", "seen", ("handle", "bowl"))
def spoon(s: Sketch) -> None:
    """Spoons, ladles, spatulas."""
    reach, width = s.real(0.8, 1.6, "short", "long"), s.real(0.12, 0.28, "slim", "broad")
    kind = s.pick("oval", "round", "ladle", "flat", "slotted")
    thick = s.real(0.02, 0.045)
    dip = s.real(0.04, 0.2)
    s.add(
        "handle",
        sweep(
            curve([[0, dip, 0], [reach * 0.4, dip * s.real(0.2, 1.8), 0], [reach, dip * s.real(0, 1.5), 0]]),
            [thick * 0.7, thick, thick * s.real(0.8, 2.2)],
            thick * 0.5,
        ),
    )
    if kind in ("flat", "slotted"):
        n = 3 if kind == "slotted" else 1
        for k in range(n):
            z = (2 * k - n + 1) * width * 0.6
            s.add(
                "bowl", box(width * 3, 0.02, width * (2.2 if n == 1 else 0.7), bevel=0.008).move(-width * 1.4, dip, z)
            )
        if n > 1:
            s.add("bowl", box(0.05, 0.02, width * 3).move(-width * 2.9, dip), box(0.05, 0.02, width * 3).move(0, dip))
    else:
        length = {"oval": 1.6, "round": 1.0, "ladle": 1.1}[kind]
        deep = width * (1.2 if kind == "ladle" else s.real(0.3, 0.6))
        cup = shell([(0.1, -1), (0.6, -0.8), (0.88, -0.45), (1, 0)], 0.07).stretch(width * length, deep, width)
        tilt = 60 if kind == "ladle" else 0
        s.add("bowl", cup.turn("z", -tilt * 0.5).move(-width * length * 0.9, dip))
    s.detail(
        {
            "oval": "an oval bowl",
            "round": "a round bowl",
            "ladle": "a deep ladle bowl",
            "flat": "a flat paddle",
            "slotted": "a slotted paddle",
        }[kind]
    )
    if s.chance(0.25):
        s.add("handle", torus(0.06, 0.02, steps=10).turn("x", 90).move(reach + 0.05, dip * 0.7))
        s.detail("a hanging loop")
    else:
        s.detail("a thick handle" if thick > 0.033 else "a thin handle")


@category("knife", "seen", ("blade", "handle", "guard"))
def knife(s: Sketch) -> None:
    """Kitchen, table and folding knives."""
    length, width = s.real(0.6, 1.3, "short", "long"), s.real(0.06, 0.18, "slim", "broad")
    kind = s.pick("pointed", "rounded", "square", "curved")
    thick = s.real(0.012, 0.03)
    drop = {"pointed": s.real(-0.5, 0.5), "rounded": 0.0, "square": 0.0, "curved": s.real(1.2, 2.5)}[kind]
    path = curve([[0, 0, 0], [length * 0.6, 0, 0], [length, drop * width, 0]])
    tapers: dict[str, list[float]] = {
        "pointed": [1, 1, 0.9, 0.5, 0.03],
        "rounded": [1, 1, 1, 0.9, 0.4],
        "square": [1, 1],
        "curved": [0.8, 1, 1, 0.6, 0.05],
    }
    s.add("blade", blade(path, [width * t for t in tapers[kind]], thick, "z", sides=4 if s.chance() else 6))
    s.detail(f"a {kind} blade")
    grip, hold = s.real(0.4, 0.65), s.real(0.035, 0.06)
    fold = s.real(60, 150) if s.chance(0.2) else 0.0
    knots = [[0.0, 0.0, 0.0], [-grip * 0.5, s.real(-0.04, 0.04), 0.0], [-grip, s.real(-0.08, 0.03), 0.0]]
    s.add(
        "handle",
        sweep(
            curve(knots),
            [hold, hold * s.real(0.7, 1.1), hold * s.real(0.9, 1.4)],
            hold * 0.6,
            power=s.pick(2, 4),
            up="z",
        ).turn("z", -fold),
    )
    s.detail("a folding handle" if fold else "a fixed handle")
    if s.chance(0.4):
        s.add("guard", box(0.03, width * 2 + hold, hold * 1.5, bevel=0.01))
        s.detail("a guard at the handle")


@category("fork", "seen", ("handle", "neck", "tine"))
def fork(s: Sketch) -> None:
    """Table, carving and garden forks."""
    reach, width, n = s.real(0.7, 1.7, "short", "long"), s.real(0.1, 0.28, "slim", "broad"), s.count(2, 5)
    thick, dip = s.real(0.015, 0.03), s.real(0.0, 0.12)
    grip = s.pick("flat", "round", "stirrup")
    end = [reach, s.real(-0.02, 0.1), 0.0]
    path = curve([[0.0, dip * 0.3, 0.0], [reach * 0.4, 0.0, 0.0], end])
    s.add(
        "handle",
        sweep(
            path, [thick, thick * 1.5, thick * (3 if grip == "flat" else 1.5)], thick * (0.7 if grip == "flat" else 1.5)
        ),
    )
    if grip == "stirrup":
        s.add("handle", torus(0.1, 0.025, steps=12).turn("x", 90).move(reach + 0.08, end[1]))
    s.detail(f"a {grip} handle")
    s.add("neck", plank([0, dip * 0.3, -width], [0, dip * 0.3, width], 0.08, thick * 1.5))
    length, spread = s.real(0.3, 0.6), s.real(0.8, 1.3)
    for z in np.linspace(-width, width, n):
        tine = curve([[0, dip * 0.3, z], [-length * 0.5, -dip, z], [-length, dip, z * spread]], 7)
        s.add("tine", sweep(tine, [thick, thick, 0.3 * thick], sides=6))
    s.detail_count(n, "tine")


@category("bucket", "seen", ("body", "handle", "rim", "spout"))
def bucket(s: Sketch) -> None:
    """Pails, baskets and watering cans."""
    radius, height = s.real(0.4, 0.6), s.real(0.5, 1.2, "low", "tall")
    wall = s.real(0.02, 0.04)
    base = radius * s.real(0.6, 1.0, "tapered", "straight")
    kind = s.pick("pail", "basket", "can")
    if kind == "basket":
        n = s.count(3, 6)
        for k in range(n):
            y = height * k / (n - 1)
            s.add("body", torus(base + (radius - base) * k / (n - 1), 0.025, steps=18, sides=6).turn("x", 90).move(y=y))
        s.add_around("body", rod([base, 0, 0], [radius, height, 0], 0.018), s.count(8, 14))
        s.add("body", cylinder(base, 0.02))
        s.detail("woven sides")
    else:
        s.add("body", shell([(base, 0), (radius, height)], wall))
        s.add("rim", torus(radius, wall).turn("x", 90).move(y=height))
        s.detail("smooth sides")
    if kind == "can":
        tip = [radius + s.real(0.4, 0.8), height * s.real(0.9, 1.3), 0]
        s.add("spout", rod([base * 0.9, height * 0.2, 0], tip, 0.05, 0.035))
        s.add("spout", disc(0.12, 0.05).turn("y", 90).turn("z", 35).move(*tip))
        s.add("handle", loop_handle(s, radius * 0.9, height * 0.2, height * 0.9, 0.3, 0.035).stretch(x=-1))
        s.detail("a sprinkling spout")
    else:
        lean = s.pick(0, 0, 50, 85)
        loop = sweep(arc(radius, 0, 180, 14, s.real(0.8, 1.4)), s.real(0.015, 0.04)).turn("x", lean).move(y=height)
        s.add("handle", loop)
        s.detail("a lowered handle" if lean else "a raised handle")
        if s.chance(0.2):
            s.add("body", slab(radius * 1.3, 0.03, radius * 1.3).move(y=height * 0.9))
