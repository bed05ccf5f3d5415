"""Where voxels lie: the grid of an image, its canonical orientation and the prepared grid.

Arrays are (z, y, x); the physical frame is LPS, in millimetres. The canonical orientation has its
axes nearest to LPS: index z grows towards the head, y towards the back, x towards the left.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk

ORIENTATION = "LPS"
# Two grids closer than this, in voxels at the far end, are the same grid: headers are rounded.
SAME_GRID_VOXELS = 0.02

Vector = Sequence[float] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The grid of an image.

    Attributes:
      size: (z, y, x) number of voxels.
      spacing_mm: (z, y, x) distance of voxel centres.
      origin_mm: (x, y, z) centre of the first voxel.
      direction: 9 numbers, row-major; its columns are the directions of the x, y and z index.
    """

    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3) direction cosines; column k is the direction of index x, y, z."""
        return np.reshape(np.asarray(self.direction, np.float64), (3, 3))

    @property
    def steps_mm(self) -> np.ndarray:
        """(3, 3) physical step of index x, y, z in column k."""
        return self.matrix * np.asarray(self.spacing_mm[::-1])

    def position_mm(self, index_xyz: Vector) -> np.ndarray:
        """Returns the physical point (x, y, z) of a continuous index (x, y, z)."""
        return np.asarray(self.origin_mm) + self.steps_mm @ np.asarray(index_xyz, np.float64)

    def index_xyz(self, position_mm: Vector) -> np.ndarray:
        """Returns the continuous index (x, y, z) of a physical point (x, y, z)."""
        offset = np.asarray(position_mm, np.float64) - np.asarray(self.origin_mm)
        return np.linalg.solve(self.steps_mm, offset)

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lower and upper corner of the box along LPS that holds all voxels whole."""
        ends = [(-0.5, n - 0.5) for n in self.size[::-1]]
        corners = np.array([self.position_mm(index) for index in itertools.product(*ends)])
        return corners.min(axis=0), corners.max(axis=0)

    def as_dict(self) -> dict[str, list[float]]:
        """Returns the fields as plain lists, for JSON."""
        return {name: list(value) for name, value in dataclasses.asdict(self).items()}


def from_dict(fields: dict[str, Any]) -> Geometry:
    """Reads what `Geometry.as_dict` gave; further keys are ignored."""
    return Geometry(
        size=tuple(int(n) for n in fields["size"]),
        spacing_mm=tuple(fields["spacing_mm"]),
        origin_mm=tuple(fields["origin_mm"]),
        direction=tuple(fields["direction"]),
    )


def of_image(image: sitk.Image) -> Geometry:
    """Returns the grid of a 3-D image."""
    return Geometry(
        size=tuple(image.GetSize()[::-1]),
        spacing_mm=tuple(image.GetSpacing()[::-1]),
        origin_mm=tuple(image.GetOrigin()),
        direction=tuple(image.GetDirection()),
    )


def to_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """Makes an image of `array` (z, y, x) on the grid; booleans become uint8."""
    if array.shape != tuple(geometry.size):
        raise ValueError(f"array {array.shape} is not of the grid's size {geometry.size}")
    image = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    return image


def canonical(geometry: Geometry) -> Geometry:
    """Returns the same voxels in canonical order: axes permuted and flipped to be nearest to LPS.

    It is the grid that `canonical_image` gives.
    """
    matrix, size, spacing_mm = geometry.matrix, geometry.size[::-1], geometry.spacing_mm[::-1]
    orient = sitk.DICOMOrientImageFilter()
    orient.SetDesiredCoordinateOrientation(ORIENTATION)
    voxel = sitk.Image(1, 1, 1, sitk.sitkUInt8)
    voxel.SetDirection(geometry.direction)
    orient.Execute(voxel)
    axes, flips = orient.GetPermuteOrder(), orient.GetFlipAxes()
    first = [0.0, 0.0, 0.0]
    for axis, flip in zip(axes, flips, strict=True):
        first[axis] = size[axis] - 1 if flip else 0
    signs = np.where(flips, -1.0, 1.0)
    return Geometry(
        size=tuple(size[axis] for axis in axes[::-1]),
        spacing_mm=tuple(spacing_mm[axis] for axis in axes[::-1]),
        origin_mm=tuple(geometry.position_mm(first).tolist()),
        direction=tuple((matrix[:, axes] * signs).ravel().tolist()),
    )


