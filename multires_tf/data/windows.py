"""The geometry of windows: one law for training, for prediction and for the networks.

Voxels are counted from the edge of the volume: level-1 voxel i covers [i, i + 1), and a voxel j of
level s covers [s * j, s * (j + 1)). All windows of one tile share one centre.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from multires_tf.ground import errors

AXES = "zyx"
Triple = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Window:
    """A box of voxels of one level.

    Attributes:
      start: (z, y, x) of the first voxel; may be negative.
      size: (z, y, x) number of voxels.
    """

    start: Triple
    size: Triple


def branch_windows(
    start: Sequence[int], tile: Sequence[int], *, window: Sequence[int], scales: Sequence[int]
) -> dict[int, Window]:
    """Returns what each branch reads for one tile of output.

    With training window w, the branch at scale s reads T / s + w (1 - 1/s) voxels a side, from
    o / s - w (1 - 1/s) / 2 on: it sees its own context of w voxels around every voxel that the
    branches above crop it to. A tile of the training window's size gives w at every scale.

    Args:
      start: o, (z, y, x) level-1 voxels, multiples of the coarsest scale.
      tile: T, (z, y, x) output voxels, multiples of 4 times the coarsest scale (of 1 if that is 1).
      window: w, (z, y, x) voxels that each branch sees in training; the same law.
      scales: (1,), (1, 2) or (1, 2, 4).

    Raises:
      UserError: `tile` or `window` breaks its law.
      ValueError: `start` breaks its law.
    """
    coarsest = max(scales)
    multiple = 4 * coarsest if coarsest > 1 else 1
    for name, edges in (("window", window), ("tile", tile)):
        for axis, edge in zip(AXES, edges, strict=True):
            if edge <= 0 or edge % multiple:
                raise errors.UserError(
                    f"{name}: {edge} voxels along {axis} do not fit the scales "
                    f"{tuple(scales)}; use a multiple of {multiple}"
                )
    if any(first % coarsest for first in start):
        raise ValueError(f"start {tuple(start)} is not on the grid of the scale {coarsest}")
    return {scale: _branch_window(start, tile, window, scale) for scale in scales}


def _branch_window(
    start: Sequence[int], tile: Sequence[int], window: Sequence[int], scale: int
) -> Window:
    margins = [(edge - edge // scale) // 2 for edge in window]
    return Window(
        start=triple(o // scale - margin for o, margin in zip(start, margins, strict=True)),
        size=triple(t // scale + 2 * margin for t, margin in zip(tile, margins, strict=True)),
    )


def triple(values: Iterable[int]) -> Triple:
    """Returns the three values of (z, y, x) as a tuple."""
    z, y, x = values
    return z, y, x


def first_and_last_start(length: int, edge: int, multiple: int) -> tuple[int, int]:
    """Returns the range of starts that keep an edge inside one axis of a volume.

    The volume counts as padded at its end to a multiple of `multiple`, as in the store, so that
    every voxel can be reached. A volume no longer than the edge is centred: both are the same.

    Args:
      length: voxels of the volume.
      edge: voxels of the window or tile.
      multiple: starts are multiples of this.
    """
    if length <= edge:
        centred = -((edge - length) // (2 * multiple)) * multiple
        return centred, centred
    return 0, -(-(length - edge) // multiple) * multiple


def tile_starts(length: int, edge: int, shared: float, *, multiple: int) -> list[int]:
    """Returns evenly spaced starts of tiles that cover one axis.

    Args:
      length: voxels of the volume.
      edge: voxels of a tile.
      shared: voxels that neighbours have in common at least, 0 <= shared < edge. Where a whole
        `multiple` does not fit, tiles move on by one `multiple` all the same.
      multiple: starts are multiples of this.
    """
    first, last = first_and_last_start(length, edge, multiple)
    # 1e-6 forgives shares such as 0.1 that binary numbers only come near.
    stride = max(int((edge - shared) / multiple + 1e-6), 1)
    span = (last - first) // multiple
    count = -(-span // stride)
    return [first + (i * span // count if count else 0) * multiple for i in range(count + 1)]


def plan_tiles(
    shape: Sequence[int], tile: Sequence[int], shared: Sequence[float], *, multiple: int = 4
) -> list[Triple]:
    """Returns the starts (z, y, x) of the tiles that cover a volume, x running fastest.

    Args:
      shape: (z, y, x) voxels of the volume; axes shorter than the tile get one centred tile.
      tile: (z, y, x) output voxels of a tile, each at least `multiple`.
      shared: (z, y, x) voxels that neighbours have in common at least, fewer than the tile's.
      multiple: starts are multiples of this: the coarsest scale of the network.

    Raises:
      UserError: neighbours would share a whole tile, or less than nothing.
    """
    for edge, voxels in zip(tile, shared, strict=True):
        if not 0 <= voxels < edge:
            raise errors.UserError(
                f"overlap: neighbours would share {voxels:g} of {edge} voxels; use 0 <= overlap < 1"
            )
    axes = [
        tile_starts(length, edge, voxels, multiple=multiple)
        for length, edge, voxels in zip(shape, tile, shared, strict=True)
    ]
    return [triple(start) for start in itertools.product(*axes)]
