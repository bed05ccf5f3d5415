"""Validation: scores by tissue, and the pictures of slabs that are predicted alone."""

from __future__ import annotations

import numpy as np
import pytest

from multires_tf.data import store
from multires_tf.joints import validation

SHAPE = (20, 24, 18)


@pytest.fixture
def volume(tmp_path):
    array = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    store.write_pyramid(
        tmp_path / "mr.ome.zarr", array, fill=-1.0, attributes={"spacing_mm": [1.0, 1.0, 1.0]}
    )
    return store.open_pyramid(tmp_path / "mr.ome.zarr")


@pytest.mark.parametrize(("axis", "place", "first", "size"), [(0, 17, 16, 4), (1, 3, 0, 16)])
def test_a_slab_holds_its_slice_and_sees_the_context_of_the_whole(volume, axis, place, first, size):
    slab = validation._Slab.around(volume, axis=axis, place=place, thickness=16)
    assert (slab.start[axis], slab.shape[axis]) == (first, size)
    for scale in (1, 2, 4):
        edges = (8, 8, 8)
        moved = [first // scale if a == axis else 0 for a in range(3)]
        whole = volume.read(scale, [m - 2 for m in moved], edges)
        assert np.array_equal(slab.read(scale, (-2, -2, -2), edges), whole)


def test_scores_are_means_over_the_subjects_that_have_the_tissue():
    first = validation._mae_hu(np.array([10.0, 30.0, 50.0]), np.array([-900.0, 0.0, 500.0]))
    assert first == {"mae_hu": 30, "mae_air_hu": 10, "mae_soft_hu": 30, "mae_bone_hu": 50}
    second = validation._mae_hu(np.array([20.0]), np.array([0.0]))
    assert validation._means([first, second]) == {**first, "mae_hu": 25, "mae_soft_hu": 25}


def test_a_picture_shows_what_the_network_has_in_windows_of_its_own():
    slices = {"CT": np.zeros((2, 2)), "MR": np.ones((2, 2))}
    assert [cell[1:] for cell in validation.cells(slices)] == [(0, 1), (-1000, 1000)]
    words = "From left to right: MR, 0 to 1; CT, -1000 to 1000 (HU; MR in units of its own)."
    assert validation.legend(slices) == words
