"""Solids as distance functions: negative inside, in millimetres, exact enough near the surface.

Points and axes are (x, y, z) in the LPS frame of the body. A `Shape` knows the box that it fits in,
so that a canvas evaluates it only there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy import interpolate

Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
Point = Sequence[float] | np.ndarray
Points = Sequence[Point] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Shape:
    """A solid: its bounding box and its distance as a function of coordinate arrays x, y, z."""

    low: np.ndarray
    high: np.ndarray
    distance: Distance


def ellipsoid(centre: Point, radii: Point, axes: np.ndarray | None = None) -> Shape:
    """An ellipsoid; `axes` are the rows of a rotation (default: along x, y, z)."""
    centre = np.asarray(centre, np.float32)
    radii = np.asarray(radii, np.float32)
    turn = None if axes is None else np.asarray(axes, np.float32)

    def distance(x, y, z):
        local = [x - centre[0], y - centre[1], z - centre[2]]
        if turn is not None:
            local = [row[0] * local[0] + row[1] * local[1] + row[2] * local[2] for row in turn]
        squares = [(value / radius) ** 2 for value, radius in zip(local, radii, strict=True)]
        first = np.sqrt(squares[0] + squares[1] + squares[2] + 1e-6)
        second = np.sqrt(
            squares[0] / radii[0] ** 2
            + squares[1] / radii[1] ** 2
            + squares[2] / radii[2] ** 2
            + 1e-6 / radii.min() ** 2
        )
        return first * (first - 1) / second

    reach = radii if turn is None else np.full(3, radii.max())
    return Shape(centre - reach, centre + reach, distance)


def cone(
    start: Point, end: Point, radius: float, end_radius: float | None = None, *, flat=None
) -> Shape:
    """A capsule from start to end whose radius changes linearly.

    Args:
        flat: (axis, factor): the cross-section is this many times wider along `axis`.
    """
    start = np.asarray(start, np.float32)
    end = np.asarray(end, np.float32)
    along = end - start
    length_squared = max(float(along @ along), 1e-6)
    radius_end = radius if end_radius is None else end_radius

    def distance(x, y, z):
        px, py, pz = x - start[0], y - start[1], z - start[2]
        share = np.clip((px * along[0] + py * along[1] + pz * along[2]) / length_squared, 0, 1)
        px, py, pz = px - share * along[0], py - share * along[1], pz - share * along[2]
        local_radius = radius + (radius_end - radius) * share
        square = px * px + py * py + pz * pz
        if flat is None:
            return np.sqrt(square) - local_radius
        axis, factor = np.asarray(flat[0], np.float32), flat[1]
        part = (px * axis[0] + py * axis[1] + pz * axis[2]) ** 2
        level = np.sqrt(square + (factor**-2 - 1) * part + 1e-6)
        slope = np.sqrt(square + (factor**-4 - 1) * part + 1e-6) / level
        return (level - local_radius) / slope

    reach = max(radius, radius_end) * (1 if flat is None else max(1, flat[1]))
    return Shape(np.minimum(start, end) - reach, np.maximum(start, end) + reach, distance)


def tube(points: Points, radii: float | Point, *, flat=None) -> list[Shape]:
    """Capsules along a polyline; `radii` one number or one per point."""
    radii = np.broadcast_to(np.asarray(radii, float), len(points))
    return [
        cone(points[i], points[i + 1], float(radii[i]), float(radii[i + 1]), flat=flat)
        for i in range(len(points) - 1)
    ]


def curve(points: Points, count: int) -> np.ndarray:
    """Returns `count` points on a smooth curve through `points`, (count, 3)."""
    points = np.asarray(points, float)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    where = np.concatenate([[0], np.cumsum(steps)])
    spline = interpolate.PchipInterpolator(where, points)
    return spline(np.linspace(0, where[-1], count))


def triangle(corners: Points, thickness: float) -> Shape:
    """A rounded plate over a triangle of corners (3, 3)."""
    a, b, c = np.asarray(corners, np.float32)
    edges = [(a, b - a), (b, c - b), (c, a - c)]
    normal = np.cross(b - a, c - a)
    normal = normal / max(float(np.linalg.norm(normal)), 1e-6)

    def distance(x, y, z):
        best = None
        inside = None
        for corner, edge in edges:
            px, py, pz = x - corner[0], y - corner[1], z - corner[2]
            across = np.cross(edge, normal)
            side = px * across[0] + py * across[1] + pz * across[2] <= 0
            inside = side if inside is None else inside & side
            share = (px * edge[0] + py * edge[1] + pz * edge[2]) / max(float(edge @ edge), 1e-6)
            share = np.clip(share, 0, 1)
            square = (
                (px - share * edge[0]) ** 2
                + (py - share * edge[1]) ** 2
                + (pz - share * edge[2]) ** 2
            )
            best = square if best is None else np.minimum(best, square)
        height = (x - a[0]) * normal[0] + (y - a[1]) * normal[1] + (z - a[2]) * normal[2]
        return np.sqrt(np.where(inside, height**2, best)) - thickness / 2

    low = np.minimum(np.minimum(a, b), c) - thickness / 2
    high = np.maximum(np.maximum(a, b), c) + thickness / 2
    return Shape(low, high, distance)


def sheet(grid: Sequence[Points] | np.ndarray, thickness: float) -> list[Shape]:
    """A curved plate through a grid of points (rows, columns, 3), as triangles."""
    grid = np.asarray(grid, float)
    plates = []
    for i in range(grid.shape[0] - 1):
        for j in range(grid.shape[1] - 1):
            p, q, r, s = grid[i, j], grid[i, j + 1], grid[i + 1, j], grid[i + 1, j + 1]
            plates += [triangle((p, q, r), thickness), triangle((q, s, r), thickness)]
    return plates


@dataclasses.dataclass(frozen=True)
class Profile:
    """A value for every height z, smooth through knots, looked up to the millimetre."""

    start: float
    table: np.ndarray

    def __call__(self, z: float | np.ndarray) -> np.ndarray:
        index = np.clip(np.rint(np.asarray(z) - self.start), 0, len(self.table) - 1)
        return self.table[index.astype(np.int32)]


def profile(heights: Point, values: Point) -> Profile:
    """A smooth monotone-preserving curve through (height, value) knots, heights rising."""
    z = np.arange(heights[0], heights[-1] + 1)
    table = interpolate.PchipInterpolator(heights, values)(np.minimum(z, heights[-1]))
    return Profile(float(heights[0]), table.astype(np.float32))


def column(
    rows: Sequence[Sequence[float]], *, exponent: float = 2.0, z_low=None, z_high=None
) -> Shape:
    """A trunk-like solid: a superellipse at each height.

    Args:
        rows: (z, half width in x, half depth in y, centre in y), z rising.
        exponent: 2 is an ellipse, larger is boxier.
        z_low, z_high: where it is cut off (default: the first and last row).
    """
    table = np.asarray(rows, float)
    width, depth, middle = (profile(table[:, 0], table[:, i]) for i in (1, 2, 3))
    z_low = table[0, 0] if z_low is None else z_low
    z_high = table[-1, 0] if z_high is None else z_high

    def distance(x, y, z):
        a, b = width(z), depth(z)
        u, v = np.abs(x) / a + 1e-4, np.abs(y - middle(z)) / b + 1e-4
        level = (u**exponent + v**exponent) ** (1 / exponent)
        slope = np.hypot((u / level) ** (exponent - 1) / a, (v / level) ** (exponent - 1) / b)
        return np.maximum((level - 1) / slope, np.maximum(z_low - z, z - z_high))

    half = table[:, 1].max()
    front = (table[:, 3] - table[:, 2]).min()
    back = (table[:, 3] + table[:, 2]).max()
    return Shape(np.array([-half, front, z_low]), np.array([half, back, z_high]), distance)


def grow(shape: Shape, margin: float) -> Shape:
    """The shape with its surface moved outwards by `margin`."""
    return Shape(
        shape.low - margin,
        shape.high + margin,
        lambda x, y, z: shape.distance(x, y, z) - margin,
    )


def common(first: Shape, *others: Shape) -> Shape:
    """What all the shapes have in common, in the first one's box."""

    def distance(x, y, z):
        value = first.distance(x, y, z)
        for other in others:
            value = np.maximum(value, other.distance(x, y, z))
        return value

    return Shape(first.low, first.high, distance)


def half_space(point: Point, outwards: Point) -> Shape:
    """Everything behind a plane."""
    point = np.asarray(point, np.float32)
    normal = np.asarray(outwards, np.float32)
    normal = normal / np.linalg.norm(normal)
    everywhere = np.full(3, 1e4)
    return Shape(
        -everywhere,
        everywhere,
        lambda x, y, z: (
            (x - point[0]) * normal[0] + (y - point[1]) * normal[1] + (z - point[2]) * normal[2]
        ),
    )


def smooth_union(first: np.ndarray, second: np.ndarray, radius: float) -> np.ndarray:
    """The nearer of two distances, the crease between them filled over about `radius`."""
    gap = np.maximum(radius - np.abs(first - second), 0)
    return np.minimum(first, second) - gap * gap / (4 * radius)
