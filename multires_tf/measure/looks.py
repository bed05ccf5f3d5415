"""How images are shown: one window for every subject, run and page, and the slices worth showing.

Volumes are (z, y, x) on a canonical grid.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from multires_tf.measure import tissues


@dataclasses.dataclass(frozen=True)
class Look:
    """How a kind of image is shown: the same window for every subject and every run."""

    title: str
    unit: str
    low: float
    high: float
    colours: str
    extend: str = "neither"


MR = Look("MR", "normalised", 0.0, 1.0, "gray")
CT = Look("CT", "HU", -1000.0, 1000.0, "gray", "both")
PCT = dataclasses.replace(CT, title="pCT")
ERROR = Look("pCT − CT", "HU", -500.0, 500.0, "RdBu_r", "both")
ABSOLUTE_ERROR = Look("|pCT − CT|", "HU", 0.0, 800.0, "inferno", "max")
ALEATORIC = Look("aleatoric sd", "HU", 0.0, 400.0, "inferno", "max")
EPISTEMIC = dataclasses.replace(ALEATORIC, title="epistemic sd", high=200.0)  # draws differ by less
TOTAL = dataclasses.replace(ALEATORIC, title="total sd")
# By the kind of uncertainty.
OF_KIND = {"aleatoric": ALEATORIC, "epistemic": EPISTEMIC, "total": TOTAL}


def central_slices(ct_hu: np.ndarray, body: np.ndarray) -> tuple[int, int]:
    """Chooses the coronal (y) and the axial (z) slice with the most true bone of the body.

    Without bone, the slices with the most body; ties go to the first.
    """
    bone = body & tissues.masks(ct_hu)["bone"]
    return widest_slices(bone if bone.any() else body)


def widest_slices(mask: np.ndarray) -> tuple[int, int]:
    """Chooses the coronal (y) and the axial (z) slice with the most voxels of a mask."""
    return int(np.argmax(mask.sum(axis=(0, 2)))), int(np.argmax(mask.sum(axis=(1, 2))))
