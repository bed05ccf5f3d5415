"""Twenty draws of a whole body: thin draws on planned tiles, beside two older ways.

Processor time of (a) the same network window by window, T = 80, every draw a pass with masks, as
NiftyNet did it; (b) three MONAI HighResNets with dropout on, over the same windows; (c) ours: thin
draws, what they share once a tile, the tile that the planner takes. One pass of each is timed after
one that is not; N draws of a body are tiles x (shared + N draws).
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.throughput import alone
from multires_tf import door
from multires_tf.ground import errors

EDGE = 80
OVERLAP = 0.25
BODY = (320, 240, 240)  # voxels (z, y, x)
DRAWS = 20
PRECISIONS = ("float32", "mixed_bfloat16")
BODY_MIN = "body, 20 draws, min"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds this question's flags."""
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="repeatable")
    parser.add_argument("--memory_gb", type=float, default=8.0, help="of the planner")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True)
    text = "cut the timed tile to so many slices, a multiple of 16"
    parser.add_argument("--depth", type=door.whole, default=0, help=text)
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measures ours at each precision and the peer, each in a process of its own.

    Raises:
        errors.UserError: --depth is no multiple of 16; a process ended.
    """
    if chosen.depth % 16:
        raise errors.UserError(f"--depth {chosen.depth}: needs a multiple of 16")
    asked = chosen.precision or PRECISIONS
    if chosen.within:
        return {"rows": _peer_rows() if chosen.peer else _our_rows(chosen, asked[0])}
    rows = []
    flags = ["--memory_gb", str(chosen.memory_gb), "--depth", str(chosen.depth)]
    for precision in asked:
        rows += alone.measured("predict", [*flags, "--no-peer", "--precision", precision])["rows"]
    if chosen.peer:
        rows += alone.measured("predict", ["--peer"])["rows"]
    return {"rows": _ratios(rows)}


def _ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds how many times as long as ours each older way takes: at equal precision, at its best."""
    for ours in [row for row in rows if row["way"] == "thin"]:
        equal = [row for row in rows if row["precision"] == ours["precision"]]
        compared = {"masked": ("masked", equal), "MONAI": ("MONAI", equal)}
        compared["MONAI at its best"] = ("MONAI", rows)
        for name, (way, among) in compared.items():
            minutes = [row[BODY_MIN] for row in among if row["way"] == way]
            if minutes:
                ours[f"{name} / thin"] = min(minutes) / ours[BODY_MIN]
    return rows


def _our_rows(chosen: argparse.Namespace, precision: str) -> list[dict[str, Any]]:
    import keras
    import tensorflow as tf

    from multires_tf.joints import planning, synthesis
    from multires_tf.model import networks, thin

    keras.config.set_dtype_policy(precision)
    nets = networks.multires(window=(EDGE,) * 3, norm="batch", dropout="everywhere")
    tiling = synthesis.Tiling((EDGE,) * 3, OVERLAP, (EDGE,) * 3, (1, 2, 4), 16)
    need = planning.needs(nets)
    windows = len(tiling.starts(BODY))
    memory = chosen.memory_gb * 1e9
    plan = planning.cheapest(tiling, BODY, need, source=0, memory_bytes=memory)
    z, y, x = plan.tiling.tile
    timed = synthesis.Tiling((chosen.depth or z, y, x), OVERLAP, (EDGE,) * 3, (1, 2, 4), 16)

    masked = tf.function(functools.partial(nets.sampler, training=False), jit_compile=False)
    mr = _zeros(tiling)
    one_masked = _seconds(lambda: masked([*mr, tf.constant([[0, 1]])]))

    network, mr = thin.Draws(nets), _zeros(timed)
    shared = network.shared(mr)
    once = _seconds(lambda: network.shared(mr))
    one_thin = _seconds(lambda: network.outputs(shared, (0, 1)))
    # The whole tile costs as its voxels do, where only a part of its slices was timed.
    whole = sum(plan.tiling.branch_voxels().values()) / sum(timed.branch_voxels().values())
    ours = plan.tiles * whole * (once + DRAWS * one_thin)
    old = windows * DRAWS * one_masked
    rows: list[dict[str, Any]] = [
        {
            "way": "masked",
            "precision": precision,
            "tile": f"{EDGE}",
            "tiles": windows,
            "draw of a tile, s": one_masked,
            BODY_MIN: old / 60,
        },
        {
            "way": "thin",
            "precision": precision,
            "tile": f"{plan.tiling.tile}, timed {timed.tile}",
            "tiles": plan.tiles,
            "draw of a tile, s": one_thin * whole,
            "shared, s": once * whole,
            BODY_MIN: ours / 60,
        },
    ]
    for slices in (160, 320, 640, 1280):
        longer = (slices, *BODY[1:])
        found = planning.cheapest(tiling, longer, need, source=0, memory_bytes=memory)
        rows.append(
            {
                "way": f"planned for {longer}",
                "precision": precision,
                "tile": f"{found.tiling.tile}",
                "tiles": found.tiles,
                "branch voxels a voxel": round(found.voxels / math.prod(longer), 3),
            }
        )
    return rows


def _zeros(tiling: Any) -> list[Any]:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    sizes = tiling.windows().values()
    return [tf.constant(rng.random((1, *size, 1), np.float32)) for size in sizes]


def _seconds(call: Callable[[], Any]) -> float:
    """Of the processors in the second call; the first compiles.

    Unlike time on the wall it does not count what else the machine does.
    """
    call()
    began = time.process_time()
    made = call()
    for tensor in made.values() if isinstance(made, dict) else [t for ts in made for t in ts]:
        np.asarray(tensor[:, :1])
    return time.process_time() - began


def _peer_rows() -> list[dict[str, Any]]:
    import torch
    from monai.networks.nets import HighResNet

    from multires_tf.joints import synthesis

    tiling = synthesis.Tiling((EDGE,) * 3, OVERLAP, (EDGE,) * 3, (1, 2, 4), 16)
    windows = len(tiling.starts(BODY))
    network = HighResNet(spatial_dims=3, in_channels=1, out_channels=1, dropout_prob=0.5).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.dropout._DropoutNd):
            layer.train()
    x, rows = torch.rand(1, 1, EDGE, EDGE, EDGE), []
    for kind in PRECISIONS:
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            model, mr = network.to(memory_format=layout), x.to(memory_format=layout)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=kind != "float32"):
                model(mr)
                began = time.process_time()
                model(mr)
            each = time.process_time() - began
            rows.append(
                {
                    "way": "MONAI",
                    "precision": kind,
                    "tile": f"{EDGE}, {layout}",
                    "tiles": windows,
                    "draw of a tile, s": 3 * each,
                    BODY_MIN: windows * DRAWS * 3 * each / 60,
                }
            )
    return rows
