"""The small layers of the networks: activation, dropout, dilation, resampling, padding.

Batches are (B, Z, Y, X, C). Inside a dilated stage the batch holds `fold` sub-lattices of every
window (see SpaceToBatch); layers that look at a whole window take that number.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from multires_tf.model import draws, kernels


@keras.saving.register_keras_serializable("multires_tf")
class Conv3D(keras.layers.Conv3D):
    """Keras' Conv3D with zero padding and no stride, by the kernels of this package."""

    def __init__(self, filters: int, kernel_size: Any, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, padding="same", **kwargs)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return kernels.convolution(inputs, kernel)

    def get_config(self) -> dict:
        config = super().get_config()
        del config["padding"]
        return config


@keras.saving.register_keras_serializable("multires_tf")
class PReLU(keras.layers.Layer):
    """x where positive, alpha x elsewhere; one alpha a channel, initially 0 (He et al. 2015)."""

    def build(self, input_shape: tuple) -> None:
        self.alpha = self.add_weight(
            name="alpha", shape=(input_shape[-1],), initializer="zeros", autocast=False
        )

    def call(self, inputs: Any) -> Any:
        # A gradient of one's own takes tensors, no variables: reading is what a cast does.
        return kernels.prelu(inputs, ops.cast(self.alpha, self.alpha.dtype))

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, self.compute_dtype)


@keras.saving.register_keras_serializable("multires_tf")
class ChannelDropout(keras.layers.SpatialDropout3D):
    """SpatialDropout3D whose masks belong to a draw instead of to a random-number generator.

    Args:
        keep: probability to keep a channel; what is kept is scaled by 1 / keep.
        index: the layer's number in the network, part of the hash.
        fold: sub-lattices of a window in the batch; they share the window's mask.
    """

    def __init__(self, keep: float, *, index: int, fold: int = 1, **kwargs: Any) -> None:
        super().__init__(0.0, **kwargs)  # at any other rate Keras makes a generator and its state
        self.rate = 1.0 - keep
        self.keep, self.index, self.fold = keep, index, fold

    def call(self, inputs: Any, draw: Any) -> Any:
        """Drops channels.

        Args:
            inputs: (B * fold, Z, Y, X, C).
            draw: int32 (B, 2), (seed, draw index) of every window.
        """
        channels = inputs.shape[-1]
        mask = draws.channel_mask(
            draw, layer=self.index, channels=channels, keep=self.keep, dtype=inputs.dtype
        )
        if self.fold > 1:
            mask = ops.repeat(mask, self.fold, axis=0)
        return inputs * ops.reshape(mask, (-1, 1, 1, 1, channels))

    def compute_output_spec(self, inputs: Any, draw: Any) -> Any:
        return keras.KerasTensor(inputs.shape, self.compute_dtype)

    def get_config(self) -> dict:
        base = keras.layers.Layer.get_config(self)  # the parent's forgets the precision policy
        own = {"keep": self.keep, "index": self.index, "fold": self.fold}
        return {"name": base["name"], "dtype": base["dtype"], **own}


@keras.saving.register_keras_serializable("multires_tf")
class SpaceToBatch(keras.layers.Layer):
    """Deals a window's voxels to its 2^3 sub-lattices, along the batch axis.

    A convolution with dilation 2 is an ordinary convolution of each sub-lattice. The sub-lattices
    of a window stay together in the batch, window-major. Every edge must be even.

    Two transpositions of low rank: TensorFlow's one of rank 8 takes 50 times longer on a CPU where
    the batch is 2.
    """

    def call(self, inputs: Any) -> Any:
        _, z, y, x, c = _sizes(inputs)
        z, y, x = z // 2, y // 2, x // 2
        out = ops.reshape(inputs, (-1, z, 2, y, 2, x * 2 * c))
        out = ops.transpose(out, (0, 2, 4, 1, 3, 5))
        out = ops.reshape(out, (-1, z * y * x, 2, c))
        out = ops.transpose(out, (0, 2, 1, 3))
        return ops.reshape(out, (-1, z, y, x, c))

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(_scaled(inputs.shape, 0.5), inputs.dtype)


