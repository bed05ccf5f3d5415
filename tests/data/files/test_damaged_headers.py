"""Whatever happens to a header's bytes: an image or one line for the user, never another error."""

import warnings

import dicom_files
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from multires_tf.data import geometry
from multires_tf.data.files import images
from multires_tf.ground import errors

VOXELS = np.random.default_rng(0).normal(0, 100, (4, 5, 6)).astype(np.float32)
GRID = geometry.Geometry((4, 5, 6), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
PIXELS = np.arange(4 * 3 * 5, dtype=np.int16).reshape(4, 3, 5)


def dicom(folder):
    """A plain series; returns one of its files."""
    uid = generate_uid()
    for k, pixels in enumerate(PIXELS):
        dicom_files.write_slice(folder / f"{k}.dcm", pixels, (7.0, 8.0, 9.0 + 3 * k), uid=uid)
    return folder / "1.dcm"


def enhanced(folder):
    """One file of many frames."""
    frames = [(pixels, (7.0, 8.0, 9.0 + 3 * k), 1, 0) for k, pixels in enumerate(PIXELS)]
    dicom_files.write_enhanced(folder / "all.dcm", frames)
    return folder / "all.dcm"


def nifti(folder):
    images.write(VOXELS, folder / "mr.nii", grid=GRID)
    return folder / "mr.nii"


@pytest.mark.parametrize("make", [dicom, enhanced, nifti])
def test_changed_bytes_give_an_image_or_one_line(make, tmp_path, capfd):
    folder = tmp_path / "mr"
    folder.mkdir()
    path = make(folder)
    whole = path.read_bytes()
    source = path if make is nifti else folder
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        damaged = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 1000), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*bytes.* of pixel data|The pixel data")
            warnings.filterwarnings("error", message="Invalid value")  # would quote a UID
            try:
                images.read(source)
            except errors.UserError as error:
                assert path.name in str(error) or str(folder) in str(error)
                refused += 1
    assert 0 < refused < 100
    assert capfd.readouterr() == ("", "")


def test_a_number_that_is_none_names_its_file(tmp_path):
    path = dicom(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"2.0\\1.5", b"2.0\\x.5"))
    with pytest.raises(errors.UserError, match=r"1\.dcm: its DICOM header is damaged; export"):
        images.read(tmp_path)


def test_fewer_frames_than_their_places_are_refused(tmp_path):
    path = enhanced(tmp_path)
    data = pydicom.dcmread(path)
    data.NumberOfFrames, data.PixelData = 3, data.PixelData[: PIXELS[:3].nbytes]
    data.save_as(path)
    with pytest.raises(errors.UserError, match=r"all\.dcm: damaged or cut short"):
        images.read(tmp_path)


@pytest.mark.parametrize("offset", [np.nan, np.inf, -1.0, 1e15, 1e18])
def test_voxels_that_begin_nowhere_are_refused(tmp_path, offset):
    path = nifti(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[108:112] = np.float32(offset).tobytes()
    path.write_bytes(whole)
    with pytest.raises(errors.UserError, match=r"mr\.nii: not an image, or damaged"):
        images.read(path)
