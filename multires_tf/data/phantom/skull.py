"""The head: skull with two tables, brain, face, sinuses, jaw and teeth, throat."""

from __future__ import annotations

import numpy as np

from multires_tf.data.phantom import shapes
from multires_tf.data.phantom.body import Body
from multires_tf.data.phantom.canvas import Bone, Canvas

SIDES = (-1, 1)
CENTRE = np.array([0.0, 8.0, 1660.0])


def _at(*offset: float) -> np.ndarray:
    """Returns a point given from the middle of the head."""
    return CENTRE + np.asarray(offset, float)


def draw_head(canvas: Canvas, body: Body, folds: np.ndarray, rng: np.random.Generator) -> None:
    """Paints the head's inside.

    Args:
        folds: smooth unit noise that wrinkles the brain's surface.
    """
    _draw_face(canvas, body)
    shell = shapes.ellipsoid(CENTRE, (71 * rng.normal(1, 0.015), 91 * rng.normal(1, 0.015), 82))
    floor = shapes.half_space(_at(0, 0, -46), (0, -0.36, -1))
    region, outer = canvas.distance(shell)
    vault = -shapes.smooth_union(
        -outer, -floor.distance(canvas.x[region], canvas.y[region], canvas.z[region]), 12
    )
    thick = 6.8 * body.bone
    canvas.paint(region, vault, "cortical bone")
    canvas.paint(region, vault + 2.2 * body.bone, "red spongy bone")
    canvas.paint(region, vault + thick - 2.0 * body.bone, "cortical bone")
    canvas.paint(region, vault + thick, "cerebrospinal fluid")
    # Furrows run along the zeros of the noise, into the outer part of the brain.
    slope = np.sqrt(sum(g**2 for g in np.gradient(folds, canvas.voxel)))[region] + 1e-3
    furrow = np.maximum(0.9 - np.abs(folds[region]) / slope, -(vault + thick + 17))
    brain = np.maximum(vault + thick + 2.2, furrow)
    canvas.paint(region, brain, "grey matter")
    canvas.paint(region, np.maximum(brain + 4.0, furrow + 3.5), "white matter")
    deep = [shapes.ellipsoid(_at(s * 14, -2, -2), (9, 17, 10)) for s in SIDES]
    canvas.fill(deep, "grey matter")
    horns = []
    for side in SIDES:
        path = [(side * 9, -34, 4), (side * 8, -6, 14), (side * 14, 26, 10), (side * 22, 34, -8)]
        horns += shapes.tube(shapes.curve([_at(*p) for p in path], 9), 4.6)
    canvas.fill([*horns, shapes.ellipsoid(_at(0, 2, -6), (2.5, 12, 8))], "cerebrospinal fluid")
    fissure = np.maximum(np.abs(canvas.x[region]) - 1.0, 12 - (canvas.z[region] - CENTRE[2]))
    canvas.paint(region, np.maximum(fissure, vault + thick), "cerebrospinal fluid")
    stem = shapes.tube([_at(0, 4, -24), _at(0, 10, -46), _at(0, 16, -72)], (13, 11, 6.5))
    canvas.fill(shapes.tube([_at(0, 12, -52), _at(0, 16, -72)], 11), "cerebrospinal fluid")
    canvas.fill(stem, "white matter")
    _draw_base(canvas, body, rng)


def _draw_base(canvas: Canvas, body: Body, rng: np.random.Generator) -> None:
    """Paints petrous bones, mastoids with their air cells, and the sphenoid."""
    bones = []
    for side in SIDES:
        bones.append(
            Bone(shapes.cone(_at(side * 58, 12, -46), _at(side * 18, -6, -38), 12, 7), 3.0)
        )
        bones.append(Bone(shapes.ellipsoid(_at(side * 56, 20, -58), (11, 16, 20)), 2.0))
    bones.append(Bone(shapes.ellipsoid(_at(0, -16, -42), (20, 18, 14)), 2.0 * body.bone))
    canvas.fill_bones(bones)
    cells = [
        shapes.ellipsoid(_at(side * 56, 20, -60) + rng.normal(0, 1, 3) * (5, 7, 8), (3.4, 3.4, 4))
        for side in SIDES
        for _ in range(12)
    ]
    canvas.fill(cells, "airway")
    canvas.fill(
        [shapes.cone(_at(s * 72, 8, -44), _at(s * 52, 8, -44), 3.5) for s in SIDES], "airway"
    )
    canvas.fill(shapes.ellipsoid(_at(0, -20, -42), (13, 13, 9)), "airway")


