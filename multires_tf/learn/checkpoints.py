"""Checkpoints: every variable and the position of the run in one file, whole or absent.

A checkpoint is a NumPy archive without pickled objects: variables in their order under their
Keras paths, and the position (step, history, spacing) as JSON text.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from multires_tf.ground import archives, errors

# Training again would go on from the damaged one.
REMEDY = "bring an intact copy, or begin a new run in another --workdir"
_POSITION = "position"
# Facts that name subjects.
_WITH_NAMES = ("stores", "subjects")


def save(path: pathlib.Path, variables: Sequence[Any], position: dict[str, Any]) -> None:
    """Writes variables and position; the file that was there before survives any failure.

    Args:
        path: ends in .npz.
        variables: Keras variables, in an order that `load` will be given again.
        position: what JSON can hold.
    """
    arrays: dict[str, Any] = {_name(i, v): np.asarray(v) for i, v in enumerate(variables)}
    arrays[_POSITION] = np.frombuffer(json.dumps(position).encode(), dtype=np.uint8)
    archives.write(path, arrays)


def without_names(position: dict[str, Any]) -> dict[str, Any]:
    """The position for best.npz, which goes from hand to hand and names no subject."""
    return {name: fact for name, fact in position.items() if name not in _WITH_NAMES}


def load(path: pathlib.Path, variables: Sequence[Any]) -> dict[str, Any]:
    """Assigns the saved values to `variables` and returns the position.

    A checkpoint may hold more than is asked for: a network alone reads what training saved, as
    long as its variables come first.

    Raises:
        errors.UserError: the file is cut short, or belongs to another network.
    """
    with archives.opened(path, REMEDY) as archive:
        arrays = {name: archive[name] for name in archive.files}
        place = _position(arrays.pop(_POSITION))
    for index, variable in enumerate(variables):
        value = arrays.get(_name(index, variable))
        if value is None or value.shape != tuple(variable.shape):
            reason = f"has no {_path(variable)} of shape {tuple(variable.shape)}"
            raise errors.UserError(f"{path}: {reason}; it belongs to another network")
    for index, variable in enumerate(variables):
        variable.assign(arrays[_name(index, variable)])
    return place


def position(path: pathlib.Path) -> dict[str, Any]:
    """The position that was saved, without reading the variables; raises as `load`."""
    with archives.opened(path, REMEDY) as archive:
        return _position(archive[_POSITION])


def _position(array: np.ndarray) -> dict[str, Any]:
    found = json.loads(array.tobytes())
    if not isinstance(found, dict):
        raise ValueError("no position")
    return found


def _name(index: int, variable: Any) -> str:
    return f"{index:04d}:{_path(variable).replace('/', ':')}"


def _path(variable: Any) -> str:
    """Under torch the layers' names have hyphens for dots (model/parts.py)."""
    return variable.path.replace("-", ".")
