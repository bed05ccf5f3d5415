"""TensorFlow's own kernels for what is slow in plain keras.ops. Loaded by `kernels` alone.

On a CPU the fused batch norm is 4 to 10 times faster than means and squares by reductions, forward
and backward. All norms are brought to its shape: a 4-D tensor (1, N, 1, channels) whose channels,
in group norm, are the channels of all windows side by side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from multires_tf.ground import processor
from multires_tf.model import calls, winograd


def handles(x: Any, *, cpu_only: bool = False) -> bool:
    """Whether the kernels here take this tensor.

    Args:
        x: the tensor.
        cpu_only: whether it is about a kernel that pays on CPUs alone. (On a GPU one of group
            norm's is not deterministic, and the compiler fuses the plain path.)
    """
    if not tf.is_tensor(x) or x.dtype not in (tf.float32, tf.bfloat16, tf.float16):
        return False
    return not (cpu_only and _has_gpu())


@functools.cache
def _has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


def replicas() -> int:
    """Devices that share the batch of the running step."""
    in_step = tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()
    return tf.distribute.get_strategy().num_replicas_in_sync if in_step else 1


def shared_moments(x: Any) -> tuple[Any, Any]:
    """Mean and biased variance (C,) of channels over the shares of all devices, all of one size."""
    x = tf.cast(x, tf.float64 if x.dtype == tf.float64 else tf.float32)
    replica = tf.distribute.get_replica_context()
    mean = replica.all_reduce("MEAN", tf.reduce_mean(x, axis=(0, 1, 2, 3)))
    variance = tf.reduce_mean(tf.square(x - mean), axis=(0, 1, 2, 3))
    return mean, replica.all_reduce("MEAN", variance)


def batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """`kernels.batch_norm`: the fused kernel on a 4-D view of the 5-D tensor."""
    flat = tf.reshape(x, (1, -1, 1, x.shape[-1]))
    out, mean, variance = _trained(flat, gamma, beta, epsilon)
    return _like(tf.reshape(out, tf.shape(x)), x), mean, variance


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
    return tf.reshape(_affine(tf.reshape(x, (1, -1, 1, x.shape[-1])), scale, offset), tf.shape(x))


def convolution(x: Any, kernel: Any) -> Any:
    """`kernels.convolution`, by minimal filtering along z, or z and y, where it pays.

    What the processor has no instructions for is computed in float32 and rounded.
    """
    kernel = tf.convert_to_tensor(kernel)  # gradients of our own take no variables
    emulated = x.dtype == tf.bfloat16 and processor.emulates_bfloat16()
    if emulated or x.dtype == tf.float16:
        # The CPU's own kernels take 10 to 30 times as long in it as in float32, and a step of the
        # whole network 100 times. Sums in float32, rounded once: such instructions do the same.
        wide = convolution(tf.cast(x, tf.float32), tf.cast(kernel, tf.float32))
        return tf.cast(wide, x.dtype)
    axes = winograd.worthwhile_axes(x, kernel)
    return _convolution(axes)(x, kernel) if axes else winograd.direct(x, kernel)


@functools.cache
def _convolution(axes: int) -> Callable:
    """Convolution whose gradient evaluates the tiles anew: they are larger than what they hold."""

    @tf.custom_gradient
    def convolve(x: Any, kernel: Any) -> Any:
        def gradient(upstream: Any) -> list[Any]:
            with tf.control_dependencies([upstream]):  # else the optimiser would keep the first
                again = tf.identity(x)
            with tf.GradientTape() as tape:
                tape.watch([again, kernel])
                out = winograd.convolution(again, kernel, axes)
            return tape.gradient(out, [again, kernel], upstream)

        if tf.executing_eagerly():
            return filtered(tuple(x.shape[1:4]), axes)(x, kernel), _named(gradient)
        return winograd.convolution(x, kernel, axes), _named(gradient)

    return convolve


@functools.lru_cache(maxsize=64)
def filtered(edges: tuple[int, int, int], axes: int) -> Callable:
    """Minimal filtering of windows of these edges and any width, where a network runs op by op.

    One graph: its many small products run side by side, not in turn.
    """
    tensor, taps = ([None, *edges, None], [winograd.TAPS] * 3 + [None, None])
    signature = [tf.TensorSpec(shape, tf.float32) for shape in (tensor, taps)]
    filtering = functools.partial(winograd.convolution, axes=axes)
    return tf.function(filtering, input_signature=signature, autograph=False)


@tf.custom_gradient
def prelu(x: Any, alpha: Any) -> Any:
    """`kernels.prelu`: one pass forward, one back with alpha's gradient, both compiled."""

    def gradient(upstream: Any) -> tuple[Any, Any]:
        rows = (-1, x.shape[-1])
        given = (tf.reshape(upstream, rows), tf.reshape(x, rows))
        d_x, d_alpha = _prelu_gradient(x.dtype)(*given, alpha)
        return tf.reshape(d_x, tf.shape(x)), d_alpha

    return affine_prelu(x, None, None, alpha), _named(gradient)


@functools.cache
def _prelu_gradient(dtype: tf.DType) -> Callable:
    """Gradients of PReLU for rows (N, C) and for alpha; reckoned in float32.

    XLA sums columns of a matrix several times as fast as all axes but the last of a 5-D tensor.
    """
    rows, factors = tf.TensorSpec([None, None], dtype), tf.TensorSpec([None], tf.float32)

    @tf.function(input_signature=[rows, rows, factors], jit_compile=True, autograph=False)
    def prelu_gradient(upstream: Any, x: Any, alpha: Any) -> tuple[Any, Any]:
        above, wide = tf.cast(upstream, tf.float32), tf.cast(x, tf.float32)
        d_x = tf.cast(tf.where(wide > 0, above, alpha * above), dtype)
        return d_x, tf.reduce_sum(above * tf.minimum(wide, 0), axis=0)

    return prelu_gradient


def affine_prelu(x: Any, scale: Any, offset: Any, alpha: Any) -> Any:
    """`kernels.affine_prelu`: one pass over memory, compiled for each shape that comes."""
    scale = tf.ones(x.shape[-1:]) if scale is None else scale
    offset = tf.zeros(x.shape[-1:]) if offset is None else offset
    return _like(_one_pass(x.dtype)(x, scale, offset, alpha), x)


@functools.cache
def _one_pass(dtype: tf.DType) -> Callable:
    """One graph for all shapes: each draw keeps another number of channels."""
    factors = tf.TensorSpec([None], tf.float32)
    signature = [tf.TensorSpec([None] * 5, dtype), factors, factors, factors]

    @tf.function(input_signature=signature, jit_compile=True, autograph=False)
    def affine_prelu(x: Any, scale: Any, offset: Any, alpha: Any) -> Any:
        wide = tf.cast(x, tf.float32) * scale + offset
        return tf.cast(tf.where(wide > 0, wide, alpha * wide), dtype)

    return affine_prelu


def compiled(model: Any) -> Callable[[list], dict[str, Any]]:
    """`kernels.compiled`: a graph, without XLA."""

    @tf.function(reduce_retracing=True, jit_compile=False)
    def infer(inputs: list) -> dict[str, Any]:
        return model(inputs, training=False)

    return lambda inputs: infer([tf.constant(one) for one in inputs])


def recomputed(model: Any, inputs: list) -> Any:
    """`kernels.recomputed`: a gradient that calls the model again, statistics at rest."""

    @tf.custom_gradient
    def call(*given: Any) -> Any:
        def gradient(upstream: Any, variables: Any = ()) -> tuple[list, list]:
            with tf.control_dependencies([upstream]):  # else the optimiser would keep the first
                again = [tf.identity(tensor) for tensor in given]
            with calls.repeating.holds(), tf.GradientTape() as tape:
                tape.watch([tensor for tensor in again if tensor.dtype.is_floating])
                output = model(again, training=True)
            found = tape.gradient(output, [*again, *variables], upstream)
            return found[: len(given)], found[len(given) :]

        return model(list(given), training=True), gradient

    return call(*inputs)


def _named(gradient: Callable) -> Callable:
    """Puts a gradient's operations under the layer's name, where profiles look for them."""
    scope = tf.get_current_name_scope()

    def named(*upstream: Any) -> Any:
        with tf.name_scope(f"gradient/{scope}"):
            return gradient(*upstream)

    return named


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

        return _settled(flat, gamma, beta, mean, variance, epsilon=epsilon), _named(gradient)

    return normalise


def _trained(flat: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalised tensor, mean and biased variance of each channel."""
    out, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=flat, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.shape(flat)[1], tf.float32)
    return out, mean, variance * (count - 1.0) / count  # the kernel's variance is the unbiased one


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


def _like(out: Any, x: Any) -> Any:
    out.set_shape(x.shape)
    return out
