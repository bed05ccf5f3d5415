"""Blending, on matrices that can be checked by eye."""

from __future__ import annotations

import numpy as np
import pytest

from multires_tf.data import blending, windows


def blend(starts, values, *, shape, tile):
    canvas = blending.Canvas(shape, ["ct_hu"], tile=tile, starts=starts)
    for start, value in zip(starts, values, strict=True):
        canvas.add(start, {"ct_hu": np.full(tile, value, np.float32)})
    return canvas.result("ct_hu")


def test_two_tiles_of_four_columns_meet_in_half_a_wave():
    # (1 - cos 60°) / 2 = 1/4 and (1 - cos 120°) / 2 = 3/4 of the way.
    blended = blend([(0, 0, 0), (0, 0, 2)], [0, 4], shape=(1, 2, 6), tile=(1, 2, 4))
    np.testing.assert_allclose(blended[0], [[0, 0, 1, 3, 4, 4]] * 2, atol=1e-6)


def test_four_tiles_of_three_by_three_on_four_by_four():
    starts = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    blended = blend(starts, [0, 16, 0, 16], shape=(1, 4, 4), tile=(1, 3, 3))
    np.testing.assert_allclose(blended[0], [[0, 4, 12, 16]] * 4, atol=1e-5)
    blended = blend(starts, [0, 0, 0, 16], shape=(1, 4, 4), tile=(1, 3, 3))
    expected = [[0, 0, 0, 0], [0, 1, 3, 4], [0, 3, 9, 12], [0, 4, 12, 16]]
    np.testing.assert_allclose(blended[0], expected, atol=1e-5)


def test_tiles_without_overlap_stand_side_by_side():
    blended = blend([(0, 0, 0), (0, 0, 2)], [1, 2], shape=(1, 1, 4), tile=(1, 1, 2))
    assert blended.tolist() == [[[1, 1, 2, 2]]]


def test_what_lies_beyond_the_volume_is_cropped():
    tile = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    canvas = blending.Canvas((2, 3, 4), ["ct_hu"], tile=(4, 4, 4), starts=[(-1, 0, 0)])
    canvas.add((-1, 0, 0), {"ct_hu": tile})
    np.testing.assert_array_equal(canvas.result("ct_hu"), tile[1:3, :3])


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("shape", [(37, 53, 70), (5, 32, 33)])
def test_an_identity_network_is_reproduced(shape, overlap):
    truth = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    tile = (16, 16, 32)
    starts = windows.plan_tiles(shape, tile, [overlap * edge for edge in tile])
    canvas = blending.Canvas(shape, ["same", "ones"], tile=tile, starts=starts)
    padded = np.pad(truth, 32)
    for z, y, x in starts:
        part = padded[z + 32 : z + 48, y + 32 : y + 48, x + 32 : x + 64]
        canvas.add((z, y, x), {"same": part, "ones": np.ones(tile, np.float32)})
    np.testing.assert_allclose(canvas.result("same"), truth, atol=1e-5)
    np.testing.assert_allclose(canvas.result("ones"), 1, atol=1e-5)


def jump_at_borders(overlap):
    """Mean absolute jump across the tile borders, relative to that one voxel beside them.

    The tiles disagree by offsets as large as the anatomy's own contrasts.
    """
    random = np.random.default_rng(1)
    anatomy = random.normal(0, 100, (48, 48, 512)).astype(np.float32)
    tile = (48, 48, 32)
    starts = windows.plan_tiles(anatomy.shape, tile, [overlap * edge for edge in tile])
    canvas = blending.Canvas(anatomy.shape, ["ct_hu"], tile=tile, starts=starts)
    for start in starts:
        part = anatomy[:, :, start[2] : start[2] + 32]
        canvas.add(start, {"ct_hu": part + np.float32(random.normal(0, 100))})
    jumps = np.abs(np.diff(canvas.result("ct_hu"), axis=2)).mean(axis=(0, 1))
    borders = {start[2] for start in starts[1:]} | {start[2] + 32 for start in starts[:-1]}
    at_border = np.mean([jumps[border - 1] for border in borders])
    beside = np.mean([jumps[[border - 2, border]] for border in borders])
    return at_border / beside


def test_no_seam_where_tiles_overlap_by_a_quarter():
    assert jump_at_borders(0.25) <= 1.02
    assert jump_at_borders(0.0) > 1.2


def test_a_tile_of_another_shape_is_refused():
    canvas = blending.Canvas((4, 4, 4), ["ct_hu"], tile=(4, 4, 4), starts=[(0, 0, 0)])
    with pytest.raises(ValueError, match=r"ct_hu: shape \(4, 4, 3\)"):
        canvas.add((0, 0, 0), {"ct_hu": np.zeros((4, 4, 3), np.float32)})
