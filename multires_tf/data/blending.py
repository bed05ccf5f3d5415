"""Puts overlapping tiles together to a volume without seams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def axis_weights(starts: Sequence[int], edge: int) -> dict[int, np.ndarray]:
    """Returns the weight of each voxel of the tiles along one axis.

    Where two neighbours overlap, one weight falls and the other rises as half a wave of a cosine:
    without a bend at the border, which an eye finds sooner than the change itself. Elsewhere it is
    1. Together they are 1 at every voxel.

    Args:
      starts: first voxels of the tiles, ascending, without gaps.
      edge: voxels of a tile.

    Returns:
      {start: (edge,) float32}.
    """
    voxels = np.arange(edge)
    raw = []
    for i, start in enumerate(starts):
        weight = np.ones(edge)
        if i > 0:
            weight = np.minimum(weight, _rise(voxels, starts[i - 1] + edge - start))
        if i + 1 < len(starts):
            weight = np.minimum(weight, _rise(edge - 1 - voxels, start + edge - starts[i + 1]))
        raw.append(weight)
    # Only where three or more tiles meet is the total not 1 already.
    total = np.zeros(starts[-1] + edge - starts[0])
    for start, weight in zip(starts, raw, strict=True):
        total[start - starts[0] :][:edge] += weight
    return {
        start: (weight / total[start - starts[0] :][:edge]).astype(np.float32)
        for start, weight in zip(starts, raw, strict=True)
    }


def _rise(voxels: np.ndarray, shared: int) -> np.ndarray:
    """From 0 to 1 over the first `shared` voxels, symmetric about their middle; then 1."""
    place = np.minimum((voxels + 1) / (shared + 1), 1)
    return 0.5 - 0.5 * np.cos(np.pi * place)


class Canvas:
    """Volumes of one shape that tiles are blended into.

    The weights are products of one ramp an axis and known beforehand, so a volume costs 4 bytes a
    voxel and nothing has to be divided at the end.
    """

    def __init__(
        self,
        shape: Sequence[int],
        names: Sequence[str],
        *,
        tile: Sequence[int],
        starts: Sequence[Sequence[int]],
    ) -> None:
        """Starts with zeros.

        Args:
          shape: (z, y, x) of the volume.
          names: of the maps, e.g. ("ct", "aleatoric", "epistemic").
          tile: (z, y, x) of every tile.
          starts: (z, y, x) of all tiles, as `windows.plan_tiles` gives them: a full grid.
        """
        axes = [sorted(set(axis)) for axis in zip(*starts, strict=True)]
        self._shape = tuple(shape)
        self._tile = tuple(tile)
        self._weights = [axis_weights(axis, edge) for axis, edge in zip(axes, tile, strict=True)]
        self._maps = {name: np.zeros(self._shape, np.float32) for name in names}

    def add(self, start: Sequence[int], tiles: Mapping[str, np.ndarray]) -> None:
        """Adds one tile, once; what lies beyond the volume is cropped.

        Args:
          start: (z, y, x) of the tile, one of those planned.
          tiles: {name: (z, y, x) array of the tile's shape}.
        """
        inside, target = [], []
        for first, edge, length in zip(start, self._tile, self._shape, strict=True):
            low, high = max(first, 0), min(first + edge, length)
            inside.append(slice(low - first, high - first))
            target.append(slice(low, high))
        z, y, x = (
            weights[first][part]
            for weights, first, part in zip(self._weights, start, inside, strict=True)
        )
        weight = z[:, None, None] * y[:, None] * x
        for name, tile in tiles.items():
            if tile.shape != self._tile:
                raise ValueError(f"{name}: shape {tile.shape} is not the tile's {self._tile}")
            self._maps[name][tuple(target)] += tile[tuple(inside)] * weight

    def result(self, name: str) -> np.ndarray:
        """Returns the map (z, y, x) float32, complete once every planned tile has been added."""
        return self._maps[name]
