"""NumPy archives without pickled objects: written whole or not at all, read with one complaint."""

from __future__ import annotations

import contextlib
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from multires_tf.ground import errors, runfolder

# What reading a file raises that is cut short, altered or of another kind.
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error),
)


def write(path: pathlib.Path, arrays: Mapping[str, Any], *, compressed: bool = False) -> None:
    """Writes arrays by name; the file that was there before survives any failure.

    Args:
        path: ends in .npz.
        arrays: by name.
        compressed: slower, and smaller where numbers repeat.
    """
    save: Any = np.savez_compressed if compressed else np.savez
    with runfolder.replacing(path) as beside:
        save(beside, **arrays)


@contextlib.contextmanager
def opened(path: pathlib.Path, remedy: str) -> Iterator[Any]:
    """Yields the archive; whatever goes wrong in the block is damage to the file.

    Raises:
        errors.UserError: names the file and the remedy.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except _DAMAGE as error:
        reason = f"damaged or cut short ({type(error).__name__})"
        raise errors.UserError(f"{path}: {reason}; {remedy}") from None
