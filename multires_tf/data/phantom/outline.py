"""The outside of the body: skin, subcutaneous fat and the muscle under it; limbs with fat septa."""

from __future__ import annotations

import numpy as np

from multires_tf.data.phantom import shapes
from multires_tf.data.phantom.body import Body
from multires_tf.data.phantom.canvas import FAR, Canvas

SIDES = (-1, 1)
TABLE = 128.0


def trunk_rows(body: Body) -> list[tuple[float, float, float, float]]:
    """Returns the muscular trunk's half width, half depth and centre by height."""
    rows = [
        (800, 158, 92, 4, 1, 0.0),
        (850, 170, 101, 4, 1, 0.1),
        (900, 175, 103, 3, 1, 0.2),
        (950, 166, 100, 2, 1, 0.5),
        (1000, 150, 95, 2, 1, 0.8),
        (1060, 137, 92, 1, 0.5, 1.0),
        (1130, 138, 96, 1, 0, 1.0),
        (1200, 145, 102, 0, 0, 0.5),
        (1280, 152, 107, 2, 2, 0.1),
        (1350, 160, 103, 5, 2, 0.0),
        (1400, 163, 92, 8, 2, 0.0),
        (1432, 150, 80, 12, 2, 0.0),
        (1460, 116, 68, 17, 2, 0.0),
        (1490, 76, 60, 19, 0, 0.0),
        (1530, 57, 57, 16, 0, 0.0),
        (1600, 55, 58, 14, 0, 0.0),
    ]
    breadth = {0: 1.0 + 0.4 * (body.limb - 1), 0.5: 0.5 + 0.5 * body.hip}
    breadth |= {1: body.hip, 2: body.shoulder}
    result: list[tuple[float, float, float, float]] = []
    for z, width, depth, centre, kind, belly in rows:
        push = belly * body.belly
        result.append((z, width * breadth[kind] + 0.5 * push, depth + push / 2, centre - push / 2))
    return result


def arm_points(body: Body) -> np.ndarray:
    """Returns shoulder, mid upper arm, elbow, forearm, wrist, knuckles of the left arm, (6, 3)."""
    width = body.shoulder
    # Beside waist and hips with their fat, a finger's breadth away.
    sleeve = 0.45 * body.fat + 7
    waist = 70 * (1 + body.hip) + 0.5 * body.belly + 1.25 * body.fat
    hips = 176 * body.hip + (1.45 if body.sex == "female" else 1.05) * body.fat
    elbow = waist + 36 * body.limb + sleeve
    wrist = hips + 24 * body.limb + sleeve
    return np.array(
        [
            (168 * width, 12, 1404),
            (0.55 * 168 * width + 0.45 * elbow, 16, 1270),
            (elbow, 20, 1115),
            (0.75 * elbow + 0.25 * wrist, 8, 1050),
            (wrist, -14, 868),
            (wrist + 1, -22, 785),
        ]
    )


def leg_points(body: Body) -> np.ndarray:
    """Returns hip, mid thigh, knee, calf, ankle and toe of the left leg, (6, 3)."""
    hip = 86 * body.hip
    return np.array(
        [
            (hip, 4, 905),
            (hip + 4, 6, 700),
            (hip + 6, 14, 500),
            (hip + 8, 26, 370),
            (hip + 8, 28, 80),
            (hip + 22, -120, 25),
        ]
    )


def _mirrored(points: np.ndarray, side: int) -> np.ndarray:
    return points * np.array([side, 1, 1])


def _limbs(body: Body) -> tuple[list, list]:
    """Returns the muscular arms and legs as shapes."""
    arms, legs = [], []
    for side in SIDES:
        arm = _mirrored(arm_points(body), side)
        girth = body.limb * np.array([50, 43, 35, 38, 24])
        arms += shapes.tube(arm[:5], girth)
        arms.append(
            shapes.ellipsoid(arm[0] + np.array([side * 6, -2, -14]), (44 * body.limb, 52, 66))
        )
        arms += hand(arm)
        leg = _mirrored(leg_points(body), side)
        legs += shapes.tube(leg[:5], body.limb * np.array([80, 68, 50, 47, 29]))
        legs.append(shapes.ellipsoid(leg[2] + np.array([0, -14, 0]), (44, 40, 48)))
        legs += shapes.tube(leg[4:], (30, 22), flat=((1, 0, 0), 1.4))
    return arms, legs


def hand(arm: np.ndarray) -> list:
    """Returns palm, fingers and thumb; the palm faces the thigh."""
    wrist, knuckle = arm[4], arm[5]
    parts = [shapes.cone(wrist, knuckle, 14, 13, flat=((0, 1, 0), 2.6))]
    for finger in range(4):
        start = knuckle + np.array([0, -27 + 18 * finger, 0])
        parts.append(shapes.cone(start, start + np.array([0, -4, -78 + 9 * abs(finger - 1)]), 9, 8))
    thumb = wrist + np.array([0, -24, -30])
    return [*parts, shapes.cone(thumb, thumb + np.array([-4, -28, -62]), 11, 9)]


