"""Normalisation by hand, and fast kernels against the plain ones."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from multires_tf.model import kernels, layers, normalisation


def _random(*shape: int, scale: float = 3.0, shift: float = 2.0) -> np.ndarray:
    return (np.random.default_rng(0).normal(size=shape) * scale + shift).astype(np.float32)


def _tensor(array: np.ndarray, dtype: str = "float32"):
    return ops.cast(ops.convert_to_tensor(array), dtype)


def test_zero_debiased_average_by_hand():
    layer = normalisation.BatchNorm(momentum=0.5)
    for value, expected in ((4.0, 4.0), (8.0, (0.25 * 4 + 0.5 * 8) / 0.75)):
        layer(ops.full((1, 2, 2, 2, 1), value), training=True)
        assert float(layer.moving_mean[0]) == pytest.approx(expected, rel=1e-6)
    assert float(layer.updates) == 2
    layer.updates.assign(0.0)  # starts afresh: what was before no longer counts
    layer(ops.full((1, 2, 2, 2, 1), 1.0), training=True)
    assert float(layer.moving_mean[0]) == 1.0


def test_variance_is_the_biased_one():
    layer = normalisation.BatchNorm()
    x = np.array([1.0, 3.0], np.float32).reshape(1, 1, 1, 2, 1)
    out = layer(_tensor(x), training=True)
    assert float(layer.moving_variance[0]) == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(np.asarray(out).ravel(), [-1, 1], atol=1e-5)


def test_moving_statistics_against_the_original(golden):
    weights, ref = golden("highres3dnet_weights_*.npz"), golden("highres3dnet_reference.npz")
    layer = normalisation.BatchNorm()
    for step in (1, 2, 3):
        x = ref["input"] * ref[f"moving_input_{step}_scale"]
        kernel = weights["HighRes3DNet/conv_0_bn_prelu/conv_/w"]
        layer(ops.conv(_tensor(x), kernel, padding="same"), training=True)
        for name in ("moving_mean", "moving_variance"):
            expected = ref[f"moving_after_{step}/HighRes3DNet/conv_0_bn_prelu/bn_/{name}"]
            np.testing.assert_allclose(getattr(layer, name), expected, rtol=1e-5, atol=1e-6)


def test_local_statistics_are_each_windows_own():
    layer = normalisation.BatchNorm(statistics="local")
    x = _random(2, 4, 4, 4, 3)
    x[1] *= 10
    out = np.asarray(layer(_tensor(x), training=False))
    np.testing.assert_allclose(out.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std((1, 2, 3)), 1, atol=1e-3)
    np.testing.assert_allclose(out[:1], layer(_tensor(x[:1]), training=False), atol=1e-5)


def test_group_norm_by_hand():
    layer = normalisation.GroupNorm(groups=2, epsilon=0.0)
    x = np.array([[0, 2, 10, 30], [0, 2, 20, 20]], np.float32).reshape(1, 1, 1, 2, 4)
    out = np.asarray(layer(_tensor(x))).reshape(2, 4)
    root = np.sqrt(2.0)
    np.testing.assert_allclose(out, [[-1, 1, -root, root], [-1, 1, 0, 0]], atol=1e-5)


@pytest.mark.parametrize("kind", ["group", "instance", "local"])
def test_sub_lattices_are_normalised_as_one_window(kind):
    makers = {
        "group": lambda fold: normalisation.GroupNorm(groups=2, fold=fold),
        "instance": lambda fold: normalisation.InstanceNorm(fold=fold),
        "local": lambda fold: normalisation.BatchNorm(statistics="local", fold=fold),
    }
    x = _tensor(_random(2, 4, 4, 4, 6))
    whole = makers[kind](1)(x)
    dealt = layers.BatchToSpace()(makers[kind](8)(layers.SpaceToBatch()(x)))
    np.testing.assert_allclose(whole, dealt, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fast_kernels_equal_the_plain_ones(dtype):
    if kernels.specialised() is None:
        pytest.skip("this backend has the plain kernels alone")
    x = _tensor(_random(2, 6, 6, 6, 16), dtype)
    gamma, beta = _tensor(_random(16)), _tensor(_random(16))
    tolerance = 2e-5 if dtype == "float32" else 0.25  # two roundings of values up to 32, one to 64
    fast = [*kernels.batch_norm(x, gamma, beta, 1e-5)]
    plain = [*kernels.plain_batch_norm(x, gamma, beta, 1e-5)]
    fast.append(kernels.batch_renorm(x, _told(gamma, beta), 1e-5))
    plain.append(kernels.plain_batch_renorm(x, _told(gamma, beta), 1e-5))
    for got, want in zip(fast, plain, strict=True):
        np.testing.assert_allclose(_float(got), _float(want), atol=tolerance)
    for groups, fold in ((4, 1), (4, 2), (16, 1)):
        own = {"groups": groups, "fold": fold, "epsilon": 1e-5}
        got = kernels.group_norm(x, gamma, beta, **own)
        want = kernels.plain_group_norm(x, gamma, beta, **own)
        assert got.dtype == x.dtype
        np.testing.assert_allclose(_float(got), _float(want), atol=tolerance)


def test_fast_gradients_equal_the_plain_ones():
    tf = pytest.importorskip("tensorflow")
    if kernels.specialised() is None:
        pytest.skip("this backend has the plain kernels alone")
    x, gamma, beta = _tensor(_random(2, 4, 4, 4, 8)), _tensor(_random(8)), _tensor(_random(8))
    target = _tensor(_random(2, 4, 4, 4, 8, scale=1.0))
    own = {"groups": 4, "fold": 1, "epsilon": 1e-5}
    pairs = [
        (kernels.group_norm, kernels.plain_group_norm, own),
        (kernels.batch_norm, kernels.plain_batch_norm, {"epsilon": 1e-5}),
        (
            lambda x, gamma, beta: kernels.batch_renorm(x, _told(gamma, beta), 1e-5),
            lambda x, gamma, beta: kernels.plain_batch_renorm(x, _told(gamma, beta), 1e-5),
            {},
        ),
        (
            lambda x, gamma, beta: kernels.prelu(x, gamma),
            lambda x, gamma, beta: kernels.plain_prelu(x, gamma),
            {},
        ),
    ]
    for fast, plain, settings in pairs:
        gradients = []
        for function in (fast, plain):
            with tf.GradientTape() as tape:
                tape.watch([x, gamma, beta])
                out = function(x, gamma, beta, **settings)
                out = out[0] if isinstance(out, tuple) else out
                loss = tf.reduce_sum(out * target)
            gradients.append(tape.gradient(loss, [x, gamma, beta], unconnected_gradients="zero"))
        for got, want in zip(*gradients, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def test_statistics_stay_float32_under_mixed_precision():
    layer = normalisation.BatchNorm(dtype=keras.DTypePolicy("mixed_bfloat16"))
    x = _random(1, 8, 8, 8, 2, scale=0.01, shift=100.0)
    out = layer(_tensor(x), training=True)
    assert out.dtype == "bfloat16"
    assert layer.moving_variance.dtype == layer.gamma.dtype == "float32"


def _told(gamma, beta):
    """A scale and an offset that depend on the moments, as batch renormalisation's do."""
    return lambda mean, variance: (gamma * ops.sqrt(variance + 1e-5), beta + gamma * mean)


