"""One training step, the same for one device and for several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def optimiser(
    *,
    learning_rate: float,
    schedule: str,
    steps: int,
    beta2: float,
    epsilon: float,
    clip: float,
    scaled: bool,
) -> keras.optimizers.Optimizer:
    """Adam as the paper's (Kingma & Ba 2015), with an optional cosine to zero and norm clipping.

    Args:
        learning_rate: at the start.
        schedule: "constant" or "cosine".
        steps: over which the cosine falls.
        beta2: decay of Adam's second moment.
        epsilon: of Adam; TensorFlow 1 had 1e-8.
        clip: global norm of the gradient; 0 switches clipping off.
        scaled: scale the loss, as float16 needs.
    """
    rate = learning_rate
    if schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
    adam = keras.optimizers.Adam(rate, beta_2=beta2, epsilon=epsilon, global_clipnorm=clip or None)
    return keras.optimizers.LossScaleOptimizer(adam) if scaled else adam


def build(
    objective: keras.Model,
    adam: keras.optimizers.Optimizer,
    strategy: tf.distribute.Strategy,
) -> Callable[[dict[str, Any]], dict[str, tf.Tensor]]:
    """Compiles a function from a batch to its losses, which moves the weights by one step.

    Args:
        objective: model from a batch's tensors (by name) to {"loss": scalar, part: scalar, ...}.
        adam: built on the objective's trainable variables.
        strategy: every replica gets its share of the batch; gradients are averaged over all.

    Returns:
        Function; its result holds scalar float32 means and the global "gradient_norm".
    """
    names = [tensor.name for tensor in objective.inputs]
    replicas = strategy.num_replicas_in_sync

    def replica_step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            parts = objective([batch[name] for name in names], training=True)
            parts = {name: tf.reduce_mean(part) / replicas for name, part in parts.items()}
            scaled = adam.scale_loss(parts["loss"])
        weights = [v.value for v in objective.trainable_variables]
        gradients = tape.gradient(scaled, weights)
        if replicas > 1:
            gradients = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
        parts["gradient_norm"] = tf.linalg.global_norm(gradients) / replicas
        adam.apply(gradients, objective.trainable_variables)
        return parts

    @tf.function(reduce_retracing=True, jit_compile=False)
    def step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        parts = strategy.run(replica_step, args=(batch,))
        return {name: strategy.reduce("SUM", part, axis=None) for name, part in parts.items()}

    return step


def estimate_statistics(
    objective: keras.Model, batches: Any, strategy: tf.distribute.Strategy
) -> None:
    """Re-estimates the moving statistics of batch normalisation over `batches`; weights rest.

    Args:
        objective: as in `build`.
        batches: a finite dataset.
        strategy: that of the training.
    """
    names = [tensor.name for tensor in objective.inputs]

    @tf.function(reduce_retracing=True, jit_compile=False)
    def forward(batch: dict[str, Any]) -> None:
        strategy.run(lambda b: objective([b[n] for n in names], training=True), args=(batch,))

    counters = [v for v in objective.variables if v.path.endswith("/updates")]
    if not counters:
        return
    for counter in counters:  # at zero an average begins anew
        counter.assign(keras.ops.zeros_like(counter))
    for batch in batches:
        forward(batch)
