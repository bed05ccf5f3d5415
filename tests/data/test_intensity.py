import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf.data import geometry, intensity
from multires_tf.ground import errors

WINDOW_HU = (-1024, 3071)


def test_percentiles_count_inside_the_body_only():
    mr = np.concatenate([np.zeros(1000), np.arange(101.0)])
    assert intensity.percentile_range(mr, mr >= 0, (0, 100)) == (0, 100)
    body = np.arange(mr.size) >= 1000
    assert intensity.percentile_range(mr, body, (5, 95)) == (5, 95)


def test_no_body_and_no_contrast_are_refused():
    with pytest.raises(errors.UserError, match="no body"):
        intensity.percentile_range(np.ones(5), np.zeros(5, bool), (0, 100))
    with pytest.raises(errors.UserError, match="no contrast"):
        intensity.percentile_range(np.ones(5), np.ones(5, bool), (0, 100))


def raised(mr):
    grid = geometry.Geometry(mr.shape, (1.0,) * 3, (0.0,) * 3, (1, 0, 0, 0, 1, 0, 0, 0, 1))
    image, floor = intensity.above_zero(geometry.to_image(mr, grid))
    return sitk.GetArrayFromImage(image), floor


RISING = np.arange(1, 1001, dtype=np.float32).reshape(10, 10, 10)


def test_an_mr_that_was_shifted_gets_its_zero_back():
    assert np.array_equal(raised(RISING)[0], RISING)
    found, floor = raised(RISING - 1024)
    # The thousandth part of a thousand voxels; the first, the very least, lies at the border.
    assert floor == pytest.approx(-1021, abs=0.1)
    assert np.allclose(found, np.maximum(RISING - 1024 - floor, 0), atol=1e-3)


@pytest.mark.parametrize("blank", [0.0, -700.0, -1e4])
def test_what_reaches_the_border_in_one_value_is_no_signal_and_tells_no_shift(blank):
    mr = RISING - 700
    mr[:4] = blank  # after the shift, before it, or as padding
    found, floor = raised(mr)
    assert floor == pytest.approx(-299, abs=1)
    assert np.all(found[:4] == 0) and found.max() == pytest.approx(599, abs=1)


def test_padding_shifts_nothing():
    mr = RISING.copy()
    mr[:4] = -1000
    found, floor = raised(mr)
    assert floor == 0
    assert np.all(found[:4] == 0) and np.array_equal(found[4:], RISING[4:])


def test_what_an_interpolation_has_overshot_by_is_no_shift():
    mr = np.arange(0, 8000, dtype=np.float32).reshape(20, 20, 20)
    mr[10, 10, 10] = -300
    found, floor = raised(mr)
    assert floor == 0
    mr[10, 10, 10] = 0
    assert np.allclose(found, mr, atol=1e-30)


@pytest.fixture(scope="module")
def turned():
    """A ball with noise on a dark ground, turned by cubic interpolation, which overshoots."""
    z, y, x = np.ogrid[:40, :40, :40]
    ball = (z - 20) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 200
    mr = np.where(ball, np.random.default_rng(0).normal(900, 90, ball.shape), 0).astype(np.float32)
    image = sitk.GetImageFromArray(mr)
    turn = sitk.Euler3DTransform((19.5, 19.5, 19.5), 0.2, 0.1, 0.3)
    return sitk.GetArrayFromImage(sitk.Resample(image, turn, sitk.sitkBSpline3))


def test_what_cubic_interpolation_has_overshot_by_is_no_shift(turned):
    assert turned.min() < -60  # deep enough to be taken for one
    found, floor = raised(turned)
    assert floor == 0
    assert np.allclose(found, np.maximum(turned, 0), atol=1e-30)


@pytest.mark.parametrize("where", ["everywhere", "in the ball", "everywhere, the ground cleared"])
def test_z_scores_of_the_same_image_are_shifted(turned, where):
    if where.endswith("cleared"):
        dark = np.random.default_rng(1).random(turned.shape) < 0.03
        turned = np.where(turned > 300, np.where(dark, 20, turned), 0)
    seen = turned > 300 if where == "in the ball" else np.ones(turned.shape, bool)
    scores = np.where(seen, (turned - turned[seen].mean()) / turned[seen].std(), 0)
    _, floor = raised(scores.astype(np.float32))
    assert floor < -0.3


def test_mr_is_mapped_to_the_unit_and_clipped():
    unit = intensity.mr_to_unit(np.array([0, 100, 150, 200, 900], np.int16), 100, 200)
    assert unit.tolist() == [0, 0, 0.5, 1, 1]
    assert unit.dtype == np.float32


def test_the_window_becomes_0_and_1():
    assert intensity.ct_to_unit(np.array([-1024.0, 3071.0]), WINDOW_HU).tolist() == [0, 1]
    assert intensity.unit_to_ct(np.array([0.0, 1.0]), WINDOW_HU).tolist() == [-1024, 3071]


def test_every_whole_hu_of_the_window_survives_in_float32():
    ct_hu = np.arange(-1024, 3072, dtype=np.float32)
    unit = intensity.ct_to_unit(ct_hu, WINDOW_HU)
    assert unit.dtype == np.float32
    back = intensity.unit_to_ct(unit, WINDOW_HU)
    assert np.abs(back - ct_hu).max() < 1e-3
    assert np.array_equal(np.rint(back), ct_hu)


def test_truth_is_clipped_to_the_window():
    clipped = intensity.clip_hu(np.array([-3024, 0, 1023.5, 5000]), WINDOW_HU)
    assert clipped.tolist() == [-1024, 0, 1023.5, 3071]
    unit = intensity.ct_to_unit(clipped, WINDOW_HU)
    np.testing.assert_allclose(unit, [0, 1024 / 4095, 0.5, 1], atol=1e-6)
    assert unit.dtype == np.float32


def test_what_is_no_measurement_of_a_ct():
    ct_hu = np.array([-3024.0, -2000, -1100, -1024, 40, 3070, 3071, 9000])
    kept = {"padding": "keep", "metal": "keep"}
    assert intensity.measured(ct_hu, **kept).all()
    padding = intensity.measured(ct_hu, **{**kept, "padding": "air"})
    assert padding.tolist() == [False] * 3 + [True] * 5
    metal = intensity.measured(ct_hu, **{**kept, "metal": "air"})
    assert metal.tolist() == [True] * 6 + [False] * 2
