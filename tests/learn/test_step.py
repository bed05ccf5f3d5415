"""A training step moves the weights, the same on one device and on several."""

from __future__ import annotations

import json
import math
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from multires_tf.learn import loop, optimiser, step


def _objective():
    x, y = keras.Input((1,), name="x"), keras.Input((1,), name="y")
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    square = keras.ops.mean(keras.ops.square(layer(x) - y))
    return keras.Model([x, y], {"loss": square, "square": square})


def _adam(schedule="constant"):
    return optimiser.adam(
        learning_rate=0.1,
        schedule=schedule,
        steps=10,
        beta2=0.999,
        epsilon=1e-8,
        scaled=False,
    )


def _one_device():
    import tensorflow as tf

    return tf.distribute.OneDeviceStrategy("/cpu:0")


def _batch():
    return {"x": np.array([[1.0], [2.0]], np.float32), "y": np.zeros((2, 1), np.float32)}


def test_the_first_step_of_adam_is_the_learning_rate():
    model, adam = _objective(), _adam()
    adam.build(model.trainable_variables)
    parts, gradients = step.build(model, adam, _one_device())(_batch())
    # Weight 1: loss (1 + 4) / 2, gradient 2 (1 + 4) / 2.
    assert float(parts["loss"]) == pytest.approx(2.5)
    assert float(parts["gradient_norm"]) == pytest.approx(5.0)
    assert float(gradients[0][0, 0]) == pytest.approx(5.0)
    assert float(model.trainable_variables[0][0, 0]) == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize("scaled", [False, True])
def test_an_optimiser_that_clips_does_so_on_the_unscaled_gradient(scaled):
    # Of the gradients 300 and 400 a norm of 1 leaves 0.6 and 0.8; epsilon 1 lets Adam tell sizes.
    weights = [keras.Variable(0.0), keras.Variable(0.0)]
    settings = {"schedule": "constant", "steps": 1, "beta2": 0.999, "epsilon": 1.0}
    adam = optimiser.adam(learning_rate=1.0, **settings, scaled=scaled, clip=1.0)
    adam.build(weights)
    gradients = [keras.ops.convert_to_tensor(value) for value in (300.0, 400.0)]
    adam.apply([adam.scale_loss(gradient) for gradient in gradients], weights)
    # Adam's first step is s g / (s |g| + epsilon) with s the root of 1 - beta2.
    wanted = [-s * g / (s * g + 1.0) for s in [0.001**0.5] for g in (0.6, 0.8)]
    assert [float(weight) for weight in weights] == pytest.approx(wanted, rel=1e-4)


def test_clipping_bounds_the_global_norm():
    model, rule = _objective(), keras.optimizers.SGD(0.1)
    rule.build(model.trainable_variables)
    parts, gradients = step.build(model, rule, _one_device(), clip=2.0)(_batch())
    assert float(parts["gradient_norm"]) == pytest.approx(5.0)
    assert float(gradients[0][0, 0]) == pytest.approx(2.0)
    assert float(model.trainable_variables[0][0, 0]) == pytest.approx(0.8)


def test_a_scaled_loss_gives_the_same_norm_and_step():
    model, rule = _objective(), keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    rule.build(model.trainable_variables)
    parts, gradients = step.build(model, rule, _one_device(), clip=2.0)(_batch())
    assert float(parts["gradient_norm"]) == pytest.approx(5.0)
    assert float(gradients[0][0, 0]) == pytest.approx(2.0)
    assert float(model.trainable_variables[0][0, 0]) == pytest.approx(0.8)


def test_the_window_that_is_not_finite_is_found_although_the_step_was_made():
    model, adam = _objective(), _adam()
    adam.build(model.trainable_variables)
    batch = {"x": np.array([[1.0], [np.nan]], np.float32), "y": np.zeros((2, 1), np.float32)}
    parts, _ = step.build(model, adam, _one_device(), clip=1.0)(batch)
    assert math.isnan(float(parts["loss"]))
    assert step.culprits(model, batch) == [1]


def test_two_devices_equal_one_with_twice_the_batch():
    script = pathlib.Path(__file__).with_name("replicas_process.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for case, found in json.loads(done.stdout).items():
        assert found["fell"] > 0.1, case
        assert found["losses"] < 1e-4, case
        assert found["variables"] < 1e-5, case


def test_the_cosine_ends_at_zero():
    adam = _adam(schedule="cosine")
    rates = [float(adam.learning_rate)]
    adam.build([keras.Variable(0.0)])
    adam.iterations.assign(5)
    rates.append(float(adam.learning_rate))
    adam.iterations.assign(10)
    rates.append(float(adam.learning_rate))
    assert rates == pytest.approx([0.1, 0.05, 0.0])


def test_a_loss_that_is_not_finite_stops_the_loop_and_names_the_step():
    values = iter([1.0, 2.0, math.nan])
    with pytest.raises(loop.NotFinite, match="step 12: loss") as caught:
        loop.advance(
            lambda batch: ({"loss": next(values)}, []),
            iter(range(9)),
            first=10,
            last=15,
            watch=loop.Watch({"loss": 0}),
            after_step=lambda: None,
        )
    assert caught.value.step == 12


def test_loss_scaling_may_skip_steps_but_not_for_ever():
    norms = iter([math.inf, math.inf, 1.0, math.inf, math.inf, math.inf])
    watch = loop.Watch({"loss": 0, "gradient_norm": 2})

    def advance(first, last):
        return loop.advance(
            lambda batch: ({"loss": 1.0, "gradient_norm": next(norms)}, []),
            iter(range(9)),
            first=first,
            last=last,
            watch=watch,
            after_step=lambda: None,
        )

    advance(0, 5)  # two in a row at a time, and the last two count on
    with pytest.raises(loop.NotFinite, match="step 5: gradient_norm"):
        advance(5, 6)


def test_an_interval_holds_the_means():
    values = iter([1.0, 2.0, 6.0])
    done = loop.advance(
        lambda batch: ({"loss": next(values)}, []),
        iter(range(9)),
        first=0,
        last=3,
        watch=loop.Watch({"loss": 0}),
        after_step=lambda: None,
    )
    assert done.means == {"loss": 3.0}
    assert 0 <= done.waiting_share <= 1
