"""Pelvis, legs and arms: bones with cortical shell and marrow, and the cartilage of the joints."""

from __future__ import annotations

import itertools

import numpy as np

from multires_tf.data.phantom import outline, shapes
from multires_tf.data.phantom.body import Body
from multires_tf.data.phantom.canvas import Bone, Canvas

SIDES = (-1, 1)
# The wing of the left ilium, from the sacral joint (first column) forwards; rows from crest to hip.
WING = [
    [(48, 76, 1022), (78, 62, 1052), (116, 28, 1062), (134, -14, 1048), (128, -58, 1006)],
    [(46, 74, 1000), (72, 58, 1022), (104, 28, 1030), (121, -12, 1020), (122, -58, 990)],
    [(48, 66, 978), (68, 52, 990), (92, 28, 994), (108, -8, 988), (112, -48, 968)],
    [(58, 56, 962), (70, 46, 964), (84, 28, 960), (98, 0, 956), (102, -32, 948)],
    [(66, 48, 944), (72, 42, 940), (80, 28, 936), (90, 6, 936), (94, -18, 936)],
]
WING_THICKNESS = (11, 6.5, 7, 9, 13)


def _hip_centre(body: Body, side: int) -> np.ndarray:
    return np.array([side * 86 * body.hip, 2.0, 910.0])


def draw_pelvis(canvas: Canvas, body: Body) -> None:
    """Paints sacrum, hip bones and the sockets of the hips."""
    bones = []
    wide = np.array([body.hip, 1, 1])
    for side in SIDES:
        mirror = wide * np.array([side, 1, 1])
        wing = np.array(WING, float) * mirror
        for row in range(len(WING) - 1):
            thick = (WING_THICKNESS[row] + WING_THICKNESS[row + 1]) / 2
            bones += [Bone(p, 2.0 * body.bone) for p in shapes.sheet(wing[row : row + 2], thick)]
        crest = shapes.curve(wing[0], 9)
        bones += [Bone(p, 1.8 * body.bone) for p in shapes.tube(crest, 6.5)]
        hip = _hip_centre(body, side)
        bones.append(
            Bone(shapes.ellipsoid(hip + mirror * [-3, 2, 4], (34, 34, 34)), 2.2 * body.bone)
        )
        rami = [
            ([(72, -22, 912), (44, -48, 898), (10, -60, 888)], (12, 9.5, 11)),
            ([(10, -58, 884), (24, -38, 858), (46, 4, 838)], (9, 7.5, 9)),
            ([(74, 26, 898), (66, 40, 868), (56, 32, 838)], (17, 15, 14)),
            ([(78, 34, 930), (64, 52, 955)], (14, 12)),
        ]
        for points, radii in rami:
            path = np.array(points, float) * mirror
            bones += [Bone(p, 1.9 * body.bone) for p in shapes.tube(path, radii)]
    bones += _sacrum(body)
    canvas.fill_bones(bones)
    canvas.fill(shapes.ellipsoid((0, -60, 887), (5, 12, 17)), "cartilage")
    for side in SIDES:
        hip = _hip_centre(body, side)
        opening = shapes.half_space(hip + np.array([side * 8, 0, -4]), (-side, 0.25, 0.55))
        canvas.fill(shapes.common(shapes.ellipsoid(hip, (33, 33, 33)), _flip(opening)), "muscle")
        canvas.fill(shapes.ellipsoid(hip, (28.5, 28.5, 28.5)), "cartilage")
    for z, y in ((985, 78), (966, 86), (948, 90)):
        holes = [shapes.ellipsoid((s * 22, y - 4, z), (4.5, 14, 4.5)) for s in SIDES]
        canvas.fill(holes, "fat")
    canvas.fill(
        shapes.tube([(0, 66, 1004), (0, 88, 960)], (8, 5), flat=((1, 0, 0), 1.3)),
        "cerebrospinal fluid",
    )


def _flip(shape: shapes.Shape) -> shapes.Shape:
    return shapes.Shape(shape.low, shape.high, lambda x, y, z: -shape.distance(x, y, z))


def _sacrum(body: Body) -> list[Bone]:
    levels = [
        (1000, 54, 52),
        (976, 68, 48),
        (952, 80, 36),
        (928, 84, 25),
        (906, 78, 16),
        (888, 66, 9),
    ]
    bones = []
    for (z0, y0, w0), (z1, y1, w1) in itertools.pairwise(levels):
        solid = shapes.cone(
            (0, y0, z0 - 6), (0, y1, z1 - 6), w0 / 3.4, w1 / 3.4, flat=((1, 0, 0), 3.2)
        )
        bones.append(Bone(solid, 1.6 * body.bone))
    crest = shapes.tube([(0, 88, 992), (0, 106, 950), (0, 100, 925)], 5, flat=((0, 0, 1), 1.4))
    return bones + [Bone(p, 1.6) for p in crest]


