import numpy as np
import pytest

from multires_tf.data import attenuation
from multires_tf.ground import errors

KVPS = (80, 100, 110, 120, 130, 140)


def test_carney_at_120_kv():
    hu = np.array([-1024.0, -1000.0, 0.0, 46.99, 47.0, 1000.0])
    expected = [0.0, 0.0, 0.0960, 0.10051, 0.10050, 0.1491]
    np.testing.assert_allclose(attenuation.mu_per_cm(hu, 120), expected, atol=5e-6)


@pytest.mark.parametrize(
    ("kvp", "bone"),  # a 2000 + b by the published table
    [(80, 0.1354), (100, 0.1430), (110, 0.1472), (120, 0.1491), (130, 0.1526), (140, 0.1536)],
)
def test_the_published_lines(kvp, bone):
    mu = attenuation.mu_per_cm(np.array([-500.0, 1000.0], np.float32), kvp)
    np.testing.assert_allclose(mu, [0.048, bone], atol=1e-6)


@pytest.mark.parametrize("kvp", KVPS)
def test_the_lines_meet_at_the_break(kvp):
    _, soft, bone = attenuation.lines(kvp)
    at_break = [line.slope * (bone.low_hu + 1000) + line.offset for line in (soft, bone)]
    assert abs(at_break[0] - at_break[1]) < 2.5e-4
    hu = np.arange(-1100, 3072, dtype=np.float32)
    assert np.diff(attenuation.mu_per_cm(hu, kvp)).min() > -2.5e-4


def test_a_voltage_without_a_map_is_refused():
    with pytest.raises(errors.UserError, match=r"--mumap 90: .* give one of 80, 100"):
        attenuation.mu_per_cm(np.zeros(1), 90)


def deviation(hu, sd_hu, kvp=120):
    return float(attenuation.sd_per_cm(np.full((1, 1), hu), np.full((1, 1), sd_hu), kvp)[0, 0])


def test_within_a_line_the_deviation_is_the_slope_times_that_of_hu():
    assert deviation(-100.0, 10.0) == pytest.approx(9.6e-4, rel=1e-6)
    assert deviation(500.0, 60.0) == pytest.approx(5.1e-5 * 60, rel=1e-6)
    assert deviation(-1400.0, 30.0) == 0.0
    assert deviation(-100.0, 0.0) == 0.0


def test_at_air_only_half_of_a_gaussian_attenuates():
    # max(0, X) of a standard Gaussian has the variance 1/2 - 1/(2 pi).
    expected = 9.6e-5 * 20 * np.sqrt(0.5 - 0.5 / np.pi)
    assert deviation(-1000.0, 20.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kvp", KVPS)
@pytest.mark.parametrize(("hu", "sd_hu"), [(47, 30), (40, 80), (-950, 60), (0, 300), (60, 0.5)])
def test_the_closed_form_is_the_integral(hu, sd_hu, kvp):
    x = hu + sd_hu * np.linspace(-9, 9, 2_000_001)
    weight = np.exp(-0.5 * ((x - hu) / sd_hu) ** 2)
    _, soft, bone = attenuation.lines(kvp)
    mu = np.where(x < bone.low_hu, soft.slope * (x + 1000), bone.slope * (x + 1000) + bone.offset)
    mu = np.maximum(mu, 0)
    mean = np.average(mu, weights=weight)
    expected = np.sqrt(np.average((mu - mean) ** 2, weights=weight))
    assert deviation(hu, sd_hu, kvp) == pytest.approx(expected, rel=1e-4)


def test_blurring_keeps_a_constant_and_widens_a_spike_to_the_asked_width():
    spike = np.zeros((41, 81, 41), np.float32)
    spike[20, 40, 20] = 1.0
    blurred = attenuation.smooth(spike, 12.0, (3.0, 1.5, 3.0))
    assert blurred.sum() == pytest.approx(1.0, abs=1e-5)
    along_z, along_y = blurred[:, 40, 20], blurred[20, :, 20]
    assert along_z[22] / along_z[20] == pytest.approx(0.5, rel=1e-3)  # 6 mm off: half
    assert along_y[44] / along_y[40] == pytest.approx(0.5, rel=1e-3)
    flat = np.full((5, 6, 7), 0.096, np.float32)
    np.testing.assert_allclose(attenuation.smooth(flat, 6.0, (2.0, 2.0, 2.0)), 0.096, rtol=1e-6)
    assert attenuation.smooth(flat, 0.0, (2.0, 2.0, 2.0)) is flat


def test_a_blurred_deviation_is_no_smaller_than_that_of_the_blurred_map():
    rng = np.random.default_rng(0)
    sd = rng.uniform(0.001, 0.01, (12, 12, 12))
    common, own = rng.normal(size=(2, 400, 1, 1, 1)), rng.normal(size=(400, 12, 12, 12))
    bound = attenuation.smooth(sd, 6.0, (2.0, 2.0, 2.0))
    together = np.std([attenuation.smooth(sd * c, 6.0, (2.0,) * 3) for c in common[0]], axis=0)
    alone = np.std([attenuation.smooth(sd * o, 6.0, (2.0,) * 3) for o in own], axis=0)
    np.testing.assert_allclose(together, bound * np.std(common[0]), rtol=1e-5)
    assert (alone < bound).all()
