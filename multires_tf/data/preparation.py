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
    scans,
)
from multires_tf.ground import errors

# A prepared voxel is inside a field only if it is so wholly, up to rounding of the interpolation.
_WHOLLY = 0.999
# Slices twice or thrice as thick as in training are usual; beyond this it is another kind of image.
LARGEST_RATIO = 4.0
# What preparing a subject may take, per voxel of the MR, of the CT and of the prepared volume.
# It is 13 to 15, with registration or without it (experiments/README.md).
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
      low, high: intensities of the image that became 0 and 1, or the ends of the landmarks.
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


def register(
    mr: scans.Mr,
    ct: scans.Ct,
    *,
    kind: registration.Kind,
    tick: Callable[[], None] = lambda: None,
) -> tuple[scans.Ct, registration.Registration]:
    """Registers a CT to its MR; returns it with the transform, if any, and what came of it.

    Args:
      mr: in its own frame.
      ct: in its own frame.
      kind: how far the CT may be moved.
      tick: called at each iteration.
    """
    found = registration.register(
        # The MR alone tells a blanked background here: nothing is known yet of how the CT lies.
        alignment.Side(mr.image, mr.body, ~_ended(mr)),
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


def memory_bytes(
    mr: geometry.Geometry, ct: geometry.Geometry, *, spacing_mm: Sequence[float] | None
) -> float:
    """Returns what preparing a subject may take, by the grids of its images.

    Args:
      spacing_mm: (z, y, x) of the prepared grid; None takes the CT's.
    """
    wanted_mm = ct.spacing_mm if spacing_mm is None else spacing_mm
    prepared = np.prod(mr.size) * np.prod(mr.spacing_mm) / np.prod(wanted_mm)
    return float(_BYTES_A_VOXEL * (np.prod(mr.size) + np.prod(ct.size) + prepared))


def prepare_mr(
    mr: scans.Mr,
    *,
    spacing_mm: Sequence[float] | None,
    percentiles: Sequence[float],
    correction: Literal["n4", "none"] = "none",
    landmarks: np.ndarray | None = None,
    ct: scans.Ct | None = None,
) -> PreparedMr:
    """Prepares an MR.

    Args:
      mr: in its own frame.
      spacing_mm: (z, y, x) of the prepared grid; None keeps the image's own.
      percentiles: of the intensities inside the body that become 0 and 1.
      correction: of the bias field.
      landmarks: of the cohort's scale (`nyul.landmarks`); None scales by the percentiles alone.
      ct: where there is one; its body tells padding from a background which the scanner has set
        to zero.

    Raises:
      UserError: the image shows no body, or one without contrast.
    """
    image = _levelled(mr, correction)
    own = geometry.of_image(image)
    grid = geometry.prepared_grid(own, spacing_mm)
    array = sitk.GetArrayViewFromImage(image)
    low, high = intensity.percentile_range(array, mr.body, percentiles)
    field = resampling.resample_mask(~_ended(mr, ct), own, grid, share=_WHOLLY)
    unit = resampling.resample(image, grid, fill=low)
    if landmarks is None:
        unit = intensity.mr_to_unit(unit, low, high)
    else:
        found = nyul.percentiles(array[mr.body])
        low, high = float(found[0]), float(found[-1])
        unit = intensity.mr_to_unit(nyul.standardised(unit, found, landmarks), 0.0, nyul.TOP)
    unit[~field] = 0
    body = field & resampling.resample_mask(mr.body, own, grid, share=0.5)
    if not body.any():
        raise errors.UserError("the MR's body is gone on the prepared grid; give finer voxels")
    statistics = anatomy.statistics(unit, body, grid.spacing_mm)
    low, high = low + mr.floor, high + mr.floor
    return PreparedMr(unit, field, body, grid, mr.source, low, high, statistics)


def mr_percentiles(mr: scans.Mr, *, correction: Literal["n4", "none"]) -> np.ndarray:
    """Returns the percentiles inside the body that `nyul.landmarks` are made of.

    Args:
      mr, correction: as `prepare_mr`.

    Raises:
      UserError: the image shows no body, or one without contrast.
    """
    image = _levelled(mr, correction)
    array = sitk.GetArrayViewFromImage(image)
    intensity.percentile_range(array, mr.body, (1, 99))
    return nyul.percentiles(array[mr.body])


def _levelled(mr: scans.Mr, correction: Literal["n4", "none"]) -> sitk.Image:
    """Returns the MR without its bias field, if that is to be corrected."""
    return bias_field.corrected(mr.image, mr.body) if correction == "n4" else mr.image


def _ended(mr: scans.Mr, ct: scans.Ct | None = None) -> np.ndarray:
    """Returns where the MR's field had ended: its zeros, unless they are a blanked background."""
    return mr.zero & (not (mr.zero.any() and _is_blanked(mr, ct)))


def _is_blanked(mr: scans.Mr, ct: scans.Ct | None) -> bool:
    """Asks the CT as far as its own field reaches; beyond it, it knows neither air nor body."""
    if ct is not None:
        grid = geometry.of_image(mr.image)
        seen = ct.on(grid, ct.measured, share=0.5)
        body = ct.on(grid, ct.body, share=0.5)[seen]
        if body.any() and not body.all():
            return masks.is_blanked_background(mr.zero[seen], body)
    return masks.is_blanked_background(mr.zero, mr.body)


def prepare_ct(ct: scans.Ct, mr: PreparedMr, *, air_hu: float) -> tuple[np.ndarray, np.ndarray]:
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
    mask = np.where(inside, masks.FIELD, masks.OUTSIDE).astype(np.uint8)
    mask[inside & ct.on(mr.grid, ct.body, share=0.5)] = masks.BODY
    if not (mask == masks.BODY).any():
        raise errors.UserError("no part of the body is in both MR and CT; give a pair in one frame")
    return ct.hu_on(mr.grid, air_hu=air_hu), mask
