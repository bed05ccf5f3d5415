"""One training step, the same for one device, for several, and for several machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# From a batch to its losses and to the gradients of the weights, in their order.
Step = Callable[[dict[str, Any]], tuple[dict[str, tf.Tensor], list[tf.Tensor]]]


def build(
    objective: keras.Model,
    optimiser: keras.optimizers.Optimizer,
    strategy: tf.distribute.Strategy,
    *,
    clip: float = 0.0,
) -> Step:
    """Compiles a function from a batch to its losses, which moves the weights by one step.

    A gradient that is not finite leaves the weights finite, so that `culprits` can still find the
    window that it came from.

    Args:
        objective: model from a batch's tensors (by name) to {"loss": scalar, part: scalar, ...}.
        optimiser: the optimiser, built on the objective's trainable variables.
        strategy: every replica gets its share of the batch; losses are means over all of it.
        clip: bound of the gradient's global norm; 0 switches clipping off.

    Returns:
        Function to scalar float32 means with the "gradient_norm" before clipping, and the clipped
        gradients.
    """
    names = [tensor.name for tensor in objective.inputs]
    replicas = strategy.num_replicas_in_sync

    def replica_step(batch: dict[str, Any]) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            parts = objective([batch[name] for name in names], training=True)
            parts = {name: tf.reduce_mean(part) / replicas for name, part in parts.items()}
            scaled = optimiser.scale_loss(parts["loss"])
        weights = [v.value for v in objective.trainable_variables]
        gradients = tape.gradient(scaled, weights)
        if replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce("SUM", gradients)
            parts = context.all_reduce("SUM", parts)
        scale = tf.cast(optimiser.scale_loss(tf.constant(1.0)), tf.float32)
        parts["gradient_norm"] = norm = (
            tf.cast(tf.linalg.global_norm(gradients), tf.float32) / scale
        )
        if clip:
            factor = clip / tf.maximum(norm, clip)
            gradients = [g * tf.cast(factor, g.dtype) for g in gradients]
        # Keras sums over the replicas once more.
        given = [gradient / replicas for gradient in gradients]
        if not isinstance(
            optimiser, keras.optimizers.LossScaleOptimizer
        ):  # it looks for them itself
            given = [tf.where(tf.math.is_finite(g), g, tf.zeros_like(g)) for g in given]
        optimiser.apply(given, objective.trainable_variables)
        return parts, [gradient / tf.cast(scale, gradient.dtype) for gradient in gradients]

    @tf.function(reduce_retracing=True, jit_compile=False)
    def step(batch: dict[str, Any]) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        results = strategy.run(replica_step, args=(batch,))
        return tf.nest.map_structure(lambda x: strategy.experimental_local_results(x)[0], results)

    return step


def culprits(objective: keras.Model, batch: dict[str, Any]) -> list[int]:
    """Places in a batch of the windows whose own loss or gradient is not finite.

    The moving statistics are moved: for runs that have ended.

    Args:
        objective: as in `build`.
        batch: a whole one, not distributed.
    """

    @tf.function(reduce_retracing=True, jit_compile=False)
    def measures(inputs: list) -> tf.Tensor:  # a graph: op by op, a step keeps twice as much
        with tf.GradientTape() as tape:
            loss = objective(inputs, training=True)["loss"]
        weights = [v.value for v in objective.trainable_variables]
        norm = tf.linalg.global_norm(tape.gradient(loss, weights))
        return tf.stack([tf.cast(loss, norm.dtype), norm])

    found = []
    for place in range(len(batch[objective.inputs[0].name])):
        inputs = [batch[tensor.name][place : place + 1] for tensor in objective.inputs]
        if not np.isfinite(measures(inputs)).all():
            found.append(place)
    return found


def statistics_estimator(
    objective: keras.Model, strategy: tf.distribute.Strategy
) -> Callable[[Any], None] | None:
    """Compiles a function that takes batch normalisation's moving statistics anew; weights rest.

    Args:
        objective: as in `build`.
        strategy: that of the training.

    Returns:
        Function of a finite iterator of batches; None for a network without such statistics.
    """
    names = [tensor.name for tensor in objective.inputs]
    counters = [v for v in objective.variables if v.path.endswith("/updates")]

    @tf.function(reduce_retracing=True, jit_compile=False)
    def forward(batch: dict[str, Any]) -> None:
        strategy.run(lambda b: objective([b[n] for n in names], training=True), args=(batch,))

    def estimate(batches: Any) -> None:
        for counter in counters:  # at zero an average begins anew
            counter.assign(keras.ops.zeros_like(counter))
        for batch in batches:
            forward(batch)

    return estimate if counters else None
