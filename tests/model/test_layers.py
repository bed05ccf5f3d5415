"""The small layers, by hand and against the original."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from multires_tf.model import layers


def _ramp(n: int, axis: int) -> np.ndarray:
    shape = [1, 1, 1, 1, 1]
    shape[axis] = n
    line = np.arange(n, dtype=np.float32).reshape(shape)
    return np.broadcast_to(line, (1, n, n, n, 1)).copy()


def _averaged(x: np.ndarray, factor: int) -> np.ndarray:
    n = x.shape[1] // factor
    blocks = x.reshape(1, n, factor, n, factor, n, factor, 1)
    return blocks.mean((2, 4, 6))


def test_upsampling_by_hand():
    x = ops.reshape(ops.convert_to_tensor([0.0, 4.0, 8.0]), (1, 1, 1, 3, 1))
    out = layers.UpsampleLinear((1, 1, 2))(x)
    np.testing.assert_array_equal(np.asarray(out).ravel(), [0, 1, 3, 5, 7, 8])


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_down_and_up_again_shifts_a_ramp_by_nothing(axis):
    ramp = _ramp(16, axis)
    inner = np.s_[:, 4:-4, 4:-4, 4:-4]
    up = layers.UpsampleLinear()
    by_2 = up(ops.convert_to_tensor(_averaged(ramp, 2)))
    by_4 = up(up(ops.convert_to_tensor(_averaged(ramp, 4))))
    np.testing.assert_array_equal(np.asarray(by_2)[inner], ramp[inner])
    np.testing.assert_array_equal(np.asarray(by_4)[inner], ramp[inner])


def test_prelu_against_the_original(golden):
    ops_golden = golden("ops.npz")
    layer = layers.PReLU()
    layer.build((None, 1, 1, 1, 4))
    layer.alpha.assign(ops_golden["prelu/alpha"])
    out = layer(ops.convert_to_tensor(ops_golden["prelu/x"]))
    np.testing.assert_array_equal(out, ops_golden["prelu/out"])


def test_residual_padding_against_the_original(golden):
    ops_golden = golden("ops.npz")
    widened = layers.PadChannels(5)(ops.convert_to_tensor(ops_golden["residual/bypass"]))
    np.testing.assert_array_equal(
        widened + ops_golden["residual/param"], ops_golden["residual/sum"]
    )
    np.testing.assert_array_equal(np.asarray(widened)[0, 0, 0, 0] != 0, [0, 1, 1, 0, 0])


def test_crop_against_the_original(golden):
    ops_golden = golden("ops.npz")
    out = layers.CropMargin((2, 2, 2))(ops.convert_to_tensor(ops_golden["pool/x"]))
    np.testing.assert_array_equal(out, ops_golden["crop/border2"])
    assert layers.CropMargin((0, 1, 0))(ops.zeros((1, 4, 4, 4, 1))).shape == (1, 4, 2, 4, 1)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_dilation_by_dealing_out_against_the_original(golden, dilation):
    ops_golden = golden("ops.npz")
    x = ops.convert_to_tensor(ops_golden["dilated/x"])
    deals = int(np.log2(dilation))
    for _ in range(deals):
        x = layers.SpaceToBatch()(x)
    x = ops.conv(x, ops_golden["dilated/w"], padding="same")
    for _ in range(deals):
        x = layers.BatchToSpace()(x)
    out = np.asarray(x)[:, :, ::4]
    np.testing.assert_allclose(out, ops_golden[f"dilated/out_d{dilation}"], atol=1e-5)


def test_dealing_out_keeps_windows_together_and_undoes():
    x = np.arange(2 * 4 * 6 * 8 * 3, dtype=np.float32).reshape(2, 4, 6, 8, 3)
    dealt = layers.SpaceToBatch()(ops.convert_to_tensor(x))
    assert dealt.shape == (16, 2, 3, 4, 3)
    np.testing.assert_array_equal(dealt[:8], layers.SpaceToBatch()(ops.convert_to_tensor(x[:1])))
    np.testing.assert_array_equal(dealt[1], x[0, ::2, ::2, 1::2])
    np.testing.assert_array_equal(layers.BatchToSpace()(dealt), x)


def test_cascade_cuts_what_the_original_cuts(golden):
    glue = golden("multires_glue.npz")
    for coarse, result, own in (("low", "concat_med", 1), ("concat_med", "concat_high", 1)):
        x = layers.CropMargin((3, 3, 3))(ops.convert_to_tensor(glue[coarse]))
        x = np.asarray(x).repeat(2, 1).repeat(2, 2).repeat(2, 3)
        x = layers.CropMargin((2, 2, 2))(ops.convert_to_tensor(x))
        np.testing.assert_array_equal(x, glue[result][..., own:])


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.SpaceToBatch(), (None, None, 4, 4, 3)),
        (layers.BatchToSpace(), (None, None, 16, 16, 3)),
        (layers.UpsampleLinear(), (None, None, 16, 16, 3)),
        (layers.CropMargin((1, 2, 3)), (None, None, 4, 2, 3)),
        (layers.PadChannels(7), (None, None, 8, 8, 7)),
        (layers.PReLU(), (None, None, 8, 8, 3)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_unknown_sizes_and_configs(layer, expected):
    assert layer(keras.Input((None, 8, 8, 3))).shape == expected
    again = type(layer).from_config(layer.get_config())
    x = ops.convert_to_tensor(np.random.default_rng(0).random((8, 8, 8, 8, 3), np.float32))
    np.testing.assert_array_equal(layer(x), again(x))
