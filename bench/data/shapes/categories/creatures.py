"""Living things that move."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.mesh import Floats
from bench.data.shapes.primitives import blade, curve, cylinder, ellipsoid, lathe, rod, sweep
from bench.data.shapes.sketch import Sketch, category


@category("fish", "seen", ("body", "tail", "fin", "eye"))
def fish(s: Sketch) -> None:
    """Slender, tall, flat, ball and eel-like fish, sharks."""
    kind = s.pick("slender", "tall", "round", "eel", "ray")
    length = s.real(0.8, 1.3)
    rise = {
        "slender": s.real(0.12, 0.2),
        "tall": s.real(0.3, 0.5),
        "round": s.real(0.28, 0.38),
        "eel": 0.08,
        "ray": 0.1,
    }[kind]
    wide = {"slender": rise * 0.8, "tall": 0.08, "round": rise, "eel": 0.07, "ray": s.real(0.5, 0.8)}[kind]
    wave = s.real(0.0, 0.35, "straight", "curved") * (2.0 if kind == "eel" else 1.0)
    steps = np.linspace(-1, 1, 12)
    spine = np.stack([length * steps * (1.5 if kind == "eel" else 1), 0 * steps, wave * 0.4 * np.sin(2.5 * steps)], -1)
    bulge = (
        [0.08, 0.45, 0.75, 0.95, 1, 0.98, 0.9, 0.75, 0.55, 0.35, 0.2, 0.1]
        if kind != "ray"
        else [0.1, 0.4, 0.7, 0.95, 1, 0.8, 0.5, 0.25, 0.1, 0.05, 0.04, 0.03]
    )
    s.add("body", sweep(spine[::-1], [wide * b for b in bulge], [rise * b for b in bulge], up="y", sides=12))
    s.adjective(kind if kind not in ("eel", "ray") else f"{kind}-like")
    end, fan = spine[0], s.real(0.2, 0.5, "", "")
    fork = s.real(0.3, 1.0)
    for side in (-1, 1):
        tip = [end[0] - fan * 0.8, side * fan * fork, end[2]]
        s.add("tail", blade([end.tolist(), tip], [0.05, fan * 0.25, 0.01], 0.02, "z"))
    s.detail("a forked tail" if fork > 0.65 else "a narrow tail")
    back = s.real(0.12, 0.4)
    shape = s.pick("pointed", "long", "double")
    if shape == "pointed":
        s.add("fin", blade([[0.1, rise * 0.7, 0], [-0.15, rise + back, 0]], [0.2, 0.02], 0.02, "z"))
    elif shape == "long":
        s.add(
            "fin",
            blade(
                [[0.5 * length, rise * 0.8, 0], [0, rise + back * 0.3, 0], [-0.6 * length, rise * 0.6, 0]],
                [0.03, back * 0.6, 0.03],
                0.02,
                "z",
            ),
        )
    else:
        for x in (0.25, -0.35):
            s.add("fin", blade([[x, rise * 0.7, 0], [x - 0.12, rise + back * 0.7, 0]], [0.12, 0.02], 0.02, "z"))
    s.detail({"pointed": "a pointed back fin", "long": "a long back fin", "double": "two back fins"}[shape])
    side_fin = s.real(0.15, 0.45)
    fin = blade(
        [[length * 0.35, -rise * 0.3, wide * 0.6], [length * 0.2, -rise * 0.5, wide * 0.6 + side_fin]],
        [0.1, 0.12, 0.01],
        0.02,
        "y",
    )
    s.add("fin", fin, fin.stretch(z=-1))
    s.detail("large side fins" if side_fin > 0.3 else "small side fins")
    for z in (-1, 1):
        s.add("eye", ellipsoid(0.03, 0.03, 0.02, sides=8).move(length * 0.75, rise * 0.25, z * wide * 0.5))


@category("bird", "seen", ("body", "head", "beak", "wing", "tail", "leg"))
def bird(s: Sketch) -> None:
    """Perching, wading, swimming, flying birds."""
    kind = s.pick("perching", "wading", "swimming", "flying")
    size, slim = s.real(0.3, 0.42), s.real(0.5, 0.85, "slim", "plump")
    tilt = {"perching": s.real(15, 50), "wading": s.real(0, 20)}.get(kind, s.real(-5, 10))
    neck = {"perching": 0.12, "wading": s.real(0.4, 0.9), "swimming": s.real(0.2, 0.7), "flying": s.real(0.1, 0.4)}[
        kind
    ]
    t = [0.1, 0.6, 0.95, 1, 0.85, 0.5, 0.15]
    trunk = sweep(
        [[0, 0, z] for z in np.linspace(size * 1.3, -size * 1.4, 7)], [size * slim * k for k in t], up="y", sides=10
    )
    s.add("body", trunk.turn("x", -tilt))
    base = np.array([0, np.sin(np.deg2rad(tilt)) * size, np.cos(np.deg2rad(tilt)) * size])
    ahead = 0.9 if kind == "flying" else s.real(0.2, 0.5)
    crown = base + np.array([0, neck * (0.2 if kind == "flying" else 1), neck * ahead + 0.08])
    knots = [
        base * 0.7,
        base + np.array([0, neck * 0.3, 0.12]),
        base + np.array([0, neck * 0.7, -0.05 if kind != "flying" else neck * 0.5]),
        crown,
    ]
    s.add("body", sweep(curve([k.tolist() for k in knots]), [size * 0.4, size * 0.2, size * 0.2]))
    skull = size * s.real(0.28, 0.42)
    s.add("head", ellipsoid(skull, skull, skull * 1.15, sides=10).move(*crown))
    bill = s.real(0.1, 0.5)
    tip = crown + np.array([0, -s.real(-0.03, 0.12), skull + bill])
    s.add("beak", rod(crown.tolist(), tip.tolist(), skull * 0.5, 0.01))
    s.detail("a long beak" if bill > 0.3 else "a short beak")
    s.detail("a long neck" if neck > 0.35 else "a short neck")
    s.adjective(kind)
    span = size * s.real(2.5, 4.0)
    flap = s.real(-0.3, 0.5)
    if kind == "flying":
        path = curve([[0.1, 0.1, 0.1], [span * 0.45, 0.1 + flap * 0.8, 0.2], [span, flap, -0.25]])
        s.add_mirrored("wing", sweep(path, [size * 0.5, size * 0.6, size * 0.45, 0.02], 0.02, up="y"))
    else:
        folded = ellipsoid(0.05, size * 0.5, size * 1.2, sides=10).turn("x", -tilt)
        s.add_mirrored("wing", folded.move(x=size * slim * 0.85, z=-size * 0.2))
    fan = s.real(0.2, 0.6)
    s.add(
        "tail",
        blade([[0, 0, -size * 1.2], [0, 0.02, -size * 1.3 - fan]], [0.06, s.real(0.08, 0.25)], 0.02, "y").turn(
            "x", -tilt
        ),
    )
    s.detail("a long tail" if fan > 0.4 else "a short tail")
    if kind in ("perching", "wading"):
        drop = size * (0.9 if kind == "perching" else s.real(1.6, 2.8))
        for x in (-1, 1):
            foot = [x * size * 0.3, -size * 0.5 - drop, 0.05]
            s.add("leg", rod([x * size * 0.3, -size * 0.4, -0.05], foot, 0.025, 0.015))
            s.add("leg", *(rod(foot, [foot[0] + d, foot[1], 0.2], 0.012) for d in (-0.08, 0.0, 0.08)))


def _horse_legs(s: Sketch, pose: str, length: float, girth: float, height: float) -> None:
    """Four legs under a body at `height`."""
    thick = s.real(0.04, 0.075)
    for x in (-1, 1):
        for z in (-1, 1):
            swing = s.real(0.1, 0.35) * x * z if pose in ("trotting", "rocking") else s.real(-0.05, 0.05)
            hip = [x * girth * 0.6, height + girth * 0.7, z * length * 0.8]
            knee = [x * girth * 0.55, height * 0.5, z * length * 0.8 + swing + 0.04 * z]
            hoof = [x * girth * 0.55, 0.05, z * length * 0.8 + swing * (1.3 if z > 0 else 0.8)]
            s.add(
                "leg",
                rod(hip, knee, thick * 2, thick),
                rod(knee, hoof, thick, thick * 0.8),
                cylinder(thick * 1.4, 0.07, top=thick).move(hoof[0], 0, hoof[2]),
            )


def _horse_head(s: Sketch, poll: Floats, grazing: bool) -> None:
    """Head and ears at the upper end of the neck."""
    muzzle = poll + np.array([0, -0.22, 0.15 if grazing else 0.3])
    s.add("head", sweep([(poll + np.array([0, 0.03, -0.05])).tolist(), muzzle.tolist()], [0.1, 0.11, 0.075, 0.06]))
    s.add_mirrored(
        "ear",
        rod(
            (poll + np.array([0.05, 0.03, 0])).tolist(),
            (poll + np.array([0.07, 0.16, -0.02])).tolist(),
            0.03,
            0.005,
            sides=6,
        ),
    )


@category("horse", "seen", ("body", "neck", "head", "leg", "tail", "ear"))
def horse(s: Sketch) -> None:
    """Horses, ponies, foals, rocking horses; standing, trotting, grazing."""
    length, girth, height = (
        s.real(0.45, 0.7),
        s.real(0.15, 0.26, "slender", "heavy"),
        s.real(0.4, 0.85, "short-legged", "long-legged"),
    )
    pose = s.pick("standing", "trotting", "grazing", "rocking")
    up = height + girth
    spine = curve(
        [[0, up, -length], [0, up - 0.03, -length * 0.3], [0, up - 0.06, length * 0.3], [0, up + 0.04, length]]
    )
    s.add("body", sweep(spine, [girth * 0.7, girth, girth * 0.95, girth * 1.05, girth * 0.8], up="x", sides=12))
    reach = s.real(0.4, 0.65)
    lift = -0.55 if pose == "grazing" else s.real(0.7, 1.1)
    poll = np.array([0, up + reach * lift, length + reach * (1.1 if pose == "grazing" else 0.55)])
    s.add(
        "neck",
        sweep(
            curve([[0, up, length * 0.8], [0, up + reach * lift * 0.4, length + reach * 0.35], poll.tolist()]),
            [girth * 0.85, girth * 0.6, girth * 0.45],
        ),
    )
    _horse_head(s, poll, pose == "grazing")
    _horse_legs(s, pose, length, girth, height)
    tail = s.real(0.3, 0.7)
    s.add(
        "tail",
        sweep(
            curve([[0, up, -length], [0, up, -length - 0.2], [0, up - tail, -length - s.real(0.1, 0.35)]]),
            [0.03, 0.07, 0.06, 0.01],
        ),
    )
    s.detail("a long tail" if tail > 0.5 else "a short tail")
    if pose == "rocking":
        for x in (-1, 1):
            rocker = curve(
                [
                    [x * girth, 0.25, -length * 2],
                    [x * girth, -0.15, -length * 0.6],
                    [x * girth, -0.15, length * 0.6],
                    [x * girth, 0.25, length * 2],
                ]
            )
            s.add("leg", sweep(rocker, 0.03))
        s.detail("rockers under the hooves")
    elif s.chance(0.25):
        s.add(
            "body",
            lathe([(girth * 0.9, -0.2), (girth * 1.12, 0), (girth * 0.9, 0.2)], caps=False)
            .turn("x", 90)
            .move(y=up + 0.01),
        )
        s.detail("a saddle")
    s.adjective(pose)
    s.detail("a raised neck" if lift > 0.85 else "a lowered neck")
