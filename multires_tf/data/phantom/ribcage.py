"""The rib cage: ribs, cartilages, sternum, clavicles and shoulder blades."""

from __future__ import annotations

import numpy as np

from multires_tf.data.phantom import shapes
from multires_tf.data.phantom.body import Body
from multires_tf.data.phantom.canvas import Bone, Canvas
from multires_tf.data.phantom.spine import Vertebra

SIDES = (-1, 1)
# Height, half width, half depth and centre of the surface that the ribs lie in.
CAGE = [
    (1060, 116, 78, 0),
    (1100, 124, 86, 0),
    (1160, 131, 91, 0),
    (1220, 133, 94, 0),
    (1280, 128, 94, 1),
    (1330, 119, 88, 4),
    (1380, 104, 77, 7),
    (1420, 86, 63, 9),
    (1450, 66, 50, 9),
    (1480, 45, 36, 9),
    (1500, 28, 24, 9),
]
# How far each rib falls from back to front, and the angle (degrees) at which its bone ends; 90 is
# the back, -90 the front.
RIB_DROP = (34, 56, 74, 88, 98, 106, 110, 108, 100, 86, 56, 30)
RIB_END = (-62, -64, -62, -60, -58, -55, -50, -44, -36, -26, 6, 32)


def cage_rows(body: Body) -> list[tuple[float, float, float, float]]:
    """Returns the rows of `CAGE` for this body."""
    slim = 0.5 + 0.5 * body.shoulder
    return [(z, a * slim, b, c) for z, a, b, c in CAGE]


class RibCage:
    """Points on the surface of the rib cage."""

    def __init__(self, body: Body) -> None:
        rows = np.array(cage_rows(body))
        self._width, self._depth, self._centre = (
            shapes.profile(rows[:, 0], rows[:, i]) for i in (1, 2, 3)
        )

    def point(self, side: int, degrees: float, z: float) -> np.ndarray:
        """Returns the point at an angle (0 lateral, 90 back) and height."""
        angle = np.deg2rad(degrees)
        cos, sin = np.cos(angle), np.sin(angle)
        x = side * float(self._width(z)) * abs(cos) ** 0.85
        y = float(self._centre(z)) + float(self._depth(z)) * np.sign(sin) * abs(sin) ** 0.85
        return np.array([x, y, z])


def _ribs(body: Body, chain: list[Vertebra]) -> tuple[list[Bone], list[shapes.Shape]]:
    cage = RibCage(body)
    levels = {v.name: v for v in chain}
    bones, cartilage = [], []
    for number in range(1, 13):
        vertebra = levels[f"T{number}"]
        top = vertebra.centre[2] + 4
        drop, end = RIB_DROP[number - 1], RIB_END[number - 1]
        for side in SIDES:
            head = vertebra.centre + np.array([side * vertebra.radii[0], vertebra.radii[1], 5])
            neck = head + np.array([side * 16, 10, -3])
            angles = np.linspace(68, end, 10)
            share = (68 - angles) / 136
            arc = [
                cage.point(side, a, top - 6 - drop * s**1.15)
                for a, s in zip(angles, share, strict=True)
            ]
            path = shapes.curve([head, neck, *arc], 22)
            size = 3.2 if number in (1, 12) else 3.9
            bones += [
                Bone(part, 1.3 * body.bone)
                for part in shapes.tube(path, size, flat=((0, 0, 1), 1.75))
            ]
            if number <= 10:
                cartilage += _cartilage(cage, side, number, arc[-1])
    return bones, cartilage


def _cartilage(cage: RibCage, side: int, number: int, start: np.ndarray) -> list[shapes.Shape]:
    """Returns the cartilage from a rib's end to the sternum, or to the costal arch (8 to 10)."""
    insert = 1436 - 23 * (number - 1) if number <= 7 else 1290 - 26 * (number - 7)
    end = np.array([side * (17 + max(0, number - 7) * 20), 0, insert])
    end[1] = cage.point(side, -84 + 6 * max(0, number - 7), insert)[1] + 2
    dip = (start + end) / 2 + np.array([side * 4, -2, -6 - 2 * min(number, 7)])
    return shapes.tube(shapes.curve([start, dip, end], 7), 5.0)


def _sternum(body: Body) -> list[Bone]:
    cage = RibCage(body)
    path = [(0, cage.point(1, -90, z)[1] + (0 if z < 1400 else 4), z) for z in (1262, 1320, 1385)]
    top = (0, path[-1][1] + 8, 1432)
    lower = shapes.tube(path, 5.2, flat=((1, 0, 0), 3.0))
    upper = [shapes.cone((0, path[-1][1], 1392), top, 5.5, 6, flat=((1, 0, 0), 4.2))]
    tip = shapes.cone((0, path[0][1] + 1, 1258), (0, path[0][1] + 3, 1236), 3.6, 2.5)
    return [Bone(part, 1.1 * body.bone) for part in (*lower, *upper, tip)]


def _girdle(body: Body) -> list[Bone]:
    """Returns clavicles and shoulder blades."""
    cage = RibCage(body)
    bones = []
    for side in SIDES:
        w = body.shoulder
        front = cage.point(1, -90, 1432)[1]
        clavicle = shapes.curve(
            [
                (side * 22, front + 2, 1438),
                (side * 62 * w, front - 12, 1443),
                (side * 112 * w, front + 22, 1450),
                (side * 158 * w, 14, 1450),
            ],
            12,
        )
        radii = [7.5, 6.5, 6, 5.5, 5.5, 5.5, 5.5, 5.5, 6, 6.5, 6.5, 6]
        bones += [Bone(part, 2.2 * body.bone) for part in shapes.tube(clavicle, radii)]
        rows = []
        for z, inner, outer in ((1425, 62, 128), (1395, 66, 140), (1350, 72, 128), (1300, 84, 104)):
            row = []
            for x in np.linspace(inner, outer, 4):
                angle = np.rad2deg(np.arccos(np.clip(x * w / 150, 0, 1)))
                back = cage.point(1, angle, z)[1] + 15
                row.append((side * x * w, min(back, 98) - 0.28 * (x - inner), z))
            rows.append(row)
        bones += [Bone(plate, 1.6 * body.bone) for plate in shapes.sheet(rows, 4.2)]
        glenoid = np.array([side * 140 * w, 26, 1402])
        acromion = [
            (side * 78 * w, 92, 1408),
            (side * 128 * w, 72, 1432),
            (side * 170 * w, 22, 1452),
        ]
        bones += [Bone(p, 1.6) for p in shapes.tube(acromion, 4.2, flat=((0, 0, 1), 1.8))]
        bones.append(Bone(shapes.ellipsoid(glenoid, (9, 13, 19)), 1.8))
        edge = shapes.tube([glenoid, rows[2][3], rows[3][3], rows[3][0]], 4.4)
        bones += [Bone(part, 1.8) for part in edge]
        root = glenoid + np.array([side * -6, -6, 18])
        bones.append(Bone(shapes.cone(root, (side * 128 * w, -22, 1420), 6, 5), 1.6))
    return bones


def draw_cage(canvas: Canvas, body: Body, chain: list[Vertebra]) -> None:
    """Paints cartilages, ribs, sternum and shoulder girdle."""
    ribs, cartilage = _ribs(body, chain)
    canvas.fill(cartilage, "cartilage")
    canvas.fill_bones([*ribs, *_sternum(body), *_girdle(body)])
