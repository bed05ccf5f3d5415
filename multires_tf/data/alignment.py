"""How well an MR and a CT lie together under a transform: similarity, overlap, folding.

The two are compared on coarse grids, around the body, with the table left out. The MR is the fixed
image: transforms map points of its frame into the CT's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from multires_tf.data import geometry, resampling
from multires_tf.ground import errors

# Voxels of the grid on which images are compared; bodies move by millimetres, not by tenths.
_SPACING_MM = 4.0
# Air around the body that is compared as well, so that contours count.
_RIM_MM = 16.0
# More than a B-spline moves anything: beyond its domain it jumps to identity.
_DOMAIN_RIM_MM = 40.0
_BINS = 32
# Soft tissue and spongy bone spread over the bins; cortical bone and air are ends of the scale.
_CT_RANGE_HU = (-500.0, 700.0)
_MR_PERCENTILE = 99.0
_SEED = 20201004  # of the samples' jitter


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two images.

    Attributes:
      image: canonical orientation, any spacing; the CT in HU.
      body: bool (z, y, x), the body on the image's grid.
      field: bool, same shape, where the scanner has measured.
    """

    image: sitk.Image
    body: np.ndarray
    field: np.ndarray


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How well a pair lies together under one transform.

    Attributes:
      mutual_information: Mattes', in nats, of all voxels around the MR's body; None where no
        voxel of it falls into the CT.
      dice: overlap of the two bodies inside both fields.
      overlap: voxels of the MR's body that lie in the CT's field.
      jacobian: smallest and largest determinant inside the body.
    """

    mutual_information: float | None
    dice: float
    overlap: int
    jacobian: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Both sides on coarse grids, ready for a metric.

    Attributes:
      grid: of the MR's images and arrays.
      fixed: the MR, 0 to 1.
      moving: the CT on a grid of its own, HU between fat and bone, air where no body is.
      around: the MR's body with a rim, inside its field.
      mr_body, mr_field: bool (z, y, x).
      ct_body, ct_field: masks on the grid of `moving`.
    """

    grid: geometry.Geometry
    fixed: sitk.Image
    moving: sitk.Image
    around: sitk.Image
    mr_body: np.ndarray
    mr_field: np.ndarray
    ct_body: sitk.Image
    ct_field: sitk.Image

    @classmethod
    def of(cls, mr: Side, ct: Side) -> Pair:
        """Resamples both sides, each onto a coarse grid of its own field."""
        mr_own, ct_own = geometry.of_image(mr.image), geometry.of_image(ct.image)
        grid, ct_grid = _coarse(mr_own), _coarse(ct_own)
        body = resampling.resample_mask(mr.body, mr_own, grid, share=0.5)
        if not body.any():
            advice = "correct its voxel size, or give more slices"
            raise errors.UserError(f"the MR's body is smaller than {_SPACING_MM:g} mm; {advice}")
        field = resampling.resample_mask(mr.field, mr_own, grid, share=0.999)
        bright = np.percentile(sitk.GetArrayViewFromImage(mr.image)[mr.body], _MR_PERCENTILE)
        unit = resampling.resample(mr.image, grid, fill=0.0) / max(bright, 1e-12)
        fixed = np.where(field, np.clip(unit, 0, 1), 0).astype(np.float32)
        near = ndimage.distance_transform_edt(~body, sampling=grid.spacing_mm) <= _RIM_MM
        ct_hu = np.where(ct.body, sitk.GetArrayViewFromImage(ct.image), _CT_RANGE_HU[0])
        clipped = geometry.to_image(np.clip(ct_hu, *_CT_RANGE_HU).astype(np.float32), ct_own)
        moving = resampling.resample(clipped, ct_grid, fill=_CT_RANGE_HU[0])
        ct_body = resampling.resample_mask(ct.body, ct_own, ct_grid, share=0.5)
        ct_field = resampling.resample_mask(ct.field, ct_own, ct_grid, share=0.999)
        return cls(
            grid=grid,
            fixed=geometry.to_image(fixed, grid),
            moving=geometry.to_image(moving, ct_grid),
            around=geometry.to_image(near & field, grid),
            mr_body=body,
            mr_field=field,
            ct_body=geometry.to_image(ct_body, ct_grid),
            ct_field=geometry.to_image(ct_field, ct_grid),
        )

    def domain(self) -> sitk.Image:
        """Returns an image of the MR's grid with a rim, for transforms that end somewhere."""
        rim = [int(np.ceil(_DOMAIN_RIM_MM / mm)) for mm in self.fixed.GetSpacing()]
        return sitk.ConstantPad(self.fixed, rim, rim)

    def moved(self, transform: sitk.Transform, domain: sitk.Image) -> tuple[sitk.Image, sitk.Image]:
        """Returns the CT and its field on `domain`, moved by a transform."""
        nearest, air_hu = sitk.sitkNearestNeighbor, _CT_RANGE_HU[0]
        ct = sitk.Resample(self.moving, domain, transform, sitk.sitkLinear, air_hu)
        return ct, sitk.Resample(self.ct_field, domain, transform, nearest, 0)

    def method(self, voxels_mm: Sequence[float], *, samples: int) -> sitk.ImageRegistrationMethod:
        """Returns a method with metric and levels set; one thread: sums come in one order.

        Args:
          voxels_mm: about how large the voxels of the levels are; never finer than the grid's.
          samples: of the metric at each level, the air far from the body included.
        """
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfWorkUnits(1)
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricFixedMask(self.around)
        method.SetMetricMovingMask(self.ct_field)
        own_mm = float(np.prod(self.grid.spacing_mm)) ** (1 / 3)
        shrink = [max(1, round(mm / own_mm)) for mm in voxels_mm]
        method.SetShrinkFactorsPerLevel(shrink)
        method.SetSmoothingSigmasPerLevel([(factor - 1) * own_mm / 2 for factor in shrink])
        # A share is of the level's voxels.
        counts = [float(np.prod(self.grid.size)) / factor**3 for factor in shrink]
        method.SetMetricSamplingStrategy(method.REGULAR)
        shares = [min(1.0, samples / count) for count in counts]
        method.SetMetricSamplingPercentagePerLevel(shares, _SEED)
        method.SetInterpolator(sitk.sitkLinear)
        return method

    def alignment(self, transform: sitk.Transform) -> Alignment:
        """Measures how the pair lies under a transform; on all voxels, not on samples."""
        method = self.method([0.0], samples=1)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetInitialTransform(transform)
        try:
            information: float | None = -method.MetricEvaluate(self.fixed, self.moving)
        except RuntimeError:  # ITK's word for: no voxel of the MR falls into the CT
            information = None
        common = self.mr_field & self._on_the_mr(self.ct_field, transform)
        ours, theirs = self.mr_body & common, self._on_the_mr(self.ct_body, transform) & common
        total = np.count_nonzero(ours) + np.count_nonzero(theirs)
        dice = 2 * np.count_nonzero(ours & theirs) / total if total else 0.0
        return Alignment(information, dice, int(np.sum(ours)), self._jacobian(transform))

    def _on_the_mr(self, mask: sitk.Image, transform: sitk.Transform) -> np.ndarray:
        moved = sitk.Resample(mask, self.fixed, transform, sitk.sitkNearestNeighbor, 0)
        return sitk.GetArrayFromImage(moved) > 0

    def _jacobian(self, transform: sitk.Transform) -> tuple[float, float]:
        # With a rim, since at its border ITK takes half of each derivative.
        wide = sitk.ConstantPad(self.fixed, [1] * 3, [1] * 3)
        field = sitk.TransformToDisplacementField(
            transform,
            sitk.sitkVectorFloat64,
            wide.GetSize(),
            wide.GetOrigin(),
            wide.GetSpacing(),
            wide.GetDirection(),
        )
        # ITK derives along the index axes and takes the vectors to be along them too.
        vectors = sitk.GetArrayViewFromImage(field) @ self.grid.matrix
        along = sitk.GetImageFromArray(vectors, isVector=True)
        along.SetSpacing(wide.GetSpacing())
        determinant = sitk.DisplacementFieldJacobianDeterminant(along)[1:-1, 1:-1, 1:-1]
        inside = sitk.GetArrayViewFromImage(determinant)[self.mr_body]
        return float(inside.min()), float(inside.max())


def _coarse(own: geometry.Geometry) -> geometry.Geometry:
    return geometry.prepared_grid(own, [max(_SPACING_MM, mm) for mm in own.spacing_mm])
