"""Tiles of a prediction on disk: what a killed process has done already, and room for large bodies.

A folder holds one .npy file a tile, complete or absent, and a note of all that the tiles
depend on. Tiles of another note are thrown away.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multires_tf.data import blending, on_demand
from multires_tf.ground import runfolder

_MADE_OF = "made_of.json"


def earlier(folder: Path) -> dict[str, Any]:
    """What the tiles in a folder depend on; nothing where there are none, or it is damaged."""
    try:
        found = json.loads((folder / _MADE_OF).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Folder:
    """The tiles of one prediction, kept."""

    def __init__(self, folder: Path, made_of: dict[str, Any]) -> None:
        """Opens a folder; what another prediction has left there goes.

        Args:
          folder: of the tiles alone; made if it is not there.
          made_of: all that the tiles depend on, as JSON can hold it.
        """
        self._folder = folder
        note, text = folder / _MADE_OF, json.dumps(made_of, sort_keys=True)
        if not note.exists() or note.read_text(encoding="utf-8") != text:
            runfolder.remove(folder)
            runfolder.write_text(note, text)

    def __contains__(self, start: Sequence[int]) -> bool:
        return self._path(start).exists()

    def write(self, start: Sequence[int], maps: Mapping[str, np.ndarray]) -> None:
        """Keeps the maps (z, y, x) of the tile that begins at `start`."""
        record = np.dtype([(name, np.float32, array.shape) for name, array in maps.items()])
        values = np.empty((), record)
        for name, array in maps.items():
            values[name] = array
        with runfolder.replacing(self._path(start)) as beside, beside.open("wb") as file:
            try:
                np.save(file, values, allow_pickle=False)
            except OSError as error:  # of a full disk numpy tells how much was written, no more
                error.errno = error.errno or errno.ENOSPC
                raise

    def names(self, start: Sequence[int]) -> tuple[str, ...]:
        """Of the maps that a tile has."""
        return np.load(self._path(start), mmap_mode="r").dtype.names

    def read(self, start: Sequence[int], name: str) -> np.ndarray:
        """Returns one map of a tile, float32 (z, y, x)."""
        return np.load(self._path(start), mmap_mode="r")[name]

    def _path(self, start: Sequence[int]) -> Path:
        return self._folder / f"tile_{'_'.join(map(str, start))}.npy"


def blended(
    shape: Sequence[int],
    *,
    tile: Sequence[int],
    starts: Sequence[Sequence[int]],
    kept: Folder,
) -> on_demand.Maps:
    """Puts kept tiles together, a map (z, y, x) float32 at a time.

    Takes what `blending.Canvas` needs, and tiles that are all there.
    """

    def make(name: str) -> np.ndarray:
        canvas = blending.Canvas(shape, [name], tile=tile, starts=starts)
        for start in starts:
            canvas.add(start, {name: kept.read(start, name)})
        return canvas.result(name)

    return on_demand.Maps(kept.names(starts[0]), make)
