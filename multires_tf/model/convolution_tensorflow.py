"""Convolution on TensorFlow's CPU: minimal filtering, and float32 where less is only emulated.

Loaded by `kernels_tensorflow` alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from multires_tf.ground import processor
from multires_tf.model import gradients_tensorflow, winograd


def convolution(x: Any, kernel: Any) -> Any:
    """`kernels.convolution`, by minimal filtering along z, or z and y, where it pays.

    What the processor has no instructions for is computed in float32 and rounded: its own kernels
    take 10 to 30 times as long in it, and a step of the whole network 100 times. Sums in float32,
    rounded once: such instructions do the same.
    """
    kernel = tf.convert_to_tensor(kernel)  # gradients of our own take no variables
    emulated = x.dtype == tf.float16 or (x.dtype == tf.bfloat16 and processor.emulates_bfloat16())
    filters = emulated or x.dtype == tf.float32  # bfloat16 has too few digits for it
    axes = winograd.worthwhile_axes(x, kernel) if filters else 0
    return _convolution(axes)(x, kernel) if emulated or axes else winograd.direct(x, kernel)


@functools.cache
def _convolution(axes: int) -> Callable:
    """Convolution computed in float32, rounded to the type of x; so many axes filtered minimally.

    Its gradient makes the tiles and the wider copy anew: they are larger than what they hold.
    """

    def rounded(x: Any, kernel: Any) -> Any:
        wide = tf.cast(x, tf.float32), tf.cast(kernel, tf.float32)
        if not axes:
            out = winograd.direct(*wide)
        elif tf.executing_eagerly():
            out = filtered(tuple(x.shape[1:4]), axes)(*wide)
        else:
            out = winograd.convolution(*wide, axes)
        return tf.cast(out, x.dtype)

    @tf.custom_gradient
    def convolve(x: Any, kernel: Any) -> Any:
        def gradient(upstream: Any) -> list[Any]:
            (again,) = gradients_tensorflow.anew([x], [upstream])
            with tf.GradientTape() as tape:
                tape.watch([again, kernel])
                out = rounded(again, kernel)
            return tape.gradient(out, [again, kernel], upstream)

        return rounded(x, kernel), gradients_tensorflow.named(gradient)

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
