"""Goldens of the original, and small networks."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest

from multires_tf.model import networks

_GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
SMALL = {
    "window": (16, 16, 16),
    "filters": (4, 6, 8),
    "blocks": 1,
    "fc": (8, 8),
    "head": (8,),
    "groups": 2,
    "initial_ct": 0.25,
    "initial_log_var": -3.0,
}


def load(pattern: str) -> dict[str, np.ndarray]:
    """Merges the golden files of a pattern."""
    arrays = {}
    for path in sorted(_GOLDENS.glob(pattern)):
        with np.load(path) as golden:
            arrays |= {name: golden[name] for name in golden.files}
    assert arrays, f"no golden {pattern}"
    return arrays


@pytest.fixture
def golden():
    """Returns the function that loads golden files."""
    return load


@pytest.fixture
def small():
    """Returns a function that builds a small MultiRes_unc; keywords override."""
    return lambda **changes: networks.multires(**{**SMALL, **changes})


@pytest.fixture
def triplet():
    """Returns a function (tile, batch) -> seeded inputs of a network with window 16."""

    def make(tile: int = 16, batch: int = 1) -> list:
        rng = np.random.default_rng(tile)
        edges = (tile, tile // 2 + 8, tile // 4 + 12)
        return [
            keras.ops.convert_to_tensor(rng.random((batch, n, n, n, 1)).astype(np.float32))
            for n in edges
        ]

    return make
