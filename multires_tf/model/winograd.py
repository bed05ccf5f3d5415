"""Winograd's minimal filtering: matrices that turn 3-tap convolutions into fewer products.

Four outputs of a 3-tap filter cost 12 products directly and 6 by Toom and Cook's evaluation at six
points (Winograd 1980; Lavin and Gray 2016, F(4, 3)). A line of voxels is cut into tiles of four;
"there" evaluates every tile at the points, zero padding included, and "back" puts the outputs
together, so that each is one matrix product over a whole axis.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

TAPS, OUTPUTS = 3, 4
# Small numbers and their reciprocals lose the fewest digits; the sixth point is infinity.
_FINITE = (0.0, 1.0, -1.0, 0.5, -2.0)
POINTS = len(_FINITE) + 1


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
