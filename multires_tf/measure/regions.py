"""Where errors and uncertainties are looked at: the body, its tissues, its contour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multires_tf.measure import contour, tissues


def masks(
    ct_hu: np.ndarray, body: np.ndarray, field: np.ndarray, spacing_mm: Sequence[float]
) -> dict[str, np.ndarray]:
    """Splits a subject into its regions.

    Args:
        ct_hu: the true CT (z, y, x) in HU.
        body: boolean (z, y, x).
        field: boolean (z, y, x), where truth is known; holds the body.
        spacing_mm: (z, y, x).

    Returns:
        A boolean (z, y, x) by name: "body", its tissues by the true CT, and "contour", the band
        around its contour, which reaches beyond it.
    """
    by_tissue = {name: body & mask for name, mask in tissues.masks(ct_hu).items()}
    return {"body": body, **by_tissue, "contour": contour.band(body, field, spacing_mm)}
