"""The parts bin of a network: layers made once by name, so that twin models share them.

A network that can be sampled exists as twins: one graph with dropped channels, one without. Both
are built by the same functions from the same bin. Names are stable (`branch_2.res_1_0.conv_0`);
each kernel's initialiser is seeded by the network's seed and the layer's name, so that kernels of
one shape start different.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import keras

from multires_tf.model import layers, normalisation

_OUTPUT_GAIN = 4e-4  # outputs start at their bias, give or take sqrt(gain) = 0.02 units, 80 HU


@dataclasses.dataclass(frozen=True)
class Norm:
    """How a network normalises.

    Attributes:
        kind: "batch", "renorm" (batch renormalisation), "group", "instance" or "none" (an offset).
        groups: groups of group norm.
        batch_statistics: "moving" or "local", what batch norm uses in inference.
        momentum: decay of batch norm's moving statistics.
    """

    kind: str = "batch"
    groups: int = 8
    batch_statistics: str = "moving"
    momentum: float = 0.9

    def layer(self, name: str, fold: int) -> keras.layers.Layer:
        """Makes a layer of this kind."""
        if self.kind in ("batch", "renorm"):
            return normalisation.BatchNorm(
                name=name,
                fold=fold,
                momentum=self.momentum,
                statistics=self.batch_statistics,
                renorm=self.kind == "renorm",
            )
        if self.kind == "group":
            return normalisation.GroupNorm(name=name, fold=fold, groups=self.groups)
        if self.kind == "instance":
            return normalisation.InstanceNorm(name=name, fold=fold)
        if self.kind == "none":
            return normalisation.Offset(name=name)
        raise ValueError(f"norm is batch, renorm, group, instance or none, not {self.kind!r}")


class Parts:
    """Layers by name.

    Args:
        norm: how to normalise.
        keep: probability to keep a channel where channels are dropped.
        seed: seed of the initial kernels.
    """

    def __init__(self, norm: Norm, *, keep: float = 1.0, seed: int = 0) -> None:
        self.norm, self.keep, self.seed = norm, keep, seed
        self._made: dict[str, keras.layers.Layer] = {}
        self._dropped: dict[str, int] = {}

    def make(self, name: str, factory: Callable[..., keras.layers.Layer], **kwargs: Any) -> Any:
        """Returns the layer of this name, made by factory(name=name, **kwargs) the first time."""
        if name not in self._made:
            self._made[name] = factory(name=_of_layer(name), **kwargs)
        return self._made[name]

    def conv(
        self,
        name: str,
        x: Any,
        filters: int,
        kernel: Any = 3,
        *,
        bias: bool = False,
        dtype: str | None = None,
    ) -> Any:
        """A convolution with zero padding, He-initialised; `dtype` None is the policy's."""
        initial = keras.initializers.HeNormal(seed=self._seed_of(name))
        return self.make(
            name,
            layers.Conv3D,
            filters=filters,
            kernel_size=kernel,
            use_bias=bias,
            kernel_initializer=initial,
            dtype=dtype,
        )(x)

    def active(self, x: Any, norm: str, prelu: str, *, fold: int = 1) -> Any:
        """Normalisation, then PReLU."""
        x = self.make(norm, self.norm.layer, fold=fold)(x)
        return self.make(prelu, layers.PReLU)(x)

    def drop(self, name: str, x: Any, draw: Any, *, fold: int = 1) -> Any:
        """Drops the channels of a draw; without a draw the tensor passes untouched."""
        if draw is None:
            return x
        index = self._dropped.setdefault(name, len(self._dropped))
        return self.make(name, layers.ChannelDropout, keep=self.keep, index=index, fold=fold)(
            x, draw
        )

    def voxelwise(self, function: Callable[[Any], Any], x: Any) -> Any:
        """Applies a function that looks at each voxel alone; other bins may do it bit by bit."""
        return function(x)

    def output(self, name: str, x: Any, *, initial: float, norm: str = "none") -> Any:
        """The last 1x1x1 convolution, to one channel, in float32 whatever the policy.

        With norm "none" it has a bias, `initial` at first; with "batch" it has batch norm and no
        bias, as NiftyNet has it.
        """
        gain = _OUTPUT_GAIN if norm == "none" else 2.0
        initial_kernel = keras.initializers.VarianceScaling(gain, seed=self._seed_of(name))
        x = self.make(
            name,
            keras.layers.Conv3D,
            filters=1,
            kernel_size=1,
            use_bias=norm == "none",
            kernel_initializer=initial_kernel,
            bias_initializer=keras.initializers.Constant(initial),
            dtype="float32",
        )(x)
        if norm == "none":
            return x
        kind = dataclasses.replace(self.norm, kind=norm)
        return self.make(f"{name}_norm", _float32_norm, kind=kind)(x)

    def _seed_of(self, name: str) -> int:
        return zlib.crc32(f"{self.seed}/{name}".encode())


def of(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """A model's layers by the names of its parts."""
    return {layer.name.replace("-", "."): layer for layer in model.layers}


def _of_layer(part: str) -> str:
    """The name of a part's layer: torch's parameters are called by it and take no dots."""
    return part.replace(".", "-") if keras.backend.backend() == "torch" else part


def _float32_norm(*, name: str, kind: Norm) -> keras.layers.Layer:
    return normalisation.BatchNorm(
        name=name, dtype="float32", momentum=kind.momentum, statistics=kind.batch_statistics
    )
