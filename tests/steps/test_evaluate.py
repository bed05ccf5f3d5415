import csv
import json

import numpy as np
import pytest

from multires_tf import errors
from multires_tf.steps import evaluate

BONE_SHARE = 1 / 9


def _rows(run):
    with run.folder.scores_csv.open(newline="") as file:
        return {row["subject"]: row for row in csv.DictReader(file)}


def _summary(run):
    def refuse(word):
        raise AssertionError(f"{word} is not strict JSON")

    return json.loads(run.folder.scores_json.read_text(), parse_constant=refuse)


def test_scores_and_baseline_by_hand(known_run):
    evaluate.run(workdir=known_run.folder.root)
    row = _rows(known_run)["p4"]
    assert row["split"] == "test"
    assert int(row["voxels"]) == 6 * 9 * 10
    assert float(row["mae_soft_hu"]) == 10
    assert float(row["mae_bone_hu"]) == 30
    assert row["mae_air_hu"] == ""
    assert float(row["mae_hu"]) == pytest.approx(10 + 20 * BONE_SHARE)
    assert float(row["mse_hu2"]) == pytest.approx(100 + 800 * BONE_SHARE)
    assert float(row["baseline_mae_soft_hu"]) == 20
    assert float(row["baseline_mae_bone_hu"]) == 100
    assert float(row["baseline_mae_hu"]) == pytest.approx(20 + 80 * BONE_SHARE)
    assert float(row["bone_found"]) == 1


def test_only_test_subjects_are_scored_and_columns_are_the_contract(known_run):
    evaluate.run(workdir=known_run.folder.root)
    assert list(_rows(known_run)) == ["p4", "p<5>"]
    assert known_run.folder.scores_csv.read_text().startswith(
        "subject,split,mae_hu,mse_hu2,mae_air_hu,mae_soft_hu,mae_bone_hu,psnr_db,ssim,"
        "baseline_mae_hu,baseline_mae_bone_hu,"
    )


def test_summary_over_the_test_subjects(known_run):
    known_run.predict("p4", known_run.ct_hu + 4)
    known_run.predict("p<5>", known_run.ct_hu + 8)
    evaluate.run(workdir=known_run.folder.root)
    summary = _summary(known_run)
    assert summary["mean"]["mae_hu"] == 6
    assert summary["sd"]["mae_hu"] == pytest.approx(np.sqrt(8))
    assert summary["n"]["mae_hu"] == 2
    assert summary["mean"]["mae_air_hu"] is None and summary["n"]["mae_air_hu"] == 0


def test_lines_tell_model_baseline_and_ratio(known_run):
    lines = evaluate.run(workdir=known_run.folder.root)
    bone = next(line for line in lines if line.startswith("MAE, bone"))
    assert bone.split()[-7:] == ["30.0", "±", "0.0", "100.0", "±", "0.0", "0.30"]
    assert lines[-2:] == [str(known_run.folder.scores_csv), str(known_run.folder.scores_json)]


def test_uncertainties_add_calibration(known_run):
    for subject in ("p4", "p<5>"):
        known_run.predict(subject, known_run.ct_hu + 10, aleatoric=3.0, epistemic=4.0)
    evaluate.run(workdir=known_run.folder.root)
    mean = _summary(known_run)["mean"]
    assert mean["zms"] == pytest.approx((10 / 5) ** 2)
    assert mean["coverage_90"] == 0
    assert mean["mean_total_sd_hu"] == pytest.approx(5)


def test_a_missing_prediction_names_predict_and_writes_nothing(known_run):
    (known_run.folder.prediction("p<5>") / "ct.nii.gz").unlink()
    with pytest.raises(errors.UserError, match=r"p<5>/ct.nii.gz: .*'predict'"):
        evaluate.run(workdir=known_run.folder.root)
    assert not known_run.folder.scores_csv.exists()


def test_an_empty_folder_names_prepare(tmp_path):
    with pytest.raises(errors.UserError, match="'prepare'"):
        evaluate.run(workdir=tmp_path)


def test_the_truth_is_refused_as_a_prediction(known_run):
    known_run.predict("p4", known_run.ct_hu)
    with pytest.raises(errors.UserError, match="equal to the true CT"):
        evaluate.run(workdir=known_run.folder.root)
