"""TensorFlow's fused batch norm, which is all norms here. Loaded by `kernels_tensorflow` alone.

On a CPU it is 4 to 10 times faster than means and squares by reductions, forward and backward. All
norms are brought to its shape: a 4-D tensor (1, N, 1, channels) whose channels, in group norm, are
the channels of all windows side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from multires_tf.model import gradients_tensorflow


def shared_moments(x: Any) -> tuple[Any, Any]:
    """Mean and biased variance (C,) of channels over the shares of all devices, all of one size."""
    x = tf.cast(x, tf.float64 if x.dtype == tf.float64 else tf.float32)
    replica = tf.distribute.get_replica_context()
    mean = replica.all_reduce("MEAN", tf.reduce_mean(x, axis=(0, 1, 2, 3)))
    variance = tf.reduce_mean(tf.square(x - mean), axis=(0, 1, 2, 3))
    return mean, replica.all_reduce("MEAN", variance)


def batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """`kernels.batch_norm`: the fused kernel on a 4-D view of the 5-D tensor."""
    out, mean, variance = _trained(_flat(x), gamma, beta, epsilon)
    return _like(tf.reshape(out, tf.shape(x)), x), mean, variance


def batch_renorm(x: Any, correction: Callable, epsilon: float) -> Any:
    """`kernels.batch_renorm`: the fused kernel tells the moments, and once more applies them.

    For the gradient it is batch norm with the correction for scale and offset. In a graph the input
    alone is kept for it, not what the first pass made.
    """
    flat = _flat(x)
    ones = tf.ones(x.shape[-1:])
    found, mean, variance = _fused(tf.stop_gradient(flat), ones, 0 * ones, epsilon)

    @tf.custom_gradient
    def corrected(flat: Any, scale: Any, offset: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            d_x, d_scale, d_offset, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream,
                x=flat,
                scale=scale,
                reserve_space_1=found.reserve_space_1,
                reserve_space_2=found.reserve_space_2,
                reserve_space_3=found.reserve_space_3,
                epsilon=epsilon,
            )
            return d_x, d_scale, d_offset

        out = _settled(flat, scale, offset, mean, variance, epsilon=epsilon)
        return out, gradients_tensorflow.named(gradient)

    return _like(tf.reshape(corrected(flat, *correction(mean, variance)), tf.shape(x)), x)


def group_norm(x: Any, gamma: Any, beta: Any, *, groups: int, fold: int, epsilon: float) -> Any:
    """`kernels.group_norm`: statistics of single channels, pooled over the groups."""
    channels, shape = x.shape[-1], tf.shape(x)
    windows = shape[0] // fold
    flat = tf.reshape(x, (windows, -1, channels))
    flat = tf.reshape(tf.transpose(flat, (1, 0, 2)), (1, -1, 1, windows * channels))
    gamma, beta = tf.tile(gamma, [windows]), tf.tile(beta, [windows])
    if groups == channels:
        out, _, _ = _trained(flat, gamma, beta, epsilon)
    else:
        out = _grouped(groups, channels, epsilon)(flat, gamma, beta)
    out = tf.transpose(tf.reshape(out, (-1, windows, channels)), (1, 0, 2))
    return _like(tf.reshape(out, shape), x)


def affine(x: Any, scale: Any, offset: Any) -> Any:
    """`kernels.affine` in one pass."""
    return tf.reshape(_affine(_flat(x), scale, offset), tf.shape(x))


def _grouped(groups: int, channels: int, epsilon: float) -> Callable:
    """Group norm of (1, N, 1, windows * channels) with a gradient by fused kernels."""
    size = channels // groups

    def pooled(values: Any) -> Any:
        means = tf.reduce_mean(tf.reshape(values, (-1, size)), axis=1)
        return tf.repeat(means, size)

    @tf.custom_gradient
    def normalise(flat: Any, gamma: Any, beta: Any) -> Any:
        _, mean_each, variance_each = _trained(flat, gamma, beta, epsilon)
        mean = pooled(mean_each)
        variance = pooled(variance_each + tf.square(mean_each - mean))
        root = tf.math.rsqrt(variance + epsilon)

        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            direct, d_gamma, d_beta = _settled_gradient(
                upstream, flat, gamma, mean, variance, epsilon=epsilon
            )
            # through the statistics: -(mean(gamma dy) + x^ mean(gamma dy x^)) / sd, over the group
            count = tf.cast(tf.shape(flat)[1], tf.float32)
            slope = -root * root * pooled(gamma * d_gamma) / count
            offset = -root * pooled(gamma * d_beta) / count - slope * mean
            return direct + _affine(flat, slope, offset), d_gamma, d_beta

        return _settled(
            flat, gamma, beta, mean, variance, epsilon=epsilon
        ), gradients_tensorflow.named(gradient)

    return normalise


def _trained(flat: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalised tensor, mean and biased variance of each channel."""
    found, mean, variance = _fused(flat, gamma, beta, epsilon)
    return found.y, mean, variance


def _fused(flat: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """All that the fused kernel gives, mean and biased variance of each channel."""
    found = tf.raw_ops.FusedBatchNormV3(
        x=flat, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.shape(flat)[1], tf.float32)
    variance = found.batch_variance * (count - 1.0) / count  # the kernel's is the unbiased one
    return found, found.batch_mean, variance


def _affine(flat: Any, scale: Any, offset: Any) -> Any:
    """scale x + offset in one pass, as batch norm by statistics 0 and 1/2 + 1/2."""
    zero, half = tf.zeros_like(scale), tf.fill(tf.shape(scale), 0.5)
    return _settled(flat, scale, offset, zero, half, epsilon=0.5)


def _settled_gradient(
    upstream: Any, flat: Any, gamma: Any, mean: Any, variance: Any, *, epsilon: float
) -> tuple[Any, Any, Any]:
    """Gradients of `_settled` for its input, gamma and beta, the statistics held constant."""
    direct, d_gamma, d_beta, *_ = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=upstream,
        x=flat,
        scale=gamma,
        reserve_space_1=mean,
        reserve_space_2=variance,
        reserve_space_3=[],
        epsilon=epsilon,
        is_training=False,
    )
    return direct, d_gamma, d_beta


def _settled(flat: Any, gamma: Any, beta: Any, mean: Any, variance: Any, *, epsilon: float) -> Any:
    """Batch norm with given statistics."""
    return tf.raw_ops.FusedBatchNormV3(
        x=flat,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=False,
    ).y


def _flat(x: Any) -> Any:
    return tf.reshape(x, (1, -1, 1, x.shape[-1]))


def _like(out: Any, x: Any) -> Any:
    out.set_shape(x.shape)
    return out
