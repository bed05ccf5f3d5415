"""What becomes of a subject's images before a network sees them; `prepare` and `predict` share it.

The MR is brought to canonical orientation and to the prepared grid, its intensities to [0, 1] by
percentiles inside the body. The CT is registered to it and follows onto that grid in HU. A mask
says where truth exists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from multires_tf import errors
from multires_tf.data import (
    alignment,
    anatomy,
    bias_field,
    geometry,
    intensity,
    masks,
    nyul,
    registration,
    resampling,
)

# A prepared voxel is inside a field only if it is so wholly, up to rounding of the interpolation.
_WHOLLY = 0.999
OUTSIDE, FIELD, BODY = 0, 1, 2
# Slices twice or thrice as thick as in training are usual; beyond this it is another kind of image.
LARGEST_RATIO = 4.0
# What preparing a subject may take, per voxel of the MR, of the CT and of the prepared volume.
# It is 13 to 14 without registration (experiments/README.md); with it, not measured yet.
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
      statistics: what `anatomy.statistics` says of it; tells strangers from the training cohort.
    """

    unit: np.ndarray
    field: np.ndarray
    body: np.ndarray
    grid: geometry.Geometry
    source: geometry.Geometry
    low: float
    high: float
    statistics: dict[str, float]

    def attributes(self) -> dict[str, Any]:
        """Returns what a subject's stores say about their grid and the MR's intensities."""
        return {
            **self.grid.as_dict(),
            "source": self.source.as_dict(),
            "mr_low": self.low,
            "mr_high": self.high,
            "mr_statistics": self.statistics,
        }


@dataclasses.dataclass(frozen=True)
class Ct:
    """A CT and how it lies to its MR.

    Attributes:
      image: in canonical orientation and HU.
      body: bool (z, y, x), the body on the image's grid, the table left out.
      measured: bool, same shape, where the values are a measurement.
      transform: from points of the MR's frame to the CT's, millimetres; None where they are one.
    """

    image: sitk.Image
    body: np.ndarray
    measured: np.ndarray
    transform: sitk.Transform | None = None

    @property
    def grid(self) -> geometry.Geometry:
        return geometry.of_image(self.image)

    def on(self, grid: geometry.Geometry, mask: np.ndarray, *, share: float) -> np.ndarray:
        """Returns a mask of this CT on a grid in the MR's frame."""
        return resampling.resample_mask(
            mask, self.grid, grid, share=share, transform=self.transform
        )


def ct_in_its_own_frame(
    image: sitk.Image,
    *,
    body: sitk.Image | None = None,
    padding: Literal["air", "keep"] = "air",
    metal: Literal["air", "keep"] = "keep",
) -> Ct:
    """Finds the body in a CT, or takes a mask of it.

    Args:
      image: 3-D in HU, any orientation.
      body: 3-D, any grid in the CT's frame; above 0 is body. None finds it.
      padding, metal: what becomes of values that are no measurement, see `intensity.measured`.
    """
    image = geometry.canonical_image(image)
    own, ct_hu = geometry.of_image(image), sitk.GetArrayViewFromImage(image)
    measured = intensity.measured(ct_hu, padding=padding, metal=metal)
    if body is None:
        return Ct(image, masks.ct_body(ct_hu, own.spacing_mm), measured)
    given = geometry.canonical_image(body)
    mask = sitk.GetArrayViewFromImage(given) > 0
    mask = resampling.resample_mask(mask, geometry.of_image(given), own, share=0.5)
    return Ct(image, mask, measured)


def register(
    mr_image: sitk.Image,
    ct: Ct,
    *,
    kind: registration.Kind,
    zero_is_outside: bool,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Ct, registration.Registration]:
    """Registers a CT to its MR; returns it with the transform, if any, and what came of it.

    Args:
      mr_image: 3-D, any orientation and unit.
      ct: in its own frame.
      kind: how far the CT may be moved.
      zero_is_outside: as for `prepare_mr`.
      tick: called at each iteration.

    Raises:
      UserError: as `prepare_mr`.
    """
    image = geometry.canonical_image(mr_image)
    zero, body = _mr_body(image, zero_is_outside=zero_is_outside)
    found = registration.register(
        alignment.Side(image, body, ~zero),
        alignment.Side(ct.image, ct.body, ct.measured),
        kind=kind,
        tick=tick,
    )
    return dataclasses.replace(ct, transform=found.transform), found


def canonical_spacing_mm(image: sitk.Image) -> tuple[float, ...]:
    """Returns (z, y, x) along the canonical axes."""
    return geometry.canonical(geometry.of_image(image)).spacing_mm


