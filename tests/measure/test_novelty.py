import numpy as np
import pytest

from multires_tf.measure import novelty


def cohort(count=11, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, 8)) * [1, 2, 3, 4, 0.1, 0.2, 1, 1]
    return [{f"s{i}": float(v) for i, v in enumerate(row)} for row in values]


def test_a_subject_at_two_deviations_in_everything_scores_two():
    subjects = [{"a": a, "b": 10 * a} for a in (-1.0, -1.0, 1.0, 1.0)]
    sd = np.std([-1, -1, 1, 1], ddof=1) * np.sqrt(1 + 1 / 4)
    found = novelty.Reference(subjects).novelty({"a": 2 * sd, "b": -20 * sd})
    assert found.score == pytest.approx(2.0)
    assert found.unusual == {}


def test_usual_subjects_pass_and_strangers_are_named():
    reference = novelty.Reference(cohort())
    usual = [reference.novelty(one) for one in cohort(200, seed=1)]
    assert np.mean([one.score for one in usual]) == pytest.approx(1.0, abs=0.25)
    assert np.mean([one.is_high for one in usual]) < 0.05
    stranger = dict(cohort(1, seed=2)[0], s4=3.0, s1=-40.0)
    found = reference.novelty(stranger)
    assert found.is_high
    assert list(found.unusual)[:2] == ["s4", "s1"]
    assert found.unusual["s4"] > 20 and found.unusual["s1"] < -10


def test_statistics_that_never_vary_do_not_make_strangers():
    subjects = [{"a": 0.30 + 1e-6 * i} for i in range(5)]
    assert novelty.Reference(subjects).novelty({"a": 0.31}).score < 1
    assert novelty.Reference(subjects).novelty({"a": 0.60}).score > 10


def test_too_few_subjects_and_other_names_are_refused():
    with pytest.raises(ValueError, match="3 training subjects"):
        novelty.Reference(cohort(3))
    with pytest.raises(ValueError, match="other names"):
        novelty.Reference(cohort()).novelty({"s0": 1.0})
    with pytest.raises(ValueError, match="different names"):
        novelty.Reference([*cohort(4), {"s0": 1.0}])
