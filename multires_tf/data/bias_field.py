"""The MR's bias field: the slow shading by the coils, found by N4 and divided out.

N4 (Tustison et al., IEEE TMI 29:1310, 2010) sharpens the histogram of log intensities. In a whole
body three things mislead it and are left out of its mask: voxels that mix two tissues; tissue that
hardly gives signal (lung, cortical bone); and, once a first coarse pass has levelled the image, all
that is darker than muscle. In the head grey and white matter lie a little below muscle, and nothing
else is near: N4 would take them for muscle in the shade.

It works on a shrunken image; the field is smooth and is applied at full resolution.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from multires_tf.data import geometry, resampling

# Raster on which voxels are judged, and every how many of them N4 takes one.
_RASTER_MM, _STRIDE = 5.0, 2
# A voxel is pure if its log intensity changes by less than this to the next one of the raster.
_PURE = 0.06
# Shares of the body's bright end, fat: below the first there is no signal, below the second (after
# the first pass) no muscle.
_BRIGHT_PERCENTILE, _SIGNAL, _MUSCLE = 97.0, 0.2, 0.28
_LEAST_VOXELS = 1000
# In phantoms without any field it finds a coefficient of variation of 0.02 to 0.03: less than this
# is not divided out, so that images that were corrected before stay as they are.
LEAST_VARIATION = 0.04


@dataclasses.dataclass(frozen=True)
class _Pass:
    """Distance of the spline's knots, and the greatest number of iterations of each level."""

    knots_mm: float
    iterations: tuple[int, ...]


_COARSE = _Pass(knots_mm=1000.0, iterations=(50,))
_FINE = _Pass(knots_mm=400.0, iterations=(50, 50))


def corrected(image: sitk.Image, body: np.ndarray) -> sitk.Image:
    """Returns the image divided by its bias field, float32; untouched where there is hardly one.

    Args:
      image: the MR, canonical.
      body: bool (z, y, x), its body.
    """
    field = estimate(image, body)
    if variation(field, body) < LEAST_VARIATION:
        return image
    # In place: of a whole body each array has half a gigabyte.
    np.divide(sitk.GetArrayViewFromImage(image), field, out=field)
    return geometry.to_image(field, geometry.of_image(image))


def variation(field: np.ndarray, body: np.ndarray) -> float:
    """Returns a field's coefficient of variation inside the body."""
    inside = field[body]
    return float(inside.std(dtype=np.float64) / inside.mean(dtype=np.float64))


def estimate(image: sitk.Image, body: np.ndarray) -> np.ndarray:
    """Returns the field by which to divide the image: float32 (z, y, x), mean 1 in the body.

    It is 1 everywhere where the body is too small to tell.

    Args:
      image: the MR, canonical.
      body: bool (z, y, x), its body.
    """
    own = geometry.of_image(image)
    flat = np.ones(own.size, np.float32)
    raster = _Raster.of(image, body)
    field = raster.run(raster.signal, _COARSE)
    if field is None:
        return flat
    level = raster.array / field
    field = raster.run(raster.signal & (level > _MUSCLE * _bright(level, raster.body)), _FINE)
    if field is None:
        return flat
    field = resampling.interpolate(geometry.to_image(field, raster.grid), own)
    field /= np.float32(field[body].mean(dtype=np.float64))
    return field


def _bright(array: np.ndarray, body: np.ndarray) -> float:
    return float(np.percentile(array[body], _BRIGHT_PERCENTILE))


@dataclasses.dataclass(frozen=True)
class _Raster:
    """The shrunken image.

    Attributes:
      array: float32 (z, y, x), a little smoothed.
      body: bool, voxels wholly inside the body.
      signal: bool, those of them that are pure and give signal.
    """

    array: np.ndarray
    body: np.ndarray
    signal: np.ndarray
    grid: geometry.Geometry

    @classmethod
    def of(cls, image: sitk.Image, body: np.ndarray) -> _Raster:
        own = geometry.of_image(image)
        factors = [max(1, round(_RASTER_MM / mm)) for mm in own.spacing_mm[::-1]]
        shrunken = sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), factors)
        inside = sitk.BinShrink(sitk.Cast(geometry.to_image(body, own), sitk.sitkFloat32), factors)
        array = sitk.GetArrayFromImage(shrunken)
        within = sitk.GetArrayFromImage(inside) > 0.99
        if not within.any():
            return cls(array, within, within, geometry.of_image(shrunken))
        bright = _bright(array, within)
        logs = np.log(np.maximum(array, 0.02 * bright))
        pure = ndimage.gaussian_gradient_magnitude(logs, 1.0) < _PURE
        return cls(
            array=ndimage.gaussian_filter(array, 0.7),
            body=within,
            signal=within & pure & (array > _SIGNAL * bright),
            grid=geometry.of_image(shrunken),
        )

    def run(self, mask: np.ndarray, one: _Pass) -> np.ndarray | None:
        """Returns the field that N4 finds on the voxels of `mask`, or None if they are too few."""
        if np.count_nonzero(mask) < _LEAST_VOXELS:
            return None
        image = geometry.to_image(self.array, self.grid)
        extent_mm = np.multiply(self.grid.size, self.grid.spacing_mm)[::-1]
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        # A cubic spline has three control points more than stretches between its knots.
        n4.SetNumberOfControlPoints(
            [3 + max(1, int(np.ceil(mm / one.knots_mm))) for mm in extent_mm]
        )
        n4.SetMaximumNumberOfIterations(one.iterations)
        strides = [_STRIDE] * 3
        n4.Execute(
            sitk.Shrink(image, strides), sitk.Shrink(geometry.to_image(mask, self.grid), strides)
        )
        log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).astype(np.float32)
        return np.exp(log_field) if np.isfinite(log_field).all() else None
