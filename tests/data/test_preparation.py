import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf.data import geometry, preparation, scans
from multires_tf.ground import errors

GRID = geometry.Geometry(
    size=(12, 24, 24),
    spacing_mm=(4.0, 4.0, 4.0),
    origin_mm=(0.0, 0.0, 0.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
Z, Y, X = np.ogrid[:12, :24, :24]
BODY = np.broadcast_to((Y - 12) ** 2 + (X - 12) ** 2 < 8**2, GRID.size)
OPTIONS = {"percentiles": (0, 100)}


def mr_array():
    """Background noise of 1 to 9, body from 100 to 200 along x."""
    noise = np.random.default_rng(0).integers(1, 10, GRID.size)
    return np.where(BODY, 100 + 100 * (X - 5) / 14, noise).astype(np.float32)


def prepared(mr=None, grid=GRID, spacing_mm=None, zero_is_outside=True, **options):
    image = geometry.to_image(mr_array() if mr is None else mr, grid)
    own = scans.mr_in_its_own_frame(image, zero_is_outside=zero_is_outside)
    return preparation.prepare_mr(own, spacing_mm=spacing_mm, **{**OPTIONS, **options})


def ct_image(ct_hu, grid=GRID):
    return geometry.to_image(np.asarray(ct_hu, np.float32), grid)


CT_HU = np.where(BODY, 50.0, -1000.0)
EVERYWHERE = np.ones(GRID.size, bool)


def test_the_range_of_the_body_becomes_0_to_1():
    made = prepared()
    assert (made.low, made.high) == (100, 200)
    assert made.unit[6, 12, 5] == 0
    assert made.unit[6, 12, 19] == 1
    assert made.unit[6, 12, 12] == pytest.approx(0.5)
    assert made.unit[~BODY].max() == 0
    assert made.field.all()
    assert made.grid == made.source == GRID


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, -1024.0), (0.02, -3.0)])
def test_an_mr_that_was_shifted_is_prepared_like_the_one_that_was_not(scale, shift, ended):
    mr = mr_array()
    mr[6, 2, 2] = 0.5  # the very least is not at the border, unless the field ends there
    if ended:
        mr[:, :, :9] = 0  # through the body
    made, shifted = prepared(mr), prepared(mr * scale + shift)
    ends = (made.low * scale + shift, made.high * scale + shift)
    assert (shifted.low, shifted.high) == pytest.approx(ends)
    assert np.array_equal(shifted.body, made.body)
    assert np.array_equal(shifted.field, made.field)
    assert shifted.unit == pytest.approx(made.unit, abs=1e-4)


def test_padding_below_zero_is_what_padding_with_zero_is():
    mr, padded = mr_array(), mr_array()
    mr[:, :, :9], padded[:, :, :9] = 0, -1000
    made, other = prepared(mr), prepared(padded)
    assert (made.low, made.high) == (other.low, other.high)
    for name in ("unit", "body", "field"):
        assert np.array_equal(getattr(made, name), getattr(other, name)), name


def test_padding_is_outside_the_field_and_does_not_move_the_range():
    mr = mr_array()
    mr[:, :, :9] = 0  # through the body
    made = prepared(mr)
    assert np.array_equal(made.field, np.broadcast_to(X >= 9, GRID.size))
    assert made.low == pytest.approx(100 + 100 * 4 / 14)
    assert prepared(mr, zero_is_outside=False).field.all()


def test_a_background_set_to_zero_stays_in_the_field():
    made = prepared(np.where(BODY, mr_array(), 0))
    assert made.field.all()
    assert (made.low, made.high) == (100, 200)


def test_the_ct_tells_padding_from_a_background_of_zeros():
    # Zero all around the seen body, but the CT shows that the body goes on below.
    mr = np.where(BODY & (X >= 9), mr_array(), 0)
    assert prepared(mr).field.all()
    ct = scans.ct_in_its_own_frame(ct_image(CT_HU))
    assert not prepared(mr, ct=ct).field[6, 12, 6]


@pytest.mark.parametrize("slices", [3, 6, 12])
def test_a_short_ct_is_asked_only_where_it_has_measured(slices):
    """Beyond its field it shows no body, but that is no air either."""
    mr = np.where(BODY, mr_array(), 0)
    part = geometry.Geometry((slices, 24, 24), GRID.spacing_mm, (0, 0, 0), GRID.direction)
    ct = scans.ct_in_its_own_frame(ct_image(CT_HU[:slices], part))
    assert prepared(mr, ct=ct).field.all()
    cut = np.where(X >= 9, mr, 0)  # and what it sees is still cut off
    assert not prepared(cut, ct=ct).field[:, 12, 6].any()


def test_a_ct_that_has_measured_body_alone_leaves_the_question_to_the_mr():
    mr = np.where(BODY, mr_array(), 0)
    ct = scans.Ct(ct_image(CT_HU), BODY, BODY)
    assert prepared(mr, ct=ct).field.all()
    padded = np.where(X < 4, 0, mr_array())
    assert not prepared(padded, ct=ct).field[:, :, :4].any()


def test_a_zero_mr_is_refused():
    with pytest.raises(errors.UserError, match="zero everywhere"):
        prepared(np.zeros(GRID.size, np.float32))


