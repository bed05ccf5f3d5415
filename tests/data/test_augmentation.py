"""Rotation and scaling in millimetres, the same for every level."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from multires_tf.data import augmentation, sampling, store, windows

NONE = {"flips": (False,) * 3, "angles_deg": (0.0,) * 3, "factors": (1.0,) * 3}
MIXED = sampling.Change((False, True, False), (9.0, -7.0, 5.0), (1.1, 0.93, 0.9))


def matrix_of(spacing_mm=(1.0, 1.0, 1.0), **changes):
    return augmentation.voxel_matrix(sampling.Change(**{**NONE, **changes}), spacing_mm)


def warp_volume(volume, matrix, window, *, fill=0.0):
    source = augmentation.source_window(window, matrix, shape=volume.shape)
    padded = np.pad(volume, 1, constant_values=fill)  # sources end at most one voxel beyond
    cut = tuple(slice(a + 1, a + 1 + n) for a, n in zip(source.start, source.size, strict=True))
    return augmentation.warp(padded[cut], matrix, source=source, window=window, fill=fill)


def test_magnification_shows_less_of_the_volume():
    np.testing.assert_allclose(matrix_of(factors=(2.0, 1.0, 0.5)), np.diag([0.5, 1, 2]))


def test_flips_are_minus_signs():
    np.testing.assert_allclose(matrix_of(flips=(False, False, True)), np.diag([1, 1, -1]))


def test_a_quarter_turn_about_z_counts_millimetres_not_voxels():
    matrix = matrix_of((3.0, 1.0, 2.0), angles_deg=(90.0, 0.0, 0.0))
    # 2 mm along y are two voxels and become 2 mm along x: one voxel, and the reverse.
    np.testing.assert_allclose(matrix @ [0, 2, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(matrix @ [0, 0, 1], [0, -2, 0], atol=1e-12)
    np.testing.assert_allclose(matrix @ [1, 0, 0], [1, 0, 0], atol=1e-12)


def test_any_rotation_keeps_lengths_in_millimetres():
    spacing = np.array([3.0, 1.0, 2.0])
    in_mm = matrix_of(spacing, angles_deg=(10.0, -8.0, 6.0)) * spacing[:, None] / spacing
    np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(in_mm) == pytest.approx(1)


def test_nothing_to_do_gives_the_window_itself():
    volume = np.arange(512, dtype=np.float32).reshape(8, 8, 8)
    window = windows.Window((2, 1, 4), (4, 4, 4))
    warped = warp_volume(volume, matrix_of(), window)
    np.testing.assert_allclose(warped, volume[2:6, 1:5, 4:8])


@pytest.mark.parametrize("start", [(0, 0, 0), (-6, 5, 9), (-30, 0, 0), (40, 40, 40)])
def test_the_same_as_scipy_on_the_whole_volume(start):
    volume = np.random.default_rng(0).random((14, 15, 20), np.float32)
    size = np.array((12, 8, 16))
    matrix = augmentation.voxel_matrix(MIXED, (2.0, 1.0, 1.5))
    centre = np.array(start) + (size - 1) / 2
    expected = ndimage.affine_transform(
        np.pad(volume, 40, constant_values=0.25),
        matrix,
        offset=centre + 40 - matrix @ ((size - 1) / 2),
        output_shape=tuple(size),
        order=1,
        cval=0.25,
    )
    window = windows.Window(start, tuple(size.tolist()))
    warped = warp_volume(volume, matrix, window, fill=0.25)
    np.testing.assert_allclose(warped, expected, atol=1e-5)


def pyramid_windows(volume, change, *, spacing_mm, start=(24, 24, 24), edge=16):
    """Returns {scale: the changed window of that level} and the matrix."""
    matrix = augmentation.voxel_matrix(change, spacing_mm)
    cube = (edge,) * 3
    boxes = windows.branch_windows(start, cube, window=cube, scales=store.SCALES)
    found = store.levels(volume, fill=0.0)
    return {s: warp_volume(found[s], matrix, boxes[s]) for s in store.SCALES}, matrix


def test_a_ramp_stays_registered_on_all_levels():
    slope = np.array([1.0, 0.1, 0.01])
    z, y, x = (np.arange(64) + 0.5,) * 3
    ramp = slope[0] * z[:, None, None] + slope[1] * y[:, None] + slope[2] * x
    found, matrix = pyramid_windows(ramp.astype(np.float32), MIXED, spacing_mm=(2.0, 1.0, 1.5))
    for scale in (1, 2):  # the context of scale 4 reaches beyond the volume
        offsets = (np.indices((16,) * 3) - 7.5) * scale
        expected = slope @ (32.0 + np.tensordot(matrix, offsets, 1)).reshape(3, -1)
        np.testing.assert_allclose(found[scale].ravel(), expected, atol=1e-4)


def test_a_ball_keeps_its_place_and_volume_on_all_levels():
    voxels = np.indices((64,) * 3).reshape(3, -1).T + 0.5
    centre = np.array([38.0, 35.0, 43.0])
    inside = np.linalg.norm(voxels - centre, axis=1) < 7
    ball = inside.reshape(64, 64, 64).astype(np.float32)
    change = sampling.Change((False, False, True), (10.0, -10.0, 10.0), (1.0, 1.0, 1.0))
    found, matrix = pyramid_windows(ball, change, spacing_mm=(1.0, 1.0, 1.0), edge=32)
    expected = np.linalg.solve(matrix, centre - 40.0)
    for scale in store.SCALES:
        weights = found[scale].ravel() / found[scale].sum()
        offsets = ((np.indices((32,) * 3) - 15.5) * scale).reshape(3, -1)
        np.testing.assert_allclose(offsets @ weights, expected, atol=0.05)
        assert found[scale].sum() * scale**3 == pytest.approx(ball.sum(), rel=0.01)
