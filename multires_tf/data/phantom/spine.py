"""The spine: discs, vertebrae with their arches, the canal with the cord."""

from __future__ import annotations

import dataclasses

import numpy as np

from multires_tf.data.phantom import shapes
from multires_tf.data.phantom.body import Body
from multires_tf.data.phantom.canvas import Bone, Canvas


@dataclasses.dataclass(frozen=True)
class Vertebra:
    """One vertebra: its name, the centre of its body, and the body's half width, depth, height."""

    name: str
    centre: np.ndarray
    radii: tuple[float, float, float]
    tilt: float


def spine_y() -> shapes.Profile:
    """Returns y of the vertebral bodies by height: neck and loin forward, chest and sacrum back."""
    heights = [880, 930, 1000, 1035, 1100, 1190, 1330, 1430, 1490, 1550, 1625]
    return shapes.profile(heights, [74, 80, 50, 34, 24, 38, 54, 46, 30, 15, 14])


def vertebrae(sway: float) -> list[Vertebra]:
    """Returns C1 to L5; `sway` bends the spine sideways by so much."""
    heights = np.concatenate([np.full(5, 37.0), np.linspace(29.5, 21, 12), np.full(7, 18.0)])
    names = [f"L{i}" for i in range(5, 0, -1)]
    names += [f"T{i}" for i in range(12, 0, -1)] + [f"C{i}" for i in range(7, 0, -1)]
    widths = np.concatenate([np.linspace(26, 23, 5), np.linspace(20, 13, 12), np.full(7, 10.5)])
    depths = np.concatenate([np.linspace(18, 16.5, 5), np.linspace(16, 10, 12), np.full(7, 8.5)])
    curve = spine_y()
    base = 1003.0
    result = []
    for name, height, width, depth in zip(names, heights, widths, depths, strict=True):
        z = base + height / 2
        tilt = float((curve(z + 15) - curve(z - 15)) / 30)
        x = sway * np.sin((z - 1000) / 600 * 2 * np.pi)
        gap = 0.22 if name[0] != "T" else 0.16
        centre = np.array([x, float(curve(z)), z])
        result.append(Vertebra(name, centre, (width, depth, height * (1 - gap) / 2), tilt))
        base += height
    return result


def _body(vertebra: Vertebra) -> shapes.Shape:
    """Returns a short, waisted, tilted cylinder with rounded rims."""
    cx, cy, cz = vertebra.centre
    width, depth, half = vertebra.radii

    def distance(x, y, z):
        dx, dz = x - cx, z - cz
        dy = y - cy - vertebra.tilt * dz
        lift = dz + vertebra.tilt * (y - cy)
        waist = 1 - 0.12 * (1 - np.clip(lift / half, -1, 1) ** 2)
        level = np.sqrt((dx / width) ** 2 + (dy / depth) ** 2 + 1e-6) / waist
        side = (level - 1) * depth
        top = np.abs(lift) - half
        # Rims rounded by 2.
        rim = np.hypot(np.maximum(side + 2, 0), np.maximum(top + 2, 0)) - 2
        return np.maximum(rim, np.maximum(side, top))

    reach = np.array([width, depth + 4, half + 4])
    return shapes.Shape(vertebra.centre - reach, vertebra.centre + reach, distance)


def _arch(vertebra: Vertebra) -> list[shapes.Shape]:
    """Returns pedicles, laminae, transverse and spinous processes."""
    cx, cy, cz = vertebra.centre
    width, depth, half = vertebra.radii
    region = vertebra.name[0]
    thick = {"C": 2.8, "T": 3.6, "L": 4.6}[region]
    spine_tip = {"C": (30, -6), "T": (40, -24), "L": (46, -6)}[region]
    if vertebra.name == "C7":
        spine_tip = (42, -10)
    wing = {"C": 24, "T": 31, "L": 42}[region]
    back = cy + depth
    parts = []
    for side in (-1, 1):
        root = (cx + side * 0.62 * width, back - 3, cz + 0.35 * half)
        corner = (cx + side * (0.55 * width + 3), back + 12, cz + 0.2 * half)
        joint = (cx, back + 22, cz - 0.2 * half)
        parts += shapes.tube([root, corner, joint], thick, flat=((0, 0, 1), 1.7))
        parts.append(shapes.cone(corner, (cx + side * wing, back + 14, cz + 2), thick, 2.6))
        parts.append(
            shapes.cone(
                (corner[0], corner[1], cz + half), (corner[0], corner[1] + 2, cz - half), thick
            )
        )
    tip = (cx, back + 22 + spine_tip[0] * 0.55, cz + spine_tip[1])
    parts.append(shapes.cone((cx, back + 20, cz), tip, thick, 3.0, flat=((0, 0, 1), 1.8)))
    return parts


def draw_spine(canvas: Canvas, body: Body, chain: list[Vertebra]) -> None:
    """Paints discs, vertebrae and the canal."""
    solid = [v for v in chain if v.name != "C1"]
    middle = np.array([v.centre for v in chain])
    widths = np.array([0.92 * v.radii[1] for v in chain])
    wide = float(np.mean([v.radii[0] / v.radii[1] for v in chain]))
    start = np.array([[middle[0, 0], middle[0, 1] + 8, 1000.0]])
    discs = shapes.tube(
        np.vstack([start, middle[:-1]]), np.concatenate([[17], widths[:-1]]), flat=((1, 0, 0), wide)
    )
    canvas.fill(discs, "disc")
    bones = [Bone(_body(v), 1.3 * body.bone) for v in solid]
    bones += [Bone(part, 1.6 * body.bone) for v in solid for part in _arch(v)]
    bones += [Bone(part, 1.8) for part in _atlas(chain[-1])]
    canvas.fill_bones(bones)
    behind = [v.centre + np.array([0, v.radii[1] + 9.5, 0]) for v in chain]
    canal = np.array([*behind, behind[-1] + np.array([0, 2, 26])])
    sizes = np.array([8.5] * 5 + [7.5] * 12 + [8.0] * 8)
    canvas.fill(shapes.tube(canal, sizes, flat=((1, 0, 0), 1.2)), "cerebrospinal fluid")
    canvas.fill(shapes.tube(canal[4:], 4.2, flat=((1, 0, 0), 1.3)), "spinal cord")


def _atlas(vertebra: Vertebra) -> list[shapes.Shape]:
    """Returns the ring of C1 with its lateral masses."""
    cx, cy, cz = vertebra.centre
    angles = np.linspace(0, 2 * np.pi, 13)
    ring = [(cx + 20 * np.cos(a), cy + 10 + 19 * np.sin(a), cz) for a in angles]
    masses = [shapes.ellipsoid((cx + s * 18, cy + 4, cz + 2), (8, 9, 9)) for s in (-1, 1)]
    return [*shapes.tube(ring, 3.4), *masses]
