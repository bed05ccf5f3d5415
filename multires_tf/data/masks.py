"""Masks: the body in a CT and in an MR, and the field in which an MR has anatomy at all.

Everything works on canonical arrays (z, y, x): filling slice by slice means axial slices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from skimage import filters

# What a prepared mask holds: nothing known there, MR and CT known, and in the body too.
OUTSIDE, FIELD, BODY = 0, 1, 2
# Between air (-1000 HU) and fat (-100 HU); skin crosses it half-way.
BODY_HU = -500.0
# Of the MR's 99th percentile: keeps the logarithm of zero near the rest; air is never above.
_LOG_FLOOR = 0.02
_MOST_AIR = 0.2
# Table tops and the like are shells thinner than this; limbs are thicker.
_SHELL_MM = 6.0
# Legs and arms may be apart from the trunk; anything smaller than this share of it is not body.
_PART_SHARE = 0.01


def ct_body(ct_hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Returns the body in a CT: lungs and bowel gas inside, table outside.

    Args:
      ct_hu: (z, y, x) in HU.
      spacing_mm: (z, y, x).
    """
    return _solid(ct_hu > BODY_HU, spacing_mm)


def mr_body(
    mr: np.ndarray, spacing_mm: Sequence[float], *, outside: np.ndarray | None = None
) -> np.ndarray:
    """Returns the body in an MR, lungs and bowel gas inside.

    Air and tissue are parted by Otsu's threshold on logarithms: on them the noise of air is one
    class and all tissue the other, however bright the fat; on intensities muscle joins the air.
    A limit keeps the threshold low where the field holds no air at all.

    Args:
      mr: (z, y, x) intensities in any unit, zero where there is no signal.
      spacing_mm: (z, y, x).
      outside: bool, same shape, voxels to leave out.
    """
    inside = np.ones(mr.shape, bool) if outside is None else ~outside
    low, high = np.percentile(mr[inside], (0.1, 99.0))
    if not high > low:
        return np.zeros(mr.shape, bool)
    unit = np.array(mr, np.float32)  # a copy, and then in place: of a whole body half a gigabyte
    unit /= np.float32(high)
    np.clip(unit, 0, 1, out=unit)
    bright = (unit > min(_parting(unit[inside]), _MOST_AIR)) & inside
    del unit
    return _solid(bright, spacing_mm) & inside


def _parting(unit: np.ndarray) -> float:
    """Returns the intensity, of 1-D values from 0 to 1, that parts air from tissue."""
    # A hundred thousand voxels settle a threshold; a whole body has a hundred million.
    logs = np.log(unit[:: max(1, unit.size // 100_000)] + _LOG_FLOOR)
    parting = filters.threshold_otsu(logs)
    # Otsu's threshold may lie anywhere in an empty gap; midway between the classes is safest.
    midway = (logs[logs > parting].mean() + logs[logs <= parting].mean()) / 2
    return float(np.exp(midway) - _LOG_FLOOR)


def zero_border(mr: np.ndarray, *, zero: float = 0.0) -> np.ndarray:
    """Returns the exact zeros that reach the border of the volume in one solid piece.

    Single zeros in a noisy background touch too, but not solidly: what counts has blocks of 2 x 2 x
    2 zeros all the way from the border (voxels beyond it count as zeros, so one slice is enough).

    Args:
      mr: (z, y, x) on the scanner's own grid, before any interpolation.
      zero: the value that stands for it.
    """
    zeros = np.pad(mr == zero, 2, constant_values=True)
    blocks = zeros[:-1] & zeros[1:]
    blocks = blocks[:, :-1] & blocks[:, 1:]
    blocks = blocks[:, :, :-1] & blocks[:, :, 1:]
    labels = _labels(blocks)
    blocks = labels == labels[0, 0, 0]
    solid = np.zeros(zeros.shape, bool)
    for corner in np.ndindex(2, 2, 2):
        window = tuple(
            slice(offset, offset + length)
            for offset, length in zip(corner, blocks.shape, strict=True)
        )
        solid[window] |= blocks
    return solid[2:-2, 2:-2, 2:-2]


def is_blanked_background(zero: np.ndarray, body: np.ndarray) -> bool:
    """Tells whether a scanner has set its background to zero, rather than ended its field there.

    Two things leave zeros at the border. Where the field ended, or an image was rotated or padded,
    nothing was measured: there may be anatomy, so these voxels are neither trained on nor scored.
    But some scanners and tools blank all air around the body: there zero means air, and without
    it a network would never see air. The two differ in what they cover: a blanked background is
    nearly all of the air and none of the body; padding is a part of the air, or cuts the body.

    Args:
      zero: bool, from `zero_border`; all of it (z, y, x), or those voxels of which `body` is known.
      body: bool, same shape; from the CT where there is one (it sees what padding hides), else
        from the MR.
    """
    air = ~body
    covered = np.count_nonzero(zero & air)
    hidden = np.count_nonzero(zero & body)
    return bool(covered >= 0.8 * np.count_nonzero(air) and hidden <= 0.05 * np.count_nonzero(body))


def _solid(mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Opens, keeps the large parts and fills what they enclose."""
    opened = _opened(mask, spacing_mm)
    parts = _large_parts(opened if opened.any() else mask)
    return _filled(parts)


def _opened(mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Takes away shells thinner than _SHELL_MM, and gives the rest its skin back."""
    core = mask.astype(np.uint8)
    for axis, mm in enumerate(spacing_mm):
        width = 2 * round(_SHELL_MM / 2 / mm) + 1
        core = ndimage.minimum_filter1d(core, width, axis, mode="nearest")
    grown = core
    for axis, mm in enumerate(spacing_mm):
        # One voxel more than was taken away: corners come back too, and the mask limits the rest.
        width = 2 * round(_SHELL_MM / 2 / mm) + 3
        grown = ndimage.maximum_filter1d(grown, width, axis, mode="nearest")
    return mask & (grown > 0)


def _labels(mask: np.ndarray) -> np.ndarray:
    """Numbers the connected parts (by faces) of a mask from 1; twenty times faster than SciPy's."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    return sitk.GetArrayFromImage(sitk.ConnectedComponent(image))


def _large_parts(mask: np.ndarray) -> np.ndarray:
    labels = _labels(mask)
    # Slice by slice, since NumPy counts in a copy of 8 bytes a voxel.
    sizes = np.zeros(int(labels.max()) + 1, np.int64)
    for plane in labels:
        found = np.bincount(plane.ravel())
        sizes[: found.size] += found
    sizes[0] = 0
    return ((sizes >= _PART_SHARE * sizes.max()) & (sizes > 0))[labels]


def _filled(mask: np.ndarray) -> np.ndarray:
    """Fills holes of the volume and of each axial slice (lungs open into the air by the throat)."""
    mask = mask | _holes(_labels(~mask), rim_axes=(0, 1, 2))
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    return mask | _holes(ndimage.label(~mask, in_plane)[0], rim_axes=(1, 2))


def _holes(labels: np.ndarray, *, rim_axes: Sequence[int]) -> np.ndarray:
    """Returns the parts of the labelled background that do not reach the rim along `rim_axes`."""
    is_hole = np.ones(int(labels.max()) + 1, bool)
    is_hole[0] = False
    for axis in rim_axes:
        for end in (0, -1):
            is_hole[np.take(labels, end, axis=axis)] = False
    return is_hole[labels]
