"""What does a whole body cost: thin draws on planned tiles, beside two ways of old?

Question: processor time of (a) the same network window by window, T = 80, every draw a pass with
masks, as NiftyNet did it, at each precision; (b) three MONAI HighResNets with dropout on over the
same windows, at the better of float32 and bfloat16; (c) ours: thin draws, what they share once a
tile, the tile that the planner takes. And does the cost of a voxel grow with the volume?
Source: ours; Kläser et al. 2020 for the sizes; MONAI 1.6 (the extra `bench`).
Command: python -m experiments.throughput.predict [--peer] [--memory_gb 8] [--precision float32]
Cost: about 3 minutes a precision on 2 idle cores, 8 GB; the peer 3 minutes more. One pass of each
is timed after one that is not; N draws of a body are tiles x (shared + N draws).
Expected: (a) / (c) at least 4 at equal precision, (b) / (c) at least 8.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import app
from absl.flags import argparse_flags

EDGE = 80
OVERLAP = 0.25
BODY = (320, 240, 240)  # voxels (z, y, x)
DRAWS = 20


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds this question's flags."""
    kinds = ("float32", "mixed_bfloat16")
    parser.add_argument("--precision", choices=kinds, default="float32")
    parser.add_argument("--memory_gb", type=float, default=8.0, help="of the planner")
    parser.add_argument("--peer", action="store_true", help="MONAI instead of ours")
    parser.add_argument("--depth", type=int, default=0, help="cut the timed tile to so many slices")


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Times the contestants and works out the body."""
    return {"rows": _peer_rows() if chosen.peer else _our_rows(chosen)}


def _our_rows(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    import keras
    import tensorflow as tf

    from multires_tf import planning, synthesis
    from multires_tf.model import networks, thin

    keras.config.set_dtype_policy(chosen.precision)
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

    fuse = functools.partial(tf.function, jit_compile=True, autograph=False, reduce_retracing=True)
    network, mr = thin.Draws(nets, fuse), _zeros(timed)
    shared = network.shared(mr)
    once = _seconds(lambda: network.shared(mr))
    one_thin = _seconds(lambda: network.outputs(shared, (0, 1)))
    # The whole tile costs as its voxels do, where only a part of its slices was timed.
    whole = sum(plan.tiling.branch_voxels().values()) / sum(timed.branch_voxels().values())
    ours = plan.tiles * whole * (once + DRAWS * one_thin)
    old = windows * DRAWS * one_masked
    rows = [
        {
            "what": f"window by window with masks, {chosen.precision}",
            "tiles": windows,
            "CPU seconds a draw of a tile": round(one_masked, 2),
            "body, 20 draws, CPU min": round(old / 60),
        },
        {
            "what": f"thin, tile {plan.tiling.tile}, timed {timed.tile}, {chosen.precision}",
            "tiles": plan.tiles,
            "CPU seconds a draw of a tile": round(one_thin * whole, 2),
            "shared, CPU s": round(once * whole, 2),
            "body, 20 draws, CPU min": round(ours / 60),
            "times faster": round(old / ours, 2),
        },
    ]
    for slices in (160, 320, 640, 1280):
        longer = (slices, *BODY[1:])
        found = planning.cheapest(tiling, longer, need, source=0, memory_bytes=memory)
        rows.append(
            {
                "what": f"planned for {longer}",
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

    from multires_tf import synthesis

    tiling = synthesis.Tiling((EDGE,) * 3, OVERLAP, (EDGE,) * 3, (1, 2, 4), 16)
    windows = len(tiling.starts(BODY))
    network = HighResNet(spatial_dims=3, in_channels=1, out_channels=1, dropout_prob=0.5).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.dropout._DropoutNd):
            layer.train()
    x, rows = torch.rand(1, 1, EDGE, EDGE, EDGE), []
    for kind in ("float32", "bfloat16"):
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            model, mr = network.to(memory_format=layout), x.to(memory_format=layout)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=kind != "float32"):
                model(mr)
                began = time.process_time()
                model(mr)
            each = time.process_time() - began
            rows.append(
                {
                    "what": f"three MONAI HighResNets, {kind}, {layout}",
                    "tiles": windows,
                    "CPU seconds a draw of a tile": round(3 * each, 2),
                    "body, 20 draws, CPU min": round(windows * DRAWS * 3 * each / 60),
                }
            )
    return rows


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse_flags.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    return parser.parse_args(argv[1:])


def main(chosen: argparse.Namespace) -> None:
    """Prints what was measured, a line a row."""
    for row in measure(chosen)["rows"]:
        print(row, flush=True)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
