"""The four networks as Keras functional models: U-Nets in 2-D and 3-D, MultiRes, MultiRes_unc."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from multires_tf.model import highres3dnet, layers, parts, unet_body


@dataclasses.dataclass(frozen=True)
class Networks:
    """Twin models on the same layers.

    Inputs are mr_1, mr_2, mr_4 (those of `scales`), each (B, Z, Y, X, 1); edges are free within the
    laws of the window planner. Outputs are a dict of float32: "ct" (unit CT), "log_var" (log
    variance, networks with uncertainty), and "ct_2", "ct_4", the coarser branches' estimates.

    Attributes:
        plain: no channel is dropped.
        sampler: takes "draw" besides, int32 (B, 2): (seed, draw index) of each window; None where
            the network has no dropout.
        shared: inputs -> the tensors before the first dropped layers; None without dropout.
        tail: those tensors and "draw" -> outputs, so that sampler = tail after shared.
        scales: of the inputs.
    """

    plain: keras.Model
    sampler: keras.Model | None
    shared: keras.Model | None
    tail: keras.Model | None
    scales: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What the graph of a MultiRes network looks like."""

    window: tuple[int, int, int]
    everywhere: bool
    trunk: highres3dnet.Trunk
    fc: tuple[int, ...]
    head: tuple[int, ...]
    uncertainty: bool
    output_norm: str
    initial_ct: float
    initial_log_var: float


def multires(
    *,
    window: tuple[int, int, int],
    scales: tuple[int, ...] = (1, 2, 4),
    filters: tuple[int, ...] = (16, 32, 64),
    blocks: int = 3,
    dilations: tuple[int, ...] = (1, 2, 4),
    fc: tuple[int, ...] = (80, 80, 80),
    head: tuple[int, ...] = (184, 184, 184),
    uncertainty: bool = True,
    norm: str = "group",
    groups: int = 8,
    batch_statistics: str = "moving",
    momentum: float = 0.9,
    dropout: str = "none",
    keep: float = 0.5,
    output_norm: str = "none",
    initial_ct: float = 0.0,
    initial_log_var: float = 0.0,
    seed: int = 0,
) -> Networks:
    """Builds MultiRes, or MultiRes_unc with uncertainty.

    Args:
        window: training edges (z, y, x), multiples of 16 where there are several scales.
        scales: of the branches, 1 and then doubling.
        filters: width of each stage of a branch's trunk.
        blocks: residual blocks in each stage.
        dilations: dilation of each stage.
        fc: widths of a branch's 1x1x1 convolutions before its output.
        head: widths of a head's 1x1x1 convolutions before its output.
        uncertainty: whether a second head gives log variance.
        norm: as parts.Norm.kind.
        groups: groups of group norm.
        batch_statistics: "moving" or "local", what batch norm uses in inference.
        momentum: decay of batch norm's moving statistics.
        dropout: "none"; "late" drops channels before the last convolution of every 1x1x1 series;
            "everywhere" also before the second convolution of every residual block.
        keep: probability to keep a channel.
        output_norm: "none" (bias) or "batch" (NiftyNet's) on every output.
        initial_ct: first bias of the CT outputs, unit CT.
        initial_log_var: first bias of the log variance.
        seed: of the initial kernels.

    Returns:
        The twin models.
    """
    if dropout not in ("none", "late", "everywhere"):
        raise ValueError(f"dropout is none, late or everywhere, not {dropout!r}")
    if tuple(scales) != tuple(2**k for k in range(len(scales))) or not scales:
        raise ValueError(f"scales are 1, 2, 4, ..., not {tuple(scales)}")
    plan = _Plan(
        window=window,
        everywhere=dropout == "everywhere",
        trunk=highres3dnet.Trunk(tuple(filters), blocks, tuple(dilations)),
        fc=tuple(fc),
        head=tuple(head),
        uncertainty=uncertainty,
        output_norm=output_norm,
        initial_ct=initial_ct,
        initial_log_var=initial_log_var,
    )
    bin_ = parts.Parts(parts.Norm(norm, groups, batch_statistics, momentum), keep=keep, seed=seed)
    inputs = [keras.Input((None, None, None, 1), name=f"mr_{s}") for s in scales]
    early = [_begun(bin_, plan, f"branch_{s}", mr) for s, mr in zip(scales, inputs, strict=True)]
    plain = keras.Model(inputs, _finished(bin_, plan, early, None), name="multires")
    if dropout == "none":
        return Networks(plain, None, None, None, tuple(scales))
    draw = keras.Input((2,), dtype="int32", name="draw")
    handed = [
        [_input_like(t, f"{s}_{i}") for i, t in enumerate(e)]
        for s, e in zip(scales, early, strict=True)
    ]
    return Networks(
        plain=plain,
        sampler=keras.Model(
            [*inputs, draw], _finished(bin_, plan, early, draw), name="multires_sampler"
        ),
        shared=keras.Model(inputs, _flat(early), name="multires_shared"),
        tail=keras.Model(
            [*_flat(handed), draw], _finished(bin_, plan, handed, draw), name="multires_tail"
        ),
        scales=tuple(scales),
    )


