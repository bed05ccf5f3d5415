"""A trained network for inference: convolution, norm, PReLU and dropped channels as one.

`ThinParts` is the parts bin of inference. The designs that training builds of layers are built from
it of the trained weights, at once and with tensors. A convolution waits until it is known what
follows it:

- a norm that does not depend on the window is folded into its kernel and offset;
- the PReLU and the offset are one pass over memory, where the backend can compile one;
- output channels that a draw drops are never computed: they are sliced out of the kernel, and out
  of the input side of the next one, which takes the factor 1 / keep.

So a draw is a narrower network, equal to the masked one up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from multires_tf.model import draws, kernels, networks, parts

# A series of 1x1x1 convolutions, up to 184 wide, works on about so many voxels at a time.
_SLAB_VOXELS = 1 << 17


def norms_by_window(layers: Iterable[Any]) -> bool:
    """Whether a network's norms take statistics of the window, which must then stay whole."""
    return any(layer.affine() is None for layer in layers if hasattr(layer, "affine"))


class Draws:
    """The draws of one network.

    Args:
        nets: the network; its weights are read anew for every tile and draw.
    """

    def __init__(self, nets: networks.Networks) -> None:
        self._design = nets.design
        self._layers = parts.of(nets.sampler or nets.plain)

    def parts(self, draw: tuple[int, int] | None = None) -> ThinParts:
        """The bin of one draw (seed, index), or of the network with all its channels."""
        return ThinParts(self._layers, draw)

    def shared(self, inputs: list) -> list[list]:
        """What precedes the first dropped layer of each branch: once a tile.

        Args:
            inputs: MR windows (B, Z, Y, X, 1), one for each scale.
        """
        bin_ = self.parts()
        early = self._design.begin(bin_, inputs)
        return [[_tensor(one) for one in tensors] for tensors in early]

    def outputs(self, shared: list[list], draw: tuple[int, int] | None) -> dict[str, Any]:
        """One draw's "ct" and, with a variance head, "log_var", (B, Z, Y, X, 1) float32.

        Args:
            shared: what `shared` returns.
            draw: (seed, index); None drops nothing.
        """
        made = self._design.finish(self.parts(draw), shared, draw)
        return {name: _tensor(made[name]) for name in ("ct", "log_var") if name in made}

    def multiply_adds(
        self, shapes: list[tuple[int, ...]], draw: tuple[int, int] | None
    ) -> tuple[int, int]:
        """Counts multiplications and additions in pairs, by shapes alone.

        Args:
            shapes: of the inputs.
            draw: as in `outputs`.

        Returns:
            Of `shared` and of `outputs`.
        """
        begun, finished = (ThinParts(self._layers, d) for d in (None, draw))
        inputs = [keras.KerasTensor(shape) for shape in shapes]
        early = self._design.begin(begun, inputs)
        early = [[_tensor(one) for one in tensors] for tensors in early]
        for made in self._design.finish(finished, early, draw).values():
            _tensor(made)
        return begun.multiply_adds, finished.multiply_adds


