"""Draws: masks by hash, and what a sampled network does with them."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from multires_tf.model import draws, layers


def _draw(*pairs: tuple[int, int]):
    return keras.ops.convert_to_tensor(np.array(pairs, np.int32))


def _mixed(x: int) -> int:
    """The finaliser in Python's own integers."""
    x = (x ^ x >> 16) * 0x85EBCA6B % 2**32
    x = (x ^ x >> 13) * 0xC2B2AE35 % 2**32
    return x ^ x >> 16


def test_masks_are_these_for_ever():
    kept = draws.kept_channels(seed=1, draw=2, layer=3, channels=16, keep=0.5)
    state = _mixed(_mixed(1 ^ 0x9E3779B9) ^ 2)
    assert kept.tolist() == [_mixed(state ^ (3 << 16) + c) >> 8 < 2**23 for c in range(16)]
    assert "".join(str(int(k)) for k in kept) == "1100000010101111"


def test_numpy_and_tensor_masks_agree():
    pairs = [(0, 0), (1, 2), (2**31 - 1, 19), (-5, 7)]
    mask = draws.channel_mask(_draw(*pairs), layer=9, channels=80, keep=0.25, dtype="float32")
    for (seed, draw), row in zip(pairs, np.asarray(mask), strict=True):
        kept = draws.kept_channels(seed=seed, draw=draw, layer=9, channels=80, keep=0.25)
        np.testing.assert_array_equal(row, np.where(kept, 4.0, 0.0))


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_share_of_kept_channels(keep):
    kept = [
        draws.kept_channels(seed=s, draw=d, layer=layer, channels=64, keep=keep)
        for s in range(8)
        for d in range(8)
        for layer in range(8)
    ]
    assert np.mean(kept) == pytest.approx(keep, abs=0.01)  # 32768 channels: sd 0.003
    assert np.corrcoef(np.reshape(kept, (8, -1))).round(1).tolist() == np.eye(8).tolist()


def test_every_part_of_the_key_matters():
    base = {"seed": 3, "draw": 4, "layer": 5}
    first = draws.kept_channels(**base, channels=64, keep=0.5)
    for key in base:
        other = draws.kept_channels(**{**base, key: 6}, channels=64, keep=0.5)
        assert (first != other).sum() > 10


def test_dropout_layer_drops_whole_channels_of_each_window():
    layer = layers.ChannelDropout(0.5, index=2, fold=2)
    assert isinstance(layer, keras.layers.SpatialDropout3D)
    x = keras.ops.ones((4, 2, 2, 2, 16))  # two windows of two sub-lattices
    out = np.asarray(layer(x, _draw((1, 0), (1, 1))))
    for window, draw in enumerate((0, 0, 1, 1)):
        kept = draws.kept_channels(seed=1, draw=draw, layer=2, channels=16, keep=0.5)
        expected = np.broadcast_to(np.where(kept, 2.0, 0.0), (2, 2, 2, 16))
        np.testing.assert_array_equal(out[window], expected)


def test_two_draws_differ_and_two_plain_calls_agree(small, triplet):
    nets, mr = small(dropout="everywhere"), triplet()
    first, second, again = (np.asarray(nets.sampler([*mr, _draw((7, k))])["ct"]) for k in (0, 1, 0))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(nets.plain(mr)["ct"], nets.plain(mr)["ct"])


def test_a_draw_does_not_depend_on_its_place_in_the_batch(small, triplet):
    nets, mr = small(dropout="everywhere", norm="group"), triplet(batch=2)
    both = nets.sampler([*mr, _draw((1, 3), (1, 4))])["ct"]
    alone = nets.sampler([*(m[1:] for m in mr), _draw((1, 4))])["ct"]
    np.testing.assert_allclose(both[1:], alone, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_statistics_stand_still_while_drawing(small, triplet, norm):
    nets = small(dropout="everywhere", norm=norm)
    before = [np.asarray(w).copy() for w in nets.plain.weights]
    nets.sampler([*triplet(), _draw((0, 0))], training=False)
    for old, new in zip(before, nets.plain.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_training_moves_the_statistics_of_both_twins(small, triplet):
    nets = small(dropout="late", norm="batch")
    nets.sampler([*triplet(), _draw((0, 0))], training=True)
    moved = nets.plain.get_layer("branch_1.norm_0")
    assert float(moved.updates) == 1
    assert np.abs(np.asarray(moved.moving_mean)).max() > 0
