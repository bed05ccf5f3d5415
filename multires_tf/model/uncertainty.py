"""What many draws say together: mean, aleatoric and epistemic variance, accumulated on the fly."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Mean CT and its variances, in unit CT, or None where the network has none.

    Attributes:
        ct: mean of the draws.
        aleatoric_variance: mean of the draws' predicted variances.
        epistemic_variance: unbiased variance of the draws' means; needs two draws.
        draws: how many went in.
    """

    ct: np.ndarray
    aleatoric_variance: np.ndarray | None
    epistemic_variance: np.ndarray | None
    draws: int


@dataclasses.dataclass(frozen=True)
class MapsHu:
    """The maps of an Estimate in Hounsfield units; total^2 = aleatoric^2 + epistemic^2."""

    ct_hu: np.ndarray
    aleatoric_sd_hu: np.ndarray | None
    epistemic_sd_hu: np.ndarray | None
    total_sd_hu: np.ndarray | None


class Accumulator:
    """Running mean and variance over draws (Welford): memory does not grow with their number.

    Args:
        dtype: of the running arrays.
    """

    def __init__(self, dtype: str = "float32") -> None:
        self._dtype = dtype
        self._draws = 0
        self._mean: np.ndarray | None = None
        self._squares: np.ndarray | None = None
        self._noise: np.ndarray | None = None

    def add(self, ct: np.ndarray, log_var: np.ndarray | None = None) -> None:
        """Takes in one draw.

        Args:
            ct: the draw's CT, unit CT, of any shape.
            log_var: its log variance, for every draw or for none.
        """
        ct = np.asarray(ct).astype(self._dtype, copy=False)
        if self._mean is None:
            self._start(ct, log_var)
        if (log_var is None) != (self._noise is None):
            raise ValueError("log variance comes with every draw or with none")
        self._draws += 1
        step = ct - self._mean
        self._mean += step / self._draws
        self._squares += step * (ct - self._mean)
        if self._noise is not None:
            variance = np.exp(np.asarray(log_var).astype(self._dtype, copy=False))
            self._noise += (variance - self._noise) / self._draws

    def estimate(self) -> Estimate:
        """Returns what the draws so far say together."""
        if self._mean is None or self._squares is None:
            raise ValueError("no draw was added")
        epistemic = self._squares / (self._draws - 1) if self._draws > 1 else None
        noise = None if self._noise is None else self._noise.copy()
        return Estimate(self._mean.copy(), noise, epistemic, self._draws)

    def _start(self, ct: np.ndarray, log_var: np.ndarray | None) -> None:
        self._mean, self._squares = np.zeros_like(ct), np.zeros_like(ct)
        self._noise = None if log_var is None else np.zeros_like(ct)


def to_hu(estimate: Estimate, window_hu: tuple[float, float]) -> MapsHu:
    """Turns an estimate into maps in Hounsfield units.

    Args:
        estimate: in unit CT.
        window_hu: the HU that unit CT's 0 and 1 stand for.

    Returns:
        The maps in float32; standard deviations, not variances.
    """
    low, high = window_hu
    span = high - low
    parts = [v for v in (estimate.aleatoric_variance, estimate.epistemic_variance) if v is not None]
    total = sum(parts[1:], parts[0]) if parts else None
    return MapsHu(
        ct_hu=(low + span * estimate.ct).astype(np.float32),
        aleatoric_sd_hu=_sd(estimate.aleatoric_variance, span),
        epistemic_sd_hu=_sd(estimate.epistemic_variance, span),
        total_sd_hu=_sd(total, span),
    )


def _sd(variance: np.ndarray | None, span: float) -> np.ndarray | None:
    if variance is None:
        return None
    return (span * np.sqrt(np.maximum(variance, 0))).astype(np.float32)
