"""What training minimises: network, truth and loss layers as one functional model."""

from __future__ import annotations

import functools
from typing import Any

import keras

from multires_tf.model import layers, losses, networks


class Objective(keras.Model):
    """From a batch to its losses; what Keras' own training minimises, too, is "loss" alone.

    Without this it would add up what the loss layers report, whatever their weights.
    """

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The output "loss" among `y_pred`, a scalar."""
        return y_pred["loss"]


def build(
    nets: networks.Networks,
    *,
    variance_term: str = "half",
    stabiliser: float = 0.0,
    beta: float = 0.0,
    deep_supervision: float = 0.0,
    recompute: tuple[int, ...] = (),
) -> Objective:
    """Builds a model from a batch to its losses; channels are dropped where the network does so.

    Inputs, by name: those of the network, "draw" (int32 (B, 2)) if channels are dropped, and for
    each supervised scale s the truth "ct_<s>" (unit CT) and its "weight_<s>", (B, Z, Y, X, 1).
    Outputs are scalars: "loss", the sum, and its parts "likelihood" (and the two that this consists
    of, "residual_term" and "variance_term") or "square", and "deep".

    Args:
        nets: the networks; with "log_var" among the outputs the loss is a likelihood.
        variance_term: of the Gaussian likelihood, as in losses.GaussianNLL.
        stabiliser: likewise.
        beta: likewise.
        deep_supervision: weight of the squared error of each coarser branch; 0 for none.
        recompute: scales of the branches that the backward pass computes once more instead of
            keeping what they computed (Chen et al. 2016).
    """
    model = nets.sampler or nets.plain
    inputs = list(model.inputs)
    outputs = _in_pieces(nets, inputs, recompute) if recompute else model(inputs)
    truth, weight = _truth(1, inputs)
    if "log_var" in outputs:
        layer = losses.GaussianNLL(
            variance_term=variance_term, stabiliser=stabiliser, beta=beta, name="gaussian_nll"
        )
        likelihood = layer(outputs["ct"], outputs["log_var"], truth, weight)
        term = losses.VarianceTerm(
            variance_term=variance_term, stabiliser=stabiliser, name="variance_term"
        )(outputs["log_var"], weight)
        parts = {"likelihood": likelihood}
        parts |= {"residual_term": likelihood - term, "variance_term": term}
    else:
        parts = {"square": losses.SquaredError(name="squared_error")(outputs["ct"], truth, weight)}
    total = next(iter(parts.values()))
    if deep_supervision and len(nets.scales) > 1:
        squares = [
            losses.SquaredError(name=f"squared_error_{scale}")(
                outputs[f"ct_{scale}"], *_truth(scale, inputs)
            )
            for scale in nets.scales[1:]
        ]
        parts["deep"] = deep_supervision * functools.reduce(keras.ops.add, squares)
        total = total + parts["deep"]
    return Objective(inputs, {"loss": total, **parts}, name="objective")


def _in_pieces(nets: networks.Networks, inputs: list, recompute: tuple[int, ...]) -> dict[str, Any]:
    """The network's outputs, cut into branches and what follows them."""
    draw = inputs[len(nets.scales) :]
    given = {scale: [mr, *draw] for scale, mr in zip(nets.scales, inputs, strict=False)}
    branches = {
        scale: keras.Model(given[scale], estimate)
        for scale, estimate in zip(nets.scales, nets.estimates, strict=True)
    }
    again = [scale for scale in nets.scales if scale in recompute]
    layer = layers.Recomputed([branches[scale] for scale in again], name="recomputed")
    made = dict(zip(again, layer([given[scale] for scale in again]), strict=True))
    for scale in nets.scales:
        if scale not in again:
            made[scale] = branches[scale](given[scale])
    maps = [made[scale] for scale in nets.scales]
    coarse = [f"ct_{scale}" for scale in nets.scales[1:]]
    outputs = (nets.sampler or nets.plain).output
    heads = {name: tensor for name, tensor in outputs.items() if name not in coarse}
    rest = keras.Model([*nets.estimates, *draw], heads)([*maps, *draw])
    return {**rest, **dict(zip(coarse, maps[1:], strict=True))}


def _truth(scale: int, inputs: list) -> tuple:
    """Adds the inputs for the truth and its weight at one scale."""
    shape = (None, None, None, 1)
    pair = [keras.Input(shape, name=f"{name}_{scale}") for name in ("ct", "weight")]
    inputs.extend(pair)
    return tuple(pair)
