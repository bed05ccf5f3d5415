"""Bad input to predict: one line that names the file and the remedy, and no file at all."""

from __future__ import annotations

import gzip
import pathlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from multires_tf.data import geometry
from multires_tf.data.files import images
from multires_tf.ground import config as configs
from multires_tf.ground import errors
from multires_tf.joints import outputs
from multires_tf.joints import predictor as predictors
from multires_tf.steps import predict

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "multires_unc.yaml"
GRID = geometry.Geometry(
    size=(8, 16, 16),
    spacing_mm=(4.0, 4.0, 4.0),
    origin_mm=(0.0, 0.0, 0.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
MR = np.random.default_rng(0).integers(1, 500, GRID.size).astype(np.int16)


@pytest.fixture
def refused(tmp_path):
    """Function that expects an input to be refused in one line, before any work and any file."""

    def compute(inputs):
        raise AssertionError("the network was used")

    def expect(source, *words, **options):
        settings = predictors.Settings(1, 0, (16, 16, 16), 0.25, "c0ffee")
        extras = outputs.Extras(**options)
        predictor = predictors.Predictor(
            tmp_path, configs.load(CONFIG), compute, settings, extras, (4.0,) * 3, None
        )
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(errors.UserError) as caught:
            requests = list(predict._new_subjects(source, tmp_path / "out"))
            predict._predict_all(predictor, requests, None)
        line = str(caught.value)
        assert "\n" not in line
        for word in words:
            assert word in line
        assert sorted(tmp_path.rglob("*")) == before

    return expect


def test_axes_that_are_not_orthogonal(refused, tmp_path):
    path = tmp_path / "mr.nii"
    images.write(MR, path, grid=GRID)
    header = bytearray(path.read_bytes())
    header[252:254] = bytes(2)  # no qform, so that the sform counts
    header[280:328] = np.array([4, 2, 0, 0, 0, 4, 0, 0, 0, 0, 4, 0], "<f4").tobytes()
    path.write_bytes(header)
    refused(path, "mr.nii: its axes are not orthogonal", "resample it")


def test_four_dimensions(refused, tmp_path):
    series = sitk.JoinSeries([geometry.to_image(MR, GRID)] * 3)
    sitk.WriteImage(series, str(tmp_path / "mr.nii.gz"))
    refused(tmp_path / "mr.nii.gz", "a 4-D image", "give one 3-D volume")


def test_voxels_that_are_no_numbers(refused, tmp_path):
    array = MR.astype(np.float32)
    array[1, 2, 3] = np.nan
    images.write(array, tmp_path / "mr.nii.gz", grid=GRID)
    refused(tmp_path / "mr.nii.gz", "1 voxels are NaN or infinite", "replace them")


def test_no_geometry(refused, tmp_path):
    images.write(MR, tmp_path / "mr.nii.gz", grid=GRID)
    header = bytearray(gzip.decompress((tmp_path / "mr.nii.gz").read_bytes()))
    header[252:256] = bytes(4)
    (tmp_path / "mr.nii.gz").write_bytes(gzip.compress(header))
    refused(tmp_path / "mr.nii.gz", "does not say where its voxels lie", "convert it again")


def test_a_folder_with_two_series(refused, mr_series, tmp_path):
    mr_series(tmp_path / "mr" / "a")
    mr_series(tmp_path / "mr" / "b")
    for path in (tmp_path / "mr").rglob("*.dcm"):
        path.rename(tmp_path / "mr" / f"{path.parent.name}_{path.name}")
    for left in ("a", "b"):
        (tmp_path / "mr" / left).rmdir()
    for options in ({}, {"dicom": True}):
        refused(tmp_path / "mr", "holds 2 series; choose one with --series", **options)


def test_a_missing_slice(refused, mr_series, tmp_path):
    mr_series(tmp_path / "mr")
    (tmp_path / "mr" / "mr3.dcm").unlink()
    refused(tmp_path / "mr", "a slice is missing", "export the whole series again")


def test_a_folder_with_a_ct_alone(refused, mr_series, tmp_path):
    mr_series(tmp_path / "mr")
    for path in (tmp_path / "mr").iterdir():
        data = pydicom.dcmread(path)
        data.Modality = "CT"
        data.save_as(path)
    refused(tmp_path / "mr", "holds CT, not MR; give the MR here")


def test_dicom_of_an_image_that_is_none(refused, tmp_path):
    images.write(MR, tmp_path / "mr.nii.gz", grid=GRID)
    refused(tmp_path / "mr.nii.gz", "mr.nii.gz: no DICOM series", "leave --dicom out", dicom=True)


def test_an_mr_without_a_body(refused, tmp_path):
    flat = np.zeros_like(MR)
    flat[0, 0, 0] = 1
    images.write(flat, tmp_path / "mr.nii.gz", grid=GRID)
    refused(tmp_path / "mr.nii.gz", "mr.nii.gz: ")  # seen when it is prepared: nothing stays


def test_a_series_may_lie_deeper_in_a_patient_s_folder(mr_series, tmp_path):
    mr_series(tmp_path / "patient" / "study" / "series")
    (request,) = predict._new_subjects(tmp_path / "patient", tmp_path / "out")
    assert (request.mr, request.target) == (tmp_path / "patient", tmp_path / "out")
    images.write(MR, tmp_path / "patient" / "other" / "mr.nii.gz", grid=GRID)  # then it is a cohort
    (request,) = predict._new_subjects(tmp_path / "patient", tmp_path / "out")
    assert request.name == "other"


def test_one_bad_subject_keeps_a_cohort_from_beginning(refused, tmp_path):
    images.write(MR, tmp_path / "cohort" / "a" / "mr.nii.gz", grid=GRID)
    images.write(MR * 0 + 7, tmp_path / "cohort" / "b" / "mr.nii.gz", grid=GRID)
    refused(tmp_path / "cohort", "b/mr.nii.gz: all voxels are 7")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("pat.001.nii.gz", "pat.001"),
        ("pat.002.NII", "pat.002"),
        ("1.2.840", "1.2.840"),
        ("ward/../pat.mha", "pat"),
        ("ward/.", "ward"),
        ("ward/patient/..", "ward"),
    ],
)
def test_a_subject_s_name_keeps_its_dots(tmp_path, given, name):
    for folder in ("1.2.840", "ward/patient"):
        (tmp_path / folder).mkdir(parents=True)
    assert predict._name(tmp_path / given) == name


def test_the_root_of_the_file_system_is_not_replaced():
    with pytest.raises(errors.UserError, match=r"/: a mounted folder cannot be replaced"):
        predict._check_target(pathlib.Path("/"))
