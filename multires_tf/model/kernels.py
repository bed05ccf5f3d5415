"""Kernels of the layers: one plain path in keras.ops, a faster one per backend.

`specialised()` names the module that overrides the plain path; only TensorFlow has one so far.
"""

from __future__ import annotations

import functools
import importlib
import types
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from multires_tf.model import calls


@functools.cache
def specialised() -> types.ModuleType | None:
    """Returns the running backend's kernel module, None where the plain path is all."""
    if keras.backend.backend() == "tensorflow":
        return importlib.import_module("multires_tf.model.kernels_tensorflow")
    return None


def _on_cpu(x: Any) -> types.ModuleType | None:
    """Returns the backend's kernels if they are faster for this tensor: on CPUs, that is."""
    fast = specialised()
    return fast if fast is not None and fast.handles(x, cpu_only=True) else None


def prelu(x: Any, alpha: Any) -> Any:
    """x where positive, alpha x elsewhere, rounded once.

    Args:
        x: (B, Z, Y, X, C).
        alpha: (C,) float32 (or wider), no variable; so is its gradient.
    """
    fast = _on_cpu(x)
    if fast is not None and not calls.portable:
        return fast.prelu(x, alpha)
    return plain_prelu(x, alpha)


def plain_prelu(x: Any, alpha: Any) -> Any:
    """`prelu` in keras.ops alone; the backward pass keeps x as it came, no wider copy of it."""

    def wide(tensor: Any) -> Any:
        return ops.cast(tensor, alpha.dtype)

    @ops.custom_gradient
    def activate(x: Any, alpha: Any) -> Any:
        def gradient(*given: Any, upstream: Any = None) -> tuple[Any, Any]:
            above = given[0] if upstream is None else upstream  # backends differ
            d_x = ops.where(x > 0, above, ops.cast(alpha * wide(above), above.dtype))
            negative = wide(above) * wide(ops.minimum(x, 0))
            return d_x, ops.sum(negative, axis=tuple(range(len(x.shape) - 1)))

        return ops.where(x > 0, x, ops.cast(alpha * wide(x), x.dtype)), gradient

    return activate(x, alpha)


