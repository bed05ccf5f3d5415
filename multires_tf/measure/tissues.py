"""Tissues by their HU: air, soft tissue, bone."""

from __future__ import annotations

import numpy as np

AIR_BELOW_HU = -500.0
BONE_ABOVE_HU = 200.0
NAMES = ("air", "soft", "bone")


def masks(ct_hu: np.ndarray) -> dict[str, np.ndarray]:
    """Splits voxels by HU: air < -500 HU, bone > 200 HU, soft tissue between.

    Args:
        ct_hu: a CT in HU, true or synthetic, of any shape.

    Returns:
        A boolean array of the same shape for each of `NAMES`; every voxel is in exactly one.
    """
    air = ct_hu < AIR_BELOW_HU
    bone = ct_hu > BONE_ABOVE_HU
    return {"air": air, "soft": ~(air | bone), "bone": bone}
