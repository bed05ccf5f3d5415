"""Checkpoints come back to the bit, and a damaged one is refused by name."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from multires_tf.ground import errors
from multires_tf.learn import checkpoints


def _variables(shape=(2, 3)):
    return [keras.Variable(np.full(shape, k, np.float32), name=f"v{k}") for k in (1, 2)]


def test_values_and_position_come_back(tmp_path):
    path = tmp_path / "last.npz"
    values = np.array([[0.1, 1 / 3, 1e-30], [np.pi, -0.0, 7]], np.float32)
    saved = _variables()
    saved[0].assign(values)
    checkpoints.save(path, saved, {"step": 5, "history": [{"loss": 0.1}]})
    fresh = _variables()
    position = checkpoints.load(path, fresh)
    assert position == {"step": 5, "history": [{"loss": 0.1}]}
    assert np.asarray(fresh[0]).tobytes() == values.tobytes()


def test_the_first_variables_alone_can_be_read(tmp_path):
    path = tmp_path / "last.npz"
    checkpoints.save(path, _variables(), {})
    (first,) = _variables()[:1]
    first.assign(np.zeros((2, 3)))
    checkpoints.load(path, [first])
    assert np.asarray(first).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_checkpoint_cut_short_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / "last.npz"
    checkpoints.save(path, _variables(), {})
    path.write_bytes(path.read_bytes()[:-200])
    fresh = _variables()
    fresh[0].assign(np.full((2, 3), 9))
    with pytest.raises(errors.UserError, match=r"damaged or cut short .*; bring an intact copy"):
        checkpoints.load(path, fresh)
    assert np.asarray(fresh[0]).min() == 9


def test_another_network_is_refused(tmp_path):
    path = tmp_path / "last.npz"
    checkpoints.save(path, _variables(), {})
    with pytest.raises(errors.UserError, match="belongs to another network"):
        checkpoints.load(path, _variables((3, 3)))


def test_a_failed_save_leaves_the_old_one(tmp_path):
    path = tmp_path / "last.npz"
    checkpoints.save(path, _variables(), {"step": 1})
    with pytest.raises(TypeError):
        checkpoints.save(path, _variables(), {"step": object()})
    assert checkpoints.load(path, _variables())["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.npz"]


def test_a_flipped_bit_is_the_file_s_damage_or_changes_nothing(tmp_path):
    path, variables = tmp_path / "last.npz", _variables()
    checkpoints.save(path, variables, {"step": 5})
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        fresh = _variables()
        fresh[0].assign(np.full((2, 3), 9))
        try:
            assert checkpoints.load(path, fresh) == {"step": 5}
            assert np.asarray(fresh[0]).max() == 1
        except errors.UserError:
            assert np.asarray(fresh[0]).min() == 9
            refused += 1
    assert refused > len(whole) / 2
