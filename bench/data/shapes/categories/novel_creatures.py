"""Categories only for evaluation: living things."""

from __future__ import annotations

import numpy as np

from bench.data.shapes.primitives import (
    curve,
    cylinder,
    ellipsoid,
    lathe,
    rod,
    sweep,
)
from bench.data.shapes.sketch import Sketch, category


@category("snail", "novel", ("shell", "body", "feeler"))
def snail(s: Sketch) -> None:
    """Snails with flat, conical and tall spiral shells."""
    size, turns = s.real(0.3, 0.5), s.real(2.0, 3.5)
    kind, n = s.pick("flat", "cone", "turret"), 34
    a = np.linspace(0, 2 * np.pi * turns, n)
    grow = np.linspace(0.08, 1, n) ** s.real(0.8, 1.4)
    climb = {"flat": 0.15, "cone": 0.7, "turret": 1.6}[kind] * size
    r = size * grow * (0.55 if kind == "turret" else 0.7)
    coil = np.stack([r * np.cos(a), r * np.sin(a), climb * (1 - grow)], -1)
    whorl = sweep(coil, (size * grow * s.real(0.32, 0.45)).tolist(), up="z", sides=8)
    s.add("shell", whorl.turn("y", s.pick(0, 25, 50) * s.pick(-1, 1)).move(y=size * 1.1))
    length, wide = size * s.real(2.2, 3.2), size * s.real(0.3, 0.45)
    lift = s.real(0.3, 0.9) * size
    spine = curve(
        [[-length * 0.55, 0.02, 0], [-0.1, wide * 0.4, 0], [length * 0.45, wide * 0.2, 0], [length * 0.55, lift, 0]]
    )
    s.add(
        "body",
        sweep(
            spine,
            [0.02, wide * 0.8, wide, wide, wide * 0.8, wide * 0.55],
            [0.02, wide * 0.4, wide * 0.6, wide * 0.7, wide * 0.6],
        ),
    )
    tip = spine[-1]
    for z in (-1, 1):
        reach = s.real(0.15, 0.35)
        end = [tip[0] + reach * 0.6, tip[1] + reach, z * 0.12]
        s.add("feeler", rod(tip.tolist(), end, 0.018), ellipsoid(0.035, 0.035, 0.035, sides=8).move(*end))


@category("spider", "novel", ("body", "leg", "claw"))
def spider(s: Sketch) -> None:
    """Spiders, crabs, scorpions, beetles on jointed legs."""
    kind = s.pick("spider", "crab", "scorpion", "beetle")
    size, pairs = s.real(0.18, 0.3), 3 if kind == "beetle" else 4
    flat = {"crab": 0.45, "beetle": 0.6}.get(kind, s.real(0.6, 1.0))
    if kind == "crab":
        s.add("body", ellipsoid(size * 1.7, size * flat, size * 1.1, rise=2.6))
    elif kind == "beetle":
        s.add(
            "body",
            ellipsoid(size, size * flat, size * 1.6).move(z=-size * 0.8),
            ellipsoid(size * 0.8, size * 0.5, size * 0.6).move(z=size * 0.9),
        )
    else:
        s.add(
            "body",
            ellipsoid(size * 0.8, size * 0.6, size),
            ellipsoid(size * s.real(0.8, 1.4), size * flat, size * 1.5).move(z=-size * 2),
        )
    knee, reach = s.real(0.1, 0.6), s.real(0.6, 1.2)
    thick = s.real(0.015, 0.04)
    for k in range(pairs):
        turn = (k - (pairs - 1) / 2) * s.real(22, 38)
        for side in (-1, 1):
            wobble = s.real(-8, 8)
            leg = curve(
                [[size * 0.6, 0, 0], [reach * 0.4, knee, 0], [reach * 0.6, knee, 0], [reach, -s.real(0.15, 0.35), 0]], 9
            )
            s.add(
                "leg",
                sweep(leg, [thick * 1.4, thick, thick * 0.4], sides=6, up="z").turn("y", turn + wobble).stretch(x=side),
            )
    if kind in ("crab", "scorpion") or s.chance(0.2):
        for side in (-1, 1):
            elbow, hand = [size * 1.6, 0.1, size * 1.5], [size * 1.2, 0.12, size * s.real(2.2, 3.2)]
            s.add(
                "claw",
                rod([size * 0.8, 0, size * 0.7], elbow, thick * 1.6).stretch(x=side),
                rod(elbow, hand, thick * 1.6).stretch(x=side),
            )
            pad = ellipsoid(0.1, 0.06, 0.16)
            s.add(
                "claw",
                pad.turn("y", 25).move(hand[0] + 0.06, hand[1], hand[2]).stretch(x=side),
                pad.stretch(0.5, 1, 1).turn("y", -25).move(hand[0] - 0.06, hand[1], hand[2]).stretch(x=side),
            )
    if kind == "scorpion":
        tail = curve([[0, 0, -size * 3], [0, 0.1, -size * 5.5], [0, 0.9, -size * 5], [0, 0.7, -size * 2.8]])
        s.add("body", sweep(tail, [size * 0.5, size * 0.35, size * 0.25, 0.02], sides=6))


