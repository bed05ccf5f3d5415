"""The abdomen: cavity with visceral fat, liver, spleen, kidneys, stomach, bowel, bladder; gas."""

from __future__ import annotations

import numpy as np

from multires_tf.data.phantom import shapes
from multires_tf.data.phantom.body import Body
from multires_tf.data.phantom.canvas import Canvas

SIDES = (-1, 1)
# Height, half width, half depth and centre of the abdominal cavity; how far the belly pushes it.
CAVITY = [
    (862, 24, 34, 22, 0),
    (900, 42, 52, 8, 0.1),
    (940, 56, 60, -2, 0.4),
    (980, 92, 68, -12, 0.7),
    (1020, 108, 70, -15, 0.9),
    (1060, 112, 70, -16, 1),
    (1120, 116, 77, -12, 1),
    (1180, 122, 84, -6, 0.6),
    (1230, 122, 86, -2, 0.2),
    (1260, 116, 84, 0, 0),
]


def cavity(body: Body) -> shapes.Shape:
    """Returns the abdominal cavity, up to the diaphragm's highest place."""
    rows = []
    for z, width, depth, centre, share in CAVITY:
        push = share * body.belly
        slim = 0.5 + 0.5 * body.shoulder if z > 1100 else 0.6 + 0.4 * body.hip
        rows.append((z, width * slim + 0.45 * push, depth + push / 2, centre - push / 2))
    return shapes.column(rows, exponent=2.2)


def draw_abdomen(canvas: Canvas, body: Body, above: np.ndarray, rng: np.random.Generator) -> None:
    """Paints the cavity and its solid organs.

    Args:
        above: height above the diaphragm over the grid.
    """
    room = cavity(body)
    where, wall = canvas.distance(room)
    inside = np.maximum(wall, above[where] + 4)
    canvas.paint(where, inside, "fat")
    psoas = []
    for side in SIDES:
        psoas += shapes.tube(
            [
                (side * 30, 36, 1180),
                (side * 44, 34, 1060),
                (side * 64, 6, 960),
                (side * 88, -14, 880),
            ],
            (13, 21, 19, 14),
        )
        psoas += shapes.tube([(side * 62, 60, 1160), (side * 74, 66, 1040)], (12, 15))
        psoas += shapes.tube([(side * 30, 76, 1240), (side * 32, 72, 1010)], (22, 26))
    canvas.fill(psoas, "muscle")

    def organ(solids, tissue: str) -> None:
        region, distance = canvas.distance(solids)
        limit = np.maximum(above[region] + 4, room.distance(*_at(canvas, region)) + 1)
        canvas.paint(region, np.maximum(distance, limit), tissue)

    size = rng.normal(1, 0.05)
    jitter = rng.normal(0, 4, (8, 3))
    liver = [
        shapes.common(
            shapes.ellipsoid(np.array([-66, 2, 1172]) + jitter[0], np.array([88, 96, 88]) * size),
            shapes.half_space((-40, 0, 1118), (0.42, -0.45, -1)),
        ),
        shapes.common(
            shapes.ellipsoid(np.array([0, -44, 1200]) + jitter[0], np.array([78, 46, 40]) * size),
            shapes.half_space((0, -10, 1180), (0.2, 1, -0.2)),
        ),
    ]
    organ(
        shapes.ellipsoid(np.array([97, 42, 1186]) + jitter[1], np.array([25, 44, 55]) * size),
        "spleen",
    )
    stomach = shapes.tube(
        shapes.curve([(62, 22, 1222), (72, -18, 1180), (52, -52, 1140), (4, -50, 1120)], 9),
        (30, 33, 34, 32, 29, 26, 22, 18, 14),
    )
    organ(stomach, "bowel")
    organ(liver, "liver")
    organ(
        shapes.tube(shapes.curve([(66, 18, 1166), (10, -14, 1142), (-26, -8, 1118)], 8), 12),
        "gland",
    )
    organ(
        shapes.ellipsoid(np.array([-46, -52, 1118]) + 0.5 * jitter[2], (13, 16, 22)),
        "urine or bile",
    )
    for side, level in ((-1, 1118), (1, 1132)):
        centre = np.array([side * 64, 44, level]) + 0.7 * jitter[3 + (side > 0)]
        canvas.fill(shapes.ellipsoid(centre, (38, 36, 66)), "fat")
        canvas.fill(shapes.ellipsoid(centre, np.array([25, 23, 53]) * size), "kidney")
        canvas.fill(shapes.ellipsoid(centre + np.array([-side * 11, -5, 0]), (11, 10, 28)), "fat")
        canvas.fill(shapes.ellipsoid(centre + np.array([-side * 2, -1, 80]), (6, 12, 10)), "gland")
    fill = rng.uniform(0.85, 1.25)
    canvas.fill(
        shapes.grow(shapes.ellipsoid((0, -24, 912), np.array([38, 30, 34]) * fill), 3), "muscle"
    )
    canvas.fill(shapes.ellipsoid((0, -24, 912), np.array([38, 30, 34]) * fill), "urine or bile")
    organ_name = "muscle" if body.sex == "female" else "gland"
    centre = (0, 8, 930) if body.sex == "female" else (0, -8, 872)
    canvas.fill(
        shapes.ellipsoid(centre, (26, 22, 28) if body.sex == "female" else (22, 17, 17)), organ_name
    )


