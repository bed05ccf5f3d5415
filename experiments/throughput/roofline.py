"""The least time that a network's convolutions need on a device, by its measured ceilings.

A convolution has to do its products and sums, and to read its input and write its output once; all
that lies between two convolutions could be done on the way. Whichever takes longer at the device's
ceiling is its floor (Williams et al. 2009); the network's is the sum. Backward a convolution is two
more of the same size.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

BACKWARD = 3  # a training step has so many convolutions for each of the forward pass
_REPEATS = 10


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What a device reaches: TFLOP/s in a large matrix product, GB/s read and written in a copy.

    The copy is into memory that the framework asks for each time, as a network's tensors are; into
    memory that is there already a processor may copy twice as fast.
    """

    tflops: float
    gbs: float


@dataclasses.dataclass(frozen=True)
class Work:
    """Of one convolution: products and sums (10^12), and bytes of its input and output (10^9)."""

    tflop: float
    gb: float

    def floor_s(self, ceilings: Ceilings) -> float:
        """The least time that it takes."""
        return max(self.tflop / ceilings.tflops, self.gb / ceilings.gbs)


def convolutions(kernels: Sequence[tuple[int, ...]], *, voxels: int, itemsize: int) -> list[Work]:
    """The work of convolutions which all see the whole window.

    Args:
        kernels: shapes (z, y, x, channels in, channels out).
        voxels: of the window.
        itemsize: bytes of a number.
    """
    return [
        Work(2 * voxels * math.prod(shape) / 1e12, voxels * sum(shape[3:]) * itemsize / 1e9)
        for shape in kernels
    ]


def summary(work: Sequence[Work], seconds: float, ceilings: Ceilings) -> tuple[float, float, float]:
    """TFLOP/s and GB/s that were reached, and how many times the floor was taken."""
    floor_s = sum(one.floor_s(ceilings) for one in work)
    tflop, gb = sum(one.tflop for one in work), sum(one.gb for one in work)
    return tflop / seconds, gb / seconds, seconds / floor_s


def measured(
    product: Callable[[Any], Any],
    copy: Callable[[Any], Any],
    settle: Callable[[Any], None],
    *,
    square: Any,
    long: Any,
    itemsize: int,
) -> Ceilings:
    """Times a framework's matrix product and copy.

    Args:
        product: of a square matrix with itself.
        copy: that reads and writes a tensor.
        settle: waits until a tensor is there.
        square: the matrix.
        long: the tensor, many times what the caches hold.
        itemsize: bytes of a number.
    """
    edge, length = square.shape[0], math.prod(long.shape)
    product_s = _seconds(product, square, settle)
    copy_s = _seconds(copy, long, settle)
    return Ceilings(2 * edge**3 / product_s / 1e12, 2 * length * itemsize / copy_s / 1e9)


def _seconds(call: Callable[[Any], Any], argument: Any, settle: Callable[[Any], None]) -> float:
    """The shortest of three series, after a call that warms up."""
    settle(call(argument))
    series = []
    for _ in range(3):
        begun = time.perf_counter()
        for _ in range(_REPEATS):
            result = call(argument)
        settle(result)
        series.append((time.perf_counter() - begun) / _REPEATS)
    return min(series)
