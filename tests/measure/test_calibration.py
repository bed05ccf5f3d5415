import numpy as np
import pytest

from multires_tf.measure import calibration


def test_mean_squared_z_and_coverage_by_hand():
    # z = 1, -1, 2, 0; the 90 % interval ends at 1.645.
    found = calibration.calibration(np.array([10, -20, 20, 0]), np.array([10, 20, 10, 5]))
    assert found == {"zms": 6 / 4, "coverage_90": 3 / 4}


def test_gaussian_errors_of_the_right_size_are_calibrated():
    random = np.random.default_rng(0)
    sd_hu = random.uniform(10, 200, 100_000)
    found = calibration.calibration(random.normal(0, sd_hu), sd_hu)
    assert found["zms"] == pytest.approx(1.0, abs=0.02)
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.005)


def test_a_zero_sd_counts_as_the_rounding_of_the_file():
    found = calibration.calibration(np.array([1.0]), np.array([0.0]))
    assert found["zms"] == pytest.approx(12.0)


def test_joint_histogram_counts_voxels_and_averages_errors():
    histogram = calibration.JointHistogram(sd_limit_hu=80, error_limit_hu=80)
    histogram.add(np.array([0.5, 0.5, 10.5]), np.array([-3.5, 5.5, 7.5]))
    histogram.add(np.array([0.5]), np.array([1000.0]))
    assert histogram.counts.sum() == 3
    assert histogram.counts[0, 3] == histogram.counts[0, 5] == histogram.counts[10, 7] == 1
    mean = histogram.mean_error_hu(at_least=2)
    assert mean[0] == pytest.approx((3.5 + 5.5 + 1000) / 3)
    assert np.isnan(mean[10])
