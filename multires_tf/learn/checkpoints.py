"""Checkpoints: every variable and the position of the run in one file, whole or absent.

A checkpoint is a NumPy archive without pickled objects: variables in their order under their
Keras paths, and the position (step, history, spacing) as JSON text.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from multires_tf import errors, runfolder

_POSITION = "position"


def save(path: pathlib.Path, variables: Sequence[Any], position: dict[str, Any]) -> None:
    """Writes variables and position; the file that was there before survives any failure.

    Args:
        path: ends in .npz.
        variables: Keras variables, in an order that `load` will be given again.
        position: what JSON can hold.
    """
    arrays: dict[str, Any] = {_name(i, v): np.asarray(v) for i, v in enumerate(variables)}
    arrays[_POSITION] = np.frombuffer(json.dumps(position).encode(), dtype=np.uint8)
    with runfolder.replacing(path) as beside:
        np.savez(beside, **arrays)


def load(path: pathlib.Path, variables: Sequence[Any]) -> dict[str, Any]:
    """Assigns the saved values to `variables` and returns the position.

    A checkpoint may hold more than is asked for: a network alone reads what training saved, as
    long as its variables come first.

    Raises:
        errors.UserError: the file is cut short, or belongs to another network.
    """
    with _opened(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
        place = json.loads(arrays.pop(_POSITION).tobytes())
    for index, variable in enumerate(variables):
        value = arrays.get(_name(index, variable))
        if value is None or value.shape != tuple(variable.shape):
            reason = f"has no {variable.path} of shape {tuple(variable.shape)}"
            raise errors.UserError(f"{path}: {reason}; it belongs to another network")
    for index, variable in enumerate(variables):
        variable.assign(arrays[_name(index, variable)])
    return place


def position(path: pathlib.Path) -> dict[str, Any]:
    """The position that was saved, without the variables; raises as `load`."""
    with _opened(path) as archive:
        return json.loads(archive[_POSITION].tobytes())


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
    """The archive; what cannot be read of it is the user's mistake."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = f"not a whole checkpoint ({type(error).__name__})"
        raise errors.UserError(f"{path}: {reason}; train again, or bring an intact copy") from None


def _name(index: int, variable: Any) -> str:
    return f"{index:04d}:{variable.path.replace('/', ':')}"
