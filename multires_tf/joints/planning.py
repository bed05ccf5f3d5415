"""Which tile: the cheapest way through a volume that fits into memory, and what it will cost.

The context that a tile reads beyond itself, and what neighbours share, are computed again and
again; so fewer and larger tiles are cheaper, and best reach across the whole body in two axes.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from multires_tf.ground import errors
from multires_tf.joints import synthesis

# Measured (experiments/README.md, "memory of a prediction"): TensorFlow, Keras and their kernels;
# preparing an MR, a voxel of it as it came; the running means of a tile; bringing the maps back,
# and one more that is blurred.
_PROCESS_BYTES = 1.4e9
_PREPARING_BYTES = 24
_DRAWS_BYTES = 40
_DELIVERING_BYTES, _BLURRED_BYTES = 21, 4


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a network keeps in memory for each voxel that a branch reads.

    Attributes:
        busy: channels at the worst moment, of the branch at work.
        shared: channels that all draws have in common, of every branch.
        bytes_each: of one channel's value.
        delivering: bytes for each voxel of the maps while they are written.
    """

    busy: float
    shared: float
    bytes_each: int
    delivering: int = _DELIVERING_BYTES


def needs(nets: Any, *, blurred: bool = False) -> Needs:
    """Of networks.Networks, in the precision that they were built for.

    Args:
        blurred: whether there is a map that is blurred draw by draw.
    """
    from multires_tf.model import thin

    first = next(layer for layer in nets.plain.layers if layer.weights)
    busy, shared = nets.design.channels(slabs=not thin.norms_by_window(nets.plain.layers))
    # On a CPU float16 is convolved in float32.
    bytes_each = 2 if first.compute_dtype == "bfloat16" else 4
    return Needs(busy, shared, bytes_each, _DELIVERING_BYTES + blurred * _BLURRED_BYTES)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one volume is predicted.

    Attributes:
        tiling: with the tile that was chosen.
        tiles: how many there are.
        memory_bytes: estimated peak of the process.
        voxels: that branches read in all tiles together.
    """

    tiling: synthesis.Tiling
    tiles: int
    memory_bytes: float
    voxels: int


@dataclasses.dataclass(frozen=True)
class Planner:
    """Plans volume after volume for one network on one machine.

    Attributes:
        tiling: of the network; its tile is not looked at.
        need: of the network.
        memory_bytes: that the process may take.
        seconds_a_voxel: of one pass, as `seconds_a_voxel` has timed it.
        shared: share of a pass that all draws of a tile have in common.
    """

    tiling: synthesis.Tiling
    need: Needs
    memory_bytes: float
    seconds_a_voxel: float
    shared: float = 0.0

    def plan(
        self, shape: Sequence[int], *, source: int, first: Sequence[int] | None = None
    ) -> Plan:
        """As `cheapest`, which tells the other arguments and what is raised.

        Args:
            first: a tile that is taken before all others, if it fits.
        """
        if first is not None:
            z, y, x = first
            begun = dataclasses.replace(self.tiling, tile=(z, y, x))
            plan = measured(begun, shape, self.need, source)
            if plan.memory_bytes <= self.memory_bytes:
                return plan
        return cheapest(
            self.tiling, shape, self.need, source=source, memory_bytes=self.memory_bytes
        )

    def sentence(self, plan: Plan, *, draws: int) -> str:
        """Says what was chosen and what so many draws cost."""
        edges = " x ".join(map(str, plan.tiling.tile))
        passes = self.shared + draws * (1 - self.shared)
        minutes = plan.voxels * passes * self.seconds_a_voxel / 60
        tiles = f"{plan.tiles} tile" + "s" * (plan.tiles > 1)
        times = f"{draws} draws" if draws > 1 else "one draw"
        return (
            f"tile {edges}: {tiles}, {times} of each, about "
            f"{plan.memory_bytes / 1e9:.1f} GB and {minutes:.1f} min"
        )


def planner(
    tiling: synthesis.Tiling, nets: Any, *, memory_bytes: float, blurred: bool = False
) -> Planner:
    """A planner for networks.Networks; times one small pass. Arguments as of `needs`."""
    compute = synthesis.monte_carlo(nets, samples=1, seed=0)
    seconds = seconds_a_voxel(compute, tiling)
    return Planner(
        tiling, needs(nets, blurred=blurred), memory_bytes, seconds, _shared(nets, tiling)
    )


def _shared(nets: Any, tiling: synthesis.Tiling) -> float:
    """Share of a pass's multiplications that precede the first dropped channel."""
    from multires_tf.model import thin

    if not nets.sampler:
        return 1.0
    shapes: list[tuple[int, ...]] = [(1, *size, 1) for size in tiling.windows().values()]
    shared, draw = thin.Draws(nets).multiply_adds(shapes, (0, 0))
    return shared / (shared + draw)


