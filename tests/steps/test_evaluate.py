import csv
import dataclasses
import json

import numpy as np
import pytest

from multires_tf.data import store
from multires_tf.ground import config, errors
from multires_tf.measure import intervals, reliability
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


@pytest.mark.parametrize(("use_flagged", "baseline_hu"), [(False, 20), (True, 480)])
def test_the_lookup_table_is_fitted_on_those_that_trained(known_run, use_flagged, baseline_hu):
    run = known_run.folder
    attributes = store.open_pyramid(run.volume("p2", "ct")).attributes
    shifted = np.full(known_run.ct_hu.shape, 1000, np.float32)  # a median of 0 and 1000 is 500
    store.write_pyramid(run.volume("p2", "ct"), shifted, fill=-1024.0, attributes=attributes)
    table = run.cohort.read_text().replace("split\n", "split,flags\n")
    run.cohort.write_text(table.replace("p2/ct.nii,,train", "p2/ct.nii,,train,moved"))
    settings = config.parse(run.config)
    sampling = dataclasses.replace(settings.sampling, use_flagged=use_flagged)
    run.config.write_text(config.dump(dataclasses.replace(settings, sampling=sampling)))
    evaluate.run(workdir=run.root)
    found = float(_rows(known_run)["p4"]["baseline_mae_soft_hu"])
    assert found == pytest.approx(baseline_hu, abs=0.5)


def test_only_test_subjects_are_scored_and_columns_are_the_contract(known_run):
    evaluate.run(workdir=known_run.folder.root)
    assert list(_rows(known_run)) == ["p4", "p<5>"]
    assert known_run.folder.scores_csv.read_text().startswith(
        "subject,split,mae_hu,mse_hu2,mae_air_hu,mae_soft_hu,mae_bone_hu,psnr_db,ssim,"
        "baseline_mae_hu,baseline_mae_bone_hu,"
    )


def test_subjects_predicted_in_two_ways_are_not_scored_together(known_run):
    for subject, samples in (("p4", 20), ("p<5>", 2)):
        facts = known_run.folder.prediction(subject) / "prediction.json"
        facts.write_text(json.dumps({"settings": {"samples": samples}}))
    with pytest.raises(errors.UserError, match="with samples 2, others with 20; run 'predict'"):
        evaluate.run(workdir=known_run.folder.root)
    assert not known_run.folder.scores_csv.exists()


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


def _reliability(run):
    with run.folder.reliability_csv.open(newline="") as file:
        rows = csv.DictReader(file)
        return {(row["subject"], row["maps"], row["region"]): row for row in rows}


def test_reliability_by_subject_and_region(known_run):
    for subject in ("p4", "p<5>"):
        pct_hu = known_run.ct_hu + np.where(known_run.ct_hu == 400, 8, 4)
        known_run.predict(subject, pct_hu, total=4.0)
    evaluate.run(workdir=known_run.folder.root)
    rows = _reliability(known_run)
    regions = ["body", "air", "soft", "bone", "contour"]
    assert list(rows) == [(s, "raw", region) for s in ("p4", "p<5>") for region in regions]
    assert float(rows["p4", "raw", "soft"]["zms"]) == pytest.approx(1)
    assert float(rows["p4", "raw", "bone"]["zms"]) == pytest.approx(4)
    assert float(rows["p4", "raw", "body"]["zms"]) == pytest.approx((8 + 4) / 9)
    assert rows["p4", "raw", "air"]["voxels"] == "0" and rows["p4", "raw", "air"]["zms"] == ""
    pooled = json.loads(known_run.folder.reliability_json.read_text())["raw"]["bone"]
    assert pooled["measures"]["voxels"] == 2 * 6 * 10
    assert pooled["measures"]["coverage_90"] == 0 and pooled["measures"]["coverage_95"] == 0
    curve = dict(zip(*pooled["reliability"].values(), strict=True))
    assert curve[0.95] == 0 and curve[1.0] == 1  # |z| is 2: outside of the 95.4 %
    assert len(pooled["sparsification"]["removed"]) == 100
    kept = reliability.read(known_run.folder.tallies)["raw", "bone"].measures()
    assert pooled["measures"] == {k: None if np.isnan(v) else v for k, v in kept.items()}


def test_before_and_after_a_calibration_come_from_the_same_maps(known_run):
    found = intervals.Calibration(2.0, 100.0, {"soft": {"90": 5.0}, "bone": {"90": 6.0}}, {})
    for subject in ("p4", "p<5>"):
        known_run.predict(subject, known_run.ct_hu + 6, total=6.0)
        facts = {"settings": {}, "calibration": found.as_dict()}
        path = known_run.folder.prediction(subject) / "prediction.json"
        path.write_text(json.dumps(facts))
    lines = evaluate.run(workdir=known_run.folder.root)
    assert [line[:39] for line in lines if "squared z" in line] == [
        "Total sd: mean squared z 4.00 (1 is rig",
        "Calibrated total sd: mean squared z 1.0",
    ]
    rows = _reliability(known_run)
    assert float(rows["p4", "raw", "body"]["zms"]) == pytest.approx(4)
    assert float(rows["p4", "calibrated", "body"]["zms"]) == pytest.approx(1)
    assert float(_rows(known_run)["p4"]["zms"]) == pytest.approx(1)
    assert float(rows["p4", "calibrated", "soft"]["conformal_hu_90"]) == 0
    assert float(rows["p4", "calibrated", "bone"]["conformal_hu_90"]) == 1
    assert rows["p4", "raw", "bone"]["conformal_hu_90"] == ""


def test_a_run_without_uncertainty_has_no_reliability(known_run):
    known_run.folder.reliability_csv.write_text("of an earlier network")
    evaluate.run(workdir=known_run.folder.root)
    assert not known_run.folder.reliability_csv.exists()
    assert not known_run.folder.reliability_json.exists()
    assert not known_run.folder.tallies.exists()


def test_the_contour_s_band_and_later_definitions_are_appended(known_run):
    evaluate.run(workdir=known_run.folder.root)
    row = _rows(known_run)["p4"]
    assert float(row["psnr_2025_db"]) > float(row["psnr_db"])
    # The field goes on beyond the body at the head alone: three slices of 3 mm inside the contour,
    # with bone, and the one outside, which errs by 10 HU.
    assert float(row["mae_contour_hu"]) == pytest.approx((3 * (10 + 20 * BONE_SHARE) + 10) / 4)
    assert 0.9 < float(row["ms_ssim"]) < 1
    # From 20 to 30 HU and from 400 to 370 HU, below and above Carney's break at 47 HU.
    expected = (8 * 10 * 9.6e-5 + 30 * 5.10e-5) / 9
    assert float(row["mu_mae_per_cm"]) == pytest.approx(expected, rel=1e-4)
    assert float(row["baseline_mu_mae_per_cm"]) > expected


def test_the_truth_by_a_link_is_refused(known_run, tmp_path):
    path = known_run.folder.prediction("p4") / "ct.nii.gz"
    truth = tmp_path / "truth.nii.gz"
    path.rename(truth)
    path.symlink_to(truth)
    table = known_run.folder.cohort.read_text().replace("p4/ct.nii", str(truth))
    known_run.folder.cohort.write_text(table)
    with pytest.raises(errors.UserError, match=r"p4/ct.nii.gz: is the true CT itself"):
        evaluate.run(workdir=known_run.folder.root)
    assert not known_run.folder.scores_csv.exists()


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
