import math

import numpy as np
import pytest
from scipy import stats

from multires_tf.measure import statistics


def test_sample_standard_deviation():
    assert statistics.summarise([2.0, 4.0, math.nan]) == statistics.Summary(3.0, math.sqrt(2), 2)


def test_one_subject_has_no_spread_and_none_has_nothing():
    one = statistics.summarise([5.0])
    assert (one.mean, one.n) == (5.0, 1)
    assert math.isnan(one.sd)
    none = statistics.summarise([math.nan])
    assert math.isnan(none.mean) and none.n == 0


def test_paired_tests_equal_scipy():
    a, b = [10.0, 12.0, 11.0, 15.0, math.nan], [11.0, 15.0, 13.0, 19.0, 1.0]
    found = statistics.compare(a, b)
    assert (found.mean_difference, found.n) == (-2.5, 4)
    assert found.t_p == pytest.approx(stats.ttest_rel(a[:4], b[:4]).pvalue)
    assert found.wilcoxon_p == pytest.approx(0.125)


def test_too_few_subjects_to_test():
    assert math.isnan(statistics.compare([1.0], [2.0]).t_p)
    assert math.isnan(statistics.compare([1.0, 2.0], [2.0, 3.0]).t_p)
    with pytest.raises(ValueError, match="equal lengths"):
        statistics.compare([1.0], [1.0, 2.0])


def test_a_share_of_all_voxels_and_its_interval_over_subjects():
    share, low, high = statistics.share_over_subjects([0.9, 0.8, math.nan], [300, 100, 0])
    assert share == pytest.approx((270 + 80) / 400)
    # Drawn with replacement, both subjects may be either of them: the shares are 0.8 to 0.9.
    assert (low, high) == (pytest.approx(0.8), pytest.approx(0.9))
    alone = statistics.share_over_subjects([0.7], [10])
    assert alone[0] == 0.7 and math.isnan(alone[1])
    assert math.isnan(statistics.share_over_subjects([math.nan], [0])[0])


def test_the_bootstrap_s_interval_is_as_wide_as_theory_has_it():
    random = np.random.default_rng(0)
    shares = random.normal(0.9, 0.02, 200)
    share, low, high = statistics.share_over_subjects(shares, np.full(200, 1000))
    half = 1.96 * shares.std(ddof=1) / math.sqrt(200)
    assert (share - low, high - share) == (pytest.approx(half, rel=0.1),) * 2
    assert statistics.share_over_subjects(shares, np.full(200, 1000)) == (share, low, high)


def test_texts_of_the_summary():
    summary = {
        "mean": {"a": 1.0, "b": 4.0, "c": None},
        "sd": {"a": 0.5, "b": None, "c": None},
        "n": {"a": 3, "b": 1, "c": 0},
    }
    text = "{:.1f}".format
    assert statistics.plus_minus(text, summary, "a") == "1.0 ± 0.5"
    assert statistics.plus_minus(text, summary, "b") == "4.0 (1 of 3)"
    assert statistics.ratio(summary, "a", "b") == 0.25
    assert statistics.ratio(summary, "a", "c") is None