def _float(tensor) -> np.ndarray:
    return np.asarray(ops.cast(tensor, "float32"))


def test_renorm_trains_with_the_function_that_it_infers_with():
    rng = np.random.default_rng(0)
    layer = normalisation.BatchNorm(renorm=True, momentum=0.9)
    windows = [rng.normal(2.0, 3.0, (1, 4, 4, 4, 2)).astype(np.float32) for _ in range(40)]
    first = np.asarray(layer(keras.ops.convert_to_tensor(windows[0]), training=True))
    np.testing.assert_allclose(first.mean(axis=(0, 1, 2, 3)), 0, atol=1e-5)  # as batch norm
    for window in windows[1:]:
        layer(keras.ops.convert_to_tensor(window), training=True)
    # A window that is brighter than the others stays brighter.
    bright = keras.ops.convert_to_tensor(windows[0] + np.float32(3.0))
    trained, inferred = (np.asarray(layer(bright, training=mode)) for mode in (True, False))
    assert inferred.mean() > 0.8
    assert np.abs(trained - inferred).max() < 0.25  # the average moves by a tenth on this window


def test_no_norm_adds_an_offset_and_keeps_a_window_apart_from_its_neighbours(small, triplet):
    layer = normalisation.Offset()
    x = _random(1, 2, 2, 2, 3)
    layer(_tensor(x))
    layer.beta.assign(np.array([1.0, -2.0, 0.0], np.float32))
    np.testing.assert_allclose(layer(_tensor(x)), x + np.array([1.0, -2.0, 0.0]), rtol=1e-6)
    nets = small(norm="none")
    assert not nets.plain.non_trainable_variables
    trained, inferred = (nets.plain(triplet(), training=mode)["ct"] for mode in (True, False))
    np.testing.assert_array_equal(trained, inferred)


@pytest.mark.parametrize("special", [True, False], ids=["special", "plain"])
@pytest.mark.parametrize("layer", [normalisation.Offset, layers.PReLU])
def test_a_channel_s_gradient_is_summed_in_float32(layer, special, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    if not special:
        monkeypatch.setattr(kernels, "specialised", lambda: None)
    made, x = layer(dtype="mixed_bfloat16"), ops.full((1, 7, 11, 13, 1), -1.0, dtype="bfloat16")
    with tf.GradientTape() as tape:
        out = made(x)
        upstream = tf.ones_like(out)
    (gradient,) = tape.gradient(out, [made.trainable_weights[0].value], upstream)
    # 7 x 11 x 13; bfloat16 has 8 bits and would make it 1000 or stop at 256.
    assert (gradient.dtype, abs(float(gradient[0]))) == (tf.float32, 1001.0)