def unet(
    *,
    kernel: tuple[int, int, int] = (3, 3, 3),
    base: int = 48,
    levels: int = 4,
    extra_convs: int = 4,
    extra_width: int = 16,
    norm: str = "group",
    groups: int = 8,
    batch_statistics: str = "moving",
    momentum: float = 0.9,
    output_norm: str = "none",
    initial_ct: float = 0.0,
    seed: int = 0,
) -> Networks:
    """Builds the U-Net that the paper compares with; (1, 3, 3) kernels make it the 2-D one.

    Args:
        kernel: of all convolutions but the last; axes of size 1 are not pooled either.
        base: width of the first level; each level doubles it.
        levels: resolutions, pooling between them: edges are multiples of 2^(levels - 1).
        extra_convs: convolutions before the last one.
        extra_width: their width.
        norm: as parts.Norm.kind.
        groups: groups of group norm.
        batch_statistics: "moving" or "local", what batch norm uses in inference.
        momentum: decay of batch norm's moving statistics.
        output_norm: "none" (bias) or "batch" on the output.
        initial_ct: first bias of the output, unit CT.
        seed: of the initial kernels.

    Returns:
        Networks with `plain` alone, on the input mr_1.
    """
    bin_ = parts.Parts(parts.Norm(norm, groups, batch_statistics, momentum), seed=seed)
    shape = unet_body.Shape(kernel, base, levels, extra_convs, extra_width)
    mr = keras.Input((None, None, None, 1), name="mr_1")
    x = unet_body.body(bin_, mr, shape)
    ct = bin_.output("ct", x, initial=initial_ct, norm=output_norm)
    plain = keras.Model([mr], {"ct": ct}, name="unet")
    return Networks(plain, None, None, None, (1,))


def _begun(bin_: parts.Parts, plan: _Plan, name: str, mr: Any) -> list:
    """A branch up to its first dropped layer: the tensors that all draws have in common."""
    start = highres3dnet.stem(bin_, name, mr, plan.trunk)
    if plan.everywhere:
        return list(start)
    x = highres3dnet.body(bin_, name, *start, plan.trunk, None)
    return [highres3dnet.series(bin_, name, x, plan.fc)]


def _finished(bin_: parts.Parts, plan: _Plan, early: list[list], draw: Any) -> dict[str, Any]:
    """The rest of the branches, the cascade from coarse to fine, the heads."""
    outputs, maps = {}, None
    for power in reversed(range(len(early))):
        scale, name, x = 2**power, f"branch_{2**power}", early[power][0]
        if plan.everywhere:
            identity, opened = early[power]
            x = highres3dnet.body(bin_, name, identity, opened, plan.trunk, draw)
            x = highres3dnet.series(bin_, name, x, plan.fc)
        estimate = _estimate(bin_, plan, name, x, plan.initial_ct, draw)
        if maps is None:
            maps = estimate
        else:
            maps = _joined(bin_, f"cascade_{scale}", estimate, maps, plan.window)
        if scale > 1:
            outputs[f"ct_{scale}"] = estimate
    heads = {"ct": plan.initial_ct}
    if plan.uncertainty:
        heads["log_var"] = plan.initial_log_var
    for name, initial in heads.items():
        x = highres3dnet.series(bin_, name, maps, plan.head)
        outputs[name] = _estimate(bin_, plan, name, x, initial, draw)
    return outputs


def _estimate(bin_: parts.Parts, plan: _Plan, name: str, x: Any, initial: float, draw: Any) -> Any:
    """The last convolution of a 1x1x1 series, behind its dropped layer."""
    x = bin_.drop(f"{name}.drop", x, draw)
    return bin_.output(f"{name}.out", x, initial=initial, norm=plan.output_norm)


def _joined(bin_: parts.Parts, name: str, estimate: Any, coarse: Any, window: tuple) -> Any:
    """A branch's estimate with the coarser maps: twice as fine, half a window cut off each end.

    Most of the margin is cut before interpolating; one coarse voxel stays to interpolate with.
    """
    if any(edge % 4 or edge < 8 for edge in window):
        raise ValueError(f"window edges are multiples of 16, not {tuple(window)}")
    margin = tuple(edge // 4 - 1 for edge in window)
    own = {"dtype": "float32"}
    x = bin_.make(f"{name}.crop", layers.CropMargin, margin=margin, **own)(coarse)
    x = bin_.make(f"{name}.upsample", layers.UpsampleLinear, **own)(x)
    x = bin_.make(f"{name}.trim", layers.CropMargin, margin=(2, 2, 2), **own)(x)
    return bin_.make(f"{name}.concat", keras.layers.Concatenate, **own)([estimate, x])


def _input_like(tensor: Any, name: str) -> Any:
    return keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=f"shared_{name}")


def _flat(nested: list[list]) -> list:
    return [item for items in nested for item in items]
