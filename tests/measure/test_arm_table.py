import pytest
from scipy import stats

from multires_tf.measure import arm_table

GOOD = {"a": 10.0, "b": 12.0, "c": 15.0}
BAD = {"a": 20.0, "b": 24.0, "c": 21.0}


def _arm(name, mae_hu, parameters=4_835_073):
    return arm_table.ScoredArm(
        name, parameters, {s: {"mae_hu": v, "mse_hu2": v**2} for s, v in mae_hu.items()}
    )


def test_rows_hold_mean_and_sample_sd():
    first, second = arm_table.rows([_arm("good", GOOD), _arm("bad", BAD, None)])
    assert first["mae_hu"] == pytest.approx(37 / 3)
    assert first["mae_hu_sd"] == pytest.approx(stats.tstd(list(GOOD.values())))
    assert (first["parameters"], second["parameters"], first["subjects"]) == (4_835_073, None, 3)


def test_pairs_are_tested_subject_by_subject_whatever_their_order():
    turned = dict(reversed(BAD.items()))
    mae, mse = arm_table.pair_rows([_arm("good", GOOD), _arm("bad", turned)])
    assert mae["mean_difference"] == pytest.approx(-28 / 3)
    assert mae["t_p"] == pytest.approx(
        stats.ttest_rel(list(GOOD.values()), list(BAD.values())).pvalue
    )
    assert mae["wilcoxon_p"] == pytest.approx(0.25)
    assert mse["metric"] == "mse_hu2"


def test_the_table_in_the_paper_s_form():
    lines = arm_table.markdown([_arm("bad", BAD, None), _arm("good", GOOD)]).splitlines()
    assert lines[0] == "| arm | parameters | MAE (HU) | MSE (HU²) |"
    assert lines[2] == "| bad | – | 21.7 ± 2.1 | 472 ± 92 |"
    assert lines[3] == "| good | 4.84M | **12.3 ± 2.5** | **156 ± 63** |"
    assert lines[7].startswith("| bad − good | 9.3 | 0.0")
    assert lines[-1] == "3 test subjects, mean ± sd over them."


def test_other_subjects_are_no_pairs():
    with pytest.raises(ValueError, match="subject d is scored in only one of good, bad"):
        arm_table.subjects([_arm("good", GOOD), _arm("bad", {**BAD, "d": 1.0})])