@keras.saving.register_keras_serializable("multires_tf")
class BatchToSpace(keras.layers.Layer):
    """The inverse of SpaceToBatch."""

    def call(self, inputs: Any) -> Any:
        _, z, y, x, c = _sizes(inputs)
        out = ops.reshape(inputs, (-1, 2, z * y * x, c))
        out = ops.transpose(out, (0, 2, 1, 3))
        out = ops.reshape(out, (-1, 2, 2, z, y, x * 2 * c))
        out = ops.transpose(out, (0, 3, 1, 4, 2, 5))
        return ops.reshape(out, (-1, 2 * z, 2 * y, 2 * x, c))

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(_scaled(inputs.shape, 2), inputs.dtype)


@keras.saving.register_keras_serializable("multires_tf")
class CropMargin(keras.layers.Layer):
    """Cuts a margin of voxels off both ends of each spatial axis.

    Args:
        margin: voxels for each axis (z, y, x).
    """

    def __init__(self, margin: tuple[int, int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin = tuple(margin)

    def call(self, inputs: Any) -> Any:
        keep = (slice(m, -m if m else None) for m in self.margin)
        return inputs[(slice(None), *keep)]

    def compute_output_spec(self, inputs: Any) -> Any:
        batch, *edges, channels = inputs.shape
        edges = [n if n is None else n - 2 * m for n, m in zip(edges, self.margin, strict=True)]
        return keras.KerasTensor((batch, *edges, channels), inputs.dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable("multires_tf")
class UpsampleLinear(keras.layers.Layer):
    """Doubles spatial axes by half-pixel linear interpolation, the edge voxel repeated outside.

    Voxel i of the coarse grid has its centre at 2 i + 1/2 of the fine one, as averaging by 2 puts
    it: down and up again shifts by 0 voxels.

    Args:
        factor: 1 or 2 for each axis (z, y, x).
    """

    def __init__(self, factor: tuple[int, int, int] = (2, 2, 2), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = tuple(factor)

    def call(self, inputs: Any) -> Any:
        out = inputs
        for axis in (3, 2, 1):  # the contiguous axis first, while the array is small
            if self.factor[axis - 1] == 2:
                out = _double(out, axis)
        return out

    def compute_output_spec(self, inputs: Any) -> Any:
        batch, *edges, channels = inputs.shape
        edges = [n if n is None else n * f for n, f in zip(edges, self.factor, strict=True)]
        return keras.KerasTensor((batch, *edges, channels), inputs.dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("multires_tf")
class PadChannels(keras.layers.Layer):
    """Widens with channels of zeros, half of them (rounded down) in front: NiftyNet's identity.

    Args:
        channels: width of the result.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels

    def call(self, inputs: Any) -> Any:
        missing = self.channels - inputs.shape[-1]
        return ops.pad(inputs, [[0, 0]] * 4 + [[missing // 2, missing - missing // 2]])

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor((*inputs.shape[:-1], self.channels), inputs.dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "channels": self.channels}


class Recomputed(keras.layers.Layer):
    """Models that the backward pass computes once more instead of keeping what they computed.

    Args:
        models: from a list of tensors to a tensor each; they share no variables.
    """

    def __init__(self, models: list[keras.Model], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.models = models

    def call(self, inputs: list[list], training: bool = False) -> list:
        if training:
            return kernels.recomputed(self.models, inputs)
        return [model(given) for model, given in zip(self.models, inputs, strict=True)]

    def compute_output_spec(self, inputs: list[list], training: bool = False) -> list:
        pairs = zip(self.models, inputs, strict=True)
        return [model.compute_output_spec(given) for model, given in pairs]


def _sizes(tensor: Any) -> tuple:
    """Sizes as numbers where they are known, else as tensors."""
    return tuple(ops.shape(tensor))


def _scaled(shape: tuple, factor: float) -> tuple:
    batch, *edges, channels = shape
    folded = None if batch is None else int(batch / factor**3)
    return (folded, *(None if n is None else int(n * factor) for n in edges), channels)


def _double(tensor: Any, axis: int) -> Any:
    def cut(start: int | None, stop: int | None) -> Any:
        return tensor[(slice(None),) * axis + (slice(start, stop),)]

    before = ops.concatenate([cut(None, 1), cut(None, -1)], axis=axis)
    after = ops.concatenate([cut(1, None), cut(-1, None)], axis=axis)
    pair = ops.stack([0.75 * tensor + 0.25 * before, 0.75 * tensor + 0.25 * after], axis=axis + 1)
    sizes = list(_sizes(tensor))
    sizes[axis] = 2 * sizes[axis]
    sizes[0] = -1
    return ops.reshape(pair, sizes)
