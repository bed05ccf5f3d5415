import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from multires_tf import errors
from multires_tf.data import dicom, geometry, images

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
STORED = np.arange(4 * 3 * 5, dtype=np.int16).reshape(4, 3, 5)


def write_slice(path, pixels, position_mm, *, uid, orientation=AXIAL, description="T1", **fields):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID
    data.Modality = "CT"
    data.SeriesInstanceUID = uid
    data.SeriesDescription = description
    data.ImagePositionPatient = list(position_mm)
    data.ImageOrientationPatient = list(orientation)
    data.PixelSpacing = [2.0, 1.5]
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 1
    data.RescaleSlope, data.RescaleIntercept = "2", "-1000"
    data.PixelData = pixels.tobytes()
    for name, value in fields.items():
        setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def write_series(folder, *, step_mm=(0.0, 0.0, 3.0), leave_out=(), prefix="", **options):
    options = {"uid": generate_uid(), **options}
    for k, pixels in enumerate(STORED):
        if k not in leave_out:
            # File names run against the positions: order must come from the headers.
            name = f"{prefix}{9 - k}.dcm"
            position_mm = np.array([7.0, 8.0, 9.0]) + k * np.array(step_mm)
            write_slice(folder / name, pixels, position_mm, **options)
    return options["uid"]


def test_slices_are_sorted_rescaled_and_placed(tmp_path):
    write_series(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    image = dicom.read(tmp_path)
    assert np.array_equal(sitk.GetArrayFromImage(image), STORED * 2.0 - 1000)
    expected = geometry.Geometry(
        (4, 3, 5), (3.0, 2.0, 1.5), (7.0, 8.0, 9.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)
    )
    assert geometry.of_image(image) == expected
    assert dicom.header(tmp_path) == expected


def test_sagittal_slices_become_canonical(tmp_path):
    # Rows run to the feet, columns to the back; slices step to the right, along minus x.
    write_series(tmp_path, orientation=SAGITTAL, step_mm=(-3.0, 0.0, 0.0))
    image = geometry.canonical_image(images.read(tmp_path))
    grid = geometry.of_image(image)
    assert grid.spacing_mm == (2.0, 1.5, 3.0)
    assert np.allclose(grid.origin_mm, (7 - 9, 8, 9 - 4))
    expected = STORED.transpose(1, 2, 0)[::-1, :, ::-1] * 2.0 - 1000
    assert np.array_equal(sitk.GetArrayFromImage(image), expected)


def test_one_of_several_series_is_chosen_by_uid_or_description(tmp_path):
    uid = write_series(tmp_path, prefix="a", description="T1")
    write_series(tmp_path, prefix="b", description="T2", leave_out=(3,))
    with pytest.raises(errors.UserError, match=r"holds 2 series; choose one with --series: .*T2"):
        dicom.read(tmp_path)
    with pytest.raises(errors.UserError, match="--series 'T3' names 0 of 2 series"):
        dicom.read(tmp_path, series="T3")
    assert dicom.read(tmp_path, series=uid).GetSize() == (5, 3, 4)
    assert dicom.read(tmp_path, series="T2").GetSize() == (5, 3, 3)


def test_a_missing_slice_is_refused(tmp_path):
    write_series(tmp_path, leave_out=(2,))
    with pytest.raises(errors.UserError, match=r"a slice is missing.*after 8\.dcm"):
        dicom.read(tmp_path)


def test_doubled_positions_are_refused(tmp_path):
    uid = write_series(tmp_path, prefix="a")
    write_series(tmp_path, prefix="b", uid=uid)
    with pytest.raises(errors.UserError, match="slices at the same position"):
        dicom.read(tmp_path)


def test_a_tilted_gantry_is_refused(tmp_path):
    write_series(tmp_path, step_mm=(0.0, 0.5, 3.0))
    with pytest.raises(errors.UserError, match="gantry tilt"):
        dicom.read(tmp_path)


def test_a_single_slice_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match="no DICOM image in it"):
        dicom.read(tmp_path)
    write_series(tmp_path, leave_out=(1, 2, 3))
    with pytest.raises(errors.UserError, match="a single slice"):
        dicom.read(tmp_path)


def test_slices_of_another_size_are_refused(tmp_path):
    uid = write_series(tmp_path)
    write_slice(tmp_path / "x.dcm", STORED[0, :2], (7, 8, 21), uid=uid)
    with pytest.raises(errors.UserError, match="differs in orientation, size or spacing"):
        dicom.read(tmp_path)


def test_many_frames_in_a_file_are_refused(tmp_path):
    write_series(tmp_path, NumberOfFrames=2)
    with pytest.raises(errors.UserError, match="many frames"):
        dicom.read(tmp_path)


def test_a_slice_cut_short_is_refused_by_name(tmp_path):
    write_series(tmp_path)
    path = tmp_path / "7.dcm"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(errors.UserError, match=r"7\.dcm: damaged or cut short"):
        dicom.read(tmp_path)


def test_a_folder_of_dicom_files_is_told_from_a_cohort(tmp_path):
    write_series(tmp_path / "a" / "mr")
    assert dicom.is_series_folder(tmp_path / "a" / "mr")
    assert not dicom.is_series_folder(tmp_path / "a")
    assert not dicom.is_series_folder(tmp_path / "a" / "mr" / "9.dcm")
