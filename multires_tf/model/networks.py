"""The four networks as Keras functional models: U-Nets in 2-D and 3-D, MultiRes, MultiRes_unc."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from multires_tf.model import highres3dnet, parts
from multires_tf.model import multires as multires_design
from multires_tf.model import unet as unet_design


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
        scales: of the inputs.
        design: multires.MultiRes or unet.UNet, from which thin.Draws builds it for inference;
            None where the models were not built from one.
        estimates: the branches' outputs, one for each scale, in the graph that training goes
            through (sampler, else plain): where that graph can be cut.
    """

    plain: keras.Model
    sampler: keras.Model | None
    scales: tuple[int, ...]
    design: Any = None
    estimates: tuple[Any, ...] = ()


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
    norm: str = "renorm",
    groups: int = 8,
    batch_statistics: str = "moving",
    momentum: float = 0.99,
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
    design = multires_design.MultiRes(
        window=window,
        scales=tuple(scales),
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
    early = design.begin(bin_, inputs)
    estimates = design.estimates(bin_, early, None)
    plain = keras.Model(inputs, design.join(bin_, estimates, None), name="multires")
    if dropout == "none":
        return Networks(plain, None, tuple(scales), design, tuple(estimates))
    draw = keras.Input((2,), dtype="int32", name="draw")
    estimates = design.estimates(bin_, early, draw)
    outputs = design.join(bin_, estimates, draw)
    sampler = keras.Model([*inputs, draw], outputs, name="multires_sampler")
    return Networks(plain, sampler, tuple(scales), design, tuple(estimates))


def unet(
    *,
    kernel: tuple[int, int, int] = (3, 3, 3),
    base: int = 48,
    levels: int = 4,
    extra_convs: int = 4,
    extra_width: int = 16,
    norm: str = "renorm",
    groups: int = 8,
    batch_statistics: str = "moving",
    momentum: float = 0.99,
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
    shape = unet_design.Shape(kernel, base, levels, extra_convs, extra_width)
    design = unet_design.UNet(shape, output_norm, initial_ct)
    mr = keras.Input((None, None, None, 1), name="mr_1")
    outputs = design.finish(bin_, design.begin(bin_, [mr]), None)
    return Networks(keras.Model([mr], outputs, name="unet"), None, (1,), design)