def canonical_image(image: sitk.Image) -> sitk.Image:
    """Returns the image in canonical orientation; voxel values are untouched."""
    return sitk.DICOMOrient(image, ORIENTATION)


def same_grid(ours: Geometry, theirs: Geometry) -> bool:
    """Tells whether two grids agree in size and, to 0.02 voxels in every corner, in place."""
    if tuple(ours.size) != tuple(theirs.size):
        return False
    ends = [(0, n - 1) for n in ours.size[::-1]]
    return all(
        np.abs(theirs.index_xyz(ours.position_mm(index)) - index).max() <= SAME_GRID_VOXELS
        for index in itertools.product(*ends)
    )


def upright(grid: Geometry, *, square: bool = False) -> Geometry:
    """Returns the grid along LPS itself for those who know no other: axial slices and gantries.

    Where the axes are LPS up to their order and sense, the voxels stay, in canonical order; any
    other grid gives way to one of its own spacings over the box that holds its field.

    Args:
      grid: in any orientation.
      square: voxels are as wide as deep, the finer of both; planning systems want square pixels.
    """
    own = canonical(grid)
    along = dataclasses.replace(own, direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    z_mm, y_mm, x_mm = own.spacing_mm
    finer_mm = min(y_mm, x_mm)
    is_square = max(abs(y_mm - x_mm) * n for n in own.size[1:]) <= SAME_GRID_VOXELS * finer_mm
    if same_grid(own, along) and (is_square or not square):
        return along
    spacing_mm = np.array([finer_mm, finer_mm, z_mm] if square else [x_mm, y_mm, z_mm])
    low, high = own.bounds_mm()
    size = np.maximum(1, np.ceil((high - low) / spacing_mm - 1e-3)).astype(int)
    first = (low + high - (size - 1) * spacing_mm) / 2
    return dataclasses.replace(
        along,
        size=tuple(size[::-1].tolist()),
        spacing_mm=tuple(spacing_mm[::-1].tolist()),
        origin_mm=tuple(first.tolist()),
    )


def prepared_grid(mr: Geometry, spacing_mm: Sequence[float] | None) -> Geometry:
    """Returns the grid of the prepared volumes: the MR's field and axes at the wanted spacing.

    The edges of the field are kept, not the centres of its first voxels: the first edge stays,
    and the number of voxels is rounded up, so that the whole field is covered.

    Args:
      mr: grid of the MR, in any orientation.
      spacing_mm: (z, y, x) along the canonical axes; None keeps the MR's own.
    """
    mr = canonical(mr)
    if spacing_mm is None:
        return mr
    size, spacing, first = [], [], []
    for count, own_mm, wanted_mm in zip(mr.size, mr.spacing_mm, spacing_mm, strict=True):
        if abs(wanted_mm - own_mm) * count <= SAME_GRID_VOXELS * own_mm:
            wanted_mm = own_mm
        spacing.append(float(wanted_mm))
        # The small number forgives rounding: 80 voxels of 1.2 mm are 40 of 2.4 mm, not 41.
        size.append(max(1, int(np.ceil(count * own_mm / wanted_mm - 1e-3))))
        first.append((wanted_mm / own_mm - 1) / 2)
    return Geometry(
        size=tuple(size),
        spacing_mm=tuple(spacing),
        origin_mm=tuple(mr.position_mm(first[::-1]).tolist()),
        direction=mr.direction,
    )
