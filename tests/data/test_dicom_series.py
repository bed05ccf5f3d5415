"""A synthetic CT as DICOM, beside an MR series that the tests make themselves."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from multires_tf import errors
from multires_tf.data import dicom, dicom_series, geometry, images

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
C, S = np.cos(np.radians(15)), np.sin(np.radians(15))
OBLIQUE = (1, 0, 0, 0, C, S)
STUDY = {
    "PatientName": "Doe^Jane",
    "PatientID": "17",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "StudyInstanceUID": generate_uid(),
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "StudyID": "a study ID that is too long",
    "AccessionNumber": "99",
    "ReferringPhysicianName": "",
    "FrameOfReferenceUID": generate_uid(),
    "PositionReferenceIndicator": "",
    "PatientPosition": "HFS",
    "BodyPartExamined": "WHOLEBODY",
}


def mr_series(folder, *, orientation=AXIAL, pixel_mm=(1.5, 1.5), distance_mm=4.0, leave_out=()):
    """Six slices of 12 x 10 pixels that step along the normal of `orientation`."""
    folder.mkdir(parents=True)
    normal = np.cross(orientation[:3], orientation[3:])
    pixels = np.random.default_rng(0).integers(1, 500, (6, 12, 10)).astype(np.uint16)
    series = generate_uid()
    for k in range(6):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "MR", series, 5
        for name, value in STUDY.items():
            if name not in leave_out:
                data.add_new(name, pydicom.datadict.dictionary_VR(name), value)
        position_mm = np.array([-8.0, -9.0, 100.0]) + k * distance_mm * normal
        data.ImagePositionPatient = [f"{mm:.9g}" for mm in position_mm]
        data.ImageOrientationPatient = [f"{cosine:.9g}" for cosine in orientation]
        data.PixelSpacing = list(pixel_mm)
        data.Rows, data.Columns = 12, 10
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 0
        data.PixelData = pixels[k].tobytes()
        data.save_as(folder / f"mr{k}.dcm", enforce_file_format=True)
    return folder


def written(tmp_path, ct_hu=None, *, kvp=120, out="ct", **options):
    """An MR series, a CT on its grid, and the series written of it."""
    mr = mr_series(tmp_path / f"mr_{out}", **options)
    grid = geometry.of_image(images.read(mr))
    if ct_hu is None:
        ct_hu = np.random.default_rng(1).integers(-1024, 3071, grid.size).astype(np.int16)
    dicom_series.check(mr)
    folder = tmp_path / out
    dicom_series.write(folder, ct_hu, grid, source=mr, kvp=kvp, air_hu=-1024)
    return mr, ct_hu, grid, folder


def slices(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def itk(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_axial_slices_come_back_as_they_were(tmp_path):
    _, ct_hu, grid, folder = written(tmp_path)
    for image in (dicom.read(folder), itk(folder)):
        assert np.array_equal(sitk.GetArrayFromImage(image), ct_hu)
        assert geometry.same_grid(geometry.of_image(image), grid)
    first = slices(folder)[0]
    assert list(first.ImagePositionPatient) == [-8, -9, 100]  # the centre of the first voxel
    assert list(first.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]


def test_what_it_says_it_is(tmp_path):
    *_, folder = written(tmp_path, kvp=100)
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


def test_it_belongs_to_the_mr_s_patient_study_and_frame(tmp_path):
    mr, *_, folder = written(tmp_path)
    source = slices(mr)
    for data in slices(folder):
        for name, value in STUDY.items():
            if name != "StudyID":
                assert data[name].value == value, name
        assert data.StudyID == "a study ID that"  # sixteen characters are allowed
        assert data.SeriesInstanceUID != source[0].SeriesInstanceUID
        assert data.SOPInstanceUID not in {one.SOPInstanceUID for one in source}
    assert len({data.SeriesInstanceUID for data in slices(folder)}) == 1
    assert len({data.SOPInstanceUID for data in slices(folder)}) == 6


def test_each_slice_names_the_mr_slices_that_it_covers(tmp_path):
    mr, *_, folder = written(tmp_path)
    for ours, theirs in zip(slices(folder), slices(mr), strict=True):
        (item,) = ours.SourceImageSequence
        assert item.ReferencedSOPInstanceUID == theirs.SOPInstanceUID
        assert item.ReferencedSOPClassUID == MRImageStorage
    *_, sagittal = written(tmp_path, out="sagittal", orientation=SAGITTAL)
    assert {len(data.SourceImageSequence) for data in slices(sagittal)} == {6}


def test_sagittal_slices_become_axial_without_interpolation(tmp_path):
    options = {"orientation": SAGITTAL, "pixel_mm": (4.0, 1.5), "distance_mm": 1.5}
    _, ct_hu, grid, folder = written(tmp_path, **options)
    image = itk(folder)
    assert image.GetSpacing() == (1.5, 1.5, 4.0)
    assert np.array_equal(image.GetDirection(), np.eye(3).ravel())
    canonical = geometry.canonical_image(geometry.to_image(ct_hu, grid))
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(canonical))
    assert geometry.same_grid(geometry.of_image(image), geometry.canonical(grid))


@pytest.mark.parametrize("options", [{"orientation": OBLIQUE}, {"pixel_mm": (3.0, 1.5)}])
def test_oblique_slices_and_oblong_pixels_are_resampled_in_place(tmp_path, options):
    # A ramp in physical space is the same ramp on any grid, inside the field.
    mr = mr_series(tmp_path / "mr", **options)
    grid = geometry.of_image(images.read(mr))
    index = np.stack(np.meshgrid(*map(np.arange, grid.size[::-1]), indexing="ij"), -1)
    position_mm = np.asarray(grid.origin_mm) + index @ grid.steps_mm.T
    ramp = (10 * position_mm[..., 0] + 7 * position_mm[..., 1] - 5 * position_mm[..., 2]).T
    _, _, _, folder = written(tmp_path, np.rint(ramp).astype(np.int16), **options)
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


def test_the_same_content_has_the_same_uids_and_another_one_has_not(tmp_path):
    mr, ct_hu, grid, folder = written(tmp_path)
    for name, other, kvp in (("same", ct_hu, 120), ("other", ct_hu + 1, 120), ("kvp", ct_hu, 80)):
        dicom_series.write(tmp_path / name, other, grid, source=mr, kvp=kvp, air_hu=-1024)
    uids = {n: slices(tmp_path / n)[0].SeriesInstanceUID for n in ("ct", "same", "other", "kvp")}
    assert uids["ct"] == uids["same"]
    assert len(set(uids.values())) == 3
    assert (folder / "ct_0001.dcm").read_bytes() == (tmp_path / "same/ct_0001.dcm").read_bytes()


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs Debian's dicom3tools")
@pytest.mark.parametrize(
    "options",
    [{}, {"orientation": SAGITTAL}, {"orientation": OBLIQUE}, {"leave_out": ("BodyPartExamined",)}],
)
def test_dciodvfy_finds_no_error(tmp_path, options):
    *_, folder = written(tmp_path, **options)
    for path in sorted(folder.iterdir()):
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True)
        assert "CTImage" in done.stderr
        assert "Error" not in done.stderr, done.stderr


def test_without_a_frame_of_reference_or_a_series_it_is_refused(tmp_path):
    mr = mr_series(tmp_path / "mr", leave_out=("FrameOfReferenceUID",))
    with pytest.raises(errors.UserError, match=r"mr0\.dcm: no FrameOfReferenceUID; export"):
        dicom_series.check(mr)
    with pytest.raises(errors.UserError, match=r"no DICOM series, and --dicom needs one"):
        dicom_series.check(tmp_path)