def draw_legs(canvas: Canvas, body: Body) -> None:
    """Paints femurs, kneecaps, shins, and the bones of the feet as far as the grid reaches."""
    marrow, shin = [], []
    for side in SIDES:
        leg = outline.leg_points(body) * np.array([side, 1, 1])
        hip = _hip_centre(body, side)
        neck = np.array([side * 116 * body.hip, 10, 884])
        below = np.array([side * 112 * body.hip, 8, 830])
        knee = leg[2] + np.array([0, 4, 0])
        top = knee + np.array([side * 2, -2, 62])
        thick = body.bone
        marrow += [
            Bone(shapes.ellipsoid(hip, (24, 24, 24)), 1.8 * thick, "fatty spongy bone"),
            Bone(shapes.cone(hip, neck, 16, 19), 2.4 * thick, "fatty spongy bone"),
            Bone(
                shapes.ellipsoid(neck + np.array([side * 10, 6, 4]), (17, 20, 24)),
                2.2 * thick,
                "fatty spongy bone",
            ),
            Bone(shapes.cone(neck, below, 20, 17), 4.0 * thick, "fatty spongy bone"),
            Bone(shapes.cone(below, (below + top) / 2, 16, 14), 6.4 * thick, "fatty marrow"),
            Bone(shapes.cone((below + top) / 2, top, 14, 16), 5.8 * thick, "fatty marrow"),
            Bone(
                shapes.cone(top, knee + np.array([0, 0, 26]), 17, 27, flat=((1, 0, 0), 1.3)),
                2.4 * thick,
                "fatty spongy bone",
            ),
        ]
        for part in (-1, 1):
            condyle = knee + np.array([part * 20, 4, 20])
            marrow.append(Bone(shapes.ellipsoid(condyle, (18, 28, 22)), 1.8, "fatty spongy bone"))
        shin += _shin(leg, knee, thick, side)
    canvas.fill_bones(marrow)
    canvas.fill_bones(shin)


def _shin(leg: np.ndarray, knee: np.ndarray, thick: float, side: int) -> list[Bone]:
    plateau = knee + np.array([0, 2, -14])
    ankle = leg[4] + np.array([0, -6, 10])
    neck = plateau + np.array([0, -2, -48])
    kneecap = shapes.ellipsoid(knee + np.array([0, -40, 28]), (20, 10, 22))
    fibula = np.array([side * 32, 18, 0])
    return [
        Bone(kneecap, 1.8 * thick, "fatty spongy bone"),
        Bone(shapes.cone(plateau, neck, 25, 16, flat=((1, 0, 0), 1.35)), 2.0, "fatty spongy bone"),
        Bone(shapes.cone(neck, ankle, 15, 12), 5.2 * thick, "fatty marrow"),
        Bone(shapes.cone(ankle, ankle + np.array([0, 0, -26]), 16, 20), 2.0, "fatty spongy bone"),
        Bone(shapes.cone(neck + fibula, ankle + 0.7 * fibula, 6.5, 7), 3.2, "fatty marrow"),
        Bone(
            shapes.ellipsoid(leg[4] + np.array([0, 28, -48]), (18, 34, 24)),
            1.5,
            "fatty spongy bone",
        ),
        *[
            Bone(p, 2.0, "fatty spongy bone")
            for p in shapes.tube([leg[4] + np.array([0, 0, -34]), leg[5]], (20, 12))
        ],
    ]


def draw_arms(canvas: Canvas, body: Body) -> None:
    """Paints upper arm, forearm and hand."""
    bones = []
    for side in SIDES:
        arm = outline.arm_points(body) * np.array([side, 1, 1])
        thick = body.bone
        head = arm[0] + np.array([-side * 2, 4, 0])
        lower = arm[2] + np.array([0, 0, 34])
        neck = head + np.array([side * 10, -2, -40])
        canvas.fill(shapes.ellipsoid(head, (26, 26, 26)), "cartilage")
        bones += [
            Bone(shapes.ellipsoid(head, (23, 23, 23)), 1.6 * thick, "fatty spongy bone"),
            Bone(shapes.cone(head, neck, 21, 14), 2.0 * thick, "fatty spongy bone"),
            Bone(shapes.cone(neck, lower, 12.5, 10.5), 4.4 * thick, "fatty marrow"),
            Bone(
                shapes.cone(lower, arm[2] + np.array([0, 0, 6]), 11, 13, flat=((1, 0, 0), 1.75)),
                2.2 * thick,
                "fatty spongy bone",
            ),
        ]
        for shift, size in (
            (np.array([side * 4, -15, 0]), (9, 12)),
            (np.array([-side * 4, 13, 0]), (12, 8)),
        ):
            start = arm[2] + shift * 0.8 + np.array([0, 0, -8])
            bones.append(
                Bone(shapes.cone(start, arm[4] + shift, size[0] * 0.85, size[1] * 0.85), 3.0)
            )
        bones += _hand(arm)
    canvas.fill_bones(bones)


def _hand(arm: np.ndarray) -> list[Bone]:
    wrist, knuckle = arm[4], arm[5]
    bones = [
        Bone(shapes.ellipsoid(wrist + np.array([0, y, z]), (7, 8, 8)), 1.4)
        for y in (-15, 0, 15)
        for z in (-10, -24)
    ]
    for finger in range(4):
        start = wrist + np.array([0, -18 + 12 * finger, -34])
        joint = knuckle + np.array([0, -27 + 18 * finger, 0])
        tip = joint + np.array([0, -4, -74 + 9 * abs(finger - 1)])
        bones += [Bone(p, 1.8) for p in shapes.tube([start, joint, tip], (5, 5.5, 3.5))]
    thumb = wrist + np.array([0, -24, -30])
    bones.append(Bone(shapes.cone(thumb, thumb + np.array([-2, -26, -58]), 5.5, 4), 1.8))
    return bones
