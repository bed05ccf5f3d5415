"""Do the predicted standard deviations mean what they say?"""

from __future__ import annotations

import numpy as np
from scipy import stats

COVERAGE = 0.90
# Predictions are rounded to whole HU: a smaller standard deviation cannot be told from this one.
SMALLEST_SD_HU = 1 / np.sqrt(12)


def calibration(error_hu: np.ndarray, total_sd_hu: np.ndarray) -> dict[str, float]:
    """Compares errors with the total standard deviation (aleatoric and epistemic) of each voxel.

    Args:
        error_hu: pCT - CT of the scored voxels in HU, any shape but not empty.
        total_sd_hu: the predicted standard deviation of the same voxels in HU.

    Returns:
        `zms`, the mean of (error / sd)^2, 1 if the variances are right on average and larger if
        they are too small; `coverage_90`, the share of voxels inside the Gaussian 90 % interval.
    """
    sd = np.maximum(np.asarray(total_sd_hu, np.float64), SMALLEST_SD_HU)
    z = np.asarray(error_hu, np.float64) / sd
    half_width = stats.norm.ppf(0.5 + COVERAGE / 2)
    return {"zms": float(np.mean(z**2)), "coverage_90": float(np.mean(np.abs(z) <= half_width))}


class JointHistogram:
    """Counts voxels by predicted standard deviation and absolute error, subject by subject.

    Attributes:
        sd_edges_hu: edges of the bins of the standard deviation.
        error_edges_hu: edges of the bins of the absolute error; larger errors are not counted here
            but enter the means.
        counts: (bins of sd, bins of error) int64.
    """

    def __init__(self, *, sd_limit_hu: float = 400.0, error_limit_hu: float = 800.0) -> None:
        self.sd_edges_hu = np.linspace(0.0, sd_limit_hu, 81)
        self.error_edges_hu = np.linspace(0.0, error_limit_hu, 81)
        self.counts = np.zeros((80, 80), np.int64)
        self._error_sums = np.zeros(80)
        self._voxels = np.zeros(80, np.int64)

    def add(self, sd_hu: np.ndarray, error_hu: np.ndarray) -> None:
        """Counts the scored voxels of one subject; the sign of the error does not matter."""
        sd, error = np.ravel(sd_hu), np.abs(np.ravel(error_hu))
        edges = (self.sd_edges_hu, self.error_edges_hu)
        self.counts += np.histogram2d(sd, error, bins=edges)[0].astype(np.int64)
        self._voxels += np.histogram(sd, bins=self.sd_edges_hu)[0]
        self._error_sums += np.histogram(sd, bins=self.sd_edges_hu, weights=error)[0]

    def mean_error_hu(self, *, at_least: int = 100) -> np.ndarray:
        """Mean absolute error in each bin of the sd; nan where fewer voxels than `at_least` lie."""
        enough = self._voxels >= at_least
        means = np.full(self._voxels.shape, np.nan)
        means[enough] = self._error_sums[enough] / self._voxels[enough]
        return means
