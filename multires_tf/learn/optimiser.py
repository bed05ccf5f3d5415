"""The optimiser, for whatever backend Keras runs on."""

from __future__ import annotations

import keras


def adam(
    *,
    learning_rate: float,
    schedule: str,
    steps: int,
    beta2: float,
    epsilon: float,
    scaled: bool,
    clip: float = 0.0,
) -> keras.optimizers.Optimizer:
    """Adam as the paper's (Kingma & Ba 2015), with an optional cosine to zero.

    Args:
        learning_rate: at the start.
        schedule: "constant" or "cosine".
        steps: over which the cosine falls.
        beta2: decay of Adam's second moment.
        epsilon: of Adam; TensorFlow 1 had 1e-8.
        scaled: scale the loss, as float16 needs.
        clip: bound of the gradient's global norm; 0 for none, as where the step itself clips.
    """
    rate = learning_rate
    if schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
    # The wrapper that scales does not clip; what it wraps does, after the scale is off again.
    bound = clip or None
    plain = keras.optimizers.Adam(rate, beta_2=beta2, epsilon=epsilon, global_clipnorm=bound)
    return keras.optimizers.LossScaleOptimizer(plain) if scaled else plain
