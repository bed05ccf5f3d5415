"""What many draws say together: mean, aleatoric and epistemic variance, accumulated on the fly."""

from __future__ import annotations

import dataclasses

import numpy as np

# The kinds that a network may tell, and both together.
KINDS = ("aleatoric", "epistemic")
TOTAL = "total"


def map_name(kind: str) -> str:
    """Of the map of standard deviations, wherever it is kept: its file has this name."""
    return f"{kind}_sd_hu"


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


def sd_hu(variance: np.ndarray, window_hu: tuple[float, float]) -> np.ndarray:
    """Turns a variance in unit CT into a standard deviation in HU, float32."""
    low, high = window_hu
    made = np.maximum(variance, 0, dtype=np.float32)  # then in place: a body has half a gigabyte
    np.sqrt(made, out=made)
    made *= np.float32(high - low)
    return made