class ThinParts:
    """Parts by name, as parts.Parts has them, of trained weights.

    Args:
        trained: the layers of a trained model by name.
        draw: (seed, index), None where nothing is dropped.

    Attributes:
        multiply_adds: of the convolutions done so far.
    """

    def __init__(self, trained: dict[str, Any], draw: tuple[int, int] | None) -> None:
        self._trained, self._draw = trained, draw
        self.multiply_adds = 0

    def make(self, name: str, *_: Any, **__: Any) -> Callable[[Any], Any]:
        """The trained model's layer without weights, on tensors or convolutions that wait."""
        layer = self._trained[name]
        return lambda x: layer([_tensor(one) for one in x] if isinstance(x, list) else _tensor(x))

    def conv(self, name: str, x: Any, *_: Any, **__: Any) -> _Convolution:
        """A convolution, still to be done."""
        layer = self._trained[name]
        bias = _array(layer.bias) if layer.use_bias else None
        kernel = _array(layer.kernel)
        return _Convolution(self, x, kernel, bias, layer.compute_dtype)

    def active(self, x: Any, norm: str, prelu: str, **_: Any) -> Any:
        """Normalisation, then PReLU."""
        layer, alpha = self._trained[norm], _array(self._trained[prelu].alpha)
        affine = layer.affine()
        if affine is None:
            return kernels.affine_prelu(layer(_tensor(x)), None, None, alpha)
        scale, offset = map(_array, affine)
        if isinstance(x, _Convolution) and not x.complete:
            return x.followed_by(scale, offset, alpha)
        return kernels.affine_prelu(_tensor(x), scale, offset, alpha)

    def drop(self, name: str, x: Any, draw: Any, **_: Any) -> Any:
        """Marks the channels of the draw; they go where the next convolution reads them."""
        if draw is None:
            return x
        layer = self._trained[name]
        seed, index = draw
        kept = draws.kept_channels(
            seed=seed, draw=index, layer=layer.index, channels=x.shape[-1], keep=layer.keep
        )
        return _Dropped(x, kept, layer.keep)

    def output(self, name: str, x: Any, *, norm: str = "none", **_: Any) -> Any:
        """The last convolution, with its norm if it has one, in float32."""
        last = self.conv(name, x)
        if norm == "none":
            return last
        layer = self._trained[f"{name}_norm"]
        affine = layer.affine()
        if affine is None:
            return layer(last.tensor())
        scale, offset = map(_array, affine)
        return last.followed_by(scale, offset, None)

    def voxelwise(self, function: Callable[[Any], Any], x: Any) -> Any:
        """Applies a function of single voxels to slabs along z: wide series stay small.

        Norms with statistics of the window need it whole.
        """
        x = _tensor(x)
        if norms_by_window(self._trained.values()):
            return function(x)
        batch, depth, height, width, _ = x.shape
        wanted = max(1, _SLAB_VOXELS // (batch * height * width))
        slab = max(d for d in range(1, min(wanted, depth) + 1) if depth % d == 0)
        made = [_tensor(function(x[:, z : z + slab])) for z in range(0, depth, slab)]
        return made[0] if len(made) == 1 else ops.concatenate(made, axis=1)


class _Dropped:
    """A tensor, or a convolution that waits, some channels of which a draw drops."""

    def __init__(self, x: Any, kept: np.ndarray, keep: float) -> None:
        self.x, self.kept, self.keep = x, kept, keep

    def entering(self, kernel: np.ndarray) -> tuple[Any, np.ndarray]:
        """Tensor and kernel for the next convolution."""
        # Where nothing is kept one channel stays, and meets zeros.
        places = np.flatnonzero(self.kept) if self.kept.any() else np.array([0])
        factors = (self.kept / self.keep).astype(np.float32)
        if isinstance(self.x, _Convolution):
            return self.x.sliced(places).tensor(), _scaled(kernel, factors)[:, :, :, places]
        if kernel.shape[:3] == (1, 1, 1):  # reads its input once: cutting that would cost more
            return self.x, _scaled(kernel, factors)
        return ops.take(self.x, places, axis=-1), _scaled(kernel, factors)[:, :, :, places]


class _Convolution:
    """A convolution that waits for what follows it; done when its tensor is asked for."""

    def __init__(
        self, bin_: ThinParts, x: Any, kernel: np.ndarray, bias: np.ndarray | None, dtype: str
    ) -> None:
        self._bin, self._x, self._kernel, self._dtype = bin_, x, kernel, dtype
        self._offset, self._made = bias, None
        self._alpha: np.ndarray | None = None

    @property
    def shape(self) -> tuple:
        """The tensor's, its batch and edges left open."""
        return (None, None, None, None, self._kernel.shape[-1])

    @property
    def complete(self) -> bool:
        """Whether a PReLU has been taken in already."""
        return self._alpha is not None

    def followed_by(
        self, scale: np.ndarray, offset: np.ndarray, alpha: np.ndarray | None
    ) -> _Convolution:
        """Takes in a norm and a PReLU."""
        self._kernel = self._kernel * scale
        self._offset = offset if self._offset is None else offset + scale * self._offset
        self._alpha = alpha
        return self

    def sliced(self, places: np.ndarray) -> _Convolution:
        """Computes these output channels alone."""
        self._kernel = self._kernel[..., places]
        self._offset = None if self._offset is None else self._offset[places]
        self._alpha = None if self._alpha is None else self._alpha[places]
        return self

    def tensor(self) -> Any:
        """Does it, once, and lets go of the input."""
        if self._made is None:
            x, kernel = _entering(self._x, self._kernel)
            self._x = None
            made = kernels.convolution(ops.cast(x, self._dtype), ops.cast(kernel, self._dtype))
            self._bin.multiply_adds += math.prod(made.shape) * math.prod(kernel.shape[:4])
            del x
            if self._alpha is not None:
                made = kernels.affine_prelu(made, None, self._offset, self._alpha)
            elif self._offset is not None:
                made = ops.add(made, ops.cast(self._offset, self._dtype))
            self._made = made
        return self._made


def _array(weight: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(weight), np.float32)


def _tensor(x: Any) -> Any:
    return x.tensor() if isinstance(x, _Convolution) else x


def _entering(x: Any, kernel: np.ndarray) -> tuple[Any, np.ndarray]:
    return x.entering(kernel) if isinstance(x, _Dropped) else (_tensor(x), kernel)


def _scaled(kernel: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """A kernel (3, 3, 3, in, out) with a factor for each of its inputs."""
    return kernel * factors[:, None]