def _head(body: Body) -> list:
    del body
    return [
        shapes.ellipsoid((0, 8, 1660), (77, 98, 88)),
        shapes.ellipsoid((0, -32, 1598), (60, 62, 66)),
        shapes.ellipsoid((0, -64, 1550), (34, 30, 26)),
        shapes.cone((0, -84, 1632), (0, -104, 1604), 7, 13),
        *(shapes.ellipsoid((s * 80, 14, 1626), (7, 17, 30)) for s in SIDES),
    ]


def _joined(canvas: Canvas, solids, radius: float) -> np.ndarray:
    """Returns the smooth union over the whole grid."""
    whole = np.full(canvas.grid.shape, FAR, np.float32)
    for solid in solids:
        region = canvas.region(shapes.grow(solid, radius + 60))
        here = solid.distance(canvas.x[region], canvas.y[region], canvas.z[region])
        whole[region] = shapes.smooth_union(whole[region], here, radius)
    return whole


def draw_outline(canvas: Canvas, body: Body, septa: np.ndarray) -> np.ndarray:
    """Paints skin, fat and muscle.

    Args:
        canvas: where to paint.
        body: whose body.
        septa: smooth unit noise; thin sheets of fat run along its zeros in the muscles.

    Returns:
        The distance to the skin, in the anatomy's unit, float32 over the grid.
    """
    z, y, x = canvas.z, canvas.y, canvas.x
    barrel = shapes.column(trunk_rows(body), exponent=2.35, z_low=600, z_high=1610)
    trunk = -shapes.smooth_union(-barrel.distance(x, y, z), z - 818, 70)
    seat = [shapes.ellipsoid((s * 78, 62, 890), (76 * body.hip, 62, 88)) for s in SIDES]
    trunk = shapes.smooth_union(trunk, _joined(canvas, seat, 20), 30)
    arm_shapes, leg_shapes = _limbs(body)
    arms = _joined(canvas, arm_shapes, 12)
    legs = _joined(canvas, leg_shapes, 18)
    head = _joined(canvas, _head(body), 16)
    lean = _assemble(z, trunk, arms, legs, head)
    outer = _assemble(
        z,
        trunk - _trunk_fat(body, y, z),
        arms - (3 + 0.45 * body.fat),
        legs - _leg_fat(body, z),
        head - (3 + 0.12 * body.fat),
    )
    if body.breast:
        side = np.abs(x) - 82
        size = 48 * body.breast
        bosom = shapes.ellipsoid((0, -100, 1268), (1.12 * size, 0.85 * size, 1.1 * size))
        outer = shapes.smooth_union(outer, bosom.distance(side, y, z), 22)
    # Lying on the table flattens the back.
    flat = -shapes.smooth_union(-outer, -(y - (TABLE + 0.3 * body.fat)), 26)
    lean = np.maximum(lean, flat + 6)
    everywhere = tuple(slice(0, n) for n in canvas.grid.shape)
    canvas.paint(everywhere, flat, "skin")
    canvas.paint(everywhere, flat + 2.0, "fat")
    canvas.paint(everywhere, lean, "muscle")
    _draw_septa(canvas, lean, septa)
    return flat


def _assemble(z, trunk, arms, legs, head) -> np.ndarray:
    whole = shapes.smooth_union(trunk, legs, 22)
    # The shoulder is one mass; the armpit is a crease, not a web.
    whole = shapes.smooth_union(whole, arms, 10 + 60 * np.clip((z - 1385) / 50, 0, 1))
    return shapes.smooth_union(whole, head, 22)


def _trunk_fat(body: Body, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Returns the thickness of the fat under the skin of the trunk."""
    rows = [
        (800, 1.25),
        (900, 1.35),
        (1000, 1.2),
        (1100, 1.1),
        (1250, 0.8),
        (1400, 0.6),
        (1470, 0.4),
    ]
    if body.sex == "male":
        rows = [
            (800, 0.9),
            (900, 0.95),
            (1000, 1.2),
            (1100, 1.3),
            (1250, 0.9),
            (1400, 0.7),
            (1470, 0.4),
        ]
    along = shapes.profile([r[0] for r in rows], [r[1] for r in rows])(z)
    return body.fat * along * (1 + 0.15 * np.tanh((y - 20) / 60)) + 2


def _leg_fat(body: Body, z: np.ndarray) -> np.ndarray:
    top = 1.15 if body.sex == "female" else 0.75
    along = shapes.profile([80, 350, 500, 650, 850], [0.25, 0.4, 0.4, 0.8 * top, top])(z)
    return body.fat * along + 2


def _draw_septa(canvas: Canvas, lean: np.ndarray, septa: np.ndarray) -> None:
    """Paints thin sheets of fat between muscle bellies."""
    slope = np.sqrt(sum(g**2 for g in np.gradient(septa, canvas.voxel))) + 1e-3
    sheets = np.abs(septa) / slope - 0.9
    # Not within the outermost layer, where fascia and not fat lies.
    sheets = np.maximum(sheets, lean + 4)
    canvas.paint(tuple(slice(0, n) for n in canvas.grid.shape), sheets, "fat")
