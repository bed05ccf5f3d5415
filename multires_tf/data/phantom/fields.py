"""Smooth random fields: the same in millimetres whatever the grid."""

from __future__ import annotations

import numpy as np

# The box in which every field is drawn (z, y, x), so that the draws do not depend on the grid.
LOW_MM = (-200.0, -400.0, -600.0)
HIGH_MM = (2200.0, 400.0, 600.0)
# Standard deviation of a uniform cubic B-spline with unit coefficients, per axis.
AXIS_SD = (151 / 315) ** 0.5


def _basis(axis_mm: np.ndarray, low_mm: float, knot_mm: float, count: int) -> np.ndarray:
    """Returns the cubic B-spline weights (positions, coefficients)."""
    place = (axis_mm - low_mm) / knot_mm
    away = np.abs(place[:, None] - np.arange(count)[None, :])
    near = 2 / 3 - away**2 + away**3 / 2
    far = np.clip(2 - away, 0, None) ** 3 / 6
    return np.where(away < 1, near, far).astype(np.float32)


def smooth_noise(
    rng: np.random.Generator, axes_mm: list[np.ndarray], knot_mm: float | tuple
) -> np.ndarray:
    """Returns a field of mean 0 and standard deviation 1 with features of about `knot_mm`.

    Args:
        rng: source of the coefficients.
        axes_mm: coordinates along z, y, x, within the box of this module.
        knot_mm: distance between spline knots, one number or one per axis (z, y, x).

    Returns:
        float32 of shape (z, y, x).
    """
    knots = np.broadcast_to(np.asarray(knot_mm, float), 3)
    counts = [
        int(np.ceil((high - low) / knot)) + 1
        for low, high, knot in zip(LOW_MM, HIGH_MM, knots, strict=True)
    ]
    value = rng.standard_normal(counts, np.float32)
    for axis in range(3):
        weights = _basis(axes_mm[axis], LOW_MM[axis], knots[axis], counts[axis])
        value = np.moveaxis(np.tensordot(weights, value, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(value / np.float32(AXIS_SD**3))
