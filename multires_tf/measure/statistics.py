"""Mean and spread over subjects, and paired tests between two sets of scores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats


@dataclasses.dataclass(frozen=True)
class Summary:
    """Over `n` subjects: mean and sample standard deviation (n - 1); nan where undefined."""

    mean: float
    sd: float
    n: int


def summarise(values: Sequence[float]) -> Summary:
    """Summarises the finite values; the spread of a single one is nan, not zero."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    mean = float(finite.mean()) if finite.size else math.nan
    sd = float(finite.std(ddof=1)) if finite.size > 1 else math.nan
    return Summary(mean, sd, int(finite.size))


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """Two-sided tests of `first - second` over `n` subjects; p is nan where it is undefined."""

    mean_difference: float
    t_p: float
    wilcoxon_p: float
    n: int


def compare(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """Paired t-test and Wilcoxon signed-rank test over the subjects that have both scores.

    Raises:
        ValueError: the two have different lengths.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired scores need equal lengths, not {a.size} and {b.size}")
    difference = (a - b)[np.isfinite(a) & np.isfinite(b)]
    n = int(difference.size)
    if n < 2 or np.ptp(difference) == 0:
        mean = float(difference.mean()) if n else math.nan
        return PairedTest(mean, math.nan, math.nan, n)
    t_p = float(stats.ttest_1samp(difference, 0.0).pvalue)
    return PairedTest(float(difference.mean()), t_p, float(stats.wilcoxon(difference).pvalue), n)


def share_over_subjects(
    shares: Sequence[float], voxels: Sequence[float], *, resamples: int = 9999
) -> tuple[float, float, float]:
    """Share of all voxels, and its 95 % interval by a bootstrap over subjects.

    Voxels of one subject resemble each other, so it is subjects that are drawn again, percentiles
    of whose shares bound the interval. The seed is fixed: the same numbers give the same interval.

    Args:
        shares: of each subject's voxels; nan for a subject without any.
        voxels: of each subject.
        resamples: number of draws.

    Returns:
        Share, lower and upper bound; nan where there are too few subjects.
    """
    share, weight = np.asarray(shares, np.float64), np.asarray(voxels, np.float64)
    kept = np.isfinite(share) & (weight > 0)
    share, weight = share[kept], weight[kept]
    if not share.size:
        return math.nan, math.nan, math.nan

    def pooled(share: np.ndarray, weight: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.sum(share * weight, axis=axis) / np.sum(weight, axis=axis)

    found = float(pooled(share, weight))
    if share.size < 2:
        return found, math.nan, math.nan
    interval = stats.bootstrap(
        (share, weight),
        pooled,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return found, float(interval.low), float(interval.high)


def plus_minus(
    text: Callable[[float | None], str], summary: Mapping[str, Mapping[str, float | None]], key: str
) -> str:
    """Writes "mean ± sd" of one score, the mean alone where there is no spread.

    A score that not every subject has tells how many do.

    Args:
        text: writes one number.
        summary: the content of `scores.json`.
        key: the score's column.
    """
    mean, sd = summary["mean"].get(key), summary["sd"].get(key)
    words = text(mean) if sd is None else f"{text(mean)} ± {text(sd)}"
    n, of = summary["n"].get(key), max((count or 0 for count in summary["n"].values()), default=0)
    return words if not n or n == of else f"{words} ({n} of {of})"


def ratio(
    summary: Mapping[str, Mapping[str, float | None]], first: str, second: str
) -> float | None:
    """Ratio of two mean scores of `scores.json`; None where one is missing or the second is 0."""
    a, b = summary["mean"].get(first), summary["mean"].get(second)
    return a / b if a is not None and b else None
