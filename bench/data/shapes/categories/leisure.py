"""Things to wear, and houses."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.mesh import Floats
from bench.data.shapes.primitives import (
    arc,
    box,
    curve,
    cylinder,
    extrude,
    lathe,
    rod,
    slab,
    sweep,
)
from bench.data.shapes.sketch import Sketch, category


def _upper(s: Sketch, kind: str, path: Floats, length: float, width: float) -> None:
    """Add a shoe's upper above a sole along `path`."""
    ankle = s.real(0.16, 0.26)
    cover = [0.5, 0.95, 1, 0.9, 0.9, 0.95, 0.95, 0.95, 0.8, 0.3]
    z = np.linspace(0, 1, len(path))
    top = np.interp(z, [0, 0.3, 0.55, 0.8, 1], [ankle, ankle, ankle * 0.9, 0.12, 0.05])
    upper = path + np.stack([0 * z, top * 0.5, 0 * z], -1)
    first = 6 if kind == "clog" else 0
    s.add(
        "upper",
        sweep(
            upper[first:],
            [width * c for c in cover][first * 10 // 12 :],
            (top[first:] * 0.6).tolist(),
            up="y",
            power=2.5,
            sides=12,
        ),
    )
    s.detail(
        {"trainer": "a closed upper", "boot": "a closed upper", "heel": "a slim upper", "clog": "an open back"}[kind]
    )
    if kind == "boot":
        tall = s.real(0.3, 1.0)
        shaft = [(0.15, 0), (0.13, tall * 0.4), (0.17, tall)]
        s.add("shaft", lathe(shaft, caps=False).move(0, path[2, 1] + ankle * 0.6, -length * 0.3))
        s.detail("a high shaft" if tall > 0.6 else "a low shaft")
    elif kind == "trainer":
        for k in range(s.count(3, 5)):
            at = 0.05 + 0.06 * k
            s.add(
                "strap",
                rod(
                    [-width * 0.5, ankle + 0.12 - 0.025 * k, at],
                    [width * 0.5, ankle + 0.12 - 0.025 * k, at + 0.04],
                    0.012,
                ),
            )
        s.detail("laces")


@category("shoe", "seen", ("sole", "upper", "heel", "shaft", "strap"))
def shoe(s: Sketch) -> None:
    """Trainers, boots, high heels, sandals, clogs."""
    length, width = s.real(0.8, 1.1), s.real(0.14, 0.22, "narrow", "wide")
    kind = s.pick("trainer", "boot", "heel", "sandal", "clog")
    lift = s.real(0.25, 0.5) if kind == "heel" else s.real(0.0, 0.1)
    sole = s.real(0.03, 0.12) if kind != "heel" else 0.03
    z = np.linspace(0, 1, 12)
    arch = lift * np.clip((0.6 - z) / 0.45, 0, 1) ** 1.5
    path = np.stack([0 * z, arch + sole, length * (z - 0.5)], -1)
    outline_width = [width * w for w in (0.6, 0.75, 0.72, 0.62, 0.65, 0.85, 1.0, 1.02, 0.9, 0.4)]
    s.add("sole", sweep(path, outline_width, sole, up="y", power=4, sides=12))
    if kind == "sandal":
        n = s.count(2, 4)
        for k in range(n):
            at, rise = (0.15 + 0.7 * k / (n - 1)), s.real(0.12, 0.22)
            y = float(np.interp(at, z, path[:, 1]))
            s.add(
                "strap", sweep(arc(width * 0.9, 0, 180, 9, rise / width), 0.012, 0.05).move(0, y, length * (at - 0.5))
            )
        s.detail_count(n, "strap")
    else:
        _upper(s, kind, path, length, width)
    if lift > 0.06:
        thin = s.real(0.02, 0.1) if kind == "heel" else 0.1
        s.add("heel", rod([0, lift + sole * 0.5, -length * 0.42], [0, 0, -length * 0.42], thin * 1.4, thin))
        s.detail("a high heel" if lift > 0.2 else "a low heel")
    else:
        s.detail("a flat sole" if sole < 0.075 else "a thick sole")


@category("glasses", "seen", ("rim", "bridge", "temple", "lens"))
def glasses(s: Sketch) -> None:
    """Spectacles, sunglasses, goggles, pince-nez."""
    size, thick, gap = (
        s.real(0.2, 0.32, "small", "large"),
        s.real(0.012, 0.04, "thin-rimmed", "thick-rimmed"),
        s.real(0.06, 0.14),
    )
    kind = s.pick("round", "square", "cat-eye", "drop")
    power = {"round": 2.0, "square": 6.0, "cat-eye": 2.5, "drop": 2.0}[kind]
    angle = 2 * np.pi * np.arange(24) / 24
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power)
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power) * s.real(0.65, 1.0)
    y = (
        y
        + (0.35 * np.maximum(x, 0) ** 2 * (y > 0) if kind == "cat-eye" else 0)
        - (0.25 * (y < 0) * (1 - x**2) if kind == "drop" else 0)
    )
    rim = size * np.stack([x, y, 0 * x], -1) + (size + gap / 2, 0, 0)
    bow = s.real(0, 12)
    s.add_mirrored("rim", sweep(rim, thick, thick * s.real(0.6, 2), loop=True, up="z", sides=6).turn("y", bow))
    if s.chance():
        s.add_mirrored("lens", extrude(rim[:, :2], 0.012).turn("y", bow))
        s.detail("dark glass")
    else:
        s.detail("empty rims")
    s.add(
        "bridge",
        sweep(curve([[-gap * 0.6, size * 0.2, 0], [0, size * 0.4, 0.02], [gap * 0.6, size * 0.2, 0]], 7), thick),
    )
    s.detail(f"{kind} rims")
    edge = 2 * size + gap / 2
    fold = s.pick("open", "open", "folded", "none")
    for side in (-1, 1):
        start = [side * edge * 0.99, size * 0.25, -edge * np.sin(np.deg2rad(bow))]
        if fold == "open":
            reach = s.real(0.9, 1.2)
            splay = side * s.real(-0.1, 0.08)
            path = curve(
                [
                    start,
                    [start[0] + splay, start[1], start[2] - reach * 0.7],
                    [start[0] + splay, start[1], start[2] - reach * 0.8],
                    [start[0] + splay, start[1] - 0.2, start[2] - reach],
                ]
            )
        elif fold == "folded":
            path = curve(
                [
                    start,
                    [start[0], start[1], start[2] - 0.06],
                    [-side * edge * 0.5, start[1] - 0.1, start[2] - 0.06 - 0.03 * side],
                ]
            )
        else:
            continue
        s.add("temple", sweep(path, thick, thick * s.real(0.8, 2.5), up="y", sides=6))
    s.detail({"open": "open temples", "folded": "folded temples", "none": "no temples"}[fold])


