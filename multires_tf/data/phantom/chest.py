"""Inside the chest: diaphragm, lungs with their vessels, heart, great vessels and airways."""

from __future__ import annotations

import numpy as np

from multires_tf.data.phantom import ribcage, shapes
from multires_tf.data.phantom.body import Body
from multires_tf.data.phantom.canvas import Canvas

SIDES = (-1, 1)


def diaphragm(canvas: Canvas, body: Body, lift: float) -> np.ndarray:
    """Returns the height above the diaphragm over the grid (negative: in the abdomen)."""
    x, y = canvas.x, canvas.y
    # Two flat domes, the right one higher; towards the wall both fall steeply, most at the back.
    radius = (x / 126) ** 2 + ((y + 2) / 92) ** 2
    depth = 54 + 34 * np.clip(y / 80, -1, 1)
    right = np.exp(-(((x + 62) / 44) ** 2) - ((y + 6) / 60) ** 2)
    left = np.exp(-(((x - 66) / 40) ** 2) - ((y + 6) / 60) ** 2)
    dome = 1226 - body.breath + lift + 20 * right + 11 * left - depth * np.minimum(radius, 1.3) ** 2
    # Over the steep sides the vertical gap overstates the distance.
    steep = np.sqrt(1 + (4 * depth * radius / 110) ** 2 * np.minimum(radius, 1))
    return (canvas.z - dome) / steep


def draw_chest(canvas: Canvas, body: Body, above: np.ndarray, rng: np.random.Generator) -> None:
    """Paints lungs with their vessels, mediastinum, heart, great vessels and airways.

    Args:
        above: height above the diaphragm, from `diaphragm`.
    """
    cage = shapes.grow(shapes.column(ribcage.cage_rows(body), exponent=2.15, z_low=1070), -7)
    region, inside = canvas.distance(cage)
    lungs = np.maximum(inside, 3 - above[region])
    canvas.paint(region, lungs, "lung")
    canvas.fill(_lung_vessels(rng), "blood")
    heart, chambers = _heart(rng)
    fat = [
        shapes.common(shapes.ellipsoid((0, 0, 1366), (24, 50, 106)), cage),
        shapes.common(shapes.grow(heart, 4.5), cage),
        shapes.common(shapes.ellipsoid((6, 24, 1290), (18, 32, 150)), cage),
    ]
    where, mediastinum = canvas.distance(fat)
    canvas.paint(where, np.maximum(mediastinum, 3 - above[where]), "fat")
    canvas.fill(heart, "heart muscle")
    canvas.fill(chambers, "blood")
    canvas.fill(_vessels(), "blood")
    canvas.fill(shapes.tube([(2, 16, 1500), (-2, 30, 1400), (8, 30, 1240)], 7.5), "muscle")
    _draw_airways(canvas)


def _heart(rng: np.random.Generator) -> tuple[shapes.Shape, list[shapes.Shape]]:
    """Returns the heart's outside and its four chambers."""
    along = np.array([0.68, -0.5, -0.54]) + rng.normal(0, 0.05, 3)
    along /= np.linalg.norm(along)
    side = np.cross(along, (0, 1, 0.2))
    side /= np.linalg.norm(side)
    axes = np.array([along, side, np.cross(along, side)])
    centre = np.array([22, -30, 1264]) + rng.normal(0, 3, 3)
    size = float(rng.normal(1, 0.05))

    def chamber(offset, radii):
        return shapes.ellipsoid(
            centre + axes.T @ np.array(offset) * size, np.array(radii) * size, axes
        )

    offsets = [(24, 10, -14), (-6, -24, -14), (-34, 4, 18), (2, 28, 22)]
    radii = [(36, 21, 21), (38, 22, 15), (22, 22, 24), (20, 20, 18)]
    rooms = [chamber(axes @ np.array(o), r) for o, r in zip(offsets, radii, strict=True)]
    return chamber((0, 0, 0), (61, 46, 44)), rooms


def _vessels() -> list[shapes.Shape]:
    arch = [(8, -26, 1295), (-10, -32, 1345), (-2, -14, 1388), (14, 14, 1394), (22, 30, 1365)]
    descending = [(22, 30, 1365), (20, 28, 1240), (10, 10, 1150), (6, 2, 1075)]
    parts = shapes.tube(shapes.curve(arch, 12), 13.5) + shapes.tube(descending, (12, 11, 10, 8.5))
    parts += shapes.tube([(-12, -30, 1360), (-14, -26, 1440)], (8, 6))
    parts += shapes.tube([(16, -40, 1300), (12, -38, 1345), (16, -20, 1352)], (15, 14, 10))
    parts += shapes.tube([(-28, -18, 1420), (-30, -16, 1330), (-28, -10, 1290)], 10.5)
    parts += shapes.tube([(-26, -8, 1240), (-24, 4, 1150), (-16, 6, 1060)], 11)
    parts += shapes.tube([(14, -34, 1310), (10, -20, 1345)], 13)
    parts += shapes.tube([(-40, 4, 1338), (8, -14, 1350), (48, 8, 1345)], (8, 12, 8))
    for side in SIDES:
        parts += shapes.tube(
            [(side * 8, -14, 1396), (side * 26, -4, 1450), (side * 30, 2, 1580)], 4
        )
        parts += shapes.tube(
            [(side * 24, -22, 1425), (side * 36, -4, 1470), (side * 38, 4, 1580)], 6
        )
        parts += shapes.tube(
            [(side * 24, -14, 1425), (side * 95, -8, 1425), (side * 150, 6, 1380)], 5
        )
        parts += shapes.tube(
            [
                (side * 3, 2, 1072),
                (side * 40, 12, 1000),
                (side * 66, -34, 925),
                (side * 78, -38, 860),
            ],
            6,
        )
        parts += shapes.tube(
            [(side * 78, -40, 860), (side * 88, -20, 700), (side * 88, 40, 520)], 4.5
        )
    return parts


def _lung_vessels(rng: np.random.Generator) -> list[shapes.Shape]:
    """Returns vessels that branch from each hilum."""
    parts = []
    for side in SIDES:
        root = np.array([side * 42.0, 6.0, 1340.0])
        for _ in range(16):
            direction = rng.normal(0, 1, 3) * np.array([0.5, 0.9, 1.3]) + np.array(
                [side * 0.8, 0, -0.2]
            )
            direction /= np.linalg.norm(direction)
            tip = root + direction * rng.uniform(40, 62)
            parts.append(shapes.cone(root, tip, 4.2, 2.4))
            for _ in range(3):
                turn = direction + rng.normal(0, 0.5, 3)
                end = tip + turn / np.linalg.norm(turn) * rng.uniform(25, 45)
                parts.append(shapes.cone(tip, end, 2.2, 1.0))
    return parts


def _draw_airways(canvas: Canvas) -> None:
    trachea = [(0, -24, 1545), (0, -14, 1500), (-1, 2, 1430), (-2, 14, 1362)]
    canvas.fill(shapes.tube(trachea, 11.5), "cartilage")
    for side, low in ((-1, 1330), (1, 1326)):
        bronchus = [(-2, 14, 1362), (side * 44, 12, low)]
        canvas.fill(shapes.tube(bronchus, (9.5, 6.5)), "cartilage")
    canvas.fill(shapes.tube(trachea, (6, 8, 9, 9)), "airway")
    for side, low in ((-1, 1330), (1, 1326)):
        canvas.fill(shapes.tube([(-2, 14, 1362), (side * 44, 12, low)], (7.5, 4.5)), "airway")
    canvas.fill([shapes.ellipsoid((s * 18, -8, 1480), (10, 11, 24)) for s in SIDES], "gland")
