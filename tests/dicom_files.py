"""DICOM files for tests, made by hand."""

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)


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


def item(**values):
    """One item of a sequence."""
    made = pydicom.Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def write_enhanced(path, frames, *, pixel_mm=(2.0, 1.5), **fields):
    """An enhanced file.

    Args:
        frames: (pixels, position_mm, slope, intercept) of each.
    """
    stacked = np.concatenate([pixels for pixels, *_ in frames])
    write_slice(path, stacked, (0, 0, 0), uid=generate_uid(), NumberOfFrames=len(frames), **fields)
    data = pydicom.dcmread(path)
    del data.ImagePositionPatient, data.ImageOrientationPatient, data.PixelSpacing
    data.Rows = frames[0][0].shape[0]
    data.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
            PixelMeasuresSequence=[item(PixelSpacing=list(pixel_mm))],
        )
    ]
    data.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=list(position_mm))],
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=intercept)],
        )
        for _, position_mm, slope, intercept in frames
    ]
    data.save_as(path)
