"""Trains a small network on one device and on two halves of it; prints how far they are apart.

A process of its own, for the CPU must be split before TensorFlow touches it. Prints JSON:
{"<norm> <rule>": {"losses": largest difference of a loss, "variables": of a variable, "fell": what
the loss lost}}.
"""

from __future__ import annotations

import json

import numpy as np

from multires_tf.ground import runtime

STEPS, BATCH, EDGE = 10, 4, 16


def batches():
    """The batches of all steps: a pure function of nothing."""
    chance = np.random.default_rng(0)
    for _ in range(STEPS):
        mr = chance.uniform(size=(BATCH, EDGE, EDGE, EDGE, 1))
        noise = 0.1 * chance.normal(size=mr.shape)
        yield {"mr_1": mr, "ct_1": mr**2 + noise, "weight_1": np.ones_like(mr)}


def objective(norm: str):
    """Two normalised convolutions, a mean and a log variance, and their likelihood."""
    import keras

    from multires_tf.model import losses, normalisation

    names = ("mr_1", "ct_1", "weight_1")
    mr, ct, weight = (keras.Input((EDGE, EDGE, EDGE, 1), name=name) for name in names)
    kinds = {"batch": normalisation.BatchNorm, "renorm": normalisation.BatchNorm}
    x = mr
    for width in (4, 6):
        x = keras.layers.Conv3D(width, 3, padding="same", use_bias=False)(x)
        options = {"renorm": True} if norm == "renorm" else {}
        x = kinds.get(norm, normalisation.GroupNorm)(**options)(x)
        x = keras.layers.Activation("relu")(x)
    mean, log_var = keras.layers.Conv3D(1, 1)(x), keras.layers.Conv3D(1, 1)(x)
    return keras.Model([mr, ct, weight], {"loss": losses.GaussianNLL()(mean, log_var, ct, weight)})


def train(strategy, rule: str, norm: str) -> tuple[list[float], list[np.ndarray]]:
    """Losses of all steps, and all variables of the model after the last."""
    import keras
    import tensorflow as tf

    from multires_tf.learn import replicas, step

    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = objective(norm)
        rules = {
            "sgd": keras.optimizers.SGD(0.05, momentum=0.9),
            "adam": keras.optimizers.Adam(0.003, epsilon=1e-8),
        }
        rules[rule].build(model.trainable_variables)
    function = step.build(model, rules[rule], strategy, clip=1.0)

    def shares(local, count):
        size = BATCH // count

        def generate():
            for batch in batches():
                for share in local:
                    rows = slice(share * size, (share + 1) * size)
                    yield {name: array[rows] for name, array in batch.items()}

        spec = tf.TensorSpec((size, EDGE, EDGE, EDGE, 1), tf.float64)
        names = ("mr_1", "ct_1", "weight_1")
        return tf.data.Dataset.from_generator(generate, output_signature=dict.fromkeys(names, spec))

    iterator = iter(replicas.distributed(strategy, shares))
    losses = [float(function(next(iterator))[0]["loss"]) for _ in range(STEPS)]
    return losses, [np.asarray(variable) for variable in model.variables]


CASES = (("batch", "sgd"), ("batch", "adam"), ("renorm", "sgd"))


def compare() -> dict[str, dict[str, float]]:
    """Differences between one device and two, for some norms and rules."""
    runtime.start(seed=0, precision="float64")
    two, one = runtime.strategy("cpu:0,cpu:1"), runtime.strategy("cpu")
    found = {}
    for norm, rule in CASES:
        runs = [train(strategy, rule, norm) for strategy in (one, two)]
        (losses, variables), (other_losses, other_variables) = runs
        pairs = zip(variables, other_variables, strict=True)
        found[f"{norm} {rule}"] = {
            "losses": float(np.abs(np.subtract(losses, other_losses)).max()),
            "variables": float(max(np.abs(a - b).max() for a, b in pairs)),
            "fell": losses[0] - losses[-1],
        }
    return found


if __name__ == "__main__":
    print(json.dumps(compare()))
