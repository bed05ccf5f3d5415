"""Predictions that are there: none made twice, none kept when stale, no other file replaced."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import predictions
import pydicom
import pytest
import SimpleITK as sitk

from multires_tf.ground import errors
from multires_tf.joints import outputs
from multires_tf.joints import predictor as predictors
from multires_tf.measure import intervals
from multires_tf.steps import predict


@pytest.fixture
def calls():
    return []


@pytest.fixture
def predictor(calls):
    return predictions.echo(calls)


def test_the_same_image_is_left_and_another_one_is_not_taken_for_it(predictor, calls, tmp_path):
    image, out = predictions.write_mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    predictions.run(predictor, image, out)
    once = len(calls)
    predictions.run(predictor, image, out)
    assert len(calls) == once > 0
    before = (out / "ct.nii.gz").read_bytes()
    predictions.run(predictor, predictions.write_mr(tmp_path / "other.nii.gz", seed=1), out)
    assert len(calls) == 2 * once
    assert (out / "ct.nii.gz").read_bytes() != before


def test_what_was_left_beside_a_finished_prediction_goes(predictor, calls, tmp_path):
    """Killed after the last file, before the tiles were removed."""
    image, out = predictions.write_mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    predictions.run(predictor, image, out)
    once, tiles = len(calls), tmp_path / ".out.unfinished" / "tiles"
    tiles.mkdir(parents=True)
    predictions.run(predictor, image, out)
    assert len(calls) == once and not tiles.parent.exists()


def test_a_calibration_scales_both_parts_and_makes_what_was_there_stale(predictor, calls, tmp_path):
    image, out = predictions.write_mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    predictions.run(predictor, image, out)
    once = len(calls)
    found = intervals.Calibration(1.5, 100.0, {"soft": {"90": 80.0}}, {"soft": {"90": 1.7}})
    settings = dataclasses.replace(predictions.SETTINGS, calibration="beef")
    calibrated = dataclasses.replace(predictor, settings=settings, calibration=found)
    predictions.run(calibrated, image, out)
    assert len(calls) == 2 * once
    for name in ("aleatoric", "total"):
        sd_hu = sitk.GetArrayFromImage(sitk.ReadImage(str(out / f"{name}_sd_hu.nii.gz")))
        np.testing.assert_allclose(sd_hu, 1.5 * 40.95, rtol=1e-5)
    facts = json.loads((out / "prediction.json").read_text())
    assert facts["calibration"] == found.as_dict()
    predictions.run(calibrated, image, out)
    assert len(calls) == 2 * once


def test_a_folder_with_anything_else_is_not_replaced(predictor, calls, tmp_path):
    image = predictions.write_mr(tmp_path / "patient" / "mr.nii.gz")
    with pytest.raises(
        errors.UserError, match=r"patient: holds other files.*--output a new folder"
    ):
        predictions.run(predictor, image, tmp_path / "patient")
    assert image.exists() and not calls
    out = tmp_path / "out"
    predictions.run(predictor, image, out)
    (out / "my notes.txt").write_text("keep me")
    with pytest.raises(errors.UserError, match="out: holds other files"):
        predictions.run(predictor, image, out)
    with pytest.raises(errors.UserError, match="is a file; give --output a folder"):
        predictions.run(predictor, image, image)


def test_what_is_missing_or_cut_short_is_made_again(predictor, calls, tmp_path):
    image, out = predictions.write_mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    predictions.run(predictor, image, out)
    whole = (out / "ct.nii.gz").read_bytes()
    (out / "ct.nii.gz").unlink()
    predictions.run(predictor, image, out)
    assert (out / "ct.nii.gz").read_bytes() == whole
    (out / "total_sd_hu.nii.gz").write_bytes(b"cut")
    predictions.run(predictor, image, out)
    assert len((out / "total_sd_hu.nii.gz").read_bytes()) > 3
    once = len(calls)
    predictions.run(predictor, image, out)
    assert len(calls) == once


def test_a_link_to_a_folder_is_written_through_and_a_mount_is_refused(
    predictor, calls, tmp_path, monkeypatch
):
    image = predictions.write_mr(tmp_path / "mr.nii.gz")
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out").symlink_to("scratch")
    monkeypatch.setattr(predict.predictors, "load", lambda *_: predictor)
    monkeypatch.setattr(predict.runfolder.RunFolder, "need", lambda _, path, verb: path)
    monkeypatch.setattr(predict.configs, "parse", lambda path: predictor.config)
    monkeypatch.setattr(predict.assembly, "checkpoint_checksum", lambda folder: "c0ffee")
    predict.run(workdir=tmp_path / "run", input=image, output=tmp_path / "out")
    assert (tmp_path / "scratch" / "ct.nii.gz").exists() and (tmp_path / "out").is_symlink()
    monkeypatch.setattr(predict.os.path, "ismount", lambda path: path.name == "mounted")
    (tmp_path / "mounted").mkdir()
    once = len(calls)
    with pytest.raises(errors.UserError, match="mounted: a mounted folder cannot be replaced"):
        predictions.run(predictor, image, tmp_path / "mounted")
    assert len(calls) == once


def test_another_wish_is_another_prediction(predictor, calls, tmp_path):
    image, out = predictions.write_mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    predictions.run(predictor, image, out)
    predictions.run(predictor, image, out, mumap=outputs.Mumap(120))
    assert (out / "mumap_sd.nii.gz").exists()
    once = len(calls)
    predictions.run(predictor, image, out, mumap=outputs.Mumap(120))
    assert len(calls) == once


def test_tiles_that_are_there_are_not_computed_again(predictor, calls, tmp_path, monkeypatch):
    image, out = predictions.write_mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    monkeypatch.setattr(predictors.resampling, "restore", lambda *_, **__: 1 / 0)  # dies at the end
    with pytest.raises(ZeroDivisionError):
        predictions.run(predictor, image, out)
    monkeypatch.undo()
    once = len(calls)
    predictions.run(predictor, image, out)
    assert len(calls) == once > 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mr.nii.gz", "out"]


@pytest.mark.parametrize("another", ["series", "checkpoint"])
def test_what_a_killed_prediction_left_is_not_taken_for_another(
    predictor, calls, mr_series, tmp_path, monkeypatch, another
):
    """Two series of one folder have one checksum, and so has an MR under two networks."""
    mr = predictions.voxels().astype(np.uint16)
    series = []
    for number, pixels in enumerate((mr, mr // 2)):
        folder = mr_series(tmp_path / f"mr{number}", pixels, pixel_mm=(3.0, 3.0))
        for path in folder.iterdir():
            series.append(str(pydicom.dcmread(path).SeriesInstanceUID))
            path.rename(tmp_path / "mr0" / f"{number}_{path.name}")
    first, second = sorted(set(series))

    def run(out, *, last):
        settings = predictions.SETTINGS
        if another == "checkpoint" and last:
            settings = dataclasses.replace(settings, checkpoint="decaf")
        chosen = second if another == "series" and last else first
        requests = list(predict._new_subjects(tmp_path / "mr0", tmp_path / out, chosen))
        predict._predict_all(dataclasses.replace(predictor, settings=settings), requests, None)

    monkeypatch.setattr(predictors.resampling, "restore", lambda *_, **__: 1 / 0)  # dies at the end
    with pytest.raises(ZeroDivisionError):
        run("out", last=False)
    monkeypatch.undo()
    once = len(calls)
    run("out", last=True)
    assert len(calls) == 2 * once > 0
    run("fresh", last=True)
    facts = (tmp_path / "out" / "prediction.json").read_text()
    assert first not in facts and second not in facts  # a UID tells a patient
    names = ("ct.nii.gz", "total_sd_hu.nii.gz")
    assert all(
        (tmp_path / "out" / n).read_bytes() == (tmp_path / "fresh" / n).read_bytes() for n in names
    )
