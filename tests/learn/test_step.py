"""A training step moves the weights, the same on one device and on several."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from multires_tf.learn import loop, step


def _objective():
    x, y = keras.Input((1,), name="x"), keras.Input((1,), name="y")
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    square = keras.ops.mean(keras.ops.square(layer(x) - y))
    return keras.Model([x, y], {"loss": square, "square": square})


def _adam(clip=0.0, schedule="constant"):
    return step.optimiser(
        learning_rate=0.1,
        schedule=schedule,
        steps=10,
        beta2=0.999,
        epsilon=1e-8,
        clip=clip,
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
    parts = step.build(model, adam, _one_device())(_batch())
    # Weight 1: loss (1 + 4) / 2, gradient 2 (1 + 4) / 2.
    assert float(parts["loss"]) == pytest.approx(2.5)
    assert float(parts["gradient_norm"]) == pytest.approx(5.0)
    assert float(model.trainable_variables[0][0, 0]) == pytest.approx(0.9, abs=1e-6)


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
            lambda batch: {"loss": next(values)},
            iter(range(9)),
            first=10,
            last=15,
            watched=("loss",),
            after_step=lambda: None,
        )
    assert caught.value.step == 12


def test_an_interval_holds_the_means():
    values = iter([1.0, 2.0, 6.0])
    done = loop.advance(
        lambda batch: {"loss": next(values)},
        iter(range(9)),
        first=0,
        last=3,
        watched=("loss",),
        after_step=lambda: None,
    )
    assert done.means == {"loss": 3.0}
    assert 0 <= done.waiting_share <= 1
