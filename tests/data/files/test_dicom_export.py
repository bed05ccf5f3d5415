"""A synthetic CT as DICOM, beside an MR series that the tests make themselves."""

import functools
import shutil
import subprocess

import dicom_files
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

from multires_tf.data import geometry
from multires_tf.data.files import dicom, dicom_export, images
from multires_tf.ground import errors

SAGITTAL = (0, 1, 0, 0, 0, -1)
C, S = np.cos(np.radians(15)), np.sin(np.radians(15))
OBLIQUE = (1, 0, 0, 0, C, S)


@pytest.fixture
def written(tmp_path, mr_series):
    """Function that makes an MR series, and a CT series on its grid."""
    return functools.partial(_written, tmp_path, mr_series)


def _written(tmp_path, mr_series, ct_hu=None, *, kvp=120, out="ct", **options):
    """An MR series, a CT on its grid, and the series written of it."""
    mr = mr_series(tmp_path / f"mr_{out}", **options)
    grid = geometry.of_image(images.read(mr))
    if ct_hu is None:
        ct_hu = np.random.default_rng(1).integers(-1024, 3071, grid.size).astype(np.int16)
    dicom_export.check(mr)
    folder = tmp_path / out
    dicom_export.write(folder, ct_hu, grid, source=mr, kvp=kvp, air_hu=-1024)
    return mr, ct_hu, grid, folder