def test_any_orientation_gives_the_same_prepared_volume():
    flipped = geometry.Geometry(
        GRID.size[::-1],
        GRID.spacing_mm,
        (92.0, 0.0, 0.0),
        (0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0),
    )
    # Index x runs to the head, z to the right.
    turned = np.ascontiguousarray(mr_array().transpose(2, 1, 0)[::-1])
    made = prepared(turned, flipped)
    assert made.grid == GRID
    assert made.source == flipped
    assert np.array_equal(made.unit, prepared().unit)


def test_ct_and_mask_follow_onto_the_prepared_grid():
    mr = mr_array()
    mr[:, :, :9] = 0
    made = prepared(mr)
    ct = scans.ct_in_its_own_frame(ct_image(CT_HU))
    ct_hu, mask = preparation.prepare_ct(ct, made, air_hu=-1024)
    assert np.array_equal(ct_hu, CT_HU)
    assert mask.dtype == np.uint8
    expected = np.where(X < 9, 0, np.where(BODY, 2, 1))
    assert np.array_equal(mask, expected)


def test_where_the_ct_has_not_measured_there_is_no_truth():
    ct_hu = CT_HU.copy()
    ct_hu[:, :4] = -3024  # padding by the scanner
    part = geometry.Geometry((10, *GRID.size[1:]), GRID.spacing_mm, (0, 0, 0), GRID.direction)
    image = ct_image(ct_hu[:10], part)  # and a shorter field
    ct = scans.ct_in_its_own_frame(image)
    made_hu, mask = preparation.prepare_ct(ct, prepared(), air_hu=-1024)
    assert np.all(made_hu[:, :4] == -1024)
    assert np.all(made_hu[10:] == -1024)
    assert np.all(mask[:, :4] == 0)
    assert np.all(mask[10:] == 0)
    assert np.array_equal(mask[:10, 4:] == 2, BODY[:10, 4:])


def test_a_body_in_one_field_only_is_refused():
    far = geometry.Geometry(GRID.size, GRID.spacing_mm, (80.0, 0.0, 0.0), GRID.direction)
    ct = scans.Ct(ct_image(np.where(X > 16, CT_HU, -1000), far), BODY, EVERYWHERE)
    with pytest.raises(errors.UserError, match="no part of the body is in both"):
        preparation.prepare_ct(ct, prepared(np.where(X < 16, mr_array(), 5)), air_hu=-1024)


def test_the_ct_follows_its_transform():
    """Moved by one voxel along x, everything of the CT is found one voxel on."""
    shift = sitk.TranslationTransform(3, (4.0, 0.0, 0.0))
    ct = scans.Ct(ct_image(CT_HU + X), BODY, EVERYWHERE, shift)
    ct_hu, mask = preparation.prepare_ct(ct, prepared(), air_hu=-1024)
    assert np.allclose(ct_hu[..., :-1], (CT_HU + X)[..., 1:], atol=1e-3)
    assert np.array_equal(mask[..., :-1] == 2, BODY[..., 1:])
    assert np.all(mask[..., -1] == 0)


def test_a_pair_that_lies_apart_is_brought_together():
    there = geometry.Geometry(GRID.size, GRID.spacing_mm, (7.0, -5.0, 0.0), GRID.direction)
    ct = scans.ct_in_its_own_frame(ct_image(CT_HU, there))
    mr = scans.mr_in_its_own_frame(geometry.to_image(mr_array(), GRID), zero_is_outside=True)
    moved, found = preparation.register(mr, ct, kind="rigid")
    assert not found.flags
    assert found.after.dice > 0.97 > found.before.dice
    centre = np.array(GRID.position_mm((12, 12, 6)))
    assert np.abs(moved.transform.TransformPoint(centre) - centre - (7, -5, 0))[:2].max() < 1


@pytest.mark.parametrize("background", [0, 5])
def test_a_blanked_background_hides_no_difference_of_the_bodies(background):
    """A CT body of 40 mm around an MR body of 28 mm: they share 2 * 28^2 of 28^2 + 40^2."""
    radius_mm = np.broadcast_to(4 * np.hypot(Y - 11.5, X - 11.5), GRID.size)
    values = np.where(radius_mm < 28, 200 + 8 * X, background).astype(np.float32)
    ct_hu = np.where(radius_mm < 40, 40, -1000)
    ct = scans.ct_in_its_own_frame(ct_image(ct_hu))
    mr = scans.mr_in_its_own_frame(geometry.to_image(values, GRID), zero_is_outside=True)
    _, found = preparation.register(mr, ct, kind="none")
    assert found.before.dice == pytest.approx(0.658, abs=0.01)


def test_where_the_field_ended_nothing_is_compared():
    mr = mr_array()
    mr[:, :, :9] = 0
    own = scans.mr_in_its_own_frame(geometry.to_image(mr, GRID), zero_is_outside=True)
    ct = scans.ct_in_its_own_frame(ct_image(CT_HU))
    _, found = preparation.register(own, ct, kind="none")
    assert found.before.dice > 0.99


def test_spacing_is_given_along_the_canonical_axes():
    turned = geometry.Geometry(
        GRID.size, (1.0, 2.0, 3.0), (0, 0, 0), (0.0, 0, 1, 0, 1, 0, -1, 0, 0)
    )
    image = geometry.to_image(np.zeros(GRID.size, np.float32), turned)
    assert preparation.canonical_spacing_mm(image) == (3.0, 2.0, 1.0)


def test_a_finer_grid_keeps_the_field():
    made = prepared(spacing_mm=(4.0, 2.0, 2.0))
    assert made.unit.shape == made.field.shape == (12, 48, 48)
    assert made.grid.origin_mm == (-1.0, -1.0, 0.0)
    assert made.field.all()
