"""The MR's bias field: the slow shading by the coils, found and divided out.

Each peak in the histogram of log intensities is one tissue, its voxels should have one intensity,
and a smooth field accounts for what they differ by. Only voxels whose neighbours are of the same
tissue count: at an edge two are mixed, and what is far from every peak (small organs, marrow) is no
tissue that could be told. Field and tissues are found in turns. That may end in a wrong field where
shading makes one tissue as bright as another, so it is begun twice, and the result that gathers
more voxels at peaks is taken: once with the field that N4 finds (Tustison et al., IEEE TMI 29:1310,
2010), once with one that changes along the body alone, told from the histograms of slabs.

All of it works on a shrunken image; the field is smooth and is applied at full resolution.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from multires_tf.data import geometry, resampling, splines, tissue_peaks

# Raster on which voxels are judged, and every how many of them is taken.
_RASTER_MM, _STRIDE = 5.0, 2
# Away from edges a log intensity changes by less than this from one voxel of the raster to the
# next, and it bends by less.
_LEVEL = 0.06
# Share of the body's bright end, fat, below which there is no signal.
_BRIGHT_PERCENTILE, _SIGNAL = 97.0, 0.2
# Fewer level voxels do not tell, and on fewer voxels along an axis N4 does not run.
_LEAST_VOXELS, _LEAST_EDGE = 200, 4
# N4's knots and iterations by level. More of either made it worse (experiments/README.md).
_N4_KNOTS_MM, _N4_ITERATIONS = 400.0, (50, 50)
# Coils shade over two decimetres and more.
_KNOTS_MM = 200.0
# Squared steps between coefficients, against the squared misfit of voxels. It is a sum: the fewer
# voxels a body has, the less they can bend the field. Halved from round to round: stiff at first, a
# field cannot make one tissue of two (liver and muscle).
_STIFFNESS, _STIFFNESS_AT_FIRST = 0.3, 30.0
# In logarithms: noise and texture spread a tissue by 0.05 to 0.1, so at this distance from its peak
# it has ended; a misfit a little larger, as the field changes, has no say.
_WIDTH, _MISFIT = 0.2, 0.24
# After so many rounds the field no longer changes.
_ROUNDS = 14
# In phantoms without any field it finds a coefficient of variation of 0.01 to 0.02, in limbs that
# were corrected before up to 0.035: less than this is not divided out, and such stay as they are.
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

    It is 1 everywhere where the body is too small to tell, or no tissue is found in it.

    Args:
      image: the MR, canonical.
      body: bool (z, y, x), its body.
    """
    own = geometry.of_image(image)
    raster = _Raster.of(image, body)
    if np.count_nonzero(raster.level) < _LEAST_VOXELS or min(raster.logs.shape) < _LEAST_EDGE:
        return np.ones(own.size, np.float32)
    fits = [raster.evened(start) for start in raster.starts()]
    log_field, gathered = max(fits, key=lambda fit: fit[1])
    if not gathered:
        return np.ones(own.size, np.float32)
    field = np.exp(log_field)
    field = resampling.interpolate(geometry.to_image(field, raster.grid), own)
    field /= np.float32(field[body].mean(dtype=np.float64))
    return field


@dataclasses.dataclass(frozen=True)
class _Raster:
    """The shrunken image.

    Attributes:
      logs: float32 (z, y, x), logarithms of the intensities.
      signal: bool, voxels wholly inside the body that are not dark.
      level: bool, those of them at which there is no edge and no crest.
    """

    logs: np.ndarray
    signal: np.ndarray
    level: np.ndarray
    grid: geometry.Geometry

    @classmethod
    def of(cls, image: sitk.Image, body: np.ndarray) -> _Raster:
        own = geometry.of_image(image)
        factors = [
            min(max(1, round(_RASTER_MM / mm)), voxels)
            for mm, voxels in zip(own.spacing_mm[::-1], own.size[::-1], strict=True)
        ]
        shrunken = sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), factors)
        inside = sitk.BinShrink(sitk.Cast(geometry.to_image(body, own), sitk.sitkFloat32), factors)
        array = sitk.GetArrayFromImage(shrunken)
        within = sitk.GetArrayFromImage(inside) > 0.99
        bright = float(np.percentile(array[within], _BRIGHT_PERCENTILE)) if within.any() else 1.0
        signal = within & (array > _SIGNAL * bright)
        logs = np.log(np.maximum(array, 0.02 * bright))
        level = signal & (ndimage.gaussian_gradient_magnitude(logs, 1.0) < _LEVEL)
        # A thin layer of fat has no gradient at its crest, and yet mixes with both its sides.
        level &= np.abs(ndimage.gaussian_laplace(logs, 1.0)) < _LEVEL
        return cls(logs, signal, level, geometry.of_image(shrunken))

    def starts(self) -> list[np.ndarray]:
        """Returns the log fields to begin with."""
        found = [self.n4(), tissue_peaks.along(self.logs, self.level, self.grid.spacing_mm[0])]
        return [log_field for log_field in found if np.isfinite(log_field).all()]

    def n4(self) -> np.ndarray:
        """Returns the log field that N4 finds on level voxels."""
        image = geometry.to_image(np.exp(ndimage.gaussian_filter(self.logs, 0.7)), self.grid)
        extent_mm = np.multiply(self.grid.size, self.grid.spacing_mm)[::-1]
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        # A cubic spline has three control points more than stretches between its knots.
        n4.SetNumberOfControlPoints(
            [3 + max(1, int(np.ceil(mm / _N4_KNOTS_MM))) for mm in extent_mm]
        )
        n4.SetMaximumNumberOfIterations(_N4_ITERATIONS)
        strides = [_STRIDE] * 3
        n4.Execute(
            sitk.Shrink(image, strides),
            sitk.Shrink(geometry.to_image(self.level, self.grid), strides),
        )
        return sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).astype(np.float32)

    def evened(self, log_field: np.ndarray) -> tuple[np.ndarray, float]:
        """Returns the log field that makes each tissue even, and how well from 0 to 1.

        Args:
          log_field: by which tissues are told at first.
        """
        spline = splines.Spline.over(self.logs.shape, self.grid.spacing_mm, _KNOTS_MM)
        roughness, stiffness = spline.roughness(), _STIFFNESS_AT_FIRST
        taken = np.zeros_like(self.level)
        for first in (0, 1):  # every second voxel of each axis, and those in the middle of them
            taken[(slice(first, None, _STRIDE),) * 3] = True
        told = self.level
        for _ in range(_ROUNDS):
            tissue = self._tissue(log_field, told)
            told = np.isfinite(tissue)
            places = np.nonzero(told & taken)
            if not places[0].size:
                return log_field, 0.0
            values = (self.logs - tissue)[places]
            # Tukey's biweight.
            misfit = np.minimum(np.abs(values - log_field[places]) / _MISFIT, 1)
            weights = (1 - misfit**2) ** 2
            found = splines.fit(spline.rows(places), values, weights, stiffness * roughness)
            log_field = spline.field(found)
            stiffness = max(stiffness / 2, _STIFFNESS)
        misfit = (self.logs - log_field - self._tissue(log_field, told)) / _WIDTH
        return log_field, float(np.nansum((1 - misfit**2) ** 3) / np.count_nonzero(self.signal))

    def _tissue(self, log_field: np.ndarray, told: np.ndarray) -> np.ndarray:
        """Returns the log intensity of each voxel's tissue, by the peaks of those that are told."""
        logs = self.logs - log_field
        return tissue_peaks.nearest(logs, self.signal, tissue_peaks.find(logs[told]), _WIDTH)
