"""Attenuation at 511 keV from CT: Carney's bilinear map, and what uncertain HU make of it.

Carney et al., Med. Phys. 33 (2006) 976: linear attenuation is 9.6e-5 (HU + 1000) per cm up to a
break that depends on the CT's tube voltage, a (HU + 1000) + b beyond it, and never below 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage, special

from multires_tf.data import resampling
from multires_tf.ground import errors

AIR_HU = -1000.0
_SOFT_SLOPE = 9.6e-5
# Tube voltage in kV -> a, b (per cm) and the break in HU.
_CARNEY = {
    80: (3.64e-5, 6.26e-2, 50.0),
    100: (4.43e-5, 5.44e-2, 52.0),
    110: (4.92e-5, 4.88e-2, 43.0),
    120: (5.10e-5, 4.71e-2, 47.0),
    130: (5.51e-5, 4.24e-2, 37.0),
    140: (5.64e-5, 4.08e-2, 30.0),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One piece of the map: `slope` (HU + 1000) + `offset` per cm from `low_hu` to `high_hu`."""

    low_hu: float
    high_hu: float
    slope: float
    offset: float


def lines(kvp: int) -> tuple[Line, Line, Line]:
    """Returns the map's pieces: nothing below air, soft tissue, bone.

    Raises:
      UserError: Carney has no such tube voltage.
    """
    if kvp not in _CARNEY:
        known = ", ".join(map(str, _CARNEY))
        raise errors.UserError(f"--mumap {kvp}: no map for this tube voltage; give one of {known}")
    slope, offset, break_hu = _CARNEY[kvp]
    return (
        Line(-np.inf, AIR_HU, 0.0, 0.0),
        Line(AIR_HU, break_hu, _SOFT_SLOPE, 0.0),
        Line(break_hu, np.inf, slope, offset),
    )


def mu_per_cm(ct_hu: np.ndarray, kvp: int) -> np.ndarray:
    """Returns the attenuation at 511 keV, per cm, in float32.

    Args:
      ct_hu: HU, any shape, as a CT of `kvp` shows them.
      kvp: tube voltage in kV.

    Raises:
      UserError: as `lines`.
    """
    _, soft, bone = lines(kvp)
    above_air = np.asarray(ct_hu, np.float32) - np.float32(AIR_HU)
    mu = np.float32(soft.slope) * np.maximum(above_air, 0)
    is_bone = above_air >= bone.low_hu - AIR_HU
    mu[is_bone] = np.float32(bone.slope) * above_air[is_bone] + np.float32(bone.offset)
    return mu


def sd_per_cm(ct_hu: np.ndarray, sd_hu: np.ndarray, kvp: int) -> np.ndarray:
    """Returns the standard deviation of the attenuation, per cm, in float32.

    It is that of the map of a Gaussian of mean `ct_hu` and deviation `sd_hu`, in closed form. Well
    inside a line that is the slope times `sd_hu`. Near the break and near air the Gaussian reaches
    over two lines, and either slope alone would be wrong by up to their ratio, 1.9 at the break.

    Args:
      ct_hu: (z, y, x) HU.
      sd_hu: same shape, deviation in HU.
      kvp: tube voltage in kV.

    Raises:
      UserError: as `lines`.
    """
    pieces = lines(kvp)
    sd = np.empty(ct_hu.shape, np.float32)
    for index in range(len(sd)):  # slice by slice: doubles of a whole body are gigabytes
        sd[index] = _sd_of_slice(ct_hu[index], sd_hu[index], pieces)
    return sd


def _sd_of_slice(ct_hu: np.ndarray, sd_hu: np.ndarray, pieces: Sequence[Line]) -> np.ndarray:
    mean_hu = np.asarray(ct_hu, np.float64)
    sd_hu = np.asarray(sd_hu, np.float64)
    width = np.maximum(sd_hu, 1e-9)
    # Attenuation is taken from that of the mean: squares of small differences, no cancellation.
    at_mean = np.zeros_like(mean_hu)
    for piece in pieces:
        inside = (mean_hu >= piece.low_hu) & (mean_hu < piece.high_hu)
        at_mean[inside] = piece.slope * (mean_hu[inside] - AIR_HU) + piece.offset
    first, second = np.zeros_like(mean_hu), np.zeros_like(mean_hu)
    for piece in pieces:
        start = piece.slope * (mean_hu - AIR_HU) + piece.offset - at_mean
        rise = piece.slope * width
        share, mean, square = _moments(
            (piece.low_hu - mean_hu) / width, (piece.high_hu - mean_hu) / width
        )
        first += start * share + rise * mean
        second += start**2 * share + 2 * start * rise * mean + rise**2 * square
    return np.where(sd_hu > 0, np.sqrt(np.maximum(second - first**2, 0)), 0)


def _moments(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integrals of 1, z and z^2 times the standard normal density from `low` to `high`."""
    at_low, at_high = _density(low), _density(high)
    share = special.ndtr(high) - special.ndtr(low)
    with np.errstate(invalid="ignore"):
        ends = np.nan_to_num(low * at_low) - np.nan_to_num(high * at_high)  # infinity times zero
    return share, at_low - at_high, share + ends


def _density(z: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def smooth(array: np.ndarray, fwhm_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """Blurs by a Gaussian of full width `fwhm_mm` at half maximum: PET's resolution, not CT's.

    Of a map of deviations the result is the deviation of the blurred map if neighbours err
    together; by the triangle inequality it is never larger, whatever their correlation.

    Args:
      array: (z, y, x).
      fwhm_mm: 0 leaves the array as it is.
      spacing_mm: (z, y, x).
    """
    if fwhm_mm == 0:
        return array
    deviations = [fwhm_mm * resampling.FWHM_TO_SD / mm for mm in spacing_mm]
    return ndimage.gaussian_filter(array, deviations, mode="nearest", truncate=4.0)
