"""Tables and figures of a study, from run folders that hold no more than they need."""

import csv
import io
import json
import pathlib
import re

import numpy as np
import pytest
import scored_runs
from matplotlib import image as png

from multires_tf.ground import config, errors
from multires_tf.joints import comparison
from multires_tf.measure import reliability
from multires_tf.studies import exhibits

MAE_HU = {
    "net_a": {"s1": 10.0, "s2": 30.0, "s3": 20.0},
    "net_b": {"s1": 8.0, "s2": 25.0, "s3": 19.0},
}


@pytest.fixture
def runs(tmp_path):
    """Two scored arms."""
    found = {}
    for name, scores in MAE_HU.items():
        found[name] = [scored_runs.scored(tmp_path / name, scores)]
    return found


def test_a_summary_has_a_row_an_arm_and_empty_cells_where_nothing_is_known(runs, tmp_path):
    history = "step,loss,seconds,best_val_mae_hu,best_step\n10,2.5,1.5,,\n"
    runs["net_a"][0].history.write_text(history)  # no validation yet
    runs["net_b"][0].history.write_text(history + "20,1.2,2.25,80.52,20\n")
    runs["net_a"][0].scores_json.unlink()
    shown = exhibits.summary(("val_mae_hu", "best_step", "training_seconds", "mae_hu"))
    lines = shown(runs, tmp_path)
    assert lines[0] == "| arm | val_mae_hu | best_step | training_seconds | mae_hu |"
    assert lines[2:] == ["| net_a |  |  | 1.50 |  |", "| net_b | 80.5 | 20 | 3.75 | 17.3 |"]
    assert (tmp_path / "summary.md").read_text().splitlines() == lines


def test_table_1_is_written_for_people_and_for_programs(runs, tmp_path):
    lines = exhibits.table1(runs, tmp_path)
    assert "| net_b | 2.54M | **17.3 ± 8.6** | **350 ± 281** |" in lines
    assert (tmp_path / "table1.md").read_text().splitlines() == lines[:-2]
    rows = list(csv.DictReader((tmp_path / "table1.csv").open()))
    assert [float(row["mae_hu"]) for row in rows] == pytest.approx([20.0, 52 / 3])
    (pair, _) = csv.DictReader((tmp_path / "table1_pairs.csv").open())
    assert (pair["first"], pair["second"], pair["n"]) == ("net_a", "net_b", "3")


@pytest.mark.parametrize("setting", ["train.steps=7", "register=none", "spacing_mm=[2, 2, 2]"])
def test_arms_of_another_budget_or_preparation_make_no_table(runs, tmp_path, setting):
    other = config.load(scored_runs.BASE, sets=[setting])
    runs["net_b"][0].config.write_text(config.dump(other))
    key = setting.split("=")[0]
    with pytest.raises(errors.UserError, match=f"net_b.config.yaml: arm net_a has {key}: "):
        exhibits.table1(runs, tmp_path)


def test_the_page_of_a_study_holds_what_its_exhibits_left(runs, tmp_path, loaded):
    for one in (exhibits.table1, exhibits.figure2, exhibits.summary(("mae_hu",))):
        for run in runs.values():
            run[0].history.write_text("step,loss,seconds\n100000,2.5,1.5\n")
        one(runs, tmp_path)
    (tmp_path / "figure2.png").write_bytes(b"png")
    runs["net_a"][0].report.parent.mkdir(parents=True)
    runs["net_a"][0].report.write_text("report")
    (tmp_path / "summary.md").write_text("| arm |\n|---|\n| <b>net</b> |\n")
    assert exhibits.page(runs, tmp_path) == [str(tmp_path / "index.html")]
    text = (tmp_path / "index.html").read_text()
    assert '<a href="net_a/report/index.html">net_a</a>' in text and "net_b/report" not in text
    assert "<strong>17.3 ± 8.6</strong>" in text and "data:image/png;base64,cG5n" in text
    assert "&lt;b&gt;net&lt;/b&gt;" in text
    assert text.index("Arms") < text.index("Table 1") < text.index("Figure 2")


