"""Do the predicted standard deviations mean what they say? Tallies that stream over volumes.

Each measure has one fixed definition here; reviews advise a fixed set, since single measures can be
made to please (Levi et al. 2022; Pernot, arXiv 2402.10043; arXiv 2405.04278, 2508.17761).
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from multires_tf.ground import archives

# Predictions are rounded to whole HU: a smaller standard deviation cannot be told from this one.
SMALLEST_SD_HU = 1 / math.sqrt(12)
COVERAGES = (0.50, 0.80, 0.90, 0.95)
# Nominal shares of the reliability curve, as uncertainty-toolbox has them, and those that we name.
LEVELS = np.union1d(np.linspace(0, 1, 100), COVERAGES)
MEASURES = (
    *("voxels", "nll", "zms", *(f"coverage_{100 * p:.0f}" for p in COVERAGES)),
    *("miscalibration_area", "ence", "ause", "spearman", "sharpness_hu"),
)
ENCE_BINS = 10
# Shares of the voxels taken away, the most uncertain first, at which the rest's error is read.
REMOVED = np.linspace(0, 0.99, 100)

_BINS = 512  # of sd and of error, equal in the logarithm: 2.1 % wide
_LOWEST_HU, _HIGHEST_HU = 0.1, 5000.0
_CHUNK = 2**21


class Tally:
    """Counts of error and predicted sd, from which every measure follows; tallies can be added.

    Memory does not grow with the voxels (4 MB). Sums are exact float64; what needs an order (ENCE,
    AUSE, Spearman) is taken from bins 2.1 % wide, inside which voxels are spread evenly.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((_BINS, _BINS), np.int64)  # by sd, by absolute error
        self._by_sd = {name: np.zeros(_BINS) for name in ("error", "error2", "sd2")}
        self._by_error = np.zeros(_BINS)
        self._inside = np.zeros(LEVELS.size + 1, np.int64)
        self._z2 = 0.0
        self._log_variance = 0.0

    def add(self, error_hu: np.ndarray, sd_hu: np.ndarray) -> None:
        """Counts voxels.

        Args:
            error_hu: pCT - CT in HU, any shape.
            sd_hu: the predicted standard deviation of the same voxels in HU.
        """
        error, sd = np.ravel(error_hu), np.ravel(sd_hu)
        if error.shape != sd.shape:
            raise ValueError(f"{error.size} errors, but {sd.size} standard deviations")
        for start in range(0, error.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            self._add(
                np.abs(error[part].astype(np.float64)),
                np.maximum(sd[part].astype(np.float64), SMALLEST_SD_HU),
            )

    def _add(self, error: np.ndarray, sd: np.ndarray) -> None:
        column, row = _bin(error), _bin(sd)
        cells = np.bincount(row * _BINS + column, minlength=_BINS**2)
        self._counts += cells.reshape(_BINS, _BINS)
        for name, values in (("error", error), ("error2", error**2), ("sd2", sd**2)):
            self._by_sd[name] += np.bincount(row, values, _BINS)
        self._by_error += np.bincount(column, error, _BINS)
        z = error / sd
        inside = np.searchsorted(_half_widths(), z)
        self._inside += np.bincount(inside, minlength=self._inside.size)
        self._z2 += float(np.sum(z**2))
        self._log_variance += 2 * float(np.sum(np.log(sd)))

    def __iadd__(self, other: Tally) -> Tally:
        self._counts += other._counts
        for name, sums in other._by_sd.items():
            self._by_sd[name] += sums
        self._by_error += other._by_error
        self._inside += other._inside
        self._z2 += other._z2
        self._log_variance += other._log_variance
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """All that it holds, by name."""
        sums = np.array([self._z2, self._log_variance])
        own = {"counts": self._counts, "by_error": self._by_error, "inside": self._inside}
        return {**own, "sums": sums, **self._by_sd}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Tally:
        """The tally that held `arrays`.

        Raises:
            KeyError, ValueError: it never held them.
        """
        made = cls()
        for name, array in made.arrays().items():
            if arrays[name].shape != array.shape:
                raise ValueError(f"{name}: shape {arrays[name].shape}, not {array.shape}")
        made._counts, made._inside = arrays["counts"], arrays["inside"]
        made._by_error = arrays["by_error"]
        made._by_sd = {name: arrays[name] for name in made._by_sd}
        made._z2, made._log_variance = map(float, arrays["sums"])
        return made

    @property
    def voxels(self) -> int:
        """How many were counted."""
        return int(self._counts.sum())

    def measures(self) -> dict[str, float]:
        """Every measure of `MEASURES`; nan where there is nothing to measure.

        `nll`: Gaussian negative log likelihood in nats, of HU, 0.5 log(2 pi) included.
        `zms`: mean of (error / sd)^2; 1 if the variances are right on average, more if too small.
        `coverage_P`: share of voxels inside the Gaussian P % interval.
        `miscalibration_area`: between the reliability curve and the diagonal.
        `ence`: expected normalised calibration error (Levi et al. 2022), ten bins of equal count.
        `ause`: area between the sparsification curve and the oracle's (Ilg et al. 2018), the errors
        divided by the error of all voxels.
        `spearman`: rank correlation of sd and absolute error.
        `sharpness_hu`: root mean variance.
        """
        n = self.voxels
        if not n:
            return {name: 0 if name == "voxels" else math.nan for name in MEASURES}
        levels, observed = self.curve()
        named = zip(COVERAGES, np.searchsorted(levels, COVERAGES), strict=True)
        return {
            "voxels": n,
            "nll": 0.5 * (self._z2 + self._log_variance) / n + 0.5 * math.log(2 * math.pi),
            "zms": self._z2 / n,
            **{f"coverage_{100 * p:.0f}": float(observed[i]) for p, i in named},
            "miscalibration_area": _area_to_diagonal(levels, observed),
            "ence": self._ence(),
            "ause": self._ause(),
            "spearman": _rank_correlation(self._counts),
            "sharpness_hu": math.sqrt(self._by_sd["sd2"].sum() / n),
        }

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """The reliability curve: nominal shares `LEVELS`, and the shares observed inside."""
        return LEVELS, np.cumsum(self._inside)[:-1] / max(self.voxels, 1)

    def sparsification(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean absolute error in HU of what is left after each share of `REMOVED` has gone.

        Returns:
            Removed by falling sd, and by falling error (the oracle).
        """
        left = (1 - REMOVED) * self.voxels
        by_sd = _sum_of_first(left, self._counts.sum(axis=1), self._by_sd["error"])
        by_error = _sum_of_first(left, self._counts.sum(axis=0), self._by_error)
        return by_sd / left, by_error / left

    def _ause(self) -> float:
        by_sd, oracle = self.sparsification()
        if not by_sd[0]:
            return math.nan
        return float(np.trapezoid((by_sd - oracle) / by_sd[0], REMOVED))

    def _ence(self) -> float:
        counts = self._counts.sum(axis=1)
        edges = np.linspace(0, self.voxels, ENCE_BINS + 1)
        variance, mse = (
            np.diff(_sum_of_first(edges, counts, self._by_sd[name])) for name in ("sd2", "error2")
        )
        return float(np.mean(np.abs(np.sqrt(variance) - np.sqrt(mse)) / np.sqrt(variance)))


# By state of the maps ("raw", "calibrated") and region.
Tallies = dict[tuple[str, str], Tally]


def write(path: pathlib.Path, tallies: Tallies) -> None:
    """Keeps tallies in an .npz file, so that those of several runs can be added."""
    arrays: dict[str, Any] = {
        f"{state}/{region}/{name}": array
        for (state, region), tally in tallies.items()
        for name, array in tally.arrays().items()
    }
    archives.write(path, arrays, compressed=True)


def read(path: pathlib.Path) -> Tallies:
    """Tallies that `write` kept.

    Raises:
        errors.UserError: the file is damaged.
    """
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    with archives.opened(path, "run 'evaluate' again") as archive:
        for key in archive.files:
            state, region, name = key.split("/")
            found.setdefault((state, region), {})[name] = archive[key]
        return {place: Tally.of(arrays) for place, arrays in found.items()}


def _half_widths() -> np.ndarray:
    """Half widths of the central Gaussian intervals of `LEVELS`, in standard deviations."""
    return stats.norm.ppf(0.5 + LEVELS / 2)


def _bin(values_hu: np.ndarray) -> np.ndarray:
    low, high = math.log(_LOWEST_HU), math.log(_HIGHEST_HU)
    logs = np.log(np.clip(values_hu, _LOWEST_HU, _HIGHEST_HU))
    return np.minimum(((logs - low) * (_BINS / (high - low))).astype(np.int64), _BINS - 1)


def _sum_of_first(number: np.ndarray, counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Sum over so many voxels in the order of the bins, those of a bin alike."""
    filled = counts > 0
    reached = np.concatenate([[0], np.cumsum(counts[filled])])
    return np.interp(number, reached, np.concatenate([[0.0], np.cumsum(sums[filled])]))


def _area_to_diagonal(levels: np.ndarray, observed: np.ndarray) -> float:
    """Integral of |observed - level| between straight lines, crossings included."""
    gap = observed - levels
    a, b = gap[:-1], gap[1:]
    crossed = a * b < 0
    total = np.abs(a) + np.abs(b)
    height = np.where(crossed, (a**2 + b**2) / np.where(crossed, total, 1), total)
    return float(np.sum(np.diff(levels) * height / 2))


def _rank_correlation(counts: np.ndarray) -> float:
    """Spearman's rho of a joint histogram; voxels of one bin share their mean rank."""
    ranks = []
    for axis in (1, 0):
        n = counts.sum(axis=axis)
        middle = np.cumsum(n) - n / 2
        ranks.append(middle - np.average(middle, weights=n))
    (a, b), (n_a, n_b) = ranks, (counts.sum(axis=1), counts.sum(axis=0))
    spread = math.sqrt(float(n_a @ a**2) * float(n_b @ b**2))
    return float(a @ counts @ b) / spread if spread else math.nan


class JointHistogram:
    """Counts voxels by predicted standard deviation and absolute error, for a picture of them.

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
        # Sums of float32 weights would lose digits where millions of voxels come before.
        sd, error = np.ravel(sd_hu), np.abs(np.ravel(error_hu)).astype(np.float64)
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
