"""The verb `phantom`: files of the contract, geometry, split, refusals."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf.ground import errors
from multires_tf.steps import phantom

COARSE = {"seed": 3, "spacing_mm": 20.0}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    lines = phantom.run(out=out, subjects=4, **COARSE)
    assert "cohort.csv" in lines[0]
    return out


def _rows(out):
    with (out / "cohort.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_of_the_contract(cohort):
    rows = _rows(cohort)
    assert list(rows[0]) == ["subject", "mr", "ct", "split"]
    assert len(rows) == 4
    for row in rows:
        mr, ct = (sitk.ReadImage(str(cohort / row[role])) for role in ("mr", "ct"))
        assert mr.GetSize() == ct.GetSize()
        assert mr.GetSpacing() == ct.GetSpacing() == (20.0, 20.0, 20.0)
        assert mr.GetOrigin() == pytest.approx(ct.GetOrigin())
        assert ct.GetPixelID() == sitk.sitkInt16
    truth = cohort / rows[0]["subject"] / "truth"
    labels = json.loads((truth / "labels.json").read_text())
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(truth / "tissues.nii.gz")))
    assert set(np.unique(image)) <= set(labels.values())
    for name in ("ct_noise_sd_hu", "mr_noise_sd", "bias", "body_mask", "gas_ct", "gas_mr"):
        assert (truth / f"{name}.nii.gz").is_file()
    origins = {sitk.ReadImage(str(cohort / row["ct"])).GetOrigin() for row in rows}
    assert len(origins) == 4


def test_head_is_up_and_the_liver_on_the_right(cohort):
    folder = cohort / "phantom000"
    labels = json.loads((folder / "truth" / "labels.json").read_text())
    image = sitk.ReadImage(str(folder / "truth" / "tissues.nii.gz"))
    array = sitk.GetArrayFromImage(image)

    def place(name):
        z, y, x = np.argwhere(array == labels[name]).mean(axis=0)
        return np.array(image.TransformContinuousIndexToPhysicalPoint((x, y, z)))

    # LPS: x to the left, z to the head.
    assert place("liver")[0] < place("spleen")[0]
    assert place("white matter")[2] > place("liver")[2] + 300


def test_no_temporary_file_is_left(cohort):
    assert not [p for p in cohort.rglob("*") if p.name.startswith(".")]


def test_the_same_cohort_is_left_as_it_is_and_a_missing_subject_is_made_again(cohort):
    before = (cohort / "phantom001" / "ct.nii.gz").stat().st_mtime_ns
    lines = phantom.run(out=cohort, subjects=4, **COARSE)
    assert "already" in lines[0]
    whole = sitk.GetArrayFromImage(sitk.ReadImage(str(cohort / "phantom002" / "mr.nii.gz")))
    (cohort / "phantom002").rename(cohort.parent / "moved")
    phantom.run(out=cohort, subjects=4, **COARSE)
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(cohort / "phantom002" / "mr.nii.gz")))
    np.testing.assert_array_equal(whole, again)
    assert (cohort / "phantom001" / "ct.nii.gz").stat().st_mtime_ns == before


def test_another_cohort_is_refused(cohort):
    with pytest.raises(errors.UserError, match=r"seed 3, not 4.*another --out"):
        phantom.run(out=cohort, subjects=4, seed=4, spacing_mm=20.0)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(errors.UserError, match="empty folder"):
        phantom.run(out=tmp_path, subjects=1, **COARSE)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("change", "word"),
    [({"subjects": 0}, "subjects"), ({"seed": -1}, "seed"), ({"spacing_mm": 0.1}, "spacing_mm")],
)
def test_values_out_of_range_are_refused(tmp_path, change, word):
    with pytest.raises(errors.UserError, match=word):
        phantom.run(**({"out": tmp_path / "new", "subjects": 1} | COARSE | change))
    assert not (tmp_path / "new").exists()


def test_stations(tmp_path):
    phantom.run(out=tmp_path, subjects=1, stations=True, **COARSE)
    folder = tmp_path / "phantom000"
    assert not (folder / "mr.nii.gz").exists()
    whole = sitk.ReadImage(str(folder / "truth" / "mr.nii.gz"))
    parts = [sitk.ReadImage(str(folder / f"mr_station{k}.nii.gz")) for k in (1, 2, 3, 4)]
    bottoms = [part.GetOrigin()[2] for part in parts]
    assert bottoms == sorted(bottoms, reverse=True)
    assert bottoms[3] == pytest.approx(whole.GetOrigin()[2])
    tops = [part.TransformIndexToPhysicalPoint((0, 0, part.GetSize()[2] - 1))[2] for part in parts]
    assert all(tops[k + 1] > bottoms[k] for k in range(3))


def test_split_in_proportion_and_drawn_from_the_seed(cohort, tmp_path):
    splits = [row["split"] for row in _rows(cohort)]
    assert sorted(splits) == ["test", "train", "train", "validation"]
    names = [f"phantom{i:03d}" for i in range(32)]
    tables = []
    for seed in (3, 4):
        phantom._write_table(tmp_path / "cohort.csv", names, seed=seed, stations=False)
        tables.append((tmp_path / "cohort.csv").read_text())
    counts = [tables[0].count(f",{name}\n") for name in ("train", "validation", "test")]
    assert counts == [22, 5, 5]
    assert tables[0] != tables[1]
