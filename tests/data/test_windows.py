"""The geometry of windows and tiles, in numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from multires_tf.data import windows
from multires_tf.ground import errors

SCALES = (1, 2, 4)


def cube(edge):
    return (edge, edge, edge)


def test_a_training_window_reads_the_paper_s_three_blocks_of_one_context():
    found = windows.branch_windows((120, 120, 120), cube(80), window=cube(80), scales=SCALES)
    # The context of 320 voxels begins at 120 + 40 - 160 = 0; its central 160 voxels at 80.
    assert found == {
        1: windows.Window((120, 120, 120), cube(80)),
        2: windows.Window((40, 40, 40), cube(80)),
        4: windows.Window((0, 0, 0), cube(80)),
    }


def test_a_larger_tile_shares_context():
    found = windows.branch_windows((0, 0, 0), cube(160), window=cube(80), scales=SCALES)
    assert [found[s].size[0] for s in SCALES] == [160, 120, 100]
    assert [found[s].start[0] for s in SCALES] == [0, -20, -30]


@pytest.mark.parametrize("tile", [(16, 32, 48), (80, 160, 96)])
@pytest.mark.parametrize("start", [(0, 0, 0), (-8, 4, 20)])
def test_windows_share_a_centre_and_fit_after_each_crop(start, tile):
    window = (16, 80, 48)
    found = windows.branch_windows(start, tile, window=window, scales=SCALES)
    for axis in range(3):
        centres = {s * (found[s].start[axis] + found[s].size[axis] / 2) for s in SCALES}
        assert centres == {start[axis] + tile[axis] / 2}
        # Upsampled by 2 and cropped by w / 2 a side, a coarser map has the finer one's size.
        assert 2 * found[4].size[axis] - window[axis] == found[2].size[axis]
        assert 2 * found[2].size[axis] - window[axis] == found[1].size[axis] == tile[axis]


def test_flat_windows_of_one_scale_may_lie_anywhere():
    found = windows.branch_windows((7, 3, 5), (1, 224, 224), window=(1, 224, 224), scales=(1,))
    assert found == {1: windows.Window((7, 3, 5), (1, 224, 224))}


def test_broken_laws_name_what_is_wrong_and_the_multiple():
    with pytest.raises(errors.UserError, match=r"tile: 100 voxels along y .* multiple of 16"):
        windows.branch_windows((0, 0, 0), (80, 100, 80), window=cube(80), scales=SCALES)
    with pytest.raises(errors.UserError, match=r"window: 40 voxels along z .* multiple of 16"):
        windows.branch_windows((0, 0, 0), cube(80), window=cube(40), scales=SCALES)
    with pytest.raises(ValueError, match="grid of the scale 4"):
        windows.branch_windows((0, 2, 0), cube(80), window=cube(80), scales=SCALES)


@pytest.mark.parametrize(
    ("length", "edge", "shared", "multiple", "starts"),
    [
        (240, 80, 20, 4, [0, 52, 104, 160]),
        (160, 80, 0, 4, [0, 80]),
        (161, 80, 0, 4, [0, 40, 84]),
        (100, 80, 20, 4, [0, 20]),
        (80, 80, 40, 4, [0]),
        (81, 80, 0, 4, [0, 4]),
        (79, 80, 40, 4, [0]),
        (50, 80, 40, 4, [-12]),
        (4, 1, 0.25, 1, [0, 1, 2, 3]),
    ],
)
def test_starts_along_one_axis(length, edge, shared, multiple, starts):
    assert windows.tile_starts(length, edge, shared, multiple=multiple) == starts


def test_tiles_cover_every_length_with_at_least_the_overlap():
    for length in range(1, 150):
        for shared in (0, 3.2, 8, 16):
            starts = windows.tile_starts(length, 32, shared, multiple=4)
            assert starts[0] <= 0 and starts[-1] + 32 >= length
            assert all(start % 4 == 0 for start in starts)
            steps = np.diff(starts).tolist() or [0]
            assert max(steps) <= 32 - shared and max(steps) - min(steps) <= 4


def test_tiles_of_a_volume_run_along_x_first():
    plan = windows.plan_tiles((8, 20, 40), (16, 16, 32), (0, 0, 0))
    assert plan == [(-4, 0, 0), (-4, 0, 8), (-4, 4, 0), (-4, 4, 8)]


def test_an_overlap_of_a_whole_tile_is_refused():
    with pytest.raises(errors.UserError, match=r"overlap: neighbours would share 16 of 16 voxels"):
        windows.plan_tiles((64, 64, 64), (16, 16, 16), (16, 16, 16))
