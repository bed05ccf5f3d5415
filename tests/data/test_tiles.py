"""Tiles on disk: found again, of one prediction only, blended one map at a time."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from multires_tf.data import tiles

STARTS = [(0, 0, 0), (0, 0, 2)]


def _maps(value):
    return {name: np.full((1, 2, 4), value * k, np.float32) for k, name in ((1, "ct"), (2, "sd"))}


def test_maps_come_back_and_are_blended(tmp_path):
    kept = tiles.Folder(tmp_path / "tiles", {"seed": 1})
    for start, value in zip(STARTS, (0, 4), strict=True):
        kept.write(start, _maps(value))
    blended = tiles.blended((1, 2, 6), tile=(1, 2, 4), starts=STARTS, kept=kept)
    assert list(blended) == ["ct", "sd"]
    np.testing.assert_allclose(blended["ct"][0, 0], [0, 0, 1, 3, 4, 4], atol=1e-5)
    np.testing.assert_allclose(blended["sd"][0, 1], [0, 0, 2, 6, 8, 8], atol=1e-5)
    with pytest.raises(KeyError):
        blended["nothing"]


def test_tiles_of_another_prediction_go(tmp_path):
    first = tiles.Folder(tmp_path / "tiles", {"seed": 1})
    first.write(STARTS[0], _maps(1))
    assert STARTS[0] in tiles.Folder(tmp_path / "tiles", {"seed": 1})
    assert STARTS[1] not in tiles.Folder(tmp_path / "tiles", {"seed": 1})
    assert STARTS[0] not in tiles.Folder(tmp_path / "tiles", {"seed": 2})


def test_a_disk_that_fills_while_a_tile_is_kept_is_told_as_one(tmp_path, monkeypatch):
    kept = tiles.Folder(tmp_path / "tiles", {"seed": 1})

    def cut_short(*_, **__):
        raise OSError("1000 requested and 12 written")  # numpy's own, without a number

    monkeypatch.setattr(tiles.np, "save", cut_short)
    with pytest.raises(OSError) as caught:
        kept.write(STARTS[0], _maps(1))
    assert caught.value.errno == errno.ENOSPC
    assert STARTS[0] not in kept
