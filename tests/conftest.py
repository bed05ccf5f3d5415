"""What tests all over share: other Keras backends, and DICOM series of nobody's data."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from multires_tf.ground import runtime

# Tests load TensorFlow wherever they need it, and it should be the one that people get.
runtime.settle_tensorflow()


@pytest.fixture(params=["jax", "torch"])
def backend(request):
    """A Keras backend that is not TensorFlow, where it is installed."""
    pytest.importorskip(request.param, reason="jax comes with the dev extra, torch with bench")
    return request.param


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


def _mr_series(
    folder,
    pixels=None,
    *,
    orientation=(1, 0, 0, 0, 1, 0),
    pixel_mm=(1.5, 1.5),
    distance_mm=4.0,
    leave_out=(),
):
    """Slices that step along the normal of `orientation`; six of 12 x 10 pixels of noise if none.

    Args:
      folder: to create.
      pixels: uint16 (slice, row, column).
      orientation: direction of a row, then of a column.
      pixel_mm: distance of rows, then of columns.
      distance_mm: of slices.
      leave_out: names that no slice has.
    """
    folder.mkdir(parents=True)
    normal = np.cross(orientation[:3], orientation[3:])
    if pixels is None:
        pixels = np.random.default_rng(0).integers(1, 500, (6, 12, 10)).astype(np.uint16)
    series = generate_uid()
    for k in range(len(pixels)):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "MR", series, 5
        for name, value in STUDY.items():
            data.add_new(name, pydicom.datadict.dictionary_VR(name), value)
        position_mm = np.array([-8.0, -9.0, 100.0]) + k * distance_mm * normal
        data.ImagePositionPatient = [f"{mm:.9g}" for mm in position_mm]
        data.ImageOrientationPatient = [f"{cosine:.9g}" for cosine in orientation]
        data.PixelSpacing = list(pixel_mm)
        for name in leave_out:
            del data[name]
        data.Rows, data.Columns = pixels.shape[1:]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 0
        data.PixelData = pixels[k].tobytes()
        data.save_as(folder / f"mr{k}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture
def mr_series():
    """Function that writes an MR series; its patient and study are in `mr_series.study`."""
    _mr_series.study = STUDY
    return _mr_series
