"""Where tissues are painted: one label image and, with partial volume, the values of both scans."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from multires_tf.data.phantom import shapes, tissues

FAR = np.float32(1e3)
BOTH = ("ct", "mr")


@dataclasses.dataclass(frozen=True)
class Grid:
    """Voxel centres in the body's frame.

    Attributes:
        first_mm: centre of voxel 0 (z, y, x).
        shape: voxels (z, y, x).
        spacing_mm: edge of the cubic voxels.
    """

    first_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    spacing_mm: float

    def axes_mm(self) -> list[np.ndarray]:
        """Returns the coordinates of the voxel centres along z, y and x."""
        return [
            first + self.spacing_mm * np.arange(count)
            for first, count in zip(self.first_mm, self.shape, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class Bone:
    """A shell of cortical bone `cortex` thick around `inside`."""

    shape: shapes.Shape
    cortex: float
    inside: str = "red spongy bone"


@dataclasses.dataclass
class Canvas:
    """The body while it is painted, tissue over tissue.

    A voxel that a surface crosses gets both values by their shares (partial volume); its label is
    the tissue at its centre.

    Attributes:
        unit_mm: length of the anatomy's unit (the anatomy is written for a body of 1750 units).
        warp: displacement (z, y, x) of the anatomy, in units, three arrays of the grid's shape.
        values: per scan, the value of each tissue, in the order of `tissues.NAMES`.
        texture: per scan, the spread of each tissue (same order), scaling `noise`.
        noise: correlated unit noise on the grid.
    """

    grid: Grid
    unit_mm: float
    warp: list[np.ndarray]
    values: dict[str, np.ndarray]
    texture: dict[str, np.ndarray]
    noise: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        axes = [axis.astype(np.float32) / self.unit_mm for axis in self.grid.axes_mm()]
        mesh = np.meshgrid(*axes, indexing="ij", sparse=True)
        self._axes = axes
        self.z, self.y, self.x = (m + w for m, w in zip(mesh, self.warp, strict=True))
        self._margin = max(float(np.abs(w).max()) for w in self.warp) + 2.5 * self.voxel
        self.label = np.zeros(self.grid.shape, np.uint8)
        self.scans = {
            scan: np.full(self.grid.shape, table[0], np.float32)
            for scan, table in self.values.items()
        }
        self.gas = {scan: np.zeros(self.grid.shape, np.float32) for scan in self.values}

    @property
    def voxel(self) -> float:
        """The voxel's edge in the anatomy's unit."""
        return self.grid.spacing_mm / self.unit_mm

    def region(self, shape: shapes.Shape) -> tuple[slice, slice, slice]:
        """Returns the voxels that a shape can touch."""
        z, y, x = (
            slice(
                int(np.searchsorted(axis, shape.low[2 - i] - self._margin)),
                int(np.searchsorted(axis, shape.high[2 - i] + self._margin)),
            )
            for i, axis in enumerate(self._axes)
        )
        return z, y, x

    def distance(self, solids: shapes.Shape | Iterable[shapes.Shape]) -> tuple[tuple, np.ndarray]:
        """Returns the region of a union of shapes and the distance to it there."""
        solids = [solids] if isinstance(solids, shapes.Shape) else list(solids)
        regions = [self.region(solid) for solid in solids]
        whole = tuple(
            slice(min(r[i].start for r in regions), max(r[i].stop for r in regions))
            for i in range(3)
        )
        best = np.full([s.stop - s.start for s in whole], FAR, np.float32)
        for solid, region in zip(solids, regions, strict=True):
            if any(s.stop <= s.start for s in region):
                continue
            part = tuple(
                slice(s.start - w.start, s.stop - w.start)
                for s, w in zip(region, whole, strict=True)
            )
            here = solid.distance(self.x[region], self.y[region], self.z[region])
            best[part] = np.minimum(best[part], here)
        return whole, best

    def paint(self, region: tuple, distance: np.ndarray, tissue: str, scans=BOTH) -> None:
        """Paints a tissue where `distance` (in the anatomy's unit, over `region`) is negative."""
        index = tissues.INDEX[tissue]
        share = np.clip(np.float32(0.5) - distance / np.float32(self.voxel), 0, 1)
        if not share.size or not share.any():
            return
        for scan in scans:
            target = self.scans[scan][region]
            spread = self.texture[scan][index] * self.noise[scan][region]
            target += share * (self.values[scan][index] + spread - target)
            gas = self.gas[scan][region]
            gas += share * (np.float32(tissue == "gas") - gas)
        if "ct" in scans:
            self.label[region][share >= 0.5] = index

    def fill(self, solids: shapes.Shape | Iterable[shapes.Shape], tissue: str, scans=BOTH) -> None:
        """Paints one tissue into a union of shapes."""
        self.paint(*self.distance(solids), tissue, scans)

    def fill_bones(self, bones: Iterable[Bone]) -> None:
        """Paints cortical bone into the union of the bones, then what is inside their shells."""
        bones = list(bones)
        self.fill([bone.shape for bone in bones], "cortical bone")
        for inside in dict.fromkeys(bone.inside for bone in bones):
            self.fill(
                [shapes.grow(b.shape, -b.cortex) for b in bones if b.inside == inside], inside
            )
