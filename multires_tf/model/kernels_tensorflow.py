"""TensorFlow's own kernels for what is slow in plain keras.ops. Loaded by `kernels` alone."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from multires_tf.model import (
    calls,
    convolution_tensorflow,
    gradients_tensorflow,
    norms_tensorflow,
)

affine = norms_tensorflow.affine
batch_norm = norms_tensorflow.batch_norm
batch_renorm = norms_tensorflow.batch_renorm
group_norm = norms_tensorflow.group_norm
shared_moments = norms_tensorflow.shared_moments
convolution = convolution_tensorflow.convolution


def handles(x: Any, *, cpu_only: bool = False) -> bool:
    """Whether the kernels here take this tensor.

    Args:
        x: the tensor.
        cpu_only: whether it is about a kernel that pays on CPUs alone. (On a GPU one of group
            norm's is not deterministic, and the compiler fuses the plain path where it can.)
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


@tf.custom_gradient
def prelu(x: Any, alpha: Any) -> Any:
    """`kernels.prelu`: one pass forward, one back with alpha's gradient, both compiled."""

    def gradient(upstream: Any) -> tuple[Any, Any]:
        rows = (-1, x.shape[-1])
        given = (tf.reshape(upstream, rows), tf.reshape(x, rows))
        d_x, d_alpha = _prelu_gradient(x.dtype)(*given, alpha)
        return tf.reshape(d_x, tf.shape(x)), d_alpha

    return affine_prelu(x, None, None, alpha), gradients_tensorflow.named(gradient)


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
    out = _one_pass(x.dtype)(x, scale, offset, alpha)
    out.set_shape(x.shape)
    return out


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


def recomputed(models: Sequence[Any], inputs: Sequence[list]) -> list[Any]:
    """`kernels.recomputed`: a gradient that calls the models again, statistics at rest.

    One after the other: all at once would need the memory that is to be saved.
    """
    ends = list(itertools.accumulate(len(given) for given in inputs))

    @tf.custom_gradient
    def call(*flat: Any) -> Any:
        parts = [list(flat[end - len(own) : end]) for own, end in zip(inputs, ends, strict=True)]

        def gradient(*upstream: Any, variables: Sequence[Any] = ()) -> tuple[list, list]:
            found, of_variables, done = [], [None] * len(variables), list(upstream)
            for model, given, above in zip(models, parts, upstream, strict=True):
                again = gradients_tensorflow.anew(given, done)
                with calls.repeating.holds(), tf.GradientTape() as tape:
                    tape.watch([tensor for tensor in again if tensor.dtype.is_floating])
                    output = model(again, training=True)
                made = tape.gradient(output, [*again, *variables], above)
                found += made[: len(given)]
                rest = zip(of_variables, made[len(given) :], strict=True)
                of_variables = [old if new is None else new for old, new in rest]
                done += [tensor for tensor in made if tensor is not None]
            return found, of_variables

        made = [model(given, training=True) for model, given in zip(models, parts, strict=True)]
        return made, gradient

    return call(*(tensor for given in inputs for tensor in given))