def moments(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """Mean and biased variance in float32 (or wider) over axes, kept as size 1."""
    x = ops.cast(x, _wide(x))
    mean = ops.mean(x, axis=axes, keepdims=True)
    return mean, ops.mean(ops.square(x - mean), axis=axes, keepdims=True)


def convolution(x: Any, kernel: Any) -> Any:
    """Convolution of (B, Z, Y, X, C) by (z, y, x, C, C'), zeros around, without stride."""
    fast = _on_cpu(x)
    if fast is not None:
        return fast.convolution(x, kernel)
    return plain_convolution(x, kernel)


def plain_convolution(x: Any, kernel: Any) -> Any:
    """`convolution` in keras.ops alone."""
    return ops.conv(x, kernel, padding="same", data_format="channels_last")


def affine(x: Any, scale: Any, offset: Any) -> Any:
    """scale x + offset a channel, in the type of x, from factors in float32."""
    fast = _on_cpu(x)
    if fast is not None:
        return fast.affine(x, scale, offset)
    return plain_affine(x, scale, offset)


def plain_affine(x: Any, scale: Any, offset: Any) -> Any:
    """`affine` in keras.ops alone; the factors may have any shape that broadcasts."""
    wide = _wide(x)
    made = ops.cast(x, wide) * ops.cast(scale, wide) + ops.cast(offset, wide)
    return ops.cast(made, x.dtype)


def _wide(x: Any) -> str:
    """The type to reckon in: float32, or wider where x is. Torch's own types equal no names."""
    return "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"


def affine_prelu(x: Any, scale: Any, offset: Any, alpha: Any) -> Any:
    """PReLU of scale x + offset, reckoned in float32, in the type of x; for inference.

    Args:
        x: (B, Z, Y, X, C).
        scale: (C,) float32; None for 1.
        offset: (C,) float32; None for 0.
        alpha: (C,) float32.
    """
    fast = specialised()
    if fast is not None and fast.handles(x):
        return fast.affine_prelu(x, scale, offset, alpha)
    return plain_affine_prelu(x, scale, offset, alpha)


def plain_affine_prelu(x: Any, scale: Any, offset: Any, alpha: Any) -> Any:
    """`affine_prelu` in keras.ops alone."""
    wide = ops.cast(x, "float32")
    if scale is not None:
        wide = ops.multiply(wide, scale)
    if offset is not None:
        wide = ops.add(wide, offset)
    return ops.cast(ops.where(wide > 0, wide, ops.multiply(alpha, wide)), x.dtype)


def batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalises channels over all other axes, and over all devices that share the batch.

    Args:
        x: (B, Z, Y, X, C).
        gamma: scale (C,), float32.
        beta: offset (C,), float32.
        epsilon: added to the variance.

    Returns:
        The normalised tensor in the type of x, the mean (C,) and the biased variance (C,).
    """
    fast = specialised()
    if fast is not None and fast.replicas() > 1:
        return _scaled(x, gamma, beta, epsilon, *fast.shared_moments(x))
    if fast is not None and fast.handles(x):
        return fast.batch_norm(x, gamma, beta, epsilon)
    return plain_batch_norm(x, gamma, beta, epsilon)


def plain_batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """`batch_norm` in keras.ops alone."""
    return _scaled(x, gamma, beta, epsilon, *moments(x, (0, 1, 2, 3)))


def batch_renorm(x: Any, correction: Callable, epsilon: float) -> Any:
    """Normalises as `batch_norm`, by a scale and an offset that the batch's own moments tell.

    Args:
        x: (B, Z, Y, X, C).
        correction: from the mean (C,) and the biased variance (C,), through which no gradient flows
            here, to the scale (C,) and the offset (C,), float32.
        epsilon: added to the variance.

    Returns:
        The normalised tensor, in the type of x.
    """
    fast = specialised()
    if fast is not None and fast.replicas() > 1:
        return _corrected(x, correction, epsilon, *fast.shared_moments(x))
    if fast is not None and fast.handles(x):
        return fast.batch_renorm(x, correction, epsilon)
    return plain_batch_renorm(x, correction, epsilon)


def plain_batch_renorm(x: Any, correction: Callable, epsilon: float) -> Any:
    """`batch_renorm` in keras.ops alone."""
    return _corrected(x, correction, epsilon, *moments(x, (0, 1, 2, 3)))


def _corrected(x: Any, correction: Callable, epsilon: float, mean: Any, variance: Any) -> Any:
    told = [ops.stop_gradient(ops.reshape(moment, (-1,))) for moment in (mean, variance)]
    scale, offset = correction(*told)
    return _scaled(x, scale, offset, epsilon, mean, variance)[0]


def _scaled(x: Any, gamma: Any, beta: Any, epsilon: float, mean: Any, variance: Any) -> tuple:
    mean, variance = ops.reshape(mean, (-1,)), ops.reshape(variance, (-1,))
    scale = gamma * ops.rsqrt(variance + epsilon)
    return plain_affine(x, scale, beta - mean * scale), mean, variance


def group_norm(x: Any, gamma: Any, beta: Any, *, groups: int, fold: int, epsilon: float) -> Any:
    """Normalises groups of channels over each window.

    Args:
        x: (B * fold, Z, Y, X, C), the sub-lattices of a window together.
        gamma: scale (C,), float32.
        beta: offset (C,), float32.
        groups: number of groups of neighbouring channels.
        fold: sub-lattices of a window in the batch.
        epsilon: added to the variance.

    Returns:
        The normalised tensor, in the type of x.
    """
    fast = _on_cpu(x)
    if fast is not None:
        return fast.group_norm(x, gamma, beta, groups=groups, fold=fold, epsilon=epsilon)
    return plain_group_norm(x, gamma, beta, groups=groups, fold=fold, epsilon=epsilon)


def plain_group_norm(
    x: Any, gamma: Any, beta: Any, *, groups: int, fold: int, epsilon: float
) -> Any:
    """`group_norm` in keras.ops alone."""
    sizes = ops.shape(x)
    channels = x.shape[-1]
    voxels = fold * sizes[1] * sizes[2] * sizes[3]
    grouped = ops.reshape(x, (-1, voxels, groups, channels // groups))
    mean, variance = moments(grouped, (1, 3))
    scale = ops.rsqrt(variance + epsilon) * ops.reshape(gamma, (1, 1, groups, -1))
    offset = ops.reshape(beta, (1, 1, groups, -1)) - mean * scale
    return ops.reshape(plain_affine(grouped, scale, offset), (-1, *sizes[1:4], channels))


def compiled(model: keras.Model, outputs: Sequence[str]) -> Callable[[list], dict[str, Any]]:
    """A model's inference as one function, compiled where the backend compiles.

    Args:
        model: from a list of tensors to named ones; its weights are read anew at every call.
        outputs: those that are wanted, as far as the model has them.
    """
    wanted = {name: model.output[name] for name in outputs if name in model.output}
    model = keras.Model(model.inputs, wanted)
    fast = specialised()
    return model.predict_on_batch if fast is None else fast.compiled(model)


def recomputed(models: Sequence[keras.Model], inputs: Sequence[list]) -> list[Any]:
    """Calls models in training; the backward pass computes them once more, where a kernel can.

    Args:
        models: from a list of tensors to a tensor each; they share no variables.
        inputs: of each.

    Returns:
        The output of each.
    """
    fast = specialised()
    if fast is not None:
        return fast.recomputed(models, inputs)
    return [model(given, training=True) for model, given in zip(models, inputs, strict=True)]