def test_the_page_of_a_study_leaves_out_what_is_older_than_its_runs(runs, tmp_path, loaded):
    exhibits.table1(runs, tmp_path)
    exhibits.figure2(runs, tmp_path)
    exhibits.figure3(runs, tmp_path)  # of net_b alone
    (tmp_path / "coverage.md").write_text("| of nobody knows which scores |\n")
    scores = runs["net_a"][0].scores_json
    scores.write_text(json.dumps({**json.loads(scores.read_text()), "mean": {"mae_hu": 21.0}}))
    exhibits.figure2(runs, tmp_path)
    page, *left_out = exhibits.page(runs, tmp_path)
    reason = "older than its runs, or of unknown ones: left out of the page; make it again"
    assert left_out == [f"{tmp_path / name}: {reason}" for name in ("table1.md", "coverage.md")]
    text = pathlib.Path(page).read_text()
    assert "Figure 2" in text and "Figure 3" in text
    assert "Table 1" not in text and "nobody" not in text


@pytest.mark.parametrize("notes", ['{"table1.md": ["net_a"]}', '{"table1.md": {}}'])
def test_notes_that_say_nothing_are_of_no_run(runs, tmp_path, notes):
    exhibits.table1(runs, tmp_path)
    (tmp_path / "exhibits.json").write_text(notes)
    _, left_out = exhibits.page(runs, tmp_path)
    assert "table1.md: older than its runs" in left_out


def test_what_was_predicted_since_makes_an_exhibit_old(runs, tmp_path):
    exhibits.table1(runs, tmp_path)
    assert len(exhibits.page(runs, tmp_path)) == 1
    facts = runs["net_b"][0].prediction("s2") / "prediction.json"
    facts.parent.mkdir(parents=True)
    facts.write_text("{}")
    _, left_out = exhibits.page(runs, tmp_path)
    assert "table1.md: older than its runs" in left_out


def test_scores_of_other_test_subjects_are_refused(runs, tmp_path):
    run = runs["net_b"][0]
    table = "subject,mr,ct,split\n" + "".join(f"s{k},s{k}.nii,c{k}.nii,test\n" for k in (1, 2, 3))
    run.cohort.write_text(table)
    exhibits.table1(runs, tmp_path)
    run.cohort.write_text(table.replace("c2.nii,test", "c2.nii,none"))
    with pytest.raises(errors.UserError, match=r"scores\.json: s2 has another split in coh"):
        exhibits.table1(runs, tmp_path)


def test_scores_of_other_predictions_or_another_checkpoint_are_refused(runs, tmp_path):
    facts = runs["net_b"][0].prediction("s2") / "prediction.json"
    facts.parent.mkdir(parents=True)
    facts.write_text("{}")
    stale = r"net_b.scores.json: older than the predictions; run 'evaluate' again"
    with pytest.raises(errors.UserError, match=stale):
        exhibits.table1(runs, tmp_path)
    facts.unlink()
    exhibits.table1(runs, tmp_path)
    runs["net_b"][0].checkpoints.mkdir()
    (runs["net_b"][0].checkpoints / "best.npz").write_bytes(b"trained on")
    with pytest.raises(errors.UserError, match=stale):
        exhibits.table1(runs, tmp_path)


def test_a_subject_scored_twice_is_refused(runs, tmp_path):
    path = runs["net_b"][0].scores_csv
    path.write_text(path.read_text() + "s2,test,25.0,625.0,\r\n")
    with pytest.raises(
        errors.UserError, match=r"scores.csv: subject s2 is scored twice; run 'eval"
    ):
        exhibits.table1(runs, tmp_path)
    assert not (tmp_path / "table1.md").exists()


def test_an_arm_that_was_not_scored_and_one_scored_on_others(runs, tmp_path):
    others = {"s1": 8.0, "s2": 25.0, "s4": 19.0}
    odd = {**runs, "net_c": [scored_runs.scored(tmp_path / "net_c", others)]}
    with pytest.raises(errors.UserError, match=r"subject s3 is scored in only one of net_a, net_c"):
        exhibits.table1(odd, tmp_path)
    path = runs["net_b"][0].scores_csv
    whole = path.read_text()
    path.write_text(whole.replace("s3", "s4"))
    with pytest.raises(errors.UserError, match=r"scores\.csv: subject s3 is lacking, or was not"):
        exhibits.table1(runs, tmp_path)
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(errors.UserError, match=r"scores\.csv: subject s3 is lacking, or was not"):
        exhibits.table1(runs, tmp_path)
    path.write_text(whole.splitlines()[0] + "\n")
    with pytest.raises(errors.UserError, match="no subject in it"):
        exhibits.table1(runs, tmp_path)
    path.unlink()
    with pytest.raises(errors.UserError, match=r"net_b.scores.csv: not there yet; run 'evaluate'"):
        exhibits.table1(runs, tmp_path)


