"""The exhibits of a study with folds: an arm is what its runs of all folds say together."""

import json
import re
import shutil

import numpy as np
import pytest
import scored_runs

from multires_tf.ground import config, errors
from multires_tf.joints import comparison
from multires_tf.measure import reliability
from multires_tf.studies import exhibits, pooling

FOLDED = {
    "net_a": ({"s1": 10.0, "s2": 30.0}, {"s3": 20.0}),
    "net_b": ({"s1": 8.0, "s2": 25.0}, {"s3": 19.0}),
}


@pytest.fixture
def folded(tmp_path):
    """The same scores, of two folds."""
    return {
        name: [
            scored_runs.scored(tmp_path / f"fold{k}" / name, own) for k, own in enumerate(scores, 1)
        ]
        for name, scores in FOLDED.items()
    }


def test_table_1_of_folds_is_that_of_all_their_subjects(folded, tmp_path):
    runs = {
        name: [scored_runs.scored(tmp_path / name, {**one, **two})]
        for name, (one, two) in FOLDED.items()
    }
    (tmp_path / "together").mkdir()
    (tmp_path / "apart").mkdir()
    wanted = exhibits.table1(runs, tmp_path / "together")
    found = exhibits.table1(folded, tmp_path / "apart")
    assert found[:-4] == wanted[:-2]
    assert found[-3].startswith("Tested in 2 folds: subjects of one fold share a network")
    for name in ("table1.csv", "table1_pairs.csv"):
        tables = [(tmp_path / folder / name).read_text() for folder in ("together", "apart")]
        assert tables[0] == tables[1]


def test_a_subject_tested_in_two_folds_is_refused(folded, tmp_path):
    _again(folded["net_b"][1], {"s2": 25.0, "s3": 19.0})
    twice = r"fold2.net_b.scores.csv: subject s2 is scored twice, in another fold too"
    with pytest.raises(errors.UserError, match=twice):
        exhibits.table1(folded, tmp_path)
    assert not (tmp_path / "table1.md").exists()


def _again(run, mae_hu):
    shutil.rmtree(run.root)
    scored_runs.scored(run.root, mae_hu)


def test_a_fold_without_scores_or_of_another_budget_makes_no_table(folded, tmp_path):
    other = config.load(scored_runs.BASE, sets=["train.steps=7"])
    folded["net_a"][1].config.write_text(config.dump(other))
    words = r"fold2.net_a.config.yaml: arm net_a of fold1 has train.steps: .* net_a of fold2"
    with pytest.raises(errors.UserError, match=words):
        exhibits.table1(folded, tmp_path)
    _again(folded["net_a"][1], {"s3": 20.0})
    folded["net_a"][1].scores_json.unlink()
    with pytest.raises(errors.UserError, match=r"fold2.net_a.scores.json: not there yet"):
        exhibits.table1(folded, tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        ({"samples": 3}, {"samples": 1}, "predicted with samples 1, other folds with 3"),
        ({"seed": 0}, {"seed": 1}, "predicted with seed 1, other folds with 0"),
        ({"calibration": {"scale": 2}}, {}, "predicted with calibration no, other folds with yes"),
    ],
)
def test_folds_that_were_predicted_otherwise_are_refused(folded, first, second, complaint):
    pooling.refuse_unlike_folds(folded)
    for run, subject, facts in zip(folded["net_a"], ("s1", "s3"), (first, second), strict=True):
        run.cohort.write_text(f"subject,mr,ct,split\n{subject},{subject}.nii,ct.nii,test\n")
        left = run.prediction("a")  # by an earlier cohort: predict does not touch it
        left.mkdir(parents=True)
        (left / "prediction.json").write_text(json.dumps({"settings": {"samples": 7, "seed": 7}}))
        path = run.prediction(subject) / "prediction.json"
        path.parent.mkdir(parents=True)
        calibration = facts.pop("calibration", None)
        path.write_text(json.dumps({"settings": facts, "calibration": calibration}))
    with pytest.raises(errors.UserError, match=rf"fold2.net_a.predictions: {complaint}; run 'pred"):
        pooling.refuse_unlike_folds(folded)


def test_an_arm_whose_training_has_not_ended_makes_no_table(folded, tmp_path):
    run = folded["net_b"][1]
    run.history.write_text("step,loss,seconds,loss_change\n20,1,1,0.06\n")
    words = r"fold2.net_b.history\.csv: training has stopped at step 20 of 100000; run 'train'"
    with pytest.raises(errors.UserError, match=words):
        exhibits.table1(folded, tmp_path)
    for row in ("20,1,1,0.04", "100000,1,1,"):  # converged; the last step
        run.history.write_text(f"step,loss,seconds,loss_change\n{row}\n")
        exhibits.table1(folded, tmp_path)


