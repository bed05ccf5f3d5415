import json
import math

import numpy as np
import pytest

from multires_tf.measure import intervals


def _fitted(pct_hu, ct_hu, sd_hu=None):
    fit = intervals.Fit()
    fit.add(np.array(pct_hu), np.array(ct_hu), None if sd_hu is None else np.array(sd_hu))
    return fit.calibration()


def test_the_scale_is_the_root_mean_squared_z():
    # z = 1, 2, 2, 1
    found = _fitted([10.0, 40.0, 20.0, 5.0], [0.0] * 4, [10.0, 20.0, 10.0, 5.0])
    assert found.scale == pytest.approx(math.sqrt(10 / 4))
    assert found.scaled(np.float32([2.0])) == pytest.approx([2 * found.scale])


def test_half_widths_by_hand():
    # Nine errors of 1 to 9 HU in soft tissue: the ceil(10 p)-th smallest.
    found = _fitted(np.arange(1.0, 10.0), np.zeros(9))
    assert found.half_widths_hu == {"soft": {"50": 5.0, "80": 8.0, "90": 9.0}}  # 95: the 10th of 9
    assert found.scale is None and found.half_widths_sd == {}
    assert found.scaled(np.float32([2.0])).tolist() == [2.0]


def test_tissues_are_those_of_the_prediction():
    pct_hu = np.repeat([300.0, 0.0], 50)
    found = _fitted(pct_hu, pct_hu + np.repeat([-200.0, 7.0], 50))
    assert found.half_widths_hu["bone"]["90"] == 200.0
    assert found.half_widths_hu["soft"]["90"] == 7.0
    assert "air" not in found.half_widths_hu


def test_uncertain_voxels_have_half_widths_of_their_own():
    # In soft tissue errors of 10 HU where the deviation is 5, of 400 where it is 200: z is 2.
    sd_hu, error_hu = np.repeat([5.0, 200.0], 50), np.repeat([10.0, 400.0], 50)
    found = _fitted(np.zeros(100), error_hu, sd_hu)
    assert found.scale == pytest.approx(2.0) and found.boundary_sd_hu == pytest.approx(200.0)
    widths = {name: found.half_widths_hu[name]["90"] for name in found.half_widths_hu}
    assert widths == {"soft": 10.0, "uncertain_soft": 400.0}
    new = np.zeros(4), np.array([9.0, 11.0, 399.0, 401.0]), np.array([10.0, 199.0, 201.0, 400.0])
    assert intervals.coverages(found, *new)["conformal_hu_90"] == 0.5


def test_nothing_is_promised_of_a_class_of_few_voxels():
    # Five errors: the ceil(6 p)-th smallest, and for 90 % that is the sixth.
    sd_hu = np.repeat([5.0, 200.0], [95, 5])
    found = _fitted(np.zeros(100), np.arange(1.0, 101.0), sd_hu)
    assert found.half_widths_hu["soft"] == {"50": 48.0, "80": 77.0, "90": 87.0, "95": 92.0}
    assert found.half_widths_hu["uncertain_soft"] == {"50": 98.0, "80": 100.0}
    errors_hu, sds_hu = np.array([80.0, 88.0, 99.0, 10.0]), np.repeat([1.0, 9e9], 2)
    shares = intervals.coverages(found, np.zeros(4), errors_hu, sds_hu)
    assert shares["conformal_hu_80"] == 0.5 and shares["conformal_hu_90"] == 0.5
    assert shares["conformal_hu_95"] == 1


def test_a_calibration_from_before_the_classes_is_by_tissue():
    found = intervals.Calibration.from_dict(
        {"scale": 2.0, "half_widths_hu": {"soft": {"90": 5.0}}, "half_widths_sd": {}}
    )
    assert found.boundary_sd_hu is None
    shares = intervals.coverages(found, np.zeros(2), np.array([4.0, 6.0]), np.array([1.0, 500.0]))
    assert shares["conformal_hu_90"] == 0.5


def test_classes_part_all_voxels():
    pct_hu, sd_hu = np.array([-900.0, -900.0, 0.0, 300.0]), np.array([1.0, 101.0, 100.0, 500.0])
    found = intervals.classes(pct_hu, sd_hu, 100.0)
    assert tuple(found) == intervals.CLASSES
    named = [[name for name in found if found[name][voxel]] for voxel in range(4)]
    assert named == [["air"], ["uncertain_air"], ["soft"], ["uncertain_bone"]]
    assert tuple(intervals.classes(pct_hu, None, None)) == ("air", "soft", "bone")


def test_a_half_width_is_rounded_up():
    assert _fitted(np.full(50, 7.2), np.zeros(50)).half_widths_hu["soft"]["90"] == 8.0


def test_multiples_are_of_the_scaled_sd():
    found = _fitted(np.full(100, 60.0), np.zeros(100), np.full(100, 20.0))  # z = 3 throughout
    assert found.scale == pytest.approx(3.0)
    assert found.half_widths_sd["soft"]["90"] == pytest.approx(1.0, rel=0.003)
    assert found.half_widths_sd["soft"]["90"] >= 1.0


def test_new_voxels_are_covered_as_promised_whatever_the_distribution():
    random = np.random.default_rng(0)
    sd_hu = np.exp(random.normal(3, 1, 40_000))
    error_hu = sd_hu * random.standard_t(3, sd_hu.size)
    pct_hu = np.tile([-800.0, 0.0, 500.0, 10.0], 10_000)
    part = [slice(0, 20_000), slice(20_000, None)]
    found = _fitted(*((v[part[0]]) for v in (pct_hu, pct_hu + error_hu, sd_hu)))
    new = [v[part[1]] for v in (pct_hu, pct_hu + error_hu, found.scaled(sd_hu))]
    shares = intervals.coverages(found, *new)
    for name, share in shares.items():
        assert share == pytest.approx(int(name[-2:]) / 100, abs=0.015), name
    assert len(shares) == 8


def test_voxels_without_a_half_width_are_left_out():
    found = _fitted(np.arange(1.0, 10.0), np.zeros(9))
    shares = intervals.coverages(found, np.array([1.0, 900.0]), np.array([0.0, 900.0]), None)
    assert shares == {"conformal_hu_50": 1, "conformal_hu_80": 1, "conformal_hu_90": 1}


def test_it_survives_json_and_refuses_nonsense():
    found = _fitted(np.full(100, 60.0), np.zeros(100), np.full(100, 20.0))
    kept = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert intervals.Calibration.from_dict(kept) == found
    for spoilt in (
        {"scale": -1.0},
        {"boundary_sd_hu": math.nan},
        {"half_widths_hu": {"soft": {"90": -1}}},
    ):
        with pytest.raises(ValueError):
            intervals.Calibration.from_dict({**kept, **spoilt})
    with pytest.raises(KeyError):
        intervals.Calibration.from_dict({"scale": 1.0})


def test_nothing_to_fit_to():
    with pytest.raises(ValueError, match="no voxel"):
        intervals.Fit().calibration()
    with pytest.raises(ValueError, match="without any error"):
        _fitted([1.0], [1.0], [5.0])
