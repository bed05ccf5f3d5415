"""Losses as Keras layers: squared error and the Gaussian negative log-likelihood, in float32.

Both weigh voxels within a sample, sum(w l) / max(sum w, 1), and average over the batch. Called by
hand they return the loss; in a functional model they add it to the model's losses as well.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

_FACTORS = {"half": 0.5, "full": 1.0}  # of the log variance


class _VoxelLoss(keras.layers.Layer):
    """Weighted mean of a voxel-wise loss."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def _reduce(self, voxelwise: Any, weight: Any) -> Any:
        loss = _mean(voxelwise, weight)
        self.add_loss(loss)
        return loss


def _mean(voxelwise: Any, weight: Any) -> Any:
    axes = tuple(range(1, len(voxelwise.shape)))
    if weight is None:
        weight = ops.ones_like(voxelwise)
    total = ops.sum(weight * voxelwise, axis=axes)
    return ops.mean(total / ops.maximum(ops.sum(weight, axis=axes), 1.0))


@keras.saving.register_keras_serializable("multires_tf")
class SquaredError(_VoxelLoss):
    """Squared difference."""

    def call(self, mean: Any, truth: Any, weight: Any = None) -> Any:
        """Returns the loss.

        Args:
            mean: prediction (B, Z, Y, X, 1).
            truth: of the same shape.
            weight: of the same shape, or None for 1 everywhere.
        """
        return self._reduce(ops.square(truth - mean), weight)


@keras.saving.register_keras_serializable("multires_tf")
class GaussianNLL(_VoxelLoss):
    """Gaussian negative log-likelihood of the truth, without its constant.

    With s = log variance and residual r: 1/2 exp(-s) r^2 + 1/2 s.

    Args:
        beta: exponent of Seitzer et al. 2022: each voxel's gradient is weighted by its variance to
            this power, held constant; 0 is the likelihood's own gradient, 1 that of squared error
            for the mean. The value stays that of the likelihood, so that curves can be compared.
        stabiliser: c of s' = log(exp(s) + c), which takes the place of s; 0 leaves s as it is.
        variance_term: "half" for 1/2 s, "full" for s, as Bragman et al. 2018 implement it.
    """

    def __init__(
        self,
        *,
        beta: float = 0.0,
        stabiliser: float = 0.0,
        variance_term: str = "half",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check(variance_term)
        self.beta, self.stabiliser, self.variance_term = beta, stabiliser, variance_term

    def call(self, mean: Any, log_var: Any, truth: Any, weight: Any = None) -> Any:
        """Returns the loss.

        Args:
            mean: prediction (B, Z, Y, X, 1).
            log_var: log variance of the same shape.
            truth: of the same shape.
            weight: of the same shape, or None for 1 everywhere.
        """
        s = stabilised(log_var, self.stabiliser)
        factor = _FACTORS[self.variance_term]
        voxelwise = 0.5 * ops.exp(-s) * ops.square(truth - mean) + factor * s
        if self.beta > 0:
            weighted = voxelwise * ops.stop_gradient(ops.exp(self.beta * s))
            voxelwise = weighted + ops.stop_gradient(voxelwise - weighted)
        return self._reduce(voxelwise, weight)

    def get_config(self) -> dict:
        own = {"beta": self.beta, "stabiliser": self.stabiliser}
        return {**super().get_config(), **own, "variance_term": self.variance_term}


@keras.saving.register_keras_serializable("multires_tf")
class VarianceTerm(keras.layers.Layer):
    """The part of `GaussianNLL` that is the log variance's own; to be watched, not minimised.

    Args:
        stabiliser: as in GaussianNLL.
        variance_term: likewise.
    """

    def __init__(
        self, *, stabiliser: float = 0.0, variance_term: str = "half", **kwargs: Any
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        _check(variance_term)
        self.stabiliser, self.variance_term = stabiliser, variance_term

    def call(self, log_var: Any, weight: Any = None) -> Any:
        """Returns the weighted mean of 1/2 s or s; log_var and weight as in GaussianNLL."""
        s = stabilised(log_var, self.stabiliser)
        return ops.stop_gradient(_FACTORS[self.variance_term] * _mean(s, weight))

    def get_config(self) -> dict:
        own = {"stabiliser": self.stabiliser, "variance_term": self.variance_term}
        return {**super().get_config(), **own}


def _check(variance_term: str) -> None:
    if variance_term not in _FACTORS:
        raise ValueError(f"variance_term is half or full, not {variance_term!r}")


def stabilised(log_var: Any, stabiliser: float) -> Any:
    """The likelihood's log variance of a network's s: log(exp(s) + c), c in unit variance."""
    if stabiliser > 0:
        return ops.logaddexp(log_var, ops.log(ops.cast(stabiliser, log_var.dtype)))
    return log_var
