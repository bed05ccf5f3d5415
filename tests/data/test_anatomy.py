import numpy as np
import pytest

from multires_tf.data import anatomy


def test_a_box_has_its_own_extents():
    unit = np.full((20, 30, 40), 0.5, np.float32)
    body = np.zeros(unit.shape, bool)
    body[5:15, 10:20, 8:32] = True
    found = anatomy.statistics(unit, body, (4.0, 3.0, 2.0))
    for name, mm in (("height", 40), ("depth", 30), ("width", 48)):
        assert found[f"body_log_{name}"] == pytest.approx(np.log(mm), abs=1e-6)
    assert found["body_log_litres"] == pytest.approx(np.log(0.0576), abs=1e-6)
    assert [found[f"intensity_q{q:02d}"] for q in (5, 25, 50, 75, 95)] == [0.5] * 5
    assert found["dark_share"] == found["roughness"] == 0.0
    assert found["dark_aside"] == found["dark_ahead"] == 0.0


def test_a_lung_on_one_side_alone_lies_aside():
    unit = np.full((10, 20, 40), 0.5, np.float32)
    body = np.ones(unit.shape, bool)
    both, left = unit.copy(), unit.copy()
    both[:, :10, 5:10] = both[:, :10, 30:35] = 0.0
    left[:, :10, 30:35] = 0.0
    both, left = (anatomy.statistics(a, body, (5.0,) * 3) for a in (both, left))
    assert both["dark_share"] == pytest.approx(0.125)
    assert left["dark_share"] == pytest.approx(0.0625)
    assert both["dark_aside"] == pytest.approx(0.0, abs=1e-9)
    # 12.5 voxels off the middle of a body 40 wide, whose deviation is 40 / sqrt(12).
    assert left["dark_aside"] == pytest.approx(12.5 * np.sqrt(12) / 40, rel=1e-6)
    assert left["dark_ahead"] == pytest.approx(5 * np.sqrt(12) / 20, rel=1e-6)


def test_noise_is_rough():
    body = np.ones((12, 12, 12), bool)
    noise = np.random.default_rng(0).normal(0.5, 0.05, body.shape).astype(np.float32)
    # Two independent Gaussians differ by 2 sd / sqrt(pi) on average.
    expected = 2 * 0.05 / np.sqrt(np.pi)
    assert anatomy.statistics(noise, body, (1.0,) * 3)["roughness"] == pytest.approx(
        expected, rel=0.03
    )
