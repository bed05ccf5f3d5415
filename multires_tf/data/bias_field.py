"""The MR's bias field: the slow shading by the coils, found and divided out.

Each peak in the histogram of log intensities is one tissue, its voxels should have one intensity,
and a smooth field accounts for what they differ by; voxels far from every peak (small organs,
marrow, mixtures) do not count. Field and peaks are found in turns. That may end in a wrong field
where shading makes one tissue as bright as another, so it is begun twice, with fields by N4
(Tustison et al., IEEE TMI 29:1310, 2010), and the result that gathers more voxels at peaks is
taken. One N4 sees all tissue; the other none darker than muscle in the image levelled by a coarse
N4, lest it take the brain for muscle in the shade. Voxels that mix two tissues or hardly give
signal (lung, cortical bone) mislead all of it and are left out.

Both work on a shrunken image; the field is smooth and is applied at full resolution.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, signal

from multires_tf.data import geometry, resampling, splines

# Raster on which voxels are judged, and every how many of them is taken.
_RASTER_MM, _STRIDE = 5.0, 2
# A voxel is pure if its log intensity changes by less than this to the next one of the raster.
_PURE = 0.06
# Shares of the body's bright end, fat: below the first there is no signal, below the second (after
# a coarse pass) no muscle.
_BRIGHT_PERCENTILE, _SIGNAL, _MUSCLE = 97.0, 0.2, 0.28
_LEAST_VOXELS = 1000
# N4's knots and iterations by level. More of either made it worse (experiments/README.md).
_COARSE, _FINE = (1000.0, (50,)), (400.0, (50, 50))
# Coils shade over two decimetres and more.
_FINE_KNOTS_MM = 200.0
# Squared steps between coefficients, against the squared misfit of voxels. Half of it lets the
# field run away where nothing is near (the top of the head), four times it flattens the field. It
# is a sum: the fewer voxels a body has, the less they can bend the field.
_STIFFNESS = 0.1
# In logarithms: a tissue has noise and texture of sd 0.05 to 0.07, so at twice that it has ended.
# After so many rounds the field no longer changes.
_TISSUE_WIDTH, _ROUNDS = 0.15, 12
# The histogram of logarithms: its bins, the sd by which it is smoothed (half a tissue's), how far
# apart peaks are at least, and the least share of the highest by which one must stand out.
_BIN, _SMOOTHING, _APART, _STANDS_OUT = 0.002, 0.03, 0.2, 0.05
# In phantoms without any field it finds a coefficient of variation of 0.01 to 0.03: less than this
# is not divided out, so that images that were corrected before stay as they are.
LEAST_VARIATION = 0.04


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
    fits = [raster.evened(start) for start in raster.starts()]
    if not fits:
        return flat
    field = np.exp(max(fits, key=lambda fit: fit[1])[0])
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
      pure: bool, those of them at which there is no edge.
      level: bool, those of the pure that are no crest either.
    """

    array: np.ndarray
    body: np.ndarray
    pure: np.ndarray
    level: np.ndarray
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
            return cls(array, within, within, within, geometry.of_image(shrunken))
        logs = np.log(np.maximum(array, 0.02 * _bright(array, within)))
        pure = within & (ndimage.gaussian_gradient_magnitude(logs, 1.0) < _PURE)
        # A thin layer of fat has no gradient at its crest, and yet mixes with both its sides.
        level = pure & (np.abs(ndimage.gaussian_laplace(logs, 1.0)) < _PURE)
        array = ndimage.gaussian_filter(array, 0.7)
        return cls(array, within, pure, level, geometry.of_image(shrunken))

    def brighter(self, share: float, log_field: np.ndarray | float = 0.0) -> np.ndarray:
        """Returns where the image, levelled by a field, exceeds a share of its bright end."""
        array = self.array / np.exp(log_field)
        return array > share * _bright(array, self.body)

    def starts(self) -> list[np.ndarray]:
        """Returns the log fields to begin with, none if the body is too small to tell."""
        if not self.body.any():
            return []
        mask = self.pure & self.brighter(_SIGNAL)
        found = [self.n4(mask, *_FINE)]
        coarse = self.n4(mask, *_COARSE)
        if coarse is not None:
            found.append(self.n4(mask & self.brighter(_MUSCLE, coarse), *_FINE))
        return [log_field for log_field in found if log_field is not None]

    def n4(
        self, mask: np.ndarray, knots_mm: float, iterations: tuple[int, ...]
    ) -> np.ndarray | None:
        """Returns the log field that N4 finds on the voxels of `mask`, or None if too few."""
        if np.count_nonzero(mask) < _LEAST_VOXELS:
            return None
        image = geometry.to_image(self.array, self.grid)
        extent_mm = np.multiply(self.grid.size, self.grid.spacing_mm)[::-1]
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        # A cubic spline has three control points more than stretches between its knots.
        n4.SetNumberOfControlPoints([3 + max(1, int(np.ceil(mm / knots_mm))) for mm in extent_mm])
        n4.SetMaximumNumberOfIterations(iterations)
        strides = [_STRIDE] * 3
        n4.Execute(
            sitk.Shrink(image, strides), sitk.Shrink(geometry.to_image(mask, self.grid), strides)
        )
        log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).astype(np.float32)
        return log_field if np.isfinite(log_field).all() else None

    def evened(self, log_field: np.ndarray) -> tuple[np.ndarray, float]:
        """Returns the log field that makes each tissue even, and how well from 0 to 1.

        Args:
          log_field: by which tissues are told at first.
        """
        mask = self.level & self.brighter(_SIGNAL, log_field)
        taken = np.zeros_like(mask)
        taken[(slice(None, None, _STRIDE),) * 3] = True
        places = np.nonzero(mask & taken)
        if not places[0].size:
            return log_field, 0.0
        logs, own = np.log(self.array[places]), log_field[places]
        spline = splines.Spline.over(mask.shape, self.grid.spacing_mm, _FINE_KNOTS_MM)
        rows, penalty = spline.rows(places), _STIFFNESS * spline.roughness()
        for _ in range(_ROUNDS):
            tissue = _nearest_peak(logs - own)
            # Tukey's biweight: what lies a width away from its tissue's peak has no say.
            near = 1 - np.minimum(np.abs(logs - own - tissue) / _TISSUE_WIDTH, 1) ** 2
            coefficients = splines.fit(rows, logs - tissue, near**2, penalty)
            own = rows @ coefficients
        return spline.field(coefficients), float(np.mean(near**3))


def _nearest_peak(logs: np.ndarray) -> np.ndarray:
    """Returns for each value the peak next to it in the histogram of them all."""
    edges = np.arange(logs.min() - _APART, logs.max() + _APART, _BIN)
    counts = np.histogram(logs, edges)[0].astype(float)
    heights = ndimage.gaussian_filter1d(counts, _SMOOTHING / _BIN)
    found, _ = signal.find_peaks(
        heights, prominence=_STANDS_OUT * heights.max(), distance=_APART / _BIN
    )
    peaks = edges[found] + _BIN / 2
    return peaks[np.abs(logs[:, None] - peaks).argmin(axis=1)]
