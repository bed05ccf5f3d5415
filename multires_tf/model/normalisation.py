"""Normalisation: over the batch (with its moving statistics), over groups, over single channels.

Statistics are float32 whatever the precision policy. All take `fold`: the number of sub-lattices
into which a dilated stage has dealt every window (layers.SpaceToBatch).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from multires_tf.model import calls, kernels

EPSILON = 1e-5
# Bounds of the correction in batch renormalisation; the values of Ioffe 2017 after its warm-up.
RENORM_RATIO, RENORM_SHIFT = 3.0, 5.0


class _Normalisation(keras.layers.Layer):
    """Scale and offset a channel, and what the layers have in common."""

    def __init__(self, *, fold: int = 1, epsilon: float = EPSILON, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fold, self.epsilon = fold, epsilon

    def build(self, input_shape: tuple) -> None:
        width = (input_shape[-1],)
        self.gamma = self._weight("gamma", width, "ones", trainable=True)
        self.beta = self._weight("beta", width, "zeros", trainable=True)

    def _weight(self, name: str, shape: tuple, initializer: str, *, trainable: bool) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=trainable,
            autocast=False,
            aggregation="none" if trainable else "mean",
        )

    def _by_window(self, inputs: Any, groups: int) -> Any:
        return kernels.group_norm(
            inputs, self.gamma, self.beta, groups=groups, fold=self.fold, epsilon=self.epsilon
        )

    def affine(self) -> tuple[Any, Any] | None:
        """Scale and offset (C,) of inference, where they do not depend on the window."""
        return None

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        return keras.KerasTensor(inputs.shape, self.compute_dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "fold": self.fold, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("multires_tf")
class BatchNorm(_Normalisation):
    """Batch normalisation with zero-debiased moving statistics, as NiftyNet's under TensorFlow 1.

    After n updates the moving statistics equal the exponential average started from zero, divided
    by 1 - momentum^n: the initial 0 and 1 never count. `updates` is n; setting it to 0 starts the
    average afresh. Variances are the biased ones, in the average too.

    With `renorm` (batch renormalisation, Ioffe 2017) training, too, normalises by the moving
    statistics: the batch's own only steer the gradient. Training and inference are then the same
    function even at batch 1, and the window's absolute intensities stay visible to the network.

    Args:
        momentum: decay of the average, 0.9 in NiftyNet.
        statistics: "moving" uses the average in inference, "local" each window's own statistics.
        renorm: whether to normalise by the moving statistics in training.
    """

    def __init__(
        self,
        *,
        momentum: float = 0.9,
        statistics: str = "moving",
        renorm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if statistics not in ("moving", "local"):
            raise ValueError(f"statistics is moving or local, not {statistics!r}")
        self.momentum, self.statistics, self.renorm = momentum, statistics, renorm

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        width = (input_shape[-1],)
        self.moving_mean = self._weight("moving_mean", width, "zeros", trainable=False)
        self.moving_variance = self._weight("moving_variance", width, "ones", trainable=False)
        self.updates = self._weight("updates", (), "zeros", trainable=False)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training and self.renorm:
            return kernels.batch_renorm(inputs, self._correction, self.epsilon)
        if training:
            out, mean, variance = kernels.batch_norm(inputs, self.gamma, self.beta, self.epsilon)
            self._update(mean, variance)
            return out
        settled = self.affine()
        if settled is None:
            return self._by_window(inputs, groups=inputs.shape[-1])
        return kernels.affine(inputs, *settled)

    def affine(self) -> tuple[Any, Any] | None:
        if self.statistics == "local":
            return None
        scale = self.gamma * ops.rsqrt(self.moving_variance + self.epsilon)
        return scale, self.beta - self.moving_mean * scale

    def _correction(self, mean: Any, variance: Any) -> tuple[Any, Any]:
        """Scale and offset that turn the batch's own statistics into the moving ones."""
        # After the first update the average is this batch: no correction, an ordinary first step.
        self._update(mean, variance)
        root = ops.rsqrt(self.moving_variance + self.epsilon)
        ratio = ops.clip(ops.sqrt(variance + self.epsilon) * root, 1 / RENORM_RATIO, RENORM_RATIO)
        shift = ops.clip((mean - self.moving_mean) * root, -RENORM_SHIFT, RENORM_SHIFT)
        return self.gamma * ratio, self.gamma * shift + self.beta

    def _update(self, mean: Any, variance: Any) -> None:
        if calls.repeating:
            return
        updates = self.updates + 1.0
        rate = (1.0 - self.momentum) / (1.0 - ops.power(self.momentum, updates))
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            now = ops.stop_gradient(ops.cast(now, moving.dtype))
            # The first update is the batch to the last digit: 1 + (1e-6 - 1) would keep one of it.
            moving.assign((1.0 - rate) * moving + rate * now)
        self.updates.assign(updates)

    def get_config(self) -> dict:
        own = {"momentum": self.momentum, "statistics": self.statistics, "renorm": self.renorm}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("multires_tf")
class GroupNorm(_Normalisation):
    """Group normalisation over each window (Wu and He 2018).

    Args:
        groups: groups of neighbouring channels; a width that is no multiple of it gets the largest
            divisor below it.
    """

    def __init__(self, *, groups: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, inputs: Any, training: bool = False) -> Any:
        channels = inputs.shape[-1]
        groups = next(g for g in range(min(self.groups, channels), 0, -1) if channels % g == 0)
        return self._by_window(inputs, groups)

    def get_config(self) -> dict:
        return {**super().get_config(), "groups": self.groups}


@keras.saving.register_keras_serializable("multires_tf")
class InstanceNorm(_Normalisation):
    """Each channel normalised over each window."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self._by_window(inputs, groups=inputs.shape[-1])


@keras.saving.register_keras_serializable("multires_tf")
class Offset(keras.layers.Layer):
    """No normalisation: a learnt offset a channel, which the convolutions here lack.

    Nothing depends on what else a window holds, so that training, prediction and every tile size
    compute one function. Enough for branches of a few blocks; deep ones may need a norm.
    """

    def build(self, input_shape: tuple) -> None:
        self.beta = self.add_weight(
            name="beta", shape=(input_shape[-1],), initializer="zeros", autocast=False
        )

    def call(self, inputs: Any) -> Any:
        if keras.backend.standardize_dtype(inputs.dtype) == self.beta.dtype:
            return inputs + self.beta
        return kernels.affine(inputs, *self.affine())  # its gradient sums the voxels in float32

    def affine(self) -> tuple[Any, Any]:
        """Scale and offset (C,), as the normalisations have them."""
        return ops.ones_like(self.beta), self.beta

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, self.compute_dtype)
