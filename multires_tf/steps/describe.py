"""`describe`: what network a config makes, before anything is trained."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from multires_tf.ground import config as configs
from multires_tf.ground import runtime, sections
from multires_tf.joints import assembly


def run(*, config: configs.Config, as_json: bool = False) -> list[str]:
    """Counts the parameters of the network and lists its windows.

    Args:
        config: of the network.
        as_json: one JSON object instead of a table.
    """
    runtime.quiet()
    facts = _facts(config)
    if as_json:
        return [json.dumps(facts, indent=1)]
    width = max(map(len, facts))
    return [f"{name:<{width}}  {value}" for name, value in facts.items()]


def _facts(config: configs.Config) -> dict[str, Any]:
    from multires_tf.data import windows

    network = config.network
    nets = assembly.networks(config)
    field = _receptive_field(network)
    boxes = windows.branch_windows(
        (0, 0, 0), config.training_tile, window=network.window, scales=network.scales
    )
    extents = [[(scale, box.size[axis]) for scale, box in boxes.items()] for axis in range(3)]
    return {
        "network": nets.plain.name + ("_unc" if network.uncertainty else ""),
        "trainable_parameters": int(sum(np.prod(v.shape) for v in nets.plain.trainable_variables)),
        "receptive_field_voxels": field,
        "receptive_field_full_resolution_voxels": field * max(network.scales),
        "windows": {f"mr_{scale}": list(box.size) for scale, box in boxes.items()},
        "context_voxels": [max(scale * n for scale, n in sizes) for sizes in extents],
        "outputs": sorted(nets.plain.output),
        "norm": network.norm.kind,
        "dropout": network.dropout.place,
    }


def _receptive_field(network: sections.Network) -> int:
    """Along one axis, in voxels of a branch's own resolution."""
    from multires_tf.model import receptive_field

    if network.kind == "unet":
        unet = network.unet
        return receptive_field.unet(levels=unet.levels, extra_convs=unet.extra_convs)
    branch = network.multires
    return receptive_field.highres3dnet(blocks=branch.blocks, dilations=branch.dilations)
