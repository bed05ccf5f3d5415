"""NiftyNet's HighRes3DNet on our layers: from {variable name: array} to a Keras model.

Names are those of NiftyNet's TensorFlow-1 checkpoints: `<scope>/<block>/<part>/<leaf>`, blocks
`conv_0_bn_prelu`, `res_<stage>_<block>`, then 1x1x1 blocks `..._bn_prelu` and one or two outputs
`..._bn` (the one with "noise" in its name is log variance). What else a checkpoint holds (optimiser
slots, averages' counters) is passed over.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import keras
import numpy as np

from multires_tf.ground import errors
from multires_tf.model import highres3dnet, normalisation, parts

PREFIX = "niftynet"
_LEAVES = {"w": "kernel", "b": "bias"}
_LEAVES |= {n: n for n in ("gamma", "beta", "moving_mean", "moving_variance", "alpha")}
_SETTLED = 1e6  # updates behind imported moving statistics: enough to make the debiasing vanish


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What the variable names and shapes say about a network.

    Attributes:
        channels: of the input.
        trunk: its shape.
        series: names of the 1x1x1 blocks before the outputs, in order.
        widths: of those blocks.
        outputs: {"ct": block name} and, with a noise output, "log_var".
        output_norm: "batch" or "none".
    """

    channels: int
    trunk: highres3dnet.Trunk
    series: tuple[str, ...]
    widths: tuple[int, ...]
    outputs: dict[str, str]
    output_norm: str


def model(arrays: Mapping[str, np.ndarray], *, scope: str | None = None) -> keras.Model:
    """Builds the network that a NiftyNet checkpoint holds, with its weights.

    Args:
        arrays: {NiftyNet variable name: array}.
        scope: which network, where the checkpoint holds several.

    Returns:
        A model from the input "mr_1" (B, Z, Y, X, channels), edges multiples of the largest
        dilation, to {"ct": ...} and, with a noise output, "log_var".

    Raises:
        errors.UserError: the names or shapes are not those of a HighRes3DNet.
    """
    blocks = _blocks(arrays, scope)
    shape = architecture(blocks)
    built = build(shape)
    assign(built, blocks, shape)
    return built


def build(shape: Architecture) -> keras.Model:
    """Builds an architecture, untrained, with NiftyNet's normalisation."""
    bin_ = parts.Parts(parts.Norm("batch", momentum=0.9))
    mr = keras.Input((None, None, None, shape.channels), name="mr_1")
    x = highres3dnet.body(
        bin_, PREFIX, *highres3dnet.stem(bin_, PREFIX, mr, shape.trunk), shape.trunk, None
    )
    x = highres3dnet.series(bin_, PREFIX, x, shape.widths)
    outputs = {
        name: bin_.output(f"{PREFIX}.{name}", x, initial=0.0, norm=shape.output_norm)
        for name in shape.outputs
    }
    return keras.Model([mr], outputs, name=PREFIX)


def architecture(blocks: Mapping[str, Mapping[str, np.ndarray]]) -> Architecture:
    """Reads an architecture off {block: {part/leaf: array}}."""
    residual = sorted(tuple(map(int, b.split("_")[1:])) for b in blocks if _is_residual(b))
    first = next((b for b in blocks if b.startswith("conv_0")), None)
    if first is None or not residual:
        raise errors.UserError(
            "checkpoint: no conv_0 and res_*_* variables in it; give that of a HighRes3DNet"
        )
    stages = max(stage for stage, _ in residual)
    filters = tuple(_need(blocks, f"res_{s}_0", "conv_0/w").shape[-1] for s in range(1, stages + 1))
    rest = sorted(b for b in blocks if b != first and not _is_residual(b))
    outputs = {}
    for block in (b for b in rest if not re.search(r"_bn_\w+$", b)):
        outputs["log_var" if "noise" in block else "ct"] = block
    series = tuple(b for b in rest if b not in outputs.values())
    if "ct" not in outputs:
        raise errors.UserError("checkpoint: no output block (..._bn) in it; give a HighRes3DNet")
    return Architecture(
        channels=_need(blocks, first, "conv_/w").shape[3],
        trunk=highres3dnet.Trunk(
            filters, len(residual) // stages, tuple(2**s for s in range(stages))
        ),
        series=series,
        widths=tuple(_need(blocks, b, "conv_/w").shape[-1] for b in series),
        outputs=outputs,
        output_norm="batch" if any(p.startswith("bn_") for p in blocks[outputs["ct"]]) else "none",
    )


