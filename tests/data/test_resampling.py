import numpy as np
import pytest

from multires_tf.data import geometry, resampling

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def grid(size, spacing_mm=(1.0, 1.0, 1.0), origin_mm=(0.0, 0.0, 0.0), direction=IDENTITY):
    return geometry.Geometry(size, spacing_mm, origin_mm, direction)


def ramp_image(own):
    """An image whose value at each voxel is its physical x + 10 y + 100 z in mm."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in own.size], indexing="ij")
    points = own.steps_mm @ np.stack([x.ravel(), y.ravel(), z.ravel()])
    values = (points.T + own.origin_mm) @ (1, 10, 100)
    return geometry.to_image(values.reshape(own.size).astype(np.float32), own)


def test_the_same_grid_keeps_values_to_the_bit():
    own = grid((5, 6, 7))
    array = np.random.default_rng(0).normal(size=own.size).astype(np.float32)
    assert np.array_equal(resampling.resample(geometry.to_image(array, own), own, fill=0), array)


def test_a_shift_by_whole_voxels_keeps_values_to_the_bit_despite_rounded_headers():
    own = grid((6, 6, 6), spacing_mm=(3.27, 0.976562, 0.976562))
    array = np.random.default_rng(0).normal(size=own.size).astype(np.float32)
    origin = own.position_mm((1, 2, -1)) + 1e-5
    part = grid((5, 3, 4), (3.26996, 0.976563, 0.976562), tuple(origin.tolist()))
    moved = resampling.resample(geometry.to_image(array, own), part, fill=-5)
    assert np.array_equal(moved[1:], array[:4, 2:5, 1:5])
    assert np.all(moved[0] == -5)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_ramp_stays_in_place_when_voxels_grow(factor):
    own = grid((24, 24, 24))
    coarse = geometry.prepared_grid(own, (factor,) * 3)
    moved = resampling.resample(ramp_image(own), coarse, fill=0)
    expected = resampling.resample(ramp_image(coarse), coarse, fill=0)
    inner = (slice(2, -2),) * 3
    assert np.allclose(moved[inner], expected[inner], atol=2e-3)


def test_a_ramp_stays_in_place_when_voxels_shrink():
    own = grid((6, 6, 6), spacing_mm=(2.0, 2.0, 2.0))
    fine = geometry.prepared_grid(own, (1.0, 1.0, 0.5))
    moved = resampling.resample(ramp_image(own), fine, fill=0)
    expected = resampling.resample(ramp_image(fine), fine, fill=0)
    inner = (slice(1, -1), slice(1, -1), slice(2, -2))
    assert np.allclose(moved[inner], expected[inner], atol=1e-3)


def test_a_ramp_stays_in_place_between_tilted_grids():
    c, s = np.cos(0.3), np.sin(0.3)
    tilted = grid((9, 9, 9), origin_mm=(4.0, 1.0, 2.0), direction=(c, -s, 0, s, c, 0, 0, 0, 1))
    own = grid((20, 20, 20), origin_mm=(-3.0, -3.0, -3.0))
    moved = resampling.resample(ramp_image(own), tilted, fill=0)
    expected = resampling.resample(ramp_image(tilted), tilted, fill=0)
    assert np.allclose(moved, expected, atol=1e-3)


def test_shrinking_averages_a_checkerboard_away():
    own = grid((16, 16, 16))
    board = (np.indices(own.size).sum(axis=0) % 2).astype(np.float32)
    coarse = geometry.prepared_grid(own, (4, 4, 4))
    moved = resampling.resample(geometry.to_image(board, own), coarse, fill=0)
    assert np.allclose(moved, 0.5, atol=0.01)


def test_outside_the_field_is_fill_and_its_last_half_voxel_is_not():
    own = grid((4, 4, 4))
    longer = grid((4, 4, 12), spacing_mm=(1.0, 1.0, 0.5), origin_mm=(-0.75, 0.0, 0.0))
    ones = geometry.to_image(np.ones(own.size, np.float32), own)
    moved = resampling.resample(ones, longer, fill=-1024)
    # The field runs from -0.5 to 3.5 mm; voxel centres from -0.75 to 4.75 mm.
    assert moved[0, 0].tolist() == [-1024] + [1] * 8 + [-1024] * 3


@pytest.mark.parametrize(
    "direction",
    [(0, 0, 1, 1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0, 0, 0, 1), (0, 1, 0, 0, 0, -1, -1, 0, 0)],
)
def test_restore_undoes_the_canonical_order_to_the_bit(direction):
    source = grid((4, 5, 6), (3.0, 1.0, 2.0), (5.0, 6.0, 7.0), tuple(map(float, direction)))
    array = np.random.default_rng(0).normal(size=source.size).astype(np.float32)
    prepared = geometry.prepared_grid(source, None)
    canonical = resampling.resample(geometry.to_image(array, source), prepared, fill=0)
    assert not np.array_equal(canonical.ravel(), array.ravel())
    assert np.array_equal(resampling.restore(canonical, prepared, source, fill=0), array)


def test_restore_brings_a_ramp_back_to_the_original_spacing():
    source = grid((12, 12, 12), direction=(-1.0, 0, 0, 0, 0, 1.0, 0, 1.0, 0))
    prepared = geometry.prepared_grid(source, (2.0, 2.0, 2.0))
    original = resampling.resample(ramp_image(source), source, fill=0)
    on_prepared = resampling.resample(ramp_image(prepared), prepared, fill=0)
    restored = resampling.restore(on_prepared, prepared, source, fill=0)
    inner = (slice(1, -1),) * 3
    assert np.allclose(restored[inner], original[inner], atol=1e-3)


def test_a_mask_is_kept_by_share():
    own = grid((2, 2, 4))
    mask = np.zeros(own.size, bool)
    mask[..., 1:] = True
    coarse = geometry.prepared_grid(own, (1, 1, 2))
    half = resampling.resample_mask(mask, own, coarse, share=0.5)
    whole = resampling.resample_mask(mask, own, coarse, share=0.999)
    assert half[0, 0].tolist() == [True, True]
    assert whole[0, 0].tolist() == [False, False]
    beyond = grid((2, 2, 6))
    assert resampling.resample_mask(mask, own, beyond, share=0.5)[0, 0, 4:].tolist() == [False] * 2
