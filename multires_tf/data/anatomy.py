"""A few numbers that tell one MR from another: how bright it is, and what body is in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_QUANTILES = (5, 25, 50, 75, 95)
# Of the range from dark to bright: lung, gas, cortical bone and the holes that metal leaves.
_DARK = 0.1


def statistics(unit: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, float]:
    """Describes a prepared MR, by intensity and by anatomy.

    Args:
      unit: float32 (z, y, x) in [0, 1], canonical orientation.
      body: bool, same shape, at least one voxel.
      spacing_mm: (z, y, x).

    Returns:
      intensity_q05 ... intensity_q95: quantiles inside the body.
      roughness: mean difference of neighbours inside the body: noise and sharpness.
      dark_share: share of the body that is dark.
      dark_aside, dark_ahead: how far the dark voxels' middle lies from the body's, to either side
        and to the front, in the body's own standard deviations.
      body_log_litres, body_log_height, body_log_depth, body_log_width: natural logarithms of volume
        and of extents in mm, of the box with the same second moments.
    """
    inside = unit[body]
    found = {
        f"intensity_q{q:02d}": float(value)
        for q, value in zip(_QUANTILES, np.percentile(inside, _QUANTILES), strict=True)
    }
    found["roughness"] = _roughness(unit, body)
    dark = body & (unit < _DARK)
    found["dark_share"] = np.count_nonzero(dark) / inside.size
    litres = inside.size * float(np.prod(spacing_mm)) / 1e6
    found["body_log_litres"] = float(np.log(litres))
    for axis, name in enumerate(("height", "depth", "width")):
        middle, sd_mm = _moments(body, axis, spacing_mm[axis])
        found[f"body_log_{name}"] = float(np.log(np.sqrt(12) * sd_mm))
        if axis > 0:
            dark_middle = _moments(dark, axis, spacing_mm[axis])[0] if dark.any() else middle
            offset = (dark_middle - middle) / sd_mm
            found["dark_ahead" if axis == 1 else "dark_aside"] = float(
                -offset if axis == 1 else abs(offset)
            )
    return found


def _roughness(unit: np.ndarray, body: np.ndarray) -> float:
    total, count = 0.0, 0
    for axis in range(3):
        if unit.shape[axis] < 2:
            continue
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        both = body[low] & body[high]
        total += float(np.abs(unit[high][both] - unit[low][both]).sum(dtype=np.float64))
        count += int(np.count_nonzero(both))
    return total / max(count, 1)


def _moments(mask: np.ndarray, axis: int, mm: float) -> tuple[float, float]:
    """Mean and standard deviation of the mask's coordinate along an axis, in mm, voxels whole."""
    profile = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
    place = mm * np.arange(len(profile))
    middle = float(np.average(place, weights=profile))
    variance = float(np.average((place - middle) ** 2, weights=profile)) + mm**2 / 12
    return middle, float(np.sqrt(variance))