def check_spacing(image: sitk.Image, spacing_mm: Sequence[float], path: Path) -> None:
    """Raises UserError where voxels are so large that a finer grid would hold invented detail.

    Args:
      image: as it came.
      spacing_mm: (z, y, x) that the network was trained on.
      path: of the image, to be named.
    """
    own_mm = canonical_spacing_mm(image)
    ratio = max(mine / theirs for mine, theirs in zip(own_mm, spacing_mm, strict=True))
    if ratio > LARGEST_RATIO:
        own, trained = (" x ".join(f"{mm:.3g}" for mm in triple) for triple in (own_mm, spacing_mm))
        raise errors.UserError(
            f"{path}: voxels of {own} mm are {ratio:.1f} times those that the network was trained "
            f"on ({trained} mm); correct the header, or take a network of such voxels"
        )


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
    landmarks: np.ndarray | None = None,
    ct: Ct | None = None,
) -> PreparedMr:
    """Prepares an MR.

    Args:
      image: 3-D, any orientation and unit.
      spacing_mm: (z, y, x) of the prepared grid; None keeps the image's own.
      percentiles: of the intensities inside the body that become 0 and 1.
      zero_is_outside: exact zeros that reach the border mark where the field ended.
      correction: of the bias field.
      landmarks: of the cohort's scale (`nyul.landmarks`); None scales by the percentiles alone.
      ct: where there is one; its body tells padding from a background which the scanner has set
        to zero.

    Raises:
      UserError: the image shows no body, or one without contrast.
    """
    source = geometry.of_image(image)
    image, zero, body = _levelled(image, zero_is_outside=zero_is_outside, correction=correction)
    own = geometry.of_image(image)
    grid = geometry.prepared_grid(own, spacing_mm)
    mr = sitk.GetArrayViewFromImage(image)
    low, high = intensity.percentile_range(mr, body, percentiles)
    if zero.any():
        known = ct.on(own, ct.body, share=0.5) if ct else body
        zero &= not masks.is_blanked_background(zero, known)
    field = resampling.resample_mask(~zero, own, grid, share=_WHOLLY)
    unit = resampling.resample(image, grid, fill=low)
    if landmarks is None:
        unit = intensity.mr_to_unit(unit, low, high)
    else:
        unit = nyul.standardised(unit, nyul.percentiles(mr[body]), landmarks)
        unit = intensity.mr_to_unit(unit, 0.0, nyul.TOP)
    unit[~field] = 0
    body = field & resampling.resample_mask(body, own, grid, share=0.5)
    if not body.any():
        raise errors.UserError("the MR's body is gone on the prepared grid; give finer voxels")
    statistics = anatomy.statistics(unit, body, grid.spacing_mm)
    return PreparedMr(unit, field, body, grid, source, low, high, statistics)


def mr_percentiles(
    image: sitk.Image, *, zero_is_outside: bool, correction: Literal["n4", "none"]
) -> np.ndarray:
    """Returns the percentiles inside the body that `nyul.landmarks` are made of.

    Args:
      image, zero_is_outside, correction: as `prepare_mr`.

    Raises:
      UserError: the image shows no body, or one without contrast.
    """
    image, _, body = _levelled(image, zero_is_outside=zero_is_outside, correction=correction)
    mr = sitk.GetArrayViewFromImage(image)
    intensity.percentile_range(mr, body, (1, 99))
    return nyul.percentiles(mr[body])


def _levelled(
    image: sitk.Image, *, zero_is_outside: bool, correction: Literal["n4", "none"]
) -> tuple[sitk.Image, np.ndarray, np.ndarray]:
    """Returns the MR, canonical and without its bias field; where its field had ended; its body."""
    image = geometry.canonical_image(image)
    zero, body = _mr_body(image, zero_is_outside=zero_is_outside)
    if correction == "n4":
        image = bias_field.corrected(image, body)
    return image, zero, body


def _mr_body(image: sitk.Image, *, zero_is_outside: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the field had ended, if zeros mean that, and the body; bool (z, y, x)."""
    mr = sitk.GetArrayViewFromImage(image)
    zero = masks.zero_border(mr) if zero_is_outside else np.zeros(mr.shape, bool)
    if zero.all():
        raise errors.UserError("the MR is zero everywhere; give an image with a body")
    return zero, masks.mr_body(mr, geometry.of_image(image).spacing_mm, outside=zero)


def prepare_ct(ct: Ct, mr: PreparedMr, *, air_hu: float) -> tuple[np.ndarray, np.ndarray]:
    """Brings the CT onto the prepared grid and says where its truth counts.

    Args:
      ct: with the transform into the MR's frame, if they are two.
      mr: the prepared MR.
      air_hu: fill outside the CT's field; the CT is clipped there from below.

    Returns:
      ct_hu: float32 (z, y, x).
      mask: uint8, same shape; 0 where the MR's or the CT's field has ended, 1 in both fields, 2 in
        the body as well.

    Raises:
      UserError: no part of the body is in both fields.
    """
    inside = mr.field & ct.on(mr.grid, ct.measured, share=_WHOLLY)
    mask = np.where(inside, FIELD, OUTSIDE).astype(np.uint8)
    mask[inside & ct.on(mr.grid, ct.body, share=0.5)] = BODY
    if not (mask == BODY).any():
        raise errors.UserError("no part of the body is in both MR and CT; give a pair in one frame")
    ct_hu = np.where(ct.measured, sitk.GetArrayViewFromImage(ct.image), air_hu)
    image = geometry.to_image(np.maximum(ct_hu, air_hu).astype(np.float32), ct.grid)
    return resampling.resample(image, mr.grid, fill=air_hu, transform=ct.transform), mask
