"""New images: maps on their own grid, nothing of anybody else's replaced, nothing done twice.

The network is replaced by one that returns the MR, so that no TensorFlow is needed.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy import ndimage

from multires_tf import config as configs
from multires_tf import errors, outputs, planning, synthesis
from multires_tf import predictor as predictors
from multires_tf.data import geometry, images, preparation, scans
from multires_tf.measure import intervals, novelty
from multires_tf.steps import predict

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
GRID = geometry.Geometry(
    size=(10, 24, 26),
    spacing_mm=(4.0, 3.0, 3.0),
    origin_mm=(-30.0, -40.0, 100.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
SETS = ("network.window=[32, 32, 32]", "predict.tile=[32, 32, 32]")
SETTINGS = predictors.Settings(
    samples=1, seed=0, tile=(32, 32, 32), overlap=0.25, checkpoint="c0ffee"
)


def _mr(path, *, seed=0, grid=GRID):
    _, y, x = np.ogrid[:10, :24, :26]
    body = (y - 11.5) ** 2 + (x - 12.5) ** 2 < 9**2
    noise = np.random.default_rng(seed).integers(1, 20, GRID.size)
    images.write((np.where(body, 400, 0) + noise).astype(np.int16), path, grid=grid)
    return path


@pytest.fixture
def calls():
    return []


@pytest.fixture
def predictor(calls):
    def compute(inputs):
        calls.append(len(inputs))
        return {"ct": inputs[0][0, ..., 0], "aleatoric": np.full_like(inputs[0][0, ..., 0], 1e-4)}

    config = configs.load(CONFIGS / "multires_unc.yaml", sets=SETS)
    extras = outputs.Extras()
    return predictors.Predictor(
        pathlib.Path(), config, compute, SETTINGS, extras, GRID.spacing_mm, None
    )


def _run(predictor, image, out, **extras):
    if extras:
        predictor = dataclasses.replace(predictor, extras=outputs.Extras(**extras))
    predict._predict_all(predictor, list(predict._new_subjects(image, out)), None)
    return out


def test_the_maps_lie_on_the_image_s_own_grid(predictor, tmp_path):
    _mr(tmp_path / "mr.nii.gz")
    _run(predictor, tmp_path / "mr.nii.gz", tmp_path / "out")
    names = {"ct.nii.gz", "aleatoric_sd_hu.nii.gz", "total_sd_hu.nii.gz", "prediction.json"}
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == names
    ct = sitk.ReadImage(str(tmp_path / "out" / "ct.nii.gz"))
    assert ct.GetPixelID() == sitk.sitkInt16
    assert geometry.same_grid(geometry.of_image(ct), GRID)
    sd_hu = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "total_sd_hu.nii.gz")))
    np.testing.assert_allclose(sd_hu, 40.95, rtol=1e-5)  # 0.01 of a window of 4095 HU
    facts = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert facts["subject"] == "mr"
    assert facts["settings"]["checkpoint"] == "c0ffee"


def test_the_same_image_is_left_and_another_one_is_not_taken_for_it(predictor, calls, tmp_path):
    image, out = _mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    _run(predictor, image, out)
    once = len(calls)
    _run(predictor, image, out)
    assert len(calls) == once > 0
    before = (out / "ct.nii.gz").read_bytes()
    _run(predictor, _mr(tmp_path / "other.nii.gz", seed=1), out)
    assert len(calls) == 2 * once
    assert (out / "ct.nii.gz").read_bytes() != before


def test_a_calibration_scales_both_parts_and_makes_what_was_there_stale(predictor, calls, tmp_path):
    image, out = _mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    _run(predictor, image, out)
    once = len(calls)
    found = intervals.Calibration(1.5, {"soft": {"90": 80.0}}, {"soft": {"90": 1.7}})
    settings = dataclasses.replace(SETTINGS, calibration="beef")
    calibrated = dataclasses.replace(predictor, settings=settings, calibration=found)
    _run(calibrated, image, out)
    assert len(calls) == 2 * once
    for name in ("aleatoric", "total"):
        sd_hu = sitk.GetArrayFromImage(sitk.ReadImage(str(out / f"{name}_sd_hu.nii.gz")))
        np.testing.assert_allclose(sd_hu, 1.5 * 40.95, rtol=1e-5)
    facts = json.loads((out / "prediction.json").read_text())
    assert facts["calibration"] == found.as_dict()
    _run(calibrated, image, out)
    assert len(calls) == 2 * once


def test_a_folder_with_anything_else_is_not_replaced(predictor, calls, tmp_path):
    image = _mr(tmp_path / "patient" / "mr.nii.gz")
    with pytest.raises(
        errors.UserError, match=r"patient: holds other files.*--output a new folder"
    ):
        _run(predictor, image, tmp_path / "patient")
    assert image.exists() and not calls
    out = tmp_path / "out"
    _run(predictor, image, out)
    (out / "my notes.txt").write_text("keep me")
    with pytest.raises(errors.UserError, match="out: holds other files"):
        _run(predictor, image, out)
    with pytest.raises(errors.UserError, match="is a file; give --output a folder"):
        _run(predictor, image, image)


def test_input_and_output_come_together(tmp_path):
    with pytest.raises(errors.UserError, match="--input and --output: give both"):
        predict.run(workdir=tmp_path, input=tmp_path / "mr.nii.gz")


def test_blurring_is_for_an_attenuation_map(tmp_path):
    with pytest.raises(errors.UserError, match=r"--pet_fwhm_mm: .* give --mumap as well"):
        predict.run(workdir=tmp_path, pet_fwhm_mm=6.0)


def test_a_mean_of_draws_and_the_law_of_total_variance(tmp_path):
    def compute(inputs):
        one = np.ones_like(inputs[0][0, ..., 0])
        return {"ct": 0.25 * one, "aleatoric": 9e-6 * one, "epistemic": 16e-6 * one}

    config = configs.load(CONFIGS / "multires_unc.yaml", sets=SETS)
    extras = outputs.Extras(uncertain_above_hu=20.0)
    made = predictors.Predictor(
        pathlib.Path(), config, compute, SETTINGS, extras, GRID.spacing_mm, None
    )
    out = _run(made, _mr(tmp_path / "mr.nii.gz"), tmp_path / "out")
    found = {
        name: sitk.GetArrayFromImage(sitk.ReadImage(str(out / f"{name}_sd_hu.nii.gz")))
        for name in ("aleatoric", "epistemic", "total")
    }
    # 0.003, 0.004 and 0.005 of the window's 4095 HU.
    for name, hu in (("aleatoric", 12.285), ("epistemic", 16.38), ("total", 20.475)):
        np.testing.assert_allclose(found[name], hu, rtol=1e-5)
    facts = json.loads((out / "prediction.json").read_text())
    assert facts["uncertain"]["share"] == 1.0
    assert facts["means_by_tissue_hu"]["total_sd_hu"] == {"soft": 20.48}


@pytest.mark.parametrize("name", ["oblique", "flipped", "anisotropic"])
def test_turned_mrs_get_their_maps_where_they_lie(predictor, tmp_path, name):
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    fields = {
        "oblique": {"direction": (1.0, 0, 0, 0, c, -s, 0, s, c)},
        "flipped": {"direction": (-1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0)},
        "anisotropic": {"spacing_mm": (8.0, 3.0, 1.5)},
    }
    grid = dataclasses.replace(GRID, **fields[name])
    _mr(tmp_path / "mr.nii.gz", grid=grid)
    out = _run(predictor, tmp_path / "mr.nii.gz", tmp_path / "out")
    mr = sitk.ReadImage(str(tmp_path / "mr.nii.gz"))
    for file in out.glob("*.nii.gz"):
        made = sitk.ReadImage(str(file))
        assert made.GetSize() == mr.GetSize()
        np.testing.assert_allclose(made.GetOrigin(), mr.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(made.GetSpacing(), mr.GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(made.GetDirection(), mr.GetDirection(), atol=1e-6)
    # The network gives the MR back: brighter than 0.5 of the window in the body, dark outside.
    ct_hu = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "ct.nii.gz")))
    body = sitk.GetArrayFromImage(mr) > 300
    inner = ndimage.binary_erosion(body, np.ones((1, 7, 7)))[1:-1]
    outer = ~ndimage.binary_dilation(body, np.ones((1, 7, 7)))[1:-1]
    assert inner.any() and ct_hu[1:-1][inner].mean() > ct_hu[1:-1][outer].mean() + 1000


def test_a_dicom_series_is_asked_for_and_the_mr_is_none(predictor, calls, tmp_path):
    image = _mr(tmp_path / "mr.nii.gz")
    with pytest.raises(errors.UserError, match=r"mr\.nii\.gz: no DICOM series, and --dicom needs"):
        _run(predictor, image, tmp_path / "out", dicom=True)
    assert not calls and not (tmp_path / "out").exists()


def test_another_wish_is_another_prediction(predictor, calls, tmp_path):
    image, out = _mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    _run(predictor, image, out)
    _run(predictor, image, out, mumap=outputs.Mumap(120))
    assert (out / "mumap_sd.nii.gz").exists()
    once = len(calls)
    _run(predictor, image, out, mumap=outputs.Mumap(120))
    assert len(calls) == once


def test_the_input_s_novelty_is_written_down(predictor, tmp_path):
    image = _mr(tmp_path / "mr.nii.gz")
    own = scans.mr_in_its_own_frame(images.read(image), zero_is_outside=True)
    mr = preparation.prepare_mr(own, spacing_mm=GRID.spacing_mm, percentiles=(0.5, 99.5))
    usual = novelty.Reference([mr.statistics] * 4)
    other = novelty.Reference([{k: v + 0.5 for k, v in mr.statistics.items()}] * 4)
    for reference, high in ((usual, False), (other, True)):
        known = dataclasses.replace(predictor, reference=reference)
        out = _run(known, image, tmp_path / str(high))
        found = json.loads((out / "prediction.json").read_text())["novelty"]
        assert found["high"] is high
        assert (found["score"] > 3) is high


def test_a_dicom_series_beside_that_of_the_mr(predictor, mr_series, tmp_path):
    _, y, x = np.ogrid[:10, :24, :26]
    body = (y - 11.5) ** 2 + (x - 12.5) ** 2 < 9**2
    noise = np.random.default_rng(0).integers(1, 20, GRID.size)
    pixels = (np.where(body, 400, 0) + noise).astype(np.uint16)
    mr = mr_series(tmp_path / "mr", pixels, pixel_mm=(3.0, 3.0))
    out = _run(predictor, mr, tmp_path / "out", dicom=True, mumap=outputs.Mumap(140))
    made = images.read(out / "dicom")
    ct = sitk.ReadImage(str(out / "ct.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(ct))
    assert geometry.same_grid(geometry.of_image(made), geometry.of_image(ct))
    assert geometry.same_grid(geometry.of_image(made), geometry.of_image(images.read(mr)))
    assert {pydicom.dcmread(path).KVP for path in (out / "dicom").iterdir()} == {140}


def test_voxels_of_another_kind_of_image(predictor, calls, tmp_path):
    image = _mr(tmp_path / "mr.nii.gz")
    trained_mm = [mm / 10 for mm in GRID.spacing_mm]
    with pytest.raises(
        errors.UserError, match=r"mr\.nii\.gz: voxels of 4 x 3 x 3 mm are 10\.0 times"
    ):
        _run(dataclasses.replace(predictor, spacing_mm=trained_mm), image, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mr.nii.gz"] and not calls


def test_tiles_that_are_there_are_not_computed_again(predictor, calls, tmp_path, monkeypatch):
    image, out = _mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    monkeypatch.setattr(predictors.resampling, "restore", lambda *_, **__: 1 / 0)  # dies at the end
    with pytest.raises(ZeroDivisionError):
        _run(predictor, image, out)
    monkeypatch.undo()
    once = len(calls)
    _run(predictor, image, out)
    assert len(calls) == once > 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mr.nii.gz", "out"]


@pytest.mark.parametrize("another", ["series", "checkpoint"])
def test_what_a_killed_prediction_left_is_not_taken_for_another(
    predictor, calls, mr_series, tmp_path, monkeypatch, another
):
    """Two series of one folder have one fingerprint, and so has an MR under two networks."""
    _, y, x = np.ogrid[:10, :24, :26]
    body = (y - 11.5) ** 2 + (x - 12.5) ** 2 < 9**2
    noise = np.random.default_rng(0).integers(1, 20, GRID.size)
    series = []
    for number, pixels in enumerate((400 * body + noise, (400 - 8 * y) * body + noise)):
        folder = mr_series(tmp_path / f"mr{number}", pixels.astype(np.uint16), pixel_mm=(3.0, 3.0))
        for path in folder.iterdir():
            series.append(str(pydicom.dcmread(path).SeriesInstanceUID))
            path.rename(tmp_path / "mr0" / f"{number}_{path.name}")
    first, second = sorted(set(series))

    def run(out, *, last):
        settings = SETTINGS
        if another == "checkpoint" and last:
            settings = dataclasses.replace(settings, checkpoint="decaf")
        chosen = second if another == "series" and last else first
        jobs = list(predict._new_subjects(tmp_path / "mr0", tmp_path / out, chosen))
        predict._predict_all(dataclasses.replace(predictor, settings=settings), jobs, None)

    monkeypatch.setattr(predictors.resampling, "restore", lambda *_, **__: 1 / 0)  # dies at the end
    with pytest.raises(ZeroDivisionError):
        run("out", last=False)
    monkeypatch.undo()
    once = len(calls)
    run("out", last=True)
    assert len(calls) == 2 * once > 0
    run("fresh", last=True)
    names = ("ct.nii.gz", "total_sd_hu.nii.gz")
    assert all(
        (tmp_path / "out" / n).read_bytes() == (tmp_path / "fresh" / n).read_bytes() for n in names
    )


def test_auto_takes_the_tile_of_the_planner_and_says_so(predictor, tmp_path, capsys):
    tiling = synthesis.Tiling((32, 32, 32), 0.25, (32, 32, 32), (1, 2, 4), 16)
    planner = planning.Planner(tiling, planning.Needs(10, 1, 4), 8e9, seconds_a_voxel=1e-7)
    settings = dataclasses.replace(SETTINGS, tile="auto")
    auto = dataclasses.replace(predictor, settings=settings, planner=planner)
    _run(auto, _mr(tmp_path / "mr.nii.gz"), tmp_path / "out")
    assert "mr: tile 16 x 32 x 32: 1 tiles, 1 passes" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert facts["settings"]["tile"] == "auto"
