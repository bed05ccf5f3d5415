"""What training minimises: its inputs by name, and the sum of its parts."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from multires_tf.model import networks, objective


def _networks(**changes):
    small = {"filters": (4,), "dilations": (1,), "blocks": 1, "fc": (4,), "head": (4,)}
    return networks.multires(window=(16, 16, 16), **{**small, "uncertainty": False, **changes})


def _batch(model):
    rng = np.random.default_rng(0)
    shapes = {t.name: (1, 2) if t.name == "draw" else (1, 16, 16, 16, 1) for t in model.inputs}
    return [
        keras.ops.convert_to_tensor(
            np.zeros(shape, np.int32) if name == "draw" else rng.random(shape, dtype=np.float32)
        )
        for name, shape in shapes.items()
    ]


def test_deep_supervision_adds_the_weighted_errors_of_the_coarser_branches():
    model = objective.build(_networks(), deep_supervision=0.5)
    names = [tensor.name for tensor in model.inputs]
    truths = [f"{role}_{scale}" for scale in (1, 2, 4) for role in ("ct", "weight")]
    assert names == ["mr_1", "mr_2", "mr_4", *truths]
    parts = {name: float(value) for name, value in model(_batch(model)).items()}
    assert parts["deep"] > 0
    assert parts["loss"] == pytest.approx(parts["square"] + parts["deep"], rel=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_keras_own_training_minimises_the_loss_as_weighted(weight):
    model = objective.build(_networks(norm="none"), deep_supervision=weight)
    model.compile("sgd", jit_compile=False)
    names, batch = [tensor.name for tensor in model.inputs], _batch(model)
    wanted = float(model(batch, training=True)["loss"])
    found = model.train_on_batch(dict(zip(names, batch, strict=True)), return_dict=True)["loss"]
    assert float(found) == pytest.approx(wanted, rel=1e-6)


def test_a_variance_head_makes_it_the_likelihood_of_a_draw():
    model = objective.build(_networks(uncertainty=True, dropout="late"))
    assert "draw" in [tensor.name for tensor in model.inputs]
    parts = model(_batch(model))
    assert set(parts) == {"loss", "likelihood", "residual_term", "variance_term"}
    both = float(parts["residual_term"]) + float(parts["variance_term"])
    assert both == pytest.approx(float(parts["likelihood"]), rel=1e-6)


def test_where_the_weight_is_zero_the_truth_does_not_matter():
    model = objective.build(_networks(scales=(1,)))
    mr, ct, _ = _batch(model)
    weight = np.zeros((1, 16, 16, 16, 1), np.float32)
    weight[:, :8] = 1
    spoilt = np.where(weight > 0, ct, 1e6).astype(np.float32)
    first, second = (
        float(model([mr, *map(keras.ops.convert_to_tensor, (truth, weight))])["loss"])
        for truth in (np.asarray(ct), spoilt)
    )
    assert first == second


@pytest.mark.parametrize("recompute", [(4,), (1, 2, 4)])
@pytest.mark.parametrize("compiled", [False, True])
def test_recomputing_changes_neither_loss_nor_gradients_nor_statistics(compiled, recompute):
    kept, again = (_one_step(recompute=what, compiled=compiled) for what in ((), recompute))
    assert set(kept) == set(again)
    assert all(again[path] == 1 for path in again if path.endswith("/updates"))
    for name in kept:
        np.testing.assert_allclose(again[name], kept[name], rtol=1e-4, atol=1e-6, err_msg=name)


def _one_step(*, recompute: tuple[int, ...], compiled: bool) -> dict[str, np.ndarray]:
    """The loss, the gradients by their weights' paths and the statistics after one step."""
    tf = pytest.importorskip("tensorflow")
    nets = _networks(uncertainty=True, dropout="everywhere", norm="batch")
    model = objective.build(nets, recompute=recompute, deep_supervision=0.5)
    batch, weights = _batch(model), nets.plain.trainable_variables

    def step():
        with tf.GradientTape() as tape:
            loss = model(batch, training=True)["loss"]
        return loss, tape.gradient(loss, [v.value for v in weights])

    loss, gradients = (tf.function(step) if compiled else step)()
    found = {"loss": np.asarray(loss)}
    found |= {w.path: np.asarray(g) for w, g in zip(weights, gradients, strict=True)}
    return found | {v.path: np.asarray(v) for v in nets.plain.non_trainable_variables}
