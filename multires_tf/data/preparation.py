"""What becomes of a subject's images before a network sees them; `prepare` and `predict` share it.

The MR is brought to canonical orientation and to the prepared grid, its intensities to [0, 1] by
percentiles inside the body. The CT follows onto that grid in HU. A mask says where truth exists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from multires_tf import errors
from multires_tf.data import bias_field, geometry, intensity, masks, resampling

# A prepared voxel is inside a field only if it is so wholly, up to rounding of the interpolation.
_WHOLLY = 0.999
OUTSIDE, FIELD, BODY = 0, 1, 2
# What preparing a subject takes at its worst moment, per voxel of the MR, of the CT and of the
# prepared volume; measured (experiments/preparation.py).
_BYTES_A_VOXEL = 24


@dataclasses.dataclass(frozen=True)
class PreparedMr:
    """An MR as the network reads it.

    Attributes:
      unit: float32 (z, y, x) in [0, 1]; 0 outside the field.
      field: bool, same shape; False where the scanner's field had ended.
      body: bool, same shape; the body as the MR shows it.
      grid: the prepared grid.
      source: grid of the image as it came.
      low, high: intensities of the image that became 0 and 1.
    """

    unit: np.ndarray
    field: np.ndarray
    body: np.ndarray
    grid: geometry.Geometry
    source: geometry.Geometry
    low: float
    high: float

    def attributes(self) -> dict[str, Any]:
        """Returns what a subject's stores say about their grid and the MR's intensities."""
        return {
            **self.grid.as_dict(),
            "source": self.source.as_dict(),
            "mr_low": self.low,
            "mr_high": self.high,
        }


def canonical_spacing_mm(image: sitk.Image) -> tuple[float, ...]:
    """Returns (z, y, x) along the canonical axes."""
    return geometry.canonical(geometry.of_image(image)).spacing_mm


def memory_bytes(mr: geometry.Geometry, ct: geometry.Geometry) -> float:
    """Returns what preparing a subject may take, by the grids of its images."""
    prepared = np.prod(mr.size) * np.prod(mr.spacing_mm) / np.prod(ct.spacing_mm)
    return float(_BYTES_A_VOXEL * (np.prod(mr.size) + np.prod(ct.size) + prepared))


def prepare_mr(
    image: sitk.Image,
    *,
    spacing_mm: Sequence[float] | None,
    percentiles: Sequence[float],
    zero_is_outside: bool,
    correction: Literal["n4", "none"] = "none",
    ct_body: tuple[np.ndarray, geometry.Geometry] | None = None,
) -> PreparedMr:
    """Prepares an MR.

    Args:
      image: 3-D, any orientation and unit.
      spacing_mm: (z, y, x) of the prepared grid; None keeps the image's own.
      percentiles: of the intensities inside the body that become 0 and 1.
      zero_is_outside: exact zeros that reach the border mark where the field ended.
      correction: of the bias field.
      ct_body: body mask of the CT and its grid, where there is one; it tells padding from a
        background which the scanner has set to zero.

    Raises:
      UserError: the image shows no body, or one without contrast.
    """
    source = geometry.of_image(image)
    image = geometry.canonical_image(image)
    own = geometry.of_image(image)
    grid = geometry.prepared_grid(own, spacing_mm)
    mr = sitk.GetArrayFromImage(image)
    zero = masks.zero_border(mr) if zero_is_outside else np.zeros(mr.shape, bool)
    if zero.all():
        raise errors.UserError("the MR is zero everywhere; give an image with a body")
    body = masks.mr_body(mr, own.spacing_mm, outside=zero)
    if correction == "n4":
        image = bias_field.corrected(image, body)
        mr = sitk.GetArrayViewFromImage(image)
    low, high = intensity.percentile_range(mr, body, percentiles)
    if zero.any():
        known = resampling.resample_mask(*ct_body, own, share=0.5) if ct_body else body
        zero &= not masks.is_blanked_background(zero, known)
    field = resampling.resample_mask(~zero, own, grid, share=_WHOLLY)
    unit = intensity.mr_to_unit(resampling.resample(image, grid, fill=low), low, high)
    unit[~field] = 0
    body = field & resampling.resample_mask(body, own, grid, share=0.5)
    return PreparedMr(unit, field, body, grid, source, low, high)


def ct_body(image: sitk.Image) -> tuple[np.ndarray, geometry.Geometry]:
    """Returns the body in a CT, found on the CT's own grid (canonical), and that grid."""
    image = geometry.canonical_image(image)
    own = geometry.of_image(image)
    return masks.ct_body(sitk.GetArrayViewFromImage(image), own.spacing_mm), own


def prepare_ct(
    image: sitk.Image,
    mr: PreparedMr,
    *,
    body: tuple[np.ndarray, geometry.Geometry],
    air_hu: float,
    padding: Literal["air", "keep"] = "air",
    metal: Literal["air", "keep"] = "keep",
) -> tuple[np.ndarray, np.ndarray]:
    """Brings the CT onto the prepared grid and says where its truth counts.

    Args:
      image: 3-D in HU, any orientation, in the MR's frame.
      mr: the prepared MR.
      body: bool body mask and its grid.
      air_hu: fill outside the CT's field; the CT is clipped there from below.
      padding, metal: what becomes of values that are no measurement, see `intensity.measured`.

    Returns:
      ct_hu: float32 (z, y, x).
      mask: uint8, same shape; 0 where the MR's or the CT's field has ended, 1 in both fields, 2 in
        the body as well.

    Raises:
      UserError: no part of the body is in both fields.
    """
    image = geometry.canonical_image(image)
    own = geometry.of_image(image)
    ct_hu = sitk.GetArrayFromImage(image).astype(np.float32)
    measured = intensity.measured(ct_hu, padding=padding, metal=metal)
    ct_hu[~measured] = air_hu
    clipped = geometry.to_image(np.maximum(ct_hu, np.float32(air_hu)), own)
    inside = mr.field & resampling.resample_mask(measured, own, mr.grid, share=_WHOLLY)
    mask = np.where(inside, FIELD, OUTSIDE).astype(np.uint8)
    mask[inside & resampling.resample_mask(*body, mr.grid, share=0.5)] = BODY
    if not (mask == BODY).any():
        raise errors.UserError("no part of the body is in both MR and CT; give a pair in one frame")
    return resampling.resample(clipped, mr.grid, fill=air_hu), mask
