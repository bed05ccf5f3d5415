import numpy as np
import pytest

from multires_tf import errors
from multires_tf.data import intensity

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


def test_an_mr_that_was_shifted_gets_its_zero_back():
    mr = np.arange(1, 1001, dtype=np.int16).reshape(10, 10, 10)
    assert intensity.above_zero(mr)[0] is mr
    raised, floor = intensity.above_zero(mr - 1024)
    assert floor == pytest.approx(-1023, abs=1)  # the thousandth part of a thousand voxels
    assert np.allclose(raised, np.maximum(mr - 1024 - floor, 0), atol=1e-3)
    mr = np.where(mr > 400, mr, 0) - 700.0
    mr[mr == -700] = 0  # what is blanked after the shift is no signal, though it lies above some
    raised, floor = intensity.above_zero(mr)
    assert floor == pytest.approx(-299, abs=1)
    assert np.all(raised[:4] == 0) and raised.max() == pytest.approx(599, abs=1)


def test_what_an_interpolation_has_overshot_by_is_no_shift():
    mr = np.arange(0, 8000, dtype=np.float32).reshape(20, 20, 20)
    mr[10, 10, 10] = -300
    raised, floor = intensity.above_zero(mr)
    assert floor == 0 and raised[10, 10, 10] == 0
    mr[10, 10, 10] = 0
    assert np.array_equal(raised, mr)


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