def measured(tiling: synthesis.Tiling, shape: Sequence[int], need: Needs, source: int) -> Plan:
    """What one tiling costs.

    Args:
        tiling: with its tile.
        shape: (z, y, x) of the prepared volume.
        need: of the network.
        source: voxels of the MR as it came.
    """
    fitted = tiling.fitted(shape)
    reads, tiles = fitted.branch_voxels(), len(fitted.starts(shape))
    busy = need.bytes_each * (need.busy * max(reads.values()) + need.shared * sum(reads.values()))
    work, body = busy + _DRAWS_BYTES * math.prod(fitted.tile), max(source, math.prod(shape))
    # TensorFlow's kernels keep what the tiles took while the maps are delivered.
    peak = _PROCESS_BYTES + max(_PREPARING_BYTES * body, work + need.delivering * body)
    return Plan(fitted, tiles, peak, tiles * sum(reads.values()))


def cheapest(
    tiling: synthesis.Tiling,
    shape: Sequence[int],
    need: Needs,
    *,
    source: int,
    memory_bytes: float,
) -> Plan:
    """The tiling with the least work of those that fit into memory; of equals the larger tile.

    Args:
        tiling: all but the tile; axes of edge 1 keep it.
        shape: (z, y, x) of the prepared volume.
        need: of the network.
        source: voxels of the MR as it came.
        memory_bytes: the budget.

    Raises:
        errors.UserError: not even the smallest tile fits.
    """
    axes = [_edges(length, tiling, axis) for axis, length in enumerate(shape)]
    plans = [
        measured(dataclasses.replace(tiling, tile=(z, y, x)), shape, need, source)
        for z, y, x in itertools.product(*axes)
    ]
    fitting = [plan for plan in plans if plan.memory_bytes <= memory_bytes]
    if not fitting:
        least = min(plan.memory_bytes for plan in plans)
        raise errors.UserError(
            f"--memory {memory_bytes / 1e9:.1f}GB: a volume of {' x '.join(map(str, shape))} voxels"
            f" needs {least / 1e9:.1f}GB; give more, or resample the image"
        )
    return min(fitting, key=lambda plan: (plan.voxels, -math.prod(plan.tiling.tile)))


def _edges(length: int, tiling: synthesis.Tiling, axis: int) -> list[int]:
    """Edges worth trying along an axis: for each number of tiles the smallest that does with it."""
    if tiling.tile[axis] == 1:
        return [1]
    found: dict[int, int] = {}
    for edge in range(-(-length // tiling.multiple) * tiling.multiple, 0, -tiling.multiple):
        found[tiling.along(length, edge, axis)] = edge
    return list(found.values())


def seconds_a_voxel(compute: synthesis.Compute, tiling: synthesis.Tiling) -> float:
    """Times a pass of a small tile, the second time, when everything is compiled.

    Args:
        compute: of one draw.
        tiling: of the network.
    """
    z, y, x = (1 if edge == 1 else min(edge, 2 * tiling.multiple) for edge in tiling.tile)
    small = dataclasses.replace(tiling, tile=(z, y, x))
    zeros = [np.zeros((1, *size, 1), np.float32) for size in small.windows().values()]
    compute(zeros)
    began = time.perf_counter()
    compute(zeros)
    return (time.perf_counter() - began) / sum(small.branch_voxels().values())
