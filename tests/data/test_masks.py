import numpy as np
import pytest

from multires_tf.data import masks

SPACING_MM = (2.0, 2.0, 2.0)
Z, Y, X = np.ogrid[:30, :60, :60]
# A trunk of radius 40 mm along z, with two lungs that open to the top.
TRUNK = np.broadcast_to((Y - 28) ** 2 + (X - 30) ** 2 < 20**2, (30, 60, 60))
LUNGS = ((Y - 28) ** 2 + (np.abs(X - 30) - 9) ** 2 < 6**2) & (Z >= 10)
TABLE = np.broadcast_to((Y >= 54) & (Y < 56), (30, 60, 60))


def ct_of(trunk, *, lungs=None, table=None):
    ct_hu = np.where(trunk, 40.0, -1000.0)
    if lungs is not None:
        ct_hu = np.where(lungs, -800.0, ct_hu)
    if table is not None:
        ct_hu = np.where(table, 200.0, ct_hu)
    return ct_hu.astype(np.float32)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_ct_body_has_lungs_inside_and_the_table_outside():
    body = masks.ct_body(ct_of(TRUNK, lungs=LUNGS, table=TABLE), SPACING_MM)
    assert np.array_equal(body, TRUNK)


def test_an_arm_apart_is_body_and_a_speck_is_not():
    arm = np.broadcast_to((Y - 28) ** 2 + (X - 55) ** 2 < 4**2, TRUNK.shape)
    speck = np.zeros_like(TRUNK)
    speck[3:8, 2:7, 2:7] = True
    body = masks.ct_body(ct_of(TRUNK | arm | speck), SPACING_MM)
    assert dice(body, TRUNK | arm) > 0.998
    assert not (body & speck).any()


def test_mr_body_is_found_in_noise_with_bright_fat_and_dark_lungs():
    rng = np.random.default_rng(0)
    fat = TRUNK & ~np.broadcast_to((Y - 28) ** 2 + (X - 30) ** 2 < 17**2, TRUNK.shape)
    mr = np.where(fat, 1000.0, np.where(TRUNK & ~LUNGS, 250.0, 0.0))
    mr = np.hypot(mr + rng.normal(0, 15, mr.shape), rng.normal(0, 15, mr.shape))
    assert dice(masks.mr_body(mr, SPACING_MM), TRUNK) > 0.98


def test_mr_body_of_a_field_without_air_is_nearly_all_of_it():
    rng = np.random.default_rng(0)
    mr = np.where(X < 20, 1000.0, 300.0) + rng.normal(0, 20, TRUNK.shape)
    assert masks.mr_body(mr, SPACING_MM).mean() > 0.99


def test_zeros_count_from_the_border_in_solid_pieces():
    mr = np.ones((8, 8, 8), np.int16)
    mr[:, :, 0] = 0  # one slice where the field ended
    mr[3:5, 3:5, 3:5] = 0  # a dark hole inside
    mr[7, 3, 3] = 0  # a single dark voxel at the border
    border = masks.zero_border(mr)
    assert border[:, :, 0].all()
    assert np.count_nonzero(border) == 64


def test_a_tilted_end_of_the_field_is_found_to_the_voxel():
    outside = np.broadcast_to(X + Y // 4 < 12, TRUNK.shape)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 20, TRUNK.shape)  # every twentieth voxel of the background is zero
    mr = np.where(outside, 0, np.where(TRUNK, 500, noise))
    border = masks.zero_border(mr)
    assert np.array_equal(border & outside, outside)
    assert np.count_nonzero(border & ~outside) < 0.01 * outside.sum()


def test_no_zeros_means_no_border():
    assert not masks.zero_border(np.ones((4, 4, 4), np.float32)).any()


@pytest.mark.parametrize("body", [TRUNK, TRUNK & (Z < 25)])
def test_a_background_of_zeros_is_air_not_the_end_of_the_field(body):
    zero = masks.zero_border(np.where(body, 300, 0))
    assert np.array_equal(zero, ~body)
    assert masks.is_blanked_background(zero, body)


def test_a_part_of_the_air_or_a_piece_of_the_body_is_where_the_field_ended():
    beside = np.broadcast_to(X < 8, TRUNK.shape)
    assert not masks.is_blanked_background(beside, TRUNK)
    through = ~TRUNK | (X < 16)
    assert not masks.is_blanked_background(through, TRUNK)


def _beside(first, last, where, hu):
    """The body in a trunk with a layer of some HU around it, between two radii."""
    radius = np.hypot(Y - 28, X - 30)
    layer = np.broadcast_to((radius >= first) & (radius < last) & where, TRUNK.shape)
    ct_hu = ct_of(TRUNK)
    ct_hu[layer] = hu
    return masks.ct_body(ct_hu, SPACING_MM), layer


def test_a_head_rest_around_the_body_is_no_body():
    body, shell = _beside(23, 25, Y > 34, 100)
    assert not (body & shell).any()
    assert dice(body, TRUNK) > 0.97


def test_a_dense_blanket_on_the_skin_is_taken_for_skin():
    """A known limit: nothing but its density tells cloth from the body it lies on."""
    body, blanket = _beside(20, 22, Y < 28, -300)
    assert (body & blanket).any()
    assert 0.94 < dice(body, TRUNK) < 0.97