def test_a_damaged_history_is_named(folded, tmp_path):
    for runs in folded.values():
        for run in runs:
            run.history.write_text("step,loss,secs\n20,1,1\n")
    with pytest.raises(errors.UserError, match=r"history\.csv: damaged table; run 'train' again"):
        exhibits.summary(("mae_hu",))(folded, tmp_path)


def test_a_summary_of_folds_has_means_over_subjects_and_of_trainings(folded, tmp_path):
    head = "step,loss,seconds,best_val_mae_hu,best_step\n"
    for name, values in (("net_a", ("80", "")), ("net_b", ("80", "60"))):
        for run, value in zip(folded[name], values, strict=True):
            run.history.write_text(f"{head}10,2.5,1.5,{value},\n20,2,{value or 2}.5,{value},20\n")
    shown = exhibits.summary(("mae_hu", "val_mae_hu", "best_step", "training_seconds"))
    lines = shown(folded, tmp_path)
    assert lines[2:] == ["| net_a | 20 |  | 20 | 43 |", "| net_b | 17.3 | 70 | 20 | 72 |"]
    folded["net_b"][0].scores_json.unlink()
    with pytest.raises(errors.UserError, match=r"fold1.net_b.scores.json: not there yet"):
        shown(folded, tmp_path)


def test_figures_of_folds_show_the_run_that_tested_the_subject(folded, tmp_path, monkeypatch):
    asked = []

    def load(run, subject):
        asked.append((run, subject))
        return scored_runs.comparison_of(run, subject)

    monkeypatch.setattr(comparison, "load", load)
    exhibits.figure2(folded, tmp_path)
    assert asked == [(folded["net_a"][1], "s3"), (folded["net_b"][1], "s3")]
    asked.clear()
    exhibits.figure3(folded, tmp_path)
    one, two = folded["net_b"]
    assert asked == [(one, "s1"), (one, "s2"), (two, "s3"), (two, "s3")]


def test_coverage_of_folds_pools_all_rows(folded, tmp_path):
    own = ({"s1": (300, 0.8, 1.0), "s2": (100, 0.4, 2.0)}, {"s3": (400, 1.0, 0.5)})
    for run, rows in zip(folded["net_a"], own, strict=True):
        common = {"maps": "raw", "region": "bone"}
        columns = ("voxels", "coverage_90", "zms")
        table = [
            {"subject": subject, **common, **dict(zip(columns, values, strict=True))}
            for subject, values in rows.items()
        ]
        scored_runs.table(run.reliability_csv, table)
        tally = reliability.Tally()
        for voxels, _, z2 in rows.values():
            tally.add(np.full(voxels, 10 * np.sqrt(z2)), np.full(voxels, 10.0))
        reliability.write(run.tallies, {("raw", "bone"): tally})
    lines = exhibits.coverage({"net_a": folded["net_a"]}, tmp_path)
    # 680 of 800 voxels; the mean squared z of all voxels is (300 + 200 + 200) / 800.
    assert lines[2].startswith("| net_a | raw | bone | Gaussian | 85.0 % | 40.0 % to ")
    # All voxels have one sd: the bins' root mean squared errors against it, the errors in order.
    together = [10 * np.sqrt(z2) for rows in own for n, _, z2 in rows.values() for _ in range(n)]
    whole = reliability.Tally()
    whole.add(np.array(together), np.full(800, 10.0))
    ence, ause = (whole.measures()[key] for key in ("ence", "ause"))
    assert lines[2].endswith(f"| 0.88 | {ence:.2f} | {ause:.2f} |")


def test_the_page_of_a_study_with_folds_leads_to_all_reports(folded, tmp_path):
    for folds in folded.values():
        for run in folds:
            (run.root.parent / "cohort.csv").touch()
            run.report.parent.mkdir()
            run.report.write_text("report")
    exhibits.page(folded, tmp_path)
    text = (tmp_path / "index.html").read_text()
    links = re.findall('<a href="([^"]*)/report/index.html">([^<]*)</a>', text)
    assert links == [(f"fold{k}/{arm}",) * 2 for k in (1, 2) for arm in ("net_a", "net_b")]
