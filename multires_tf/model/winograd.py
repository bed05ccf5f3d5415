"""Winograd's minimal filtering: matrices that turn 3-tap convolutions into fewer products.

Four outputs of a 3-tap filter cost 12 products directly and 6 by Toom and Cook's evaluation at six
points (Winograd 1980; Lavin and Gray 2016, F(4, 3)). A line of voxels is cut into tiles of four;
"there" evaluates every tile at the points, zero padding included, and "back" puts the outputs
together, so that each is one matrix product over a whole axis.

Wide convolutions run at a processor's peak already: only fewer products make them faster. Filtering
along one axis needs half of them, along two a quarter.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from keras import ops

TAPS, OUTPUTS = 3, 4
# Small numbers and their reciprocals lose the fewest digits; the sixth point is infinity.
_FINITE = (0.0, 1.0, -1.0, 0.5, -2.0)
POINTS = len(_FINITE) + 1
# It pays from these widths on (geometric mean of channels in and out), along one axis and along
# two, on lines of these lengths: below it is bound by memory, above by its own matrix products.
_WIDTHS = (24, 44)
_LENGTHS = range(8, 49)


@dataclasses.dataclass(frozen=True)
class Filtering:
    """The matrices for lines of one length n, cut into t tiles; float64.

    With kernel g and line d the convolution is back ((taps g)[:, None] * (there d)), the product
    over points by tiles.

    Attributes:
        there: (POINTS * t, n), from a line to its tiles at the points, point by point.
        taps: (POINTS, 3), from a kernel to its values at the points.
        back: (n, POINTS * t), from the products to the outputs.
    """

    there: np.ndarray
    taps: np.ndarray
    back: np.ndarray


@functools.lru_cache(maxsize=64)
def filtering(length: int) -> Filtering:
    """Returns the matrices for lines of this many voxels, padded by zeros at both ends."""
    outputs, taps, inputs = _vandermonde(OUTPUTS), _vandermonde(TAPS), _vandermonde(POINTS)
    tile = np.linalg.inv(inputs).T  # the transpose of a polynomial product is a correlation
    tiles = -(-length // OUTPUTS)
    there = np.zeros((POINTS, tiles, tiles * OUTPUTS + TAPS - 1))
    back = np.zeros((tiles * OUTPUTS, POINTS, tiles))
    for k in range(tiles):
        first = k * OUTPUTS
        there[:, k, first : first + POINTS] = tile
        back[first : first + OUTPUTS, :, k] = outputs.T
    pad = TAPS // 2
    return Filtering(
        there=there[:, :, pad : pad + length].reshape(POINTS * tiles, length),
        taps=taps,
        back=back[:length].reshape(length, POINTS * tiles),
    )


def _vandermonde(columns: int) -> np.ndarray:
    """Values of the powers 0, 1, ..., columns - 1 at the points; at infinity the highest counts."""
    infinity = np.eye(columns)[-1:]
    return np.concatenate([np.vander(_FINITE, columns, increasing=True), infinity])


def worthwhile_axes(x: Any, kernel: Any) -> int:
    """How many axes of a convolution in float32 to filter minimally: 0, 1 or 2."""
    if tuple(kernel.shape[:3]) != (TAPS,) * 3:
        return 0
    if any(edge not in _LENGTHS for edge in x.shape[1:4]):
        return 0
    return sum(math.sqrt(math.prod(kernel.shape[3:])) >= width for width in _WIDTHS)


def direct(x: Any, kernel: Any) -> Any:
    """The library's convolution along one, two or three axes."""
    return ops.conv(x, kernel, padding="same", data_format="channels_last")


def convolution(x: Any, kernel: Any, axes: int) -> Any:
    """Convolution of (B, z, y, x, C) by (3, 3, 3, C, C'), one or two axes by minimal filtering.

    Points lie behind z's tiles and before y's, so that they are side by side: one cut.
    Channels may be open: a graph for all widths.
    """
    _, depth, height, length, channels = ops.shape(x)
    filters, points, rows = ops.shape(kernel)[-1], POINTS**axes, height
    z = filtering(depth)
    lines = _along(_by_tile(z.there), ops.reshape(x, (-1, depth, height * length * channels)))
    if axes == 2:
        y = filtering(height)
        lines = _along(y.there, ops.reshape(lines, (-1, height, length * channels)))
        rows = len(y.there) // POINTS
    tiles = ops.reshape(lines, (-1, points, rows, length, channels))
    pairs = zip(ops.unstack(tiles, points, axis=1), _at_points(kernel, z.taps, axes), strict=True)
    lines = ops.stack([direct(tile, taps) for tile, taps in pairs], axis=1)
    if axes == 2:
        lines = _along(y.back, ops.reshape(lines, (-1, len(y.there), length * filters)))
    lines = ops.reshape(lines, (-1, len(z.there), height * length * filters))
    return ops.reshape(_along(_by_tile(z.back.T).T, lines), (-1, depth, height, length, filters))


def _at_points(kernel: Any, taps: np.ndarray, axes: int) -> list[Any]:
    """A kernel's values at the points of its first axes: a plane (y, x, C, C') each."""
    values = functools.reduce(np.kron, [taps] * axes)
    plane = ops.shape(kernel)[axes:]
    plane = plane if axes == 1 else [1, *plane]
    flat = ops.matmul(_tensor(values, kernel), ops.reshape(kernel, (TAPS**axes, -1)))
    return ops.unstack(ops.reshape(flat, (len(values), *plane)), len(values))


def _by_tile(matrix: np.ndarray) -> np.ndarray:
    """A matrix whose rows came point by point, with rows that come tile by tile."""
    columns = matrix.shape[1]
    return matrix.reshape(POINTS, -1, columns).swapaxes(0, 1).reshape(-1, columns)


def _along(matrix: np.ndarray, lines: Any) -> Any:
    """The matrix times every (n, m) of (B, n, m). Left to TensorFlow its gradient is 10 nodes."""

    @ops.custom_gradient
    def product(lines: Any) -> Any:
        def gradient(*given: Any, upstream: Any = None) -> Any:
            above = given[0] if upstream is None else upstream  # backends differ
            return ops.matmul(_tensor(matrix.T, lines), above)

        return ops.matmul(_tensor(matrix, lines), lines), gradient

    return product(lines)


def _tensor(matrix: np.ndarray, x: Any) -> Any:
    return ops.convert_to_tensor(matrix, x.dtype)