@category("person", "novel", ("head", "torso", "arm", "leg", "skirt"))
def person(s: Sketch) -> None:
    """People standing, walking, sitting, waving."""
    tall, build = s.real(0.8, 1.1), s.real(0.8, 1.6)
    pose = s.pick("standing", "walking", "sitting", "arms up")
    hip, shoulder = 0.85 * tall, 1.4 * tall
    w = 0.17 * build
    s.add(
        "torso",
        sweep(
            [[0, hip - 0.05, 0], [0, hip + 0.25, 0], [0, shoulder, 0]],
            [w * 0.9, w * s.real(0.7, 1.1), w * 1.1, 0.06],
            [w * 0.65, w * 0.6, w * 0.6, 0.05],
            up="z",
            power=2.6,
        ),
    )
    s.add("head", ellipsoid(0.1, 0.13, 0.11).move(y=shoulder + 0.2), cylinder(0.045, 0.14).move(y=shoulder - 0.02))
    if s.chance(0.3):
        s.add("head", lathe([(0.22, 0), (0.12, 0.02), (0.1, 0.14)]).move(y=shoulder + 0.26))
    thick = 0.05 * (0.6 + 0.5 * build)
    skirt = s.chance(0.25)
    for side in (-1, 1):
        stride = {"walking": side * s.real(0.15, 0.4), "sitting": 0.0}.get(pose, side * s.real(0.0, 0.05))
        spread = side * s.real(0.08, 0.25)
        if pose == "sitting":
            knee, foot = [spread, hip, 0.42 * tall], [spread, hip - 0.42 * tall, 0.42 * tall]
        else:
            knee, foot = [spread, hip * 0.5, stride * 0.6 + 0.05], [spread, 0.03, stride]
        s.add(
            "leg", rod([side * 0.08, hip, 0], knee, thick * 1.5, thick * 1.1), rod(knee, foot, thick * 1.1, thick * 0.7)
        )
        s.add("leg", ellipsoid(0.05, 0.04, 0.12).move(foot[0], foot[1], foot[2] + 0.06))
        top = [side * (w * 1.05 + 0.03), shoulder - 0.04, 0]
        raise_ = pose == "arms up" or s.chance(0.15)
        out = side * s.real(0.05, 0.3)
        elbow = [top[0] + out, top[1] + (0.25 if raise_ else -0.28) * tall, s.real(-0.05, 0.1)]
        hand = [
            elbow[0] + out * s.real(-0.5, 0.6),
            elbow[1] + (0.25 if raise_ else s.real(-0.25, 0.1)) * tall,
            s.real(0.0, 0.25),
        ]
        s.add(
            "arm",
            rod(top, elbow, thick, thick * 0.8),
            rod(elbow, hand, thick * 0.8, thick * 0.6),
            ellipsoid(0.05, 0.06, 0.04, sides=8).move(*hand),
        )
    if skirt and pose != "sitting":
        s.add("skirt", lathe([(w * s.real(1.4, 2.4), hip * s.real(0.2, 0.6)), (w * 0.9, hip + 0.1)], caps=False))
