"""New images: maps on their own grid, nothing of anybody else's replaced, nothing done twice.

The network is replaced by one that returns the MR, so that no TensorFlow is needed.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf import config as configs
from multires_tf import errors, planning, synthesis
from multires_tf.data import geometry, images
from multires_tf.steps import predict

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
GRID = geometry.Geometry(
    size=(10, 24, 26),
    spacing_mm=(4.0, 3.0, 3.0),
    origin_mm=(-30.0, -40.0, 100.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
SETS = ("network.window=[32, 32, 32]", "predict.tile=[32, 32, 32]")
SETTINGS = predict._Settings(
    samples=1, seed=0, tile=(32, 32, 32), overlap=0.25, checkpoint="c0ffee"
)


def _mr(path, *, seed=0):
    _, y, x = np.ogrid[:10, :24, :26]
    body = (y - 11.5) ** 2 + (x - 12.5) ** 2 < 9**2
    noise = np.random.default_rng(seed).integers(1, 20, GRID.size)
    images.write((np.where(body, 400, 0) + noise).astype(np.int16), path, grid=GRID)
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
    return predict._Predictor(config, compute, SETTINGS)


def test_the_maps_lie_on_the_image_s_own_grid(predictor, tmp_path):
    _mr(tmp_path / "mr.nii.gz")
    predictor.images(tmp_path / "mr.nii.gz", tmp_path / "out", list(GRID.spacing_mm))
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
    predictor.images(image, out, list(GRID.spacing_mm))
    once = len(calls)
    predictor.images(image, out, list(GRID.spacing_mm))
    assert len(calls) == once > 0
    before = (out / "ct.nii.gz").read_bytes()
    predictor.images(_mr(tmp_path / "other.nii.gz", seed=1), out, list(GRID.spacing_mm))
    assert len(calls) == 2 * once
    assert (out / "ct.nii.gz").read_bytes() != before


def test_a_folder_with_anything_else_is_not_replaced(predictor, calls, tmp_path):
    image = _mr(tmp_path / "patient" / "mr.nii.gz")
    with pytest.raises(
        errors.UserError, match=r"patient: holds other files.*--output a new folder"
    ):
        predictor.images(image, tmp_path / "patient", list(GRID.spacing_mm))
    assert image.exists() and not calls
    out = tmp_path / "out"
    predictor.images(image, out, list(GRID.spacing_mm))
    (out / "my notes.txt").write_text("keep me")
    with pytest.raises(errors.UserError, match="out: holds other files"):
        predictor.images(image, out, list(GRID.spacing_mm))
    with pytest.raises(errors.UserError, match="is a file; give --output a folder"):
        predictor.images(image, image, list(GRID.spacing_mm))


def test_input_and_output_come_together(tmp_path):
    with pytest.raises(errors.UserError, match="--input and --output: give both"):
        predict.run(workdir=tmp_path, input=tmp_path / "mr.nii.gz")


def test_voxels_of_another_kind_of_image(predictor, calls, tmp_path):
    image = _mr(tmp_path / "mr.nii.gz")
    trained_mm = [mm / 10 for mm in GRID.spacing_mm]
    with pytest.raises(
        errors.UserError, match=r"mr\.nii\.gz: voxels of 4 x 3 x 3 mm are 10\.0 times"
    ):
        predictor.images(image, tmp_path / "out", trained_mm)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mr.nii.gz"] and not calls


def test_tiles_that_are_there_are_not_computed_again(predictor, calls, tmp_path, monkeypatch):
    image, out = _mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    monkeypatch.setattr(predict.resampling, "restore", lambda *_, **__: 1 / 0)  # dies at the end
    with pytest.raises(ZeroDivisionError):
        predictor.images(image, out, list(GRID.spacing_mm))
    monkeypatch.undo()
    once = len(calls)
    predictor.images(image, out, list(GRID.spacing_mm))
    assert len(calls) == once > 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mr.nii.gz", "out"]


def test_auto_takes_the_tile_of_the_planner_and_says_so(predictor, tmp_path, capsys):
    tiling = synthesis.Tiling((32, 32, 32), 0.25, (32, 32, 32), (1, 2, 4), 16)
    planner = planning.Planner(tiling, planning.Needs(10, 1, 4), 8e9, seconds_a_voxel=1e-7)
    settings = dataclasses.replace(SETTINGS, tile="auto")
    auto = dataclasses.replace(predictor, settings=settings, planner=planner)
    auto.images(_mr(tmp_path / "mr.nii.gz"), tmp_path / "out", list(GRID.spacing_mm))
    assert "mr: tile 16 x 32 x 32: 1 tiles, 1 passes" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert facts["settings"]["tile"] == "auto"