def _annexes(s: Sketch, kind: str, width: float, depth: float, height: float, rise: float, front: float) -> None:
    """Chimney, porch and side extension."""
    if s.chance(0.5):
        s.add("chimney", slab(0.12, rise + 0.25, 0.12).move(width * s.real(0.15, 0.3), height, s.real(-0.2, 0.2)))
        s.detail("a chimney")
    else:
        s.detail("no chimney")
    if s.chance(0.35) and kind != "round":
        s.add("porch", slab(width * 0.7, 0.04, 0.35).move(y=height * 0.6, z=front + 0.17))
        s.add_mirrored("porch", cylinder(0.03, height * 0.6).move(x=width * 0.3, z=front + 0.3))
        s.detail("a porch on posts")
    if s.chance(0.3):
        s.add("wall", slab(width * 0.6, height * 0.6, depth * 0.7).move(x=width * 0.75))
        s.add(
            "roof",
            extrude([[-width * 0.33, 0], [width * 0.33, 0], [0, rise * 0.5]], depth * 0.75).move(
                x=width * 0.75, y=height * 0.6
            ),
        )
        s.detail("a side extension")


@category("house", "seen", ("wall", "roof", "chimney", "porch", "frame"))
def house(s: Sketch) -> None:
    """Cottages, towers, sheds, flat-roofed houses, huts."""
    width, depth, height = s.real(0.7, 1.4), s.real(0.6, 1.3), s.real(0.4, 1.3, "low", "tall")
    kind = s.pick("gabled", "hipped", "flat", "round", "lean-to")
    rise = s.real(0.25, 0.9, "", "steep-roofed")
    over = s.real(0.03, 0.15)
    if kind == "round":
        s.add("wall", cylinder(width / 2, height, sides=16))
        s.add("roof", cylinder(width / 2 + over, rise, top=0.0).move(y=height))
    else:
        s.add("wall", slab(width, height, depth))
        x, z = width / 2 + over, depth + 2 * over
        if kind == "gabled":
            s.add("roof", extrude([[-x, 0], [x, 0], [0, rise]], z).move(y=height))
        elif kind == "hipped":
            s.add(
                "roof", cylinder(1, rise, top=s.real(0.0, 0.4), sides=4).stretch(x * 1.41, 1, z * 0.705).move(y=height)
            )
        elif kind == "flat":
            s.add("roof", slab(2 * x, 0.08, z).move(y=height))
        else:
            s.add("roof", extrude([[-x, 0], [x, 0], [x, rise * 0.7]], z).move(y=height))
    s.detail(
        {
            "gabled": "a gabled roof",
            "hipped": "a hipped roof",
            "flat": "a flat roof",
            "round": "a round wall",
            "lean-to": "a slanted roof",
        }[kind]
    )
    front = depth / 2 if kind != "round" else width / 2 * 0.97
    s.add(
        "frame",
        box(0.2, min(0.45, height * 0.7), 0.05).move(s.real(-0.2, 0.2) * width, min(0.45, height * 0.7) / 2, front),
    )
    floors = s.count(1, 2) if height > 0.7 else 1
    for f in range(floors):
        for x in (-0.33, 0.33):
            s.add(
                "frame",
                box(0.16, 0.16, 0.04).move(
                    x * width,
                    height * (0.62 if floors == 1 else 0.35 + 0.4 * f),
                    front * (1 if kind != "round" else 0.75),
                ),
            )
    _annexes(s, kind, width, depth, height, rise, front)