def slices(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def itk(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_axial_slices_come_back_as_they_were(written):
    _, ct_hu, grid, folder = written()
    for image in (dicom.read(folder), itk(folder)):
        assert np.array_equal(sitk.GetArrayFromImage(image), ct_hu)
        assert geometry.same_grid(geometry.of_image(image), grid)
    first = slices(folder)[0]
    assert list(first.ImagePositionPatient) == [-8, -9, 100]  # the centre of the first voxel
    assert list(first.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]


def test_what_it_says_it_is(written):
    *_, folder = written(kvp=100)
    for number, data in enumerate(slices(folder), start=1):
        assert data.SOPClassUID == data.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert data.Modality == "CT"
        assert list(data.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert "synthetic" in data.SeriesDescription.lower()
        assert "Synthetic" in data.DerivationDescription
        assert data.KVP == 100
        assert (data.RescaleSlope, data.RescaleIntercept, data.RescaleType) == (1, 0, "HU")
        assert (data.BitsAllocated, data.PixelRepresentation) == (16, 1)
        assert data.InstanceNumber == number
        assert data.SliceThickness == 4


def test_it_belongs_to_the_mr_s_patient_study_and_frame(written, mr_series):
    mr, *_, folder = written()
    source = slices(mr)
    for data in slices(folder):
        for name, value in mr_series.study.items():
            if name != "StudyID":
                assert data[name].value == value, name
        assert data.StudyID == "a study ID that"  # sixteen characters are allowed
        assert data.SeriesInstanceUID != source[0].SeriesInstanceUID
        assert data.SOPInstanceUID not in {one.SOPInstanceUID for one in source}
    assert len({data.SeriesInstanceUID for data in slices(folder)}) == 1
    assert len({data.SOPInstanceUID for data in slices(folder)}) == 6


def test_each_slice_names_the_mr_slices_that_it_covers(written):
    mr, *_, folder = written()
    for ours, theirs in zip(slices(folder), slices(mr), strict=True):
        (item,) = ours.SourceImageSequence
        assert item.ReferencedSOPInstanceUID == theirs.SOPInstanceUID
        assert item.ReferencedSOPClassUID == MRImageStorage
    *_, sagittal = written(out="sagittal", orientation=SAGITTAL)
    assert {len(data.SourceImageSequence) for data in slices(sagittal)} == {6}


def test_odd_values_of_the_mr_are_not_quoted_on_the_terminal(tmp_path, mr_series, recwarn):
    mr = mr_series(tmp_path / "mr")
    recwarn.clear()
    for path in mr.iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.2.826.0", b"1.2.826.x"))  # UIDs
    grid = dicom.header(mr)
    ct_hu = np.zeros(grid.size, np.int16)
    dicom_export.check(mr)
    dicom_export.write(tmp_path / "ct", ct_hu, grid, source=mr, kvp=120, air_hu=-1024)
    assert not [str(one.message) for one in recwarn if "1.2.826.x" in str(one.message)]


def test_frames_of_an_enhanced_mr_are_named_by_number(tmp_path):
    frames = [(np.full((4, 5), k, np.int16), (0.0, 0.0, 3.0 * k), 1, 0) for k in (2, 0, 1)]
    uids = {name: generate_uid() for name in ("StudyInstanceUID", "FrameOfReferenceUID")}
    file = tmp_path / "mr" / "deeper" / "all.dcm"
    dicom_files.write_enhanced(file, frames, pixel_mm=(2.0, 2.0), Modality="MR", **uids)
    mr = tmp_path / "mr"
    dicom_export.check(mr)
    grid = dicom.header(mr)
    ct_hu = np.zeros(grid.size, np.int16)
    dicom_export.write(tmp_path / "ct", ct_hu, grid, source=mr, kvp=120, air_hu=-1024)
    items = [data.SourceImageSequence for data in slices(tmp_path / "ct")]
    assert [[item.ReferencedFrameNumber for item in own] for own in items] == [[2], [3], [1]]
    uid = pydicom.dcmread(file).SOPInstanceUID
    assert {item.ReferencedSOPInstanceUID for own in items for item in own} == {uid}


def test_sagittal_slices_become_axial_without_interpolation(written):
    options = {"orientation": SAGITTAL, "pixel_mm": (4.0, 1.5), "distance_mm": 1.5}
    _, ct_hu, grid, folder = written(**options)
    image = itk(folder)
    assert image.GetSpacing() == (1.5, 1.5, 4.0)
    assert np.array_equal(image.GetDirection(), np.eye(3).ravel())
    canonical = geometry.canonical_image(geometry.to_image(ct_hu, grid))
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(canonical))
    assert geometry.same_grid(geometry.of_image(image), geometry.canonical(grid))


@pytest.mark.parametrize("options", [{"orientation": OBLIQUE}, {"pixel_mm": (3.0, 1.5)}])
def test_oblique_slices_and_oblong_pixels_are_resampled_in_place(
    tmp_path, options, written, mr_series
):
    # A ramp in physical space is the same ramp on any grid, inside the field.
    mr = mr_series(tmp_path / "mr", **options)
    grid = geometry.of_image(images.read(mr))
    index = np.stack(np.meshgrid(*map(np.arange, grid.size[::-1]), indexing="ij"), -1)
    position_mm = np.asarray(grid.origin_mm) + index @ grid.steps_mm.T
    ramp = (10 * position_mm[..., 0] + 7 * position_mm[..., 1] - 5 * position_mm[..., 2]).T
    _, _, _, folder = written(np.rint(ramp).astype(np.int16), **options)
    image = itk(folder)
    assert np.array_equal(image.GetDirection(), np.eye(3).ravel())
    assert image.GetSpacing()[:2] == (1.5, 1.5)
    found, checked = sitk.GetArrayFromImage(image), 0
    for z, y, x in np.ndindex(found.shape):
        point_mm = image.TransformIndexToPhysicalPoint((x, y, z))
        inside = grid.index_xyz(point_mm)
        if (inside >= 0).all() and (inside <= np.array(grid.size[::-1]) - 1).all():
            assert abs(found[z, y, x] - np.dot((10, 7, -5), point_mm)) <= 1.5
            checked += 1
    assert checked > 100


def test_the_same_content_has_the_same_uids_and_another_one_has_not(tmp_path, written):
    mr, ct_hu, grid, folder = written()
    for name, other, kvp in (("same", ct_hu, 120), ("other", ct_hu + 1, 120), ("kvp", ct_hu, 80)):
        dicom_export.write(tmp_path / name, other, grid, source=mr, kvp=kvp, air_hu=-1024)
    uids = {n: slices(tmp_path / n)[0].SeriesInstanceUID for n in ("ct", "same", "other", "kvp")}
    assert uids["ct"] == uids["same"]
    assert len(set(uids.values())) == 3
    assert (folder / "ct_0001.dcm").read_bytes() == (tmp_path / "same/ct_0001.dcm").read_bytes()


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs Debian's dicom3tools")
@pytest.mark.parametrize(
    "options",
    [{}, {"orientation": SAGITTAL}, {"orientation": OBLIQUE}, {"leave_out": ("BodyPartExamined",)}],
)
def test_dciodvfy_finds_no_error(options, written):
    *_, folder = written(**options)
    for path in sorted(folder.iterdir()):
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True)
        assert "CTImage" in done.stderr
        assert "Error" not in done.stderr, done.stderr


def test_without_a_frame_of_reference_or_a_series_it_is_refused(tmp_path, mr_series):
    for name in ("FrameOfReferenceUID", "SeriesInstanceUID"):
        mr = mr_series(tmp_path / name, leave_out=(name,))
        with pytest.raises(errors.UserError, match=rf"mr0\.dcm: no {name}; export"):
            dicom_export.check(mr)
    with pytest.raises(errors.UserError, match=r"no DICOM series, and --dicom needs one"):
        dicom_export.check(tmp_path / "mr.nii.gz")