def _draw_face(canvas: Canvas, body: Body) -> None:
    """Paints orbits, cheek bones, upper and lower jaw, teeth, nose, throat."""
    bones = [
        Bone(shapes.ellipsoid(_at(0, -62, -78), (36, 28, 30)), 2.0 * body.bone),
        Bone(shapes.cone(_at(0, -86, -28), _at(0, -98, -46), 6, 4), 1.8),
        Bone(shapes.ellipsoid(_at(0, -72, -14), (46, 13, 10)), 2.0),
    ]
    for side in SIDES:
        rim = [
            _at(side * (33 + 22 * np.cos(a)), -74 + 12 * np.cos(a) ** 2, -36 + 20 * np.sin(a))
            for a in np.linspace(0, 2 * np.pi, 13)
        ]
        bones += [Bone(p, 1.6) for p in shapes.tube(rim, 3.4)]
        arch = [_at(side * 48, -62, -58), _at(side * 66, -40, -54), _at(side * 70, -4, -48)]
        bones += [Bone(p, 2.2) for p in shapes.tube(arch, (9, 5, 4.5), flat=((0, 0, 1), 1.4))]
        wall = [(_at(side * 56, -56, -30), _at(side * 30, -18, -34), _at(side * 52, -22, -50))]
        bones += [Bone(shapes.triangle(w, 5.0), 2.5) for w in wall]
        ramus = [
            (_at(side * 52, 4, -52), _at(side * 48, -30, -58), _at(side * 46, 2, -106)),
            (_at(side * 48, -30, -58), _at(side * 46, 2, -106), _at(side * 44, -26, -112)),
        ]
        bones += [Bone(shapes.triangle(r, 8.0), 2.4 * body.bone) for r in ramus]
    jaw = [(-44, -14, -106), (-40, -42, -114), (-24, -72, -121), (0, -84, -123)]
    jaw += [(-x, y, z) for x, y, z in reversed(jaw[:3])]
    path = shapes.curve([_at(*p) for p in jaw], 19)
    bones += [Bone(p, 2.6 * body.bone) for p in shapes.tube(path, 7.6, flat=((0, 0, 1), 1.5))]
    canvas.fill_bones(bones)
    arc = [_at(27 * np.sin(a), -44 - 38 * np.cos(a), 0) for a in np.linspace(-1.7, 1.7, 17)]
    for lift, tall in ((-92, 5.2), (-106, 5.2)):
        row = [p + np.array([0, 0, lift]) for p in arc]
        canvas.fill(shapes.tube(row, 4.0, flat=((0, 0, 1), tall / 4)), "tooth")
    for side in SIDES:
        socket = shapes.cone(_at(side * 33, -72, -36), _at(side * 16, -26, -36), 18, 6)
        canvas.fill(socket, "fat")
        canvas.fill(shapes.ellipsoid(_at(side * 33, -74, -36), (12.5, 12.5, 12.5)), "vitreous")
        canvas.fill(shapes.cone(_at(side * 32, -62, -36), _at(side * 14, -26, -36), 4, 3), "muscle")
    _draw_air(canvas)


def _draw_air(canvas: Canvas) -> None:
    canvas.fill(shapes.ellipsoid(_at(0, -48, -98), (27, 32, 13)), "muscle")
    cavities = [shapes.ellipsoid(_at(0, -12, -78), (11, 9, 22))]
    for side in SIDES:
        cavities += [
            shapes.ellipsoid(_at(side * 26, -56, -68), (12, 17, 16)),
            shapes.ellipsoid(_at(side * 13, -82, -6), (11, 5, 9)),
            shapes.ellipsoid(_at(side * 7, -56, -36), (4.5, 18, 9)),
            shapes.ellipsoid(_at(side * 6, -52, -66), (4.2, 34, 15)),
        ]
    canvas.fill(cavities, "airway")
    throat = [_at(0, -10, -82), _at(0, -4, -108), _at(0, -16, -124)]
    canvas.fill(shapes.tube(throat, (8, 7, 6), flat=((1, 0, 0), 1.4)), "airway")
    thyroid = shapes.sheet(
        [
            [(-16, -14, 1530), (0, -36, 1534), (16, -14, 1530)],
            [(-15, -14, 1505), (0, -32, 1503), (15, -14, 1505)],
        ],
        4.0,
    )
    canvas.fill(thyroid, "cartilage")
    hyoid = shapes.curve([(-18, -10, 1546), (0, -34, 1542), (18, -10, 1546)], 7)
    canvas.fill_bones([Bone(p, 1.5) for p in shapes.tube(hyoid, 3.2)])
