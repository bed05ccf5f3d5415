"""The yardstick every model must beat: the best lookup table from MR intensity to HU.

For every bin of the normalised MR intensity the table holds the median HU of the training subjects'
body voxels, which is what minimises the mean absolute error of any function of the intensity alone.
"""

from __future__ import annotations

import dataclasses

import numpy as np

BINS = 256
HU_RANGE = (-1024, 3071)


@dataclasses.dataclass(frozen=True)
class LookupTable:
    """HU by MR intensity.

    Attributes:
        hu: (256,) float64, the HU of each bin; bin i covers intensities [i/256, (i+1)/256).
    """

    hu: np.ndarray

    def apply(self, mr: np.ndarray) -> np.ndarray:
        """Maps normalised MR in 0..1, of any shape, to HU (float32, same shape)."""
        return self.hu.astype(np.float32)[_bins(mr)]


class Fit:
    """Collects voxels subject by subject; memory is one 256 x 4096 table of counts (8 MB).

    Counting at 1 HU gives the median of the rounded HU exactly, however many voxels there are.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((BINS, HU_RANGE[1] - HU_RANGE[0] + 1), np.int64)

    def add(self, mr: np.ndarray, ct_hu: np.ndarray) -> None:
        """Counts the voxels of one subject.

        Args:
            mr: normalised MR of the body's voxels, in 0..1, any shape.
            ct_hu: the true CT of the same voxels in HU; clipped to -1024..3071.
        """
        levels = self._counts.shape[1]
        column = np.rint(np.clip(ct_hu, *HU_RANGE)).astype(np.int64).ravel() - HU_RANGE[0]
        cells = _bins(mr).ravel() * levels + column
        self._counts += np.bincount(cells, minlength=BINS * levels).reshape(self._counts.shape)

    def table(self) -> LookupTable:
        """Returns the medians; an empty bin lies on the line between its nearest filled bins.

        Raises:
            ValueError: no voxel was added.
        """
        totals = self._counts.sum(axis=1)
        filled = np.flatnonzero(totals)
        if not filled.size:
            raise ValueError("no training voxel to fit a lookup table to")
        below = np.cumsum(self._counts[filled], axis=1)
        # The two middle voxels (the same one where the number is odd), counted from 1.
        middle = [(totals[filled] + 1) // 2, totals[filled] // 2 + 1]
        medians = [np.argmax(below >= rank[:, None], axis=1) + HU_RANGE[0] for rank in middle]
        return LookupTable(np.interp(np.arange(BINS), filled, (medians[0] + medians[1]) / 2))


def _bins(mr: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(mr) * BINS, 0, BINS - 1).astype(np.int64)