def _at(canvas: Canvas, region: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return canvas.x[region], canvas.y[region], canvas.z[region]


def colon(body: Body) -> np.ndarray:
    """Returns the course of the colon from caecum to rectum, (60, 3)."""
    forward = 0.6 * body.belly
    knots = [
        (-82, 0, 985),
        (-92, 8, 1050),
        (-86, 4, 1102),
        (-44, -66 - forward, 1082),
        (10, -74 - forward, 1062),
        (60, -58 - forward, 1098),
        (92, 12, 1150),
        (94, 18, 1070),
        (84, 8, 1000),
        (52, -16, 955),
        (10, -6, 985),
        (4, 34, 950),
        (0, 44, 895),
    ]
    return shapes.curve(knots, 60)


def draw_bowel(canvas: Canvas, body: Body, above: np.ndarray, rng: np.random.Generator) -> None:
    """Paints small bowel and colon, then gas: other pockets in each scan."""
    room = cavity(body)
    loops = []
    push = 0.5 * body.belly
    for _ in range(11):
        centre = np.array(
            [rng.uniform(-62, 62), rng.uniform(-48, 2) - push, rng.uniform(935, 1090)]
        )
        turn = rng.uniform(0, 2 * np.pi)
        points = []
        for step in range(12):
            angle = turn + step * 0.95
            wave = np.array([34 * np.cos(angle), 15 * np.sin(1.7 * angle), 26 * np.sin(angle)])
            points.append(centre + wave + rng.normal(0, 5, 3))
        loops += shapes.tube(points, float(rng.uniform(9.5, 12.5)))
    path = colon(body) + rng.normal(0, 2.5, (60, 3))
    width = np.interp(np.arange(60), [0, 20, 40, 55, 59], [26, 21, 17, 16, 18])
    width = width * (1 + 0.13 * np.sin(np.arange(60) * 1.9)) * rng.uniform(0.9, 1.1)

    def inner(solids, margin: float) -> tuple[tuple, np.ndarray]:
        region, distance = canvas.distance(solids)
        limit = np.maximum(above[region] + 5, room.distance(*_at(canvas, region)) + margin)
        return region, np.maximum(distance, limit)

    canvas.paint(*inner(loops, 3), "bowel")
    canvas.paint(*inner(shapes.tube(path, width), 1), "bowel")
    for scan in ("ct", "mr"):
        pockets = _gas(path, width, loops, rng)
        canvas.paint(*inner(pockets, 5), "gas", scans=(scan,))


def _gas(path: np.ndarray, width: np.ndarray, loops: list, rng: np.random.Generator) -> list:
    """Returns one scan's pockets: stretches of colon, a few loops, the front of the stomach."""
    pockets = []
    for _ in range(int(rng.integers(5, 9))):
        start = int(rng.integers(0, 52))
        stop = start + int(rng.integers(2, 8))
        # Lying on the back, gas rises to the front wall.
        lifted = path[start:stop] + np.array([0, -4, 0])
        share = float(rng.uniform(0.55, 0.8))
        pockets += shapes.tube(lifted, share * width[start:stop])
    for number in rng.choice(len(loops), 4, replace=False):
        loop = loops[number]
        middle = (loop.low + loop.high) / 2
        pockets.append(shapes.ellipsoid(middle, (7, 6, 7)))
    bubble = float(rng.uniform(0.5, 1.15))
    pockets.append(shapes.ellipsoid((62, -44, 1168), np.array([24, 13, 26]) * bubble))
    return pockets
