"""New images: every map on the image's own grid, in HU, and what is told beside them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import predictions
import pydicom
import pytest
import SimpleITK as sitk
from scipy import ndimage

from multires_tf.data import geometry, preparation, scans
from multires_tf.data.files import images
from multires_tf.ground import errors
from multires_tf.joints import outputs, planning, synthesis
from multires_tf.joints import predictor as predictors
from multires_tf.measure import novelty
from multires_tf.steps import predict


@pytest.fixture
def calls():
    return []


@pytest.fixture
def predictor(calls):
    return predictions.echo(calls)


def test_the_maps_lie_on_the_image_s_own_grid(predictor, tmp_path):
    predictions.write_mr(tmp_path / "mr.nii.gz")
    predictions.run(predictor, tmp_path / "mr.nii.gz", tmp_path / "out")
    names = {"ct.nii.gz", "aleatoric_sd_hu.nii.gz", "total_sd_hu.nii.gz", "prediction.json"}
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == names
    ct = sitk.ReadImage(str(tmp_path / "out" / "ct.nii.gz"))
    assert ct.GetPixelID() == sitk.sitkInt16
    assert geometry.same_grid(geometry.of_image(ct), predictions.GRID)
    sd_hu = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "total_sd_hu.nii.gz")))
    np.testing.assert_allclose(sd_hu, 40.95, rtol=1e-5)  # 0.01 of a window of 4095 HU
    facts = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert facts["subject"] == "mr"
    assert facts["settings"]["checkpoint"] == "c0ffee"


def test_input_and_output_come_together(tmp_path):
    with pytest.raises(errors.UserError, match="--input and --output: give both"):
        predict.run(workdir=tmp_path, input=tmp_path / "mr.nii.gz")


def test_blurring_is_for_an_attenuation_map(tmp_path):
    with pytest.raises(errors.UserError, match=r"--pet_fwhm_mm: .* give --mumap as well"):
        predict.run(workdir=tmp_path, pet_fwhm_mm=6.0)


def test_draws_are_blurred_on_the_subject_s_own_grid(tmp_path):
    seen = []

    def compute(inputs, *, spacing_mm):
        seen.append(tuple(spacing_mm))
        one = np.ones_like(inputs[0][0, ..., 0])
        return {"ct": 0.25 * one, "epistemic": 16e-6 * one, "derived": 1e-8 * one}

    trained = predictions.predictor(compute)
    coarse = dataclasses.replace(trained, spacing_mm=(4.0, 6.0, 6.0))
    request = predictors.Request(
        "a", predictions.write_mr(tmp_path / "mr.nii.gz"), tmp_path / "out"
    )
    coarse._prepared(request, tmp_path)
    request = dataclasses.replace(request, prepared=tmp_path / "mr.ome.zarr")
    blurred = outputs.Extras(outputs.Mumap(120, 6.0))
    dataclasses.replace(trained, extras=blurred).predict(request)
    assert set(seen) == {(4.0, 6.0, 6.0)}
    assert (tmp_path / "out" / "mumap_sd.nii.gz").exists()


def test_a_mean_of_draws_and_the_law_of_total_variance(tmp_path):
    def compute(inputs):
        one = np.ones_like(inputs[0][0, ..., 0])
        return {"ct": 0.25 * one, "aleatoric": 9e-6 * one, "epistemic": 16e-6 * one}

    made = dataclasses.replace(
        predictions.predictor(compute), extras=outputs.Extras(uncertain_above_hu=20.0)
    )
    out = predictions.run(made, predictions.write_mr(tmp_path / "mr.nii.gz"), tmp_path / "out")
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
    grid = dataclasses.replace(predictions.GRID, **fields[name])
    predictions.write_mr(tmp_path / "mr.nii.gz", grid=grid)
    out = predictions.run(predictor, tmp_path / "mr.nii.gz", tmp_path / "out")
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


def test_a_dicom_export_is_asked_for_and_the_mr_is_none(predictor, calls, tmp_path):
    image = predictions.write_mr(tmp_path / "mr.nii.gz")
    with pytest.raises(errors.UserError, match=r"mr\.nii\.gz: no DICOM series, and --dicom needs"):
        predictions.run(predictor, image, tmp_path / "out", dicom=True)
    assert not calls and not (tmp_path / "out").exists()


def test_the_input_s_novelty_is_written_down(predictor, tmp_path):
    image = predictions.write_mr(tmp_path / "mr.nii.gz")
    own = scans.mr_in_its_own_frame(images.read(image), zero_is_outside=True)
    mr = preparation.prepare_mr(
        own, spacing_mm=predictions.GRID.spacing_mm, percentiles=(0.5, 99.5)
    )
    usual = novelty.Reference([mr.statistics] * 4)
    other = novelty.Reference([{k: v + 0.5 for k, v in mr.statistics.items()}] * 4)
    for reference, high in ((usual, False), (other, True)):
        known = dataclasses.replace(predictor, reference=reference)
        out = predictions.run(known, image, tmp_path / str(high))
        found = json.loads((out / "prediction.json").read_text())["novelty"]
        assert found["high"] is high
        assert (found["score"] > 3) is high


def test_a_dicom_export_beside_that_of_the_mr(predictor, mr_series, tmp_path):
    pixels = predictions.voxels().astype(np.uint16)
    mr = mr_series(tmp_path / "mr", pixels, pixel_mm=(3.0, 3.0))
    out = predictions.run(predictor, mr, tmp_path / "out", dicom=True, mumap=outputs.Mumap(140))
    made = images.read(out / "dicom")
    ct = sitk.ReadImage(str(out / "ct.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(ct))
    assert geometry.same_grid(geometry.of_image(made), geometry.of_image(ct))
    assert geometry.same_grid(geometry.of_image(made), geometry.of_image(images.read(mr)))
    assert {pydicom.dcmread(path).KVP for path in (out / "dicom").iterdir()} == {140}


def test_voxels_of_another_kind_of_image(predictor, calls, tmp_path):
    image = predictions.write_mr(tmp_path / "mr.nii.gz")
    trained_mm = [mm / 10 for mm in predictions.GRID.spacing_mm]
    with pytest.raises(
        errors.UserError, match=r"mr\.nii\.gz: voxels of 4 x 3 x 3 mm are 10\.0 times"
    ):
        predictions.run(
            dataclasses.replace(predictor, spacing_mm=trained_mm), image, tmp_path / "out"
        )
    assert [entry.name for entry in tmp_path.iterdir()] == ["mr.nii.gz"] and not calls


def test_auto_takes_the_tile_of_the_planner_and_says_so(predictor, tmp_path, capsys):
    tiling = synthesis.Tiling((32, 32, 32), 0.25, (32, 32, 32), (1, 2, 4), 16)
    planner = planning.Planner(tiling, planning.Needs(10, 1, 4), 8e9, seconds_a_voxel=1e-7)
    settings = dataclasses.replace(predictions.SETTINGS, tile="auto")
    auto = dataclasses.replace(predictor, settings=settings, planner=planner)
    predictions.run(auto, predictions.write_mr(tmp_path / "mr.nii.gz"), tmp_path / "out")
    assert "mr: tile 16 x 32 x 32: 1 tile, one draw of each" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert (facts["settings"]["tile"], facts["tile"]) == ("auto", [16, 32, 32])
