"""The U-Net of the comparison: base width 48, four levels, four extra 16-wide convolutions.

The paper gives parameter counts (4.84M in 2-D, 14.49M in 3-D) and "four additional convolutions",
not the arrangement. This one has both counts: two convolutions a level, widths doubling from 48; on
the way up a convolution that halves the width, linear interpolation by 2, concatenation, two
convolutions. All convolutions have a bias, norm and PReLU. Halving before interpolating costs an
eighth of the reverse and, unlike a strided transposed convolution, leaves no checkerboard.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from multires_tf.model import layers


@dataclasses.dataclass(frozen=True)
class Shape:
    """Kernel (z, y, x), width of the first level, levels, extra convolutions and their width."""

    kernel: tuple[int, int, int]
    base: int
    levels: int
    extra_convs: int
    extra_width: int

    @property
    def factor(self) -> tuple[int, ...]:
        """Pooling for each axis: 2 where the kernel reaches, else 1."""
        return tuple(2 if k > 1 else 1 for k in self.kernel)


@dataclasses.dataclass(frozen=True)
class UNet:
    """The whole network: `begin` and `finish` as multires.MultiRes has them.

    Attributes:
        shape: of the body.
        output_norm: "none" (bias) or "batch" on the output.
        initial_ct: first bias of the output, unit CT.
    """

    shape: Shape
    output_norm: str
    initial_ct: float

    def begin(self, bin_: Any, inputs: list) -> list[list]:
        """Builds all but the output; there is no dropout."""
        return [[body(bin_, inputs[0], self.shape)]]

    def channels(self, *, slabs: bool) -> tuple[float, float]:
        """Channels in memory, as multires.MultiRes has them: around the upper concatenation."""
        return 5.0 * self.shape.base, self.shape.extra_width

    def finish(self, bin_: Any, early: list[list], draw: Any) -> dict[str, Any]:
        """Builds the output "ct"."""
        x = early[0][0]
        return {"ct": bin_.output("ct", x, initial=self.initial_ct, norm=self.output_norm)}


def body(bin_: Any, x: Any, shape: Shape) -> Any:
    """Builds everything but the last convolution.

    Args:
        bin_: where the layers are.
        x: (B, Z, Y, X, channels); pooled edges are multiples of 2^(levels - 1).
        shape: of the network.

    Returns:
        The feature map at full resolution.
    """
    kernel, skips = shape.kernel, []
    for level in range(shape.levels):
        width = shape.base * 2**level
        if level:
            skips.append(x)
            x = bin_.make(f"pool_{level}", keras.layers.MaxPooling3D, pool_size=shape.factor)(x)
        for number in range(2):
            x = _unit(bin_, f"down_{level}.{number}", x, width, kernel)
    for level in reversed(range(shape.levels - 1)):
        width = shape.base * 2**level
        x = _unit(bin_, f"up_{level}.halve", x, width, kernel)
        x = bin_.make(f"up_{level}.upsample", layers.UpsampleLinear, factor=shape.factor)(x)
        x = bin_.make(f"up_{level}.concat", keras.layers.Concatenate)([skips[level], x])
        for number in range(2):
            x = _unit(bin_, f"up_{level}.{number}", x, width, kernel)
    for number in range(shape.extra_convs):
        x = _unit(bin_, f"extra_{number}", x, shape.extra_width, kernel)
    return x


def _unit(bin_: Any, name: str, x: Any, width: int, kernel: tuple) -> Any:
    x = bin_.conv(f"{name}.conv", x, width, kernel, bias=True)
    return bin_.active(x, f"{name}.norm", f"{name}.prelu")
