"""Loss layers against numbers worked out by hand, and their behaviour at the edges."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from multires_tf.model import losses


def _voxels(*rows):
    array = np.array(rows, np.float32)
    return keras.ops.convert_to_tensor(array.reshape(*array.shape, 1, 1, 1))


def test_squared_error_weighs_voxels_then_averages_samples():
    mean, truth = _voxels([1, 2, 3], [0, 0, 0]), _voxels([1, 4, 0], [1, 1, 1])
    weight = _voxels([1, 3, 0], [0, 0, 0])
    # sample 1: (0 + 3 * 4) / 4 = 3; sample 2 has no weight: 0
    assert float(losses.SquaredError()(mean, truth, weight)) == pytest.approx(1.5)
    assert float(losses.SquaredError()(mean, truth)) == pytest.approx((13 / 3 + 1) / 2)


def test_likelihood_of_four_voxels():
    pred, truth, s = _voxels([0, 1, 2, -1]), _voxels([0.5, 1, 0, -1.5]), _voxels([0, -2, 1, -6])
    assert float(losses.GaussianNLL()(pred, s, truth)) == pytest.approx(11.947340, rel=1e-6)
    fork = losses.GaussianNLL(stabiliser=0.005, variance_term="full")
    assert float(fork(pred, s, truth)) == pytest.approx(2.930056, rel=1e-6)


def test_l2_is_the_originals_up_to_its_sum(golden):
    ops = golden("ops.npz")
    pred, truth = (keras.ops.convert_to_tensor(ops[f"loss/{n}"][..., None]) for n in ("pred", "gt"))
    # NiftyNet's L2Loss is half the sum, ours is the mean
    assert float(losses.SquaredError()(pred, truth)) * 4 / 2 == pytest.approx(
        float(ops["loss/L2Loss"])
    )


def test_minimum_is_at_the_true_variance():
    residual = np.random.default_rng(0).normal(0, 0.3, 4096)
    truth = _voxels(residual)
    zero = keras.ops.zeros_like(truth)
    grid = np.log(np.mean(residual**2)) + np.linspace(-1, 1, 201)
    values = [float(losses.GaussianNLL()(zero, zero + s, truth)) for s in grid.astype(np.float32)]
    assert int(np.argmin(values)) == 100


@pytest.mark.parametrize("stabiliser", [0.0, 0.005])
def test_finite_at_the_edges_with_its_gradient(stabiliser):
    tf = pytest.importorskip("tensorflow")
    for s in (-20.0, 20.0):
        for r in (0.0, -1e3, 1e3):
            mean, log_var = tf.Variable([[[[[0.0]]]]]), tf.Variable([[[[[s]]]]])
            with tf.GradientTape() as tape:
                loss = losses.GaussianNLL(stabiliser=stabiliser)(mean, log_var, _voxels([r]))
            assert np.isfinite(float(loss))
            assert all(np.isfinite(g).all() for g in tape.gradient(loss, [mean, log_var]))


def test_beta_one_has_the_gradient_of_half_the_squared_error():
    tf = pytest.importorskip("tensorflow")
    mean, log_var = tf.Variable([[[[[1.0]]]]]), tf.Variable([[[[[-5.0]]]]])
    with tf.GradientTape() as tape:
        loss = losses.GaussianNLL(beta=1.0)(mean, log_var, _voxels([3.0]))
    assert float(np.squeeze(tape.gradient(loss, mean))) == pytest.approx(-2.0, rel=1e-5)


def test_beta_weighs_the_gradients_by_the_variance_and_leaves_the_value():
    tf = pytest.importorskip("tensorflow")
    found = {}
    for beta in (0.0, 0.5):
        mean, log_var = tf.Variable([[[[[1.0]]]]]), tf.Variable([[[[[-4.0]]]]])
        with tf.GradientTape() as tape:
            loss = losses.GaussianNLL(beta=beta)(mean, log_var, _voxels([3.0]))
        gradients = tape.gradient(loss, [mean, log_var])
        found[beta] = [float(np.squeeze(value)) for value in (loss, *gradients)]
    value, to_mean, to_log_var = found[0.0]
    # sd = exp(-4 / 2), to the power 2 beta = 1
    weight = np.exp(-2.0)
    assert found[0.5] == pytest.approx([value, weight * to_mean, weight * to_log_var], rel=1e-5)


def test_half_precision_inputs_are_computed_in_float32():
    mean = keras.ops.cast(_voxels([0.0]), "bfloat16")
    loss = losses.GaussianNLL()(mean, keras.ops.cast(_voxels([-8.0]), "bfloat16"), _voxels([1e-3]))
    assert loss.dtype == "float32"
    assert float(loss) == pytest.approx(0.5 * np.exp(8) * 1e-6 - 4, rel=1e-6)


def test_in_a_model_the_loss_is_the_models_loss():
    inputs = [keras.Input((2, 2, 2, 1), name=n) for n in ("mean", "log_var", "truth")]
    model = keras.Model(inputs, losses.GaussianNLL(name="nll")(*inputs))
    x = [keras.ops.zeros((1, 2, 2, 2, 1)), keras.ops.ones((1, 2, 2, 2, 1))] * 2
    value = model(x[:3])
    assert [float(v) for v in model.losses] == [float(value)] == [0.5]
