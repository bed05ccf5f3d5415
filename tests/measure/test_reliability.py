import math

import numpy as np
import pytest
from scipy import stats

from multires_tf.ground import errors
from multires_tf.measure import reliability


def _tally(error_hu, sd_hu):
    tally = reliability.Tally()
    tally.add(np.array(error_hu), np.array(sd_hu))
    return tally


@pytest.fixture(scope="module")
def sample():
    """Errors of a subject whose sd are too small by a third, with tails."""
    random = np.random.default_rng(0)
    sd_hu = np.exp(random.normal(3.5, 0.8, 20_000))
    return 1.5 * sd_hu * random.standard_t(5, sd_hu.size), sd_hu


@pytest.fixture(scope="module")
def found(sample):
    return _tally(*sample).measures()


def test_z_and_coverage_by_hand():
    # z = 1, -1, 2, 0; half widths of the intervals: 0.674, 1.282, 1.645, 1.960.
    found = _tally([10, -20, 20, 0], [10, 20, 10, 5]).measures()
    assert found["voxels"] == 4
    assert found["zms"] == 6 / 4
    assert [found[f"coverage_{p}"] for p in (50, 80, 90, 95)] == [1 / 4, 3 / 4, 3 / 4, 3 / 4]
    assert found["sharpness_hu"] == pytest.approx(math.sqrt((100 + 400 + 100 + 25) / 4))
    log_sd = np.log([10, 20, 10, 5]).mean()
    assert found["nll"] == pytest.approx(0.5 * 6 / 4 + log_sd + 0.5 * math.log(2 * math.pi))


def test_measures_equal_uncertainty_toolbox(sample, found):
    toolbox = pytest.importorskip("uncertainty_toolbox")
    error_hu, sd_hu = sample
    arguments = (error_hu, sd_hu, np.zeros_like(error_hu))
    nll = toolbox.nll_gaussian(*arguments)
    area = toolbox.miscalibration_area(*arguments, vectorized=True, num_bins=100)
    assert found["nll"] == pytest.approx(nll, rel=1e-9)
    # Levels 0.5, 0.8, 0.9 and 0.95 lie between the toolbox's: the curves differ by a hair there.
    assert found["miscalibration_area"] == pytest.approx(area, abs=1e-4)
    assert found["sharpness_hu"] == pytest.approx(toolbox.sharpness(sd_hu), rel=1e-9)
    _, observed = toolbox.get_proportion_lists_vectorized(*arguments, num_bins=100)
    levels, ours = _tally(*sample).curve()
    np.testing.assert_allclose(
        ours[np.searchsorted(levels, np.linspace(0, 1, 100))], observed, atol=1e-12
    )


def test_ence_ause_and_spearman_equal_their_definitions_on_sorted_voxels(sample, found):
    error, sd_hu = np.abs(sample[0]), sample[1]
    order = np.argsort(sd_hu)
    bins = np.split(order, reliability.ENCE_BINS)
    rmv, rmse = (np.array([np.sqrt(np.mean(v[b] ** 2)) for b in bins]) for v in (sd_hu, error))
    assert found["ence"] == pytest.approx(np.mean(np.abs(rmv - rmse) / rmv), rel=2e-3)
    left = np.rint((1 - reliability.REMOVED) * error.size).astype(int)
    curves = [np.cumsum(e)[left - 1] / left / error.mean() for e in (error[order], np.sort(error))]
    ause = np.trapezoid(curves[0] - curves[1], reliability.REMOVED)
    assert found["ause"] == pytest.approx(ause, rel=2e-3)
    assert found["spearman"] == pytest.approx(stats.spearmanr(sd_hu, error)[0], abs=1e-3)


def test_gaussian_errors_of_the_right_size_are_calibrated():
    random = np.random.default_rng(0)
    sd_hu = random.uniform(10, 200, 100_000)
    found = _tally(random.normal(0, sd_hu), sd_hu).measures()
    assert found["zms"] == pytest.approx(1.0, abs=0.02)
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.005)
    assert found["miscalibration_area"] < 0.005
    assert found["ence"] < 0.02


def test_the_oracle_has_no_area_and_a_constant_sd_no_rank():
    error = np.arange(1.0, 1001.0)
    assert _tally(error, error).measures()["ause"] == pytest.approx(0.0, abs=1e-3)
    assert _tally(error, error).measures()["spearman"] == pytest.approx(1.0, abs=1e-3)
    flat = _tally(error, np.full(1000, 7.0))
    assert math.isnan(flat.measures()["spearman"])
    # Removed in no order, half the voxels err as much as all; the oracle keeps the smaller half.
    by_sd, oracle = flat.sparsification()
    assert by_sd[50] == pytest.approx(500.5)
    assert oracle[50] == pytest.approx(250.5, rel=1e-3)


def test_tallies_of_parts_add_up_to_the_whole(sample, found):
    whole = reliability.Tally()
    for part in np.array_split(np.arange(sample[1].size), 7):
        whole += _tally(sample[0][part], sample[1][part])
    assert whole.measures() == pytest.approx(found, rel=1e-12)


def test_chunks_do_not_show(sample, found, monkeypatch):
    monkeypatch.setattr(reliability, "_CHUNK", 999)
    assert _tally(*sample).measures() == pytest.approx(found, rel=1e-12)


def test_tallies_are_kept_in_a_file(tmp_path, sample, found):
    kept = {("raw", "body"): _tally(*sample), ("raw", "air"): reliability.Tally()}
    reliability.write(tmp_path / "t.npz", kept)
    again = reliability.read(tmp_path / "t.npz")
    assert list(again) == list(kept)
    assert again["raw", "body"].measures() == found
    again["raw", "body"] += kept["raw", "body"]
    assert again["raw", "body"].voxels == 2 * found["voxels"]
    assert again["raw", "air"].voxels == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"no archive",
        lambda whole: whole[:-80],
        lambda whole: whole[: len(whole) // 2] + bytes(40) + whole[len(whole) // 2 + 40 :],
    ],
    ids=["empty", "text", "cut", "overwritten"],
)
def test_a_damaged_file_of_tallies_is_named(tmp_path, sample, damage):
    path = tmp_path / "t.npz"
    reliability.write(path, {("raw", "body"): _tally(*sample)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(errors.UserError, match=r"t\.npz: damaged or cut .*; run 'evaluate' ag"):
        reliability.read(path)


def test_nothing_counted_measures_nothing():
    found = reliability.Tally().measures()
    assert list(found) == list(reliability.MEASURES)
    assert found["voxels"] == 0 and math.isnan(found["zms"]) and math.isnan(found["ause"])


def test_a_zero_sd_counts_as_the_rounding_of_the_file():
    assert _tally([1.0], [0.0]).measures()["zms"] == pytest.approx(12.0)


def test_unequal_sizes_are_an_error():
    with pytest.raises(ValueError, match="2 errors, but 1"):
        _tally([1.0, 2.0], [1.0])


def test_joint_histogram_counts_voxels_and_averages_errors():
    histogram = reliability.JointHistogram(sd_limit_hu=80, error_limit_hu=80)
    histogram.add(np.array([0.5, 0.5, 10.5]), np.array([-3.5, 5.5, 7.5]))
    histogram.add(np.array([0.5]), np.array([1000.0]))
    assert histogram.counts.sum() == 3
    assert histogram.counts[0, 3] == histogram.counts[0, 5] == histogram.counts[10, 7] == 1
    mean = histogram.mean_error_hu(at_least=2)
    assert mean[0] == pytest.approx((3.5 + 5.5 + 1000) / 3)
    assert np.isnan(mean[10])
