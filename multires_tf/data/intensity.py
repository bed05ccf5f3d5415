"""Intensities: MR from its scanner's arbitrary unit to [0, 1], CT from HU to [0, 1] and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from multires_tf.data import geometry, masks
from multires_tf.ground import errors

# No tissue and no noise lies below: a scanner writes such values (-2000, -3024) where it has not
# measured.
PADDING_HU = -1100.0
# The end of 12 bits: metal is brighter, and its streaks reach it.
METAL_HU = 3071.0
# Below it are single voxels.
_NO_SIGNAL_PERCENTILE = 0.1
# An MR is shifted if so many percent of its voxels are below zero by more than this share of the
# range above them. Cubic interpolation overshoots as deep in fewer voxels, and elsewhere hardly.
_SHIFTED_PERCENTILE, _BRIGHT_PERCENTILE = 5.0, 99.0
_SHIFTED_SHARE = 0.02


def above_zero(image: sitk.Image) -> tuple[sitk.Image, float]:
    """Returns an MR in which zero means no signal, and what was taken off every voxel for that.

    An MR with many negative values was shifted: it holds z-scores, or was stored from -1024 on.
    Almost the least of its values becomes zero, and so does what reaches the border in one value:
    the very least (where the field ended before the shift, or a tool has padded it) or exactly zero
    (set after the shift, where nothing is to be seen). Neither tells how far the rest was shifted.
    Few negative values are an interpolation's overshoots, and no signal.

    Args:
      image: 3-D; where no voxel is negative it is returned as it is, with 0.
    """
    mr = sitk.GetArrayViewFromImage(image)
    least = float(mr.min())
    if least >= 0:
        return image, 0.0
    border = masks.zero_border(mr)
    blank = border | masks.zero_border(mr, zero=least)
    floor = least if blank.all() else _floor(mr[~border], mr[~blank])
    # Exact zeros are to mark what is blank, and nothing else.
    raised = np.maximum(mr - np.float32(floor), np.finfo(np.float32).tiny, dtype=np.float32)
    raised[blank] = 0
    return geometry.to_image(raised, geometry.of_image(image)), floor


def _floor(seen: np.ndarray, signal: np.ndarray) -> float:
    """Where no signal lies: below zero if the MR was shifted.

    Args:
      seen: values of all voxels but the zeros at the border; a background of the least value tells
        a shift as well, if it is not padding: then no signal is below zero.
      signal: those that are not blank.
    """
    low, bright = (float(v) for v in np.percentile(seen, (_SHIFTED_PERCENTILE, _BRIGHT_PERCENTILE)))
    if low >= 0 or -low <= _SHIFTED_SHARE * (bright - low):
        return 0.0
    return min(0.0, float(np.percentile(signal, _NO_SIGNAL_PERCENTILE)))


def percentile_range(
    mr: np.ndarray, body: np.ndarray, percentiles: Sequence[float]
) -> tuple[float, float]:
    """Returns the MR intensities at two percentiles inside the body.

    Args:
      mr: (z, y, x) intensities.
      body: bool, same shape.
      percentiles: low and high, in 0..100.

    Raises:
      UserError: there is no contrast inside the body.
    """
    if not body.any():
        raise errors.UserError("the MR shows no body; give an image with one")
    low, high = (float(value) for value in np.percentile(mr[body], percentiles))
    if not high > low:
        raise errors.UserError("the MR has no contrast inside the body; give an image with some")
    return low, high


def mr_to_unit(mr: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps [low, high] to [0, 1] and clips; float32."""
    unit = np.array(mr, np.float32)  # a copy, and then in place: of a whole body half a gigabyte
    unit -= np.float32(low)
    unit *= np.float32(1 / (high - low))
    return np.clip(unit, 0, 1, out=unit)


def measured(
    ct_hu: np.ndarray, *, padding: Literal["air", "keep"], metal: Literal["air", "keep"]
) -> np.ndarray:
    """Returns where a CT's values are a measurement, bool; the rest is to become air.

    Args:
      ct_hu: in HU.
      padding: air: values below PADDING_HU are none; keep: they are.
      metal: air: values from METAL_HU on are none; keep: they are.
    """
    inside = np.ones(ct_hu.shape, bool)
    if padding == "air":
        inside &= ct_hu > PADDING_HU
    if metal == "air":
        inside &= ct_hu < METAL_HU
    return inside


def ct_to_unit(ct_hu: Any, window_hu: Sequence[float]) -> Any:
    """Maps the window to [0, 1], linearly and without clipping; any kind of array.

    `unit_to_ct` is the inverse. Truth is clipped by `clip_hu` before; a network's output is not.
    """
    low, high = window_hu
    return (ct_hu - low) * (1.0 / (high - low))


def unit_to_ct(unit: Any, window_hu: Sequence[float]) -> Any:
    """Maps [0, 1] to the window in HU; any kind of array."""
    low, high = window_hu
    return unit * (high - low) + low


def clip_hu(ct_hu: np.ndarray, window_hu: Sequence[float]) -> np.ndarray:
    """Clips CT to the window; float32."""
    low, high = window_hu
    return np.clip(np.asarray(ct_hu, np.float32), low, high)