@pytest.fixture
def loaded(monkeypatch):
    """What `comparison.load` was asked for; it gives two voxels' worth of anatomy."""
    asked = []

    def load(run, subject):
        asked.append((run.root.name, subject))
        return scored_runs.comparison_of(run, subject)

    monkeypatch.setattr(comparison, "load", load)
    return asked


def test_figure_2_shows_the_last_arm_s_median_subject_in_every_arm(runs, tmp_path, loaded):
    lines = exhibits.figure2(runs, tmp_path)
    assert lines == [f"{tmp_path / 'figure2.png'}: subject s3"]
    assert loaded == [("net_a", "s3"), ("net_b", "s3")]
    pixels = png.imread(io.BytesIO((tmp_path / "figure2.png").read_bytes()))
    assert pixels.shape[1] > 2 * 150 and pixels.std() > 0.1


def test_figure_2_needs_one_truth(runs, tmp_path, loaded, monkeypatch):
    original = comparison.load

    def shifted(run, subject):
        pair = original(run, subject)
        if run.root.name == "net_b":
            pair.ct_hu[:] += 1
        return pair

    monkeypatch.setattr(comparison, "load", shifted)
    with pytest.raises(errors.UserError, match="arm net_b: prepared subject s3 otherwise"):
        exhibits.figure2(runs, tmp_path)
    assert not (tmp_path / "figure2.png").exists()


def test_figure_3_counts_all_subjects_of_the_last_arm(runs, tmp_path, loaded):
    lines = exhibits.figure3(runs, tmp_path)
    assert [re.sub(r".*/", "", line) for line in lines] == [
        "figure3.png",
        "figure3_maps.png: subject s3",
    ]
    assert loaded == [("net_b", s) for s in ("s1", "s2", "s3", "s3")]
    assert (tmp_path / "figure3.png").stat().st_size > 1000


def test_figure_3_needs_both_uncertainties(runs, tmp_path, loaded, monkeypatch):
    original = comparison.load

    def poor(run, subject):
        pair = original(run, subject)
        del pair.sd_hu["epistemic"]
        return pair

    monkeypatch.setattr(comparison, "load", poor)
    with pytest.raises(errors.UserError, match="arm net_b: no epistemic map"):
        exhibits.figure3(runs, tmp_path)


def test_coverage_pools_voxels_and_tells_before_from_after(runs, tmp_path):
    run = runs["net_a"][0]
    common = {"region": "bone", "zms": 1.0}
    rows = [
        {
            "subject": "s1",
            "maps": "raw",
            **common,
            "voxels": 300,
            "coverage_90": 0.8,
            "conformal_hu_90": "",
        },
        {
            "subject": "s2",
            "maps": "raw",
            **common,
            "voxels": 100,
            "coverage_90": 0.4,
            "conformal_hu_90": "",
        },
        {
            "subject": "s1",
            "maps": "calibrated",
            **common,
            "voxels": 300,
            "coverage_90": 0.9,
            "conformal_hu_90": 1.0,
        },
        {
            "subject": "s2",
            "maps": "calibrated",
            **common,
            "voxels": 100,
            "coverage_90": 0.9,
            "conformal_hu_90": 0.5,
        },
    ]
    scored_runs.table(run.reliability_csv, rows)
    tally = reliability.Tally()
    tally.add(np.full(400, 5.0 * np.sqrt(2.5)), np.full(400, 5.0))
    reliability.write(run.tallies, {("raw", "bone"): tally})
    lines = exhibits.coverage({"net_a": [run]}, tmp_path)
    assert (
        lines[2]
        == "| net_a | raw | bone | Gaussian | 70.0 % | 40.0 % to 80.0 % | 2.50 | 0.58 | 0.00 |"
    )
    assert (
        lines[3] == "| net_a | calibrated | bone | Gaussian | 90.0 % | 90.0 % to 90.0 % |  |  |  |"
    )
    assert lines[4].startswith("| net_a | calibrated | bone | conformal, in HU | 87.5 % |")
    found = list(csv.DictReader((tmp_path / "coverage.csv").open()))
    assert float(found[0]["inside"]) == pytest.approx(0.7)
    with pytest.raises(errors.UserError, match="csv: not there yet"):
        exhibits.coverage(runs, tmp_path)
