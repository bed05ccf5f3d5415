import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf.data import bias_field, geometry, masks, scans
from multires_tf.data.phantom import subject

SPACING_MM = (5.0, 5.0, 5.0)


@pytest.fixture(scope="module")
def phantom():
    """MR with its field, the field and the true body of a whole-body phantom."""
    made = subject.simulate(0, 2).images
    return made["mr"].astype(np.float32), made["bias"], made["body_mask"] > 0


def image_of(mr):
    grid = geometry.Geometry(mr.shape, SPACING_MM, (0, 0, 0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    return geometry.to_image(mr, grid)


def estimate(mr):
    return bias_field.estimate(image_of(mr), masks.mr_body(mr, SPACING_MM))


@pytest.fixture(scope="module")
def estimated(phantom):
    return estimate(phantom[0])


def test_less_than_a_fifth_of_a_phantom_s_field_is_left(phantom, estimated):
    _, field, body = phantom
    left = bias_field.variation(field / estimated, body)
    assert bias_field.variation(field, body) == pytest.approx(0.116, abs=0.005)
    assert left <= 0.2 * bias_field.variation(field, body)


def test_shading_by_which_the_liver_is_as_bright_as_muscle_is_found():
    # The wrong tissues are told at first: the field has to begin stiff, or as much as half is left.
    made = subject.simulate(7, 1).images
    mr, field, body = made["mr"].astype(np.float32), made["bias"], made["body_mask"] > 0
    left = bias_field.variation(field / estimate(mr), body)
    assert left <= 0.2 * bias_field.variation(field, body)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3, 5, 7, 9, 20, 21, 22, 23, 24])
@pytest.mark.parametrize("index", [0, 1])
def test_at_most_a_third_of_any_phantom_s_field_is_left(seed, index):
    made = subject.simulate(seed, index).images
    field, body = made["bias"], made["body_mask"] > 0
    left = bias_field.variation(field / estimate(made["mr"].astype(np.float32)), body)
    assert left <= bias_field.variation(field, body) / 3


def test_an_image_without_a_field_stays_as_it_is(phantom):
    mr, field, _ = phantom
    flat = image_of(mr / field)
    body = masks.mr_body(mr, SPACING_MM)
    assert bias_field.variation(estimate(mr / field), body) < bias_field.LEAST_VARIATION
    assert bias_field.corrected(flat, body) is flat


def test_the_field_does_not_depend_on_the_image_s_unit(phantom, estimated):
    mr, _, _ = phantom
    np.testing.assert_allclose(estimate(mr * 0.01), estimated, rtol=0.01)


def test_nor_on_where_its_zero_lies(phantom, estimated):
    mr, _, _ = phantom
    own = scans.mr_in_its_own_frame(image_of((mr - mr.mean()) / mr.std()), zero_is_outside=True)
    found = bias_field.estimate(own.image, own.body)
    inside = masks.mr_body(mr, SPACING_MM)
    np.testing.assert_allclose(found[inside], estimated[inside], rtol=0.02)


def test_a_body_too_small_to_tell_is_left_alone():
    mr = np.random.default_rng(0).uniform(100, 110, (5, 6, 6)).astype(np.float32)
    assert np.all(bias_field.estimate(image_of(mr), np.ones(mr.shape, bool)) == 1)


@pytest.mark.parametrize("size", [(3, 60, 60), (4, 60, 60), (60, 20, 1)])
def test_a_thin_image_is_no_reason_to_fail(size):
    mr = np.random.default_rng(0).uniform(100, 110, size).astype(np.float32)
    field = bias_field.estimate(image_of(mr), np.ones(size, bool))
    np.testing.assert_allclose(field, 1, atol=0.02)


def test_slices_thinner_than_the_raster_s_voxels_are_no_reason_to_fail():
    mr = np.random.default_rng(0).uniform(100, 110, (5, 90, 90)).astype(np.float32)
    image = image_of(mr)
    image.SetSpacing((0.8, 0.8, 0.8))
    assert np.all(bias_field.estimate(image, np.ones(mr.shape, bool)) == 1)


def test_the_field_divides_the_image_at_full_resolution(phantom, estimated):
    mr, _, _ = phantom
    body = masks.mr_body(mr, SPACING_MM)
    made = sitk.GetArrayFromImage(bias_field.corrected(image_of(mr), body))
    np.testing.assert_allclose(made, mr / estimated, rtol=1e-5)
