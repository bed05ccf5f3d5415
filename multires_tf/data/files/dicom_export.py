"""A synthetic CT as a DICOM series beside the MR that it was made from.

CT Image Storage, derived, axial, in the patient, study and frame of reference of the MR, so that
planning systems lay both on each other. UIDs follow from the content: the same prediction written
twice is the same series, another one never is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid

import multires_tf
from multires_tf.data import geometry, resampling
from multires_tf.data.files import dicom, dicom_headers, images
from multires_tf.ground import errors

# Taken over from the MR: who was scanned, in which study, and where.
_PATIENT = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientAge", "PatientSize", "PatientWeight", "OtherPatientIDs", "EthnicGroup"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
)
_STUDY = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription"),
    *("AccessionNumber", "ReferringPhysicianName", "LongitudinalTemporalInformationModified"),
)
_PLACE = (
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition"),
    *("BodyPartExamined", "Laterality"),
)
_NEEDED = (
    *("SOPClassUID", "SOPInstanceUID"),
    *("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"),
)
# Attributes that an image must have, though they may be empty.
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
    *("PatientPosition", "AcquisitionNumber"),
)
_SHORT_STRING = 16
_SERIES_OFFSET = 1000
_SOFT_TISSUE_WINDOW_HU = (40, 400)


@dataclasses.dataclass(frozen=True)
class _Source:
    """A slice of the MR: its file's header, and from where to where it reaches along z, in mm.

    Attributes:
      frame: index in an enhanced file; None for a plain one.
    """

    header: pydicom.Dataset
    frame: int | None
    low_mm: float
    high_mm: float


def check(folder: Path, *, series: str | None = None) -> None:
    """Raises UserError unless `folder` holds a series beside which another can be laid.

    Args:
      folder: of the MR.
      series: number, description or UID of its series, where the folder has several.
    """
    if not folder.is_dir() or images.stations_in(folder):
        raise errors.UserError(
            f"{folder}: no DICOM series, and --dicom needs one; give the MR's DICOM folder or leave"
            " --dicom out"
        )
    found = dicom.slices(folder, series=series, modality="MR")
    with dicom_headers.UNCHECKED:
        for path in dict.fromkeys(one.path for one in found):
            _header(path)


@dicom_headers.UNCHECKED  # the MR's values are taken over as they are
def write(
    folder: Path,
    ct_hu: np.ndarray,
    grid: geometry.Geometry,
    *,
    source: Path,
    series: str | None = None,
    kvp: int,
    air_hu: int,
) -> None:
    """Writes one file a slice into `folder`.

    Args:
      folder: to create.
      ct_hu: int16 (z, y, x) in HU.
      grid: of `ct_hu`; slices that are not axial, or whose pixels are not square, are resampled.
      source: folder of the MR's series.
      series: number, description or UID of that series, where the folder has several.
      kvp: tube voltage in kV of the CT that is imitated: electron densities depend on it.
      air_hu: fill outside the MR's field.

    Raises:
      UserError: as `check`.
    """
    axial = geometry.upright(grid, square=True)
    image = geometry.to_image(ct_hu, grid)
    voxels = np.rint(resampling.resample(image, axial, fill=air_hu)).astype(np.int16)
    slices = _sources(source, series)
    shared = _shared(slices[0].header, voxels, axial, kvp)
    folder.mkdir(parents=True)
    for index, pixels in enumerate(voxels):
        data = _slice(shared, pixels, axial, index)
        low_mm = axial.origin_mm[2] + (index - 0.5) * axial.spacing_mm[0]
        high_mm = low_mm + axial.spacing_mm[0]
        near = [
            one for one in slices if one.low_mm < high_mm - 1e-3 and one.high_mm > low_mm + 1e-3
        ]
        data.SourceImageSequence = _references(near)
        data.save_as(folder / f"ct_{index + 1:04d}.dcm", enforce_file_format=True)


def _header(path: Path) -> pydicom.Dataset:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    for name in _NEEDED:
        if not header.get(name):
            raise errors.UserError(
                f"{path}: no {name}; export the series again, or without --dicom"
            )
    return header


def _sources(folder: Path, series: str | None) -> list[_Source]:
    slices = dicom.slices(folder, series=series, modality="MR")
    grid, found = dicom.grid_of(slices), []
    headers = {path: _header(path) for path in {one.path for one in slices}}
    for index, one in enumerate(slices):
        ends = [(-0.5, n - 0.5) for n in grid.size[:0:-1]]
        corners = itertools.product(*ends, (index - 0.5, index + 0.5))
        z_mm = [grid.position_mm(corner)[2] for corner in corners]
        found.append(_Source(headers[one.path], one.frame, min(z_mm), max(z_mm)))
    return found


def _shared(
    mr: pydicom.Dataset, voxels: np.ndarray, grid: geometry.Geometry, kvp: int
) -> pydicom.Dataset:
    """What all slices share."""
    made = f"multires_tf {multires_tf.__version__}"
    data = pydicom.Dataset()
    for name in ("SpecificCharacterSet", *_PATIENT, *_STUDY, *_PLACE):
        if name in mr:
            data[name] = mr[name]
    if data.get("StudyID"):  # often longer than it may be; the study is known by its UID
        data.StudyID = str(data.StudyID)[:_SHORT_STRING]
    for name in _MAY_BE_EMPTY:
        if name not in data:
            setattr(data, name, None)
    if "BodyPartExamined" not in data and "Laterality" not in data:
        data.Laterality = None  # may be missing only where the body part has no sides
    content = hashlib.sha256(np.ascontiguousarray(voxels).tobytes()).hexdigest()
    data.SeriesInstanceUID = uid.generate_uid(
        entropy_srcs=[str(mr.SeriesInstanceUID), content, str(grid), made, str(kvp)]
    )
    data.SOPClassUID = uid.CTImageStorage
    data.Modality = "CT"
    data.SeriesDescription = f"Synthetic CT from MR, {kvp} kV"
    data.SeriesNumber = int(mr.get("SeriesNumber") or 0) % 10**6 + _SERIES_OFFSET
    data.Manufacturer = data.ManufacturerModelName = "multires_tf"
    data.SoftwareVersions = made
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    data.DerivationDescription = (
        f"Synthetic CT predicted from MR by {made}, no X-ray acquisition; HU as in a CT at {kvp} kV"
    )
    data.BurnedInAnnotation = "NO"
    data.LossyImageCompression = "00"
    data.KVP = str(kvp)
    data.SliceThickness = _decimal(grid.spacing_mm[0])
    data.PixelSpacing = [_decimal(mm) for mm in grid.spacing_mm[1:]]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.Rows, data.Columns = voxels.shape[1:]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 1
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", "1", "HU"
    data.WindowCenter, data.WindowWidth = _SOFT_TISSUE_WINDOW_HU
    return data


def _slice(
    shared: pydicom.Dataset, pixels: np.ndarray, grid: geometry.Geometry, index: int
) -> pydicom.Dataset:
    data = pydicom.Dataset()
    data.update(shared)
    data.SOPInstanceUID = uid.generate_uid(entropy_srcs=[shared.SeriesInstanceUID, str(index)])
    data.InstanceNumber = index + 1
    position_mm = grid.position_mm((0, 0, index))
    data.ImagePositionPatient = [_decimal(mm) for mm in position_mm]
    data.SliceLocation = _decimal(position_mm[2])
    data.PixelData = np.ascontiguousarray(pixels, "<i2").tobytes()
    data["PixelData"].VR = "OW"
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return data


def _references(sources: Sequence[_Source]) -> list[pydicom.Dataset]:
    """One item a file of the MR, with its frames where it has several."""
    frames: dict[str, list[_Source]] = {}
    for one in sources:
        frames.setdefault(one.header.SOPInstanceUID, []).append(one)
    return [
        _reference(own[0].header, [one.frame + 1 for one in own if one.frame is not None])
        for own in frames.values()
    ]


def _reference(mr: pydicom.Dataset, frames: list[int]) -> pydicom.Dataset:
    item, purpose = pydicom.Dataset(), pydicom.Dataset()
    item.ReferencedSOPClassUID = mr.SOPClassUID
    item.ReferencedSOPInstanceUID = mr.SOPInstanceUID
    if frames:
        item.ReferencedFrameNumber = frames
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _decimal(value: float) -> str:
    """A number in the sixteen characters that a DICOM decimal has."""
    return pydicom.valuerep.format_number_as_ds(float(value))
