"""The pyramid store: one volume at levels 1, 2 and 4 as an OME-NGFF 0.4 folder (zarr v2).

The levels are the model's three resolutions, so training reads three small windows instead of one
large context. A store appears under its name only when complete, and carries a manifest of its
files, so that one which was cut short later (a copy that broke off, a disk that filled up) is
refused when opened and is never read as fill values.

Arrays are (z, y, x). Level s averages (or takes the minimum of) blocks of s x s x s voxels, after
the END of each axis was padded with the fill to a multiple of 4. Level-s voxel i covers the level-1
voxels [s*i, s*i + s); hence its centre lies (s - 1) / 2 level-1 voxels further on.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorstore

from multires_tf.data import geometry
from multires_tf.ground import errors, runfolder

SCALES = (1, 2, 4)
ATTRIBUTE = "multires_tf"
CHUNK = 32
# The cache only has to hold the chunks which neighbouring windows share.
CACHE_BYTES = 64 << 20


@functools.lru_cache(maxsize=1)
def _context() -> tensorstore.Context:
    """Returns the context that all stores of the process share: one small cache, no fsync.

    Without fsync a store is written ten times faster; what a power cut could lose, the manifest
    notices.
    """
    return tensorstore.Context(
        {
            "cache_pool": {"total_bytes_limit": CACHE_BYTES},
            "data_copy_concurrency": {"limit": 4},
            "file_io_concurrency": {"limit": 8},
            "file_io_sync": False,
        }
    )


def pad_to_multiple(array: np.ndarray, multiple: int, *, fill: float) -> np.ndarray:
    """Pads the end of each axis of `array` with `fill` up to a multiple of `multiple`."""
    widths = [(0, -length % multiple) for length in array.shape]
    if not any(after for _, after in widths):
        return array
    return np.pad(array, widths, constant_values=fill)


def halve(array: np.ndarray, reduce: Literal["mean", "min"]) -> np.ndarray:
    """Reduces blocks of 2 x 2 x 2 voxels to their mean or minimum; even sizes only, same dtype."""
    for axis in range(array.ndim):
        even = array[(slice(None),) * axis + (slice(0, None, 2),)]
        odd = array[(slice(None),) * axis + (slice(1, None, 2),)]
        if reduce == "min":
            array = np.minimum(even, odd)
        else:
            array = (even + odd) * np.asarray(0.5, array.dtype)
    return array


def levels(
    array: np.ndarray, *, fill: float, reduce: Literal["mean", "min"] = "mean"
) -> dict[int, np.ndarray]:
    """Returns {1: array, 2: ..., 4: ...}, the levels of the pyramid (see the module docstring)."""
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"a pyramid needs a non-empty 3-D array, not shape {array.shape}")
    if reduce == "mean" and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"means need a floating-point array, not {array.dtype}")
    two = halve(pad_to_multiple(array, SCALES[-1], fill=fill), reduce)
    return {1: array, 2: two, 4: halve(two, reduce)}


def write_pyramid(
    path: Path,
    array: np.ndarray,
    *,
    fill: float,
    attributes: dict[str, Any],
    reduce: Literal["mean", "min"] = "mean",
) -> None:
    """Writes the store `path` with the levels 1, 2 and 4 of `array`, or nothing.

    Args:
      path: the folder to create; an existing one is replaced.
      array: (z, y, x), floating point, or an integer type with `reduce="min"`.
      fill: value outside the volume.
      attributes: kept under the root attribute "multires_tf"; "spacing_mm" ([z, y, x]) is required.
      reduce: how a block of voxels becomes one of the next level.

    Raises:
      OSError: the disk is full or the folder cannot be written.
    """
    spacing_mm = attributes["spacing_mm"]
    with runfolder.replacing(Path(path)) as temporary:
        temporary.mkdir(parents=True, exist_ok=True)
        (temporary / ".zgroup").write_text('{"zarr_format": 2}', encoding="utf-8")
        for index, level in enumerate(levels(array, fill=fill, reduce=reduce).values()):
            _write_level(temporary / str(index), level, fill, named=Path(path))
        root = {
            "multiscales": [_multiscales(Path(path).name.split(".")[0], spacing_mm)],
            ATTRIBUTE: {
                **attributes,
                "fill": float(fill),
                "reduce": reduce,
                "manifest": _manifest(temporary),
            },
        }
        (temporary / ".zattrs").write_text(json.dumps(root, indent=1), encoding="utf-8")


def _write_level(path: Path, array: np.ndarray, fill: float, *, named: Path) -> None:
    spec = {
        "driver": "zarr",
        "kvstore": _place(path),
        # Chunks that hold only the fill are written too: a missing file is then always an error.
        "store_data_equal_to_fill_value": True,
        "metadata": {
            "shape": list(array.shape),
            "chunks": [CHUNK] * 3,
            "dtype": array.dtype.str,
            "fill_value": np.asarray(fill, array.dtype).item(),
            "dimension_separator": "/",
            "compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
        },
    }
    try:
        store = tensorstore.open(spec, context=_context(), create=True).result()
        store.write(np.ascontiguousarray(array)).result()
    except ValueError as error:
        raise errors.as_system_error(error, named) from error


def _multiscales(name: str, spacing_mm: Sequence[float]) -> dict[str, Any]:
    datasets = []
    for index, scale in enumerate(SCALES):
        transformations = [
            {"type": "scale", "scale": [scale * mm for mm in spacing_mm]},
            {"type": "translation", "translation": [(scale - 1) / 2 * mm for mm in spacing_mm]},
        ]
        datasets.append({"path": str(index), "coordinateTransformations": transformations})
    axes = [{"name": axis, "type": "space", "unit": "millimeter"} for axis in "zyx"]
    return {"version": "0.4", "name": name, "axes": axes, "datasets": datasets}


def _manifest(path: Path) -> dict[str, int]:
    """Returns the number and the total size of the files of the levels of the store `path`."""
    sizes = [size for index in range(len(SCALES)) for size in _file_sizes(path / str(index))]
    return {"files": len(sizes), "bytes": sum(sizes)}


def _file_sizes(folder: Path | str) -> Iterator[int]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _file_sizes(entry.path)
            else:
                yield entry.stat().st_size


@dataclasses.dataclass(frozen=True)
class Pyramid:
    """An open store; reading is safe from several threads.

    Attributes:
      path: the folder.
      shape: (z, y, x) of level 1, without padding.
      fill: the value outside the volume.
      attributes: the root attribute "multires_tf".
    """

    path: Path
    shape: tuple[int, int, int]
    fill: float
    attributes: dict[str, Any]
    _levels: dict[int, tensorstore.TensorStore]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(z, y, x) of level 1."""
        z, y, x = self.attributes["spacing_mm"]
        return z, y, x

    @property
    def grid(self) -> geometry.Geometry:
        """Where the voxels of level 1 lie."""
        return geometry.from_dict({**self.attributes, "size": self.shape})

    @property
    def source(self) -> geometry.Geometry:
        """The grid of the MR as it came, before it was prepared."""
        return geometry.from_dict(self.attributes["source"])

    def read(self, scale: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Reads a window of one level, filled where it reaches beyond the volume.

        Args:
          scale: 1, 2 or 4.
          start: (z, y, x) first voxel, in voxels of that level; may be negative or beyond the end.
          size: (z, y, x) in voxels of that level.

        Returns:
          An array of shape `size` and the store's dtype.

        Raises:
          UserError: the store is damaged.
        """
        level = self._levels[scale]
        window = np.full(tuple(size), self.fill, level.dtype.numpy_dtype)
        source, target = [], []
        for first, count, length in zip(start, size, level.shape, strict=True):
            low, high = max(first, 0), min(first + count, length)
            if low >= high:
                return window
            source.append(slice(low, high))
            target.append(slice(low - first, high - first))
        try:
            window[tuple(target)] = level[tuple(source)].read().result()
        except ValueError as error:
            raise _damaged(self.path) from error
        return window

    def read_all(self, scale: int = 1) -> np.ndarray:
        """Returns the whole level (z, y, x); levels 2 and 4 include the padding at the end."""
        return self.read(scale, (0, 0, 0), self._levels[scale].shape)


def is_complete(path: Path) -> bool:
    """Tells whether `path` is a store whose files are all there."""
    try:
        open_pyramid(path)
    except errors.UserError:
        return False
    return True


def open_pyramid(path: Path) -> Pyramid:
    """Opens the store `path`.

    Raises:
      UserError: there is no store, or a file of it is missing or cut short.
    """
    path = Path(path)
    if not path.is_dir():
        raise errors.UserError(f"{path}: no such volume store; run 'prepare' first")
    try:
        root = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
        attributes = root[ATTRIBUTE]
        if _manifest(path) != attributes["manifest"]:
            raise ValueError("files are missing or cut short")
        opened = {scale: _open_level(path / str(index)) for index, scale in enumerate(SCALES)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    z, y, x = opened[1].shape
    return Pyramid(path, (z, y, x), attributes["fill"], attributes, opened)


def _place(path: Path) -> dict[str, str]:
    """A folder as tensorstore names it, which takes no path with '..' in it."""
    return {"driver": "file", "path": os.path.abspath(path)}


def _open_level(path: Path) -> tensorstore.TensorStore:
    spec = {"driver": "zarr", "kvstore": _place(path)}
    return tensorstore.open(spec, context=_context(), open=True, read=True).result()


def _damaged(path: Path) -> errors.UserError:
    return errors.UserError(
        f"{path}: the volume store is incomplete or damaged; delete it and run 'prepare' again"
    )
