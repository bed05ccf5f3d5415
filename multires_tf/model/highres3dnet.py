"""HighRes3DNet (Li et al. 2017), as NiftyNet builds it: trunk and series of 1x1x1 convolutions.

Dilated stages run on sub-lattices: the window is dealt out once by 2, then by 2 again, ordinary
convolutions do the work, and it is put together at the end. The results are those of dilated
convolutions.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from multires_tf.model import layers


@dataclasses.dataclass(frozen=True)
class Trunk:
    """Shape of a trunk.

    Attributes:
        filters: width of each stage.
        blocks: residual blocks in each stage.
        dilations: dilation of each stage, powers of two.
    """

    filters: tuple[int, ...] = (16, 32, 64)
    blocks: int = 3
    dilations: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        if len(self.filters) != len(self.dilations):
            raise ValueError("filters and dilations need one number for each stage")
        if any(d < 1 or d & (d - 1) for d in self.dilations):
            raise ValueError(f"dilations are powers of two, not {self.dilations}")


def stem(bin_: Any, prefix: str, x: Any, shape: Trunk) -> tuple[Any, Any]:
    """Builds what precedes a trunk's first dropped layer.

    Args:
        bin_: where the layers are.
        prefix: of the layers' names.
        x: (B, Z, Y, X, channels); edges are multiples of the largest dilation.
        shape: of the trunk.

    Returns:
        The first block's identity and what goes into its second convolution.
    """
    x = bin_.conv(f"{prefix}.conv_0", x, shape.filters[0])
    x = bin_.active(x, f"{prefix}.norm_0", f"{prefix}.prelu_0")
    x = _dilated(bin_, f"{prefix}.stage_1", x, 1, shape.dilations[0])
    return x, _opened(bin_, f"{prefix}.res_1_0", x, shape.filters[0], shape.dilations[0] ** 3)


def body(bin_: Any, prefix: str, x: Any, h: Any, shape: Trunk, draw: Any) -> Any:
    """Builds the rest of the trunk, from what `stem` returns to the feature map.

    Args:
        bin_: where the layers are.
        prefix: of the layers' names.
        x: the first block's identity.
        h: what goes into its second convolution.
        shape: of the trunk.
        draw: int32 (B, 2), (seed, draw index) of each window, where channels are to be dropped.

    Returns:
        The feature map, as large as the window.
    """
    dilation = shape.dilations[0]
    for stage, (width, target) in enumerate(zip(shape.filters, shape.dilations, strict=True), 1):
        x = _dilated(bin_, f"{prefix}.stage_{stage}", x, dilation, target)
        dilation = target
        for block in range(shape.blocks):
            name = f"{prefix}.res_{stage}_{block}"
            if (stage, block) != (1, 0):
                h = _opened(bin_, name, x, width, dilation**3)
            x = _closed(bin_, name, x, h, width, dilation**3, draw)
    return _dilated(bin_, f"{prefix}.stage_end", x, dilation, 1)


def series(
    bin_: Any, prefix: str, x: Any, widths: tuple[int, ...], *, reads: str | None = None
) -> Any:
    """Builds 1x1x1 convolutions with norm and PReLU: all but the last of a series.

    Args:
        bin_: where the layers are.
        prefix: of the layers' names.
        x: (B, Z, Y, X, channels).
        widths: of the convolutions.
        reads: precision of the first one; None: the policy's.
    """
    for number, width in enumerate(widths, 1):
        name = f"{prefix}.fc_{number}"
        dtype = reads if number == 1 else None
        x = bin_.conv(f"{name}.conv", x, width, kernel=1, dtype=dtype)
        x = bin_.active(x, f"{name}.norm", f"{name}.prelu")
    return x


def _opened(bin_: Any, name: str, x: Any, width: int, fold: int) -> Any:
    """A residual block up to its second convolution."""
    h = bin_.active(x, f"{name}.norm_0", f"{name}.prelu_0", fold=fold)
    h = bin_.conv(f"{name}.conv_0", h, width)
    return bin_.active(h, f"{name}.norm_1", f"{name}.prelu_1", fold=fold)


def _closed(bin_: Any, name: str, x: Any, h: Any, width: int, fold: int, draw: Any) -> Any:
    """The second convolution, plus the identity widened by zeros or narrowed by a projection."""
    h = bin_.drop(f"{name}.drop", h, draw, fold=fold)
    h = bin_.conv(f"{name}.conv_1", h, width)
    if x.shape[-1] < width:
        x = bin_.make(f"{name}.widen", layers.PadChannels, channels=width)(x)
    elif x.shape[-1] > width:
        x = bin_.conv(f"{name}.narrow", x, width, kernel=1)
    return bin_.make(f"{name}.sum", keras.layers.Add)([h, x])


def _dilated(bin_: Any, name: str, x: Any, dilation: int, target: int) -> Any:
    """Deals a window out, or puts it together, from one dilation to another."""
    step = 0
    while dilation < target:
        x = bin_.make(f"{name}.deal_{step}", layers.SpaceToBatch)(x)
        dilation, step = dilation * 2, step + 1
    while dilation > target:
        x = bin_.make(f"{name}.gather_{step}", layers.BatchToSpace)(x)
        dilation, step = dilation // 2, step + 1
    return x