def assign(
    target: keras.Model,
    blocks: Mapping[str, Mapping[str, np.ndarray]],
    shape: Architecture,
    *,
    prefix: str = PREFIX,
) -> None:
    """Writes a checkpoint's arrays into layers named `<prefix>...`, moving statistics included.

    Args:
        target: a model that has the layers of the architecture.
        blocks: {block: {part/leaf: array}}.
        shape: the architecture of the blocks.
        prefix: of the layers' names: a branch of MultiRes can be given too.

    Raises:
        errors.UserError: an array is missing or has the wrong shape.
    """
    places = _places(blocks, shape, prefix)
    for name, layer in parts.of(target).items():
        if name not in places:
            continue
        block, part = places[name]
        for leaf, attribute in _LEAVES.items():
            variable = getattr(layer, attribute, None)
            if variable is None or (leaf == "alpha" and f"{part}/alpha" not in blocks[block]):
                continue
            array = _need(blocks, block, f"{part}/{leaf}")
            if tuple(variable.shape) != array.shape:
                raise errors.UserError(
                    f"{block}/{part}/{leaf}: shape {array.shape} where {tuple(variable.shape)} is "
                    "needed; give a HighRes3DNet with one output channel"
                )
            variable.assign(array)
        if isinstance(layer, normalisation.BatchNorm):
            layer.updates.assign(_SETTLED)


def layer_names(arrays: Mapping[str, np.ndarray], *, scope: str | None = None) -> dict[str, str]:
    """Maps each NiftyNet variable name that is used to `<layer name>/<attribute>` of `model`."""
    blocks = _blocks(arrays, scope)
    places = _places(blocks, architecture(blocks), PREFIX)
    layers = {place: name for name, place in places.items()}
    found = {}
    for name in arrays:
        key = _split(name)
        if key is not None and scope in (None, key[0]):
            _, block, part, leaf = key
            found[name] = f"{layers[block, part]}/{_LEAVES[leaf]}"
    return found


def _places(blocks: Mapping, shape: Architecture, prefix: str) -> dict[str, tuple[str, str]]:
    """Layer name -> (block, part)."""
    places = {}

    def put(block: str, names: tuple[str, ...], suffix: str = "") -> None:
        for part, name in zip(("conv_", "bn_", "prelu_acti_"), names, strict=True):
            places[f"{prefix}.{name}"] = (block, part + suffix)

    put(next(b for b in blocks if b.startswith("conv_0")), ("conv_0", "norm_0", "prelu_0"))
    for block in filter(_is_residual, blocks):
        for i in ("0", "1"):
            put(block, tuple(f"{block}.{p}_{i}" for p in ("conv", "norm", "prelu")), i)
    for number, block in enumerate(shape.series, 1):
        put(block, tuple(f"fc_{number}.{p}" for p in ("conv", "norm", "prelu")))
    for name, block in shape.outputs.items():
        put(block, (name, f"{name}_norm", f"{name}_prelu"))
    return places


def _blocks(arrays: Mapping[str, np.ndarray], scope: str | None) -> dict[str, dict]:
    found: dict[str, dict[str, dict]] = {}
    for name, array in arrays.items():
        key = _split(name)
        if key is not None:
            in_scope, block, part, leaf = key
            found.setdefault(in_scope, {}).setdefault(block, {})[f"{part}/{leaf}"] = array
    if scope is None and len(found) > 1:
        raise errors.UserError(
            f"checkpoint: it holds several networks; name one of {', '.join(sorted(found))}"
        )
    if not found or (scope is not None and scope not in found):
        raise errors.UserError(
            f"checkpoint: no NiftyNet network {scope or ''} in it; give that of a HighRes3DNet"
        )
    return found[scope] if scope is not None else next(iter(found.values()))


def _split(name: str) -> tuple[str, str, str, str] | None:
    """(scope, block, part, leaf) of a variable that the mapping uses."""
    *scope, block, part, leaf = ["", "", "", *name.split("/")]
    if leaf not in _LEAVES or not re.fullmatch(r"(conv|bn|prelu_acti)_\d*", part) or not block:
        return None
    return "/".join(filter(None, scope)), block, part, leaf


def _is_residual(block: str) -> bool:
    return re.fullmatch(r"res_\d+_\d+", block) is not None


def _need(blocks: Mapping[str, Mapping[str, np.ndarray]], block: str, key: str) -> np.ndarray:
    try:
        return blocks[block][key]
    except KeyError:
        raise errors.UserError(
            f"{block}/{key}: missing from the checkpoint; give a complete HighRes3DNet checkpoint"
        ) from None
