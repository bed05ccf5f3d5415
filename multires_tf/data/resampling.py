"""From one grid to another and back: linear, anti-aliased where voxels grow, edges in place."""

from __future__ import annotations

import dataclasses

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from multires_tf.data import geometry

# A voxel is taken for a Gaussian whose full width at half maximum is its edge (Cardoso et al.,
# IPMI 2015): this turns the width into a standard deviation.
FWHM_TO_SD = 1 / np.sqrt(8 * np.log(2))


def resample(
    image: sitk.Image,
    grid: geometry.Geometry,
    *,
    fill: float,
    transform: sitk.Transform | None = None,
) -> np.ndarray:
    """Returns `image` on `grid` as float32 (z, y, x).

    Where the new voxels are larger, the image is first smoothed by the Gaussian that makes an old
    voxel as wide as a new one. Identical grids, also up to the order of the axes, and grids that
    differ by whole voxels keep the values to the bit.

    Args:
      image: 3-D, any orientation.
      grid: the new grid.
      fill: value outside the image's field.
      transform: from points of the grid's frame to the image's, millimetres; None if they are one.
    """
    image = _float32(_in_order_of(image, grid))
    if transform is not None:
        return _interpolated(_smoothed(image, grid), grid, fill=fill, transform=transform)
    own = geometry.of_image(image)
    if geometry.same_grid(own, grid):
        return sitk.GetArrayFromImage(image)
    return _interpolated(_snapped(_smoothed(image, grid), grid), grid, fill=fill)


def resample_mask(
    mask: np.ndarray,
    own: geometry.Geometry,
    grid: geometry.Geometry,
    *,
    share: float,
    transform: sitk.Transform | None = None,
) -> np.ndarray:
    """Returns where at least `share` of a voxel of `grid` is inside `mask`; False outside `own`.

    Args:
      mask: bool (z, y, x) on the grid `own`.
      own: grid of the mask.
      grid: the new grid.
      share: 0.5 keeps the volume; close to 1 takes only voxels which are wholly inside.
      transform: as for `resample`.
    """
    if transform is None and geometry.same_grid(own, grid):
        return mask.copy()
    image = geometry.to_image(mask, own)
    return resample(image, grid, fill=0.0, transform=transform) >= share


def interpolate(image: sitk.Image, grid: geometry.Geometry) -> np.ndarray:
    """Returns a predicted map on the prepared grid, where it came from, as float32 (z, y, x).

    Unlike a scan it is never smoothed: it holds nothing finer. Voxels that reach past its last
    centre, yet inside its field, take its value.
    """
    image = _float32(_in_order_of(image, grid))
    if geometry.same_grid(geometry.of_image(image), grid):
        return sitk.GetArrayFromImage(image)
    return _interpolated(image, grid, fill=None)


def restore(
    array: np.ndarray, prepared: geometry.Geometry, source: geometry.Geometry, *, fill: float
) -> np.ndarray:
    """Brings a map on the prepared grid back to the grid and orientation of the original image.

    Args:
      array: (z, y, x) on `prepared`.
      prepared: the prepared grid of the subject.
      source: the grid of the image as it came.
      fill: value outside the prepared field.

    Returns:
      float32 of shape `source.size`; where the prepared grid is the original up to the order of
      its axes, the values are untouched.
    """
    image = geometry.to_image(array, prepared)
    del array  # of a whole body half a gigabyte, if the caller needs it no more
    return resample(image, source, fill=fill)


def _interpolated(
    image: sitk.Image,
    grid: geometry.Geometry,
    *,
    fill: float | None,
    transform: sitk.Transform | None = None,
) -> np.ndarray:
    """Linear; outside the image's field `fill`, or the nearest voxel where that is None."""
    resample = sitk.ResampleImageFilter()
    if transform is not None:
        resample.SetTransform(transform)
    resample.SetSize(grid.size[::-1])
    resample.SetOutputSpacing(grid.spacing_mm[::-1])
    resample.SetOutputOrigin(grid.origin_mm)
    resample.SetOutputDirection(grid.direction)
    resample.SetInterpolator(sitk.sitkLinear)
    if fill is None:
        resample.SetUseNearestNeighborExtrapolator(True)
    else:
        resample.SetDefaultPixelValue(fill)
    return sitk.GetArrayFromImage(resample.Execute(image))


def _in_order_of(image: sitk.Image, grid: geometry.Geometry) -> sitk.Image:
    """Permutes and flips the axes of `image` to be nearest to those of `grid`."""
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines
    if code(image.GetDirection()) == code(grid.direction):
        return image  # the filter would copy it
    return sitk.DICOMOrient(image, code(grid.direction))


def _float32(image: sitk.Image) -> sitk.Image:
    return image if image.GetPixelID() == sitk.sitkFloat32 else sitk.Cast(image, sitk.sitkFloat32)


def _smoothed(image: sitk.Image, grid: geometry.Geometry) -> sitk.Image:
    own = geometry.of_image(image)
    ratios = np.asarray(grid.spacing_mm) / np.asarray(own.spacing_mm)
    deviations = FWHM_TO_SD * np.sqrt(np.maximum(ratios**2 - 1, 0))
    # Below a tenth of a voxel the kernel is a spike: spacings that differ by rounding.
    deviations[deviations < 0.1] = 0
    if not deviations.any():
        return image
    array = sitk.GetArrayViewFromImage(image)
    return geometry.to_image(
        ndimage.gaussian_filter(array, deviations, mode="nearest", truncate=3.0), own
    )


def _snapped(image: sitk.Image, grid: geometry.Geometry) -> sitk.Image:
    """Moves the image by the rounding of its header, if it lies whole voxels away from `grid`."""
    own = geometry.of_image(image)
    shift = np.round(grid.index_xyz(own.origin_mm))
    moved = dataclasses.replace(
        grid, size=own.size, origin_mm=tuple(grid.position_mm(shift).tolist())
    )
    if not geometry.same_grid(own, moved):
        return image
    return geometry.to_image(sitk.GetArrayViewFromImage(image), moved)
