"""The tile that is chosen, in numbers that can be checked by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest

from multires_tf.ground import errors
from multires_tf.joints import planning, synthesis

TILING = synthesis.Tiling((80, 80, 80), 0.25, (80, 80, 80), (1, 2, 4), 16)
NEED = planning.Needs(busy=230, shared=32, bytes_each=4)
BODY = (320, 240, 240)


def _cheapest(memory_gb, shape=BODY):
    return planning.cheapest(
        TILING, shape, NEED, source=math.prod(shape), memory_bytes=memory_gb * 1e9
    )


def test_what_a_tile_costs():
    plan = planning.measured(TILING, BODY, NEED, source=0)
    # 4 x 4 x 5 tiles of three branches of 80 voxels a side.
    assert plan.tiles == 80
    assert plan.voxels == 80 * 3 * 80**3
    small = planning.measured(TILING, (16, 16, 16), NEED, source=0)
    # T = 16, T / 2 + 40 = 48 and T / 4 + 60 = 64 a side.
    assert small.voxels == 16**3 + 48**3 + 64**3
    assert small.tiling.tile == (16, 16, 16)


def test_the_whole_body_is_one_tile_where_it_fits():
    plan = _cheapest(100)
    assert plan.tiles == 1 and plan.tiling.tile == BODY


def test_less_memory_costs_more_work_and_is_never_exceeded():
    plans = [_cheapest(memory) for memory in (3, 6, 12, 24, 48)]
    work = [plan.voxels for plan in plans]
    assert work == sorted(work, reverse=True) and work[0] > 1.5 * work[-1]
    for plan, memory in zip(plans, (3, 6, 12, 24, 48), strict=True):
        assert plan.memory_bytes <= memory * 1e9
        assert all(edge % 16 == 0 for edge in plan.tiling.tile)
    tiles_of_80 = planning.measured(TILING, BODY, NEED, source=0)
    assert work[1] < 0.5 * tiles_of_80.voxels


def test_no_other_edges_that_fit_are_cheaper():
    shape, best = (96, 64, 48), _cheapest(1.9, (96, 64, 48))
    for z in range(16, 97, 16):
        for y in range(16, 65, 16):
            for x in range(16, 49, 16):
                tiling = dataclasses.replace(TILING, tile=(z, y, x))
                other = planning.measured(tiling, shape, NEED, source=math.prod(shape))
                assert other.voxels >= best.voxels or other.memory_bytes > 1.9e9


def test_flat_tiles_stay_flat():
    flat = synthesis.Tiling((1, 224, 224), 0.25, (1, 224, 224), (1,), 8)
    plan = planning.cheapest(flat, (20, 250, 250), NEED, source=0, memory_bytes=4e9)
    assert plan.tiling.tile == (1, 256, 256) and plan.tiles == 20


def test_the_cost_of_a_voxel_stays_as_volumes_grow():
    """At 320 slices the volume fits into one tile of 16 GB; beyond, it takes several."""
    need = planning.Needs(busy=NEED.busy, shared=NEED.shared, bytes_each=2)
    costs = []
    for slices in (320, 640, 1280, 2560):
        shape = (slices, 240, 240)
        plan = planning.cheapest(TILING, shape, need, source=0, memory_bytes=16e9)
        costs.append(plan.voxels / math.prod(shape))
    assert max(costs) <= 1.1 * min(costs)


def test_too_little_memory_names_the_flag():
    with pytest.raises(errors.UserError, match=r"--memory 0\.5GB: .*320 x 240 x 240 .*needs 2.1GB"):
        _cheapest(0.5)


def test_it_says_what_it_took_and_what_it_costs():
    planner = planning.Planner(TILING, NEED, 100e9, seconds_a_voxel=1e-6)
    plan = planner.plan((80, 80, 80), source=0)
    # 3 x 512000 voxels, 20 draws, a microsecond each.
    assert planner.sentence(plan, draws=20).startswith(
        "tile 80 x 80 x 80: 1 tile, 20 draws of each, about"
    )
    assert planner.sentence(plan, draws=20).endswith("GB and 0.5 min")
    # 0.9 of it once and 20 times 0.1: 2.9 passes of 1.536 s.
    late = dataclasses.replace(planner, shared=0.9, seconds_a_voxel=1e-4)
    assert late.sentence(plan, draws=20).endswith("GB and 7.4 min")


def test_a_tile_that_was_begun_is_gone_on_with_where_it_fits():
    planner, begun = planning.Planner(TILING, NEED, 100e9, seconds_a_voxel=1e-6), (16, 80, 80)
    assert planner.plan((160, 80, 80), source=0).tiling.tile == (160, 80, 80)
    assert planner.plan((160, 80, 80), source=0, first=begun).tiling.tile == begun
    small = dataclasses.replace(planner, memory_bytes=2.05e9)
    assert small.plan((160, 80, 80), source=0, first=(160, 80, 80)).memory_bytes <= 2.05e9
