"""A folder with a DICOM series becomes one 3-D image; slices are sorted and checked by position."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from multires_tf import errors
from multires_tf.data import geometry

_TAGS = [
    "SeriesInstanceUID",
    "SeriesDescription",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
]
# Slices may be off by this share of their distance: positions are rounded when written.
_UNEVEN = 0.05


@dataclasses.dataclass(frozen=True)
class _Slice:
    path: Path
    uid: str
    description: str
    position_mm: np.ndarray
    orientation: np.ndarray
    pixel_mm: tuple[float, float]
    size: tuple[int, int]

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.orientation[:3], self.orientation[3:])


def is_series_folder(path: Path) -> bool:
    """Tells whether a folder holds a DICOM file directly."""
    return path.is_dir() and any(
        entry.is_file() and pydicom.misc.is_dicom(entry) for entry in sorted(path.iterdir())
    )


def header(folder: Path, *, series: str | None = None) -> geometry.Geometry:
    """Returns the series' grid after reading the headers only.

    Raises:
      UserError: as `read`.
    """
    return _grid(_sorted(folder, series))


def files(folder: Path, *, series: str | None = None) -> list[Path]:
    """Returns the files of the series, along its normal.

    Raises:
      UserError: as `read`.
    """
    return [one.path for one in _sorted(folder, series)]


def read(folder: Path, *, series: str | None = None) -> sitk.Image:
    """Reads the series as float32, rescaled as its headers say (CT in HU).

    Args:
      folder: searched with all that is below it; files that are not DICOM images are passed over.
      series: UID, or description, of one series where the folder has several.

    Raises:
      UserError: no series, several to choose from, slices missing, doubled, tilted or damaged.
    """
    slices = _sorted(folder, series)
    rows = []
    for one in slices:
        try:
            pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(one.path), sitk.sitkFloat32))
        except RuntimeError:
            raise errors.UserError(
                f"{one.path}: damaged or cut short; export the series again"
            ) from None
        rows.append(pixels.reshape(pixels.shape[-2:]))
    return geometry.to_image(np.stack(rows), _grid(slices))


def _sorted(folder: Path, series: str | None) -> list[_Slice]:
    slices = _chosen(_headers(folder), folder, series)
    first = slices[0]
    for one in slices:
        same = np.allclose(one.orientation, first.orientation, atol=1e-3)
        if not same or one.size != first.size or one.pixel_mm != first.pixel_mm:
            raise errors.UserError(
                f"{one.path}: differs in orientation, size or spacing from the rest of its series;"
                " give one volume"
            )
    slices.sort(key=lambda one: float(one.position_mm @ first.normal))
    _check_spacing(slices, folder)
    return slices


def _headers(folder: Path) -> list[_Slice]:
    slices = []
    for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        try:
            data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        except pydicom.errors.InvalidDicomError:
            continue
        if "Rows" not in data:
            continue
        if int(data.get("NumberOfFrames") or 1) > 1 or "ImagePositionPatient" not in data:
            raise errors.UserError(
                f"{path}: not a plain slice (no position, or many frames);"
                " convert the series to NIfTI"
            )
        if int(data.get("SamplesPerPixel", 1)) != 1:
            raise errors.UserError(f"{path}: a colour image; give a scalar series")
        slices.append(_slice(path, data))
    if not slices:
        raise errors.UserError(f"{folder}: no DICOM image in it; give a folder with a series")
    return slices


def _slice(path: Path, data: pydicom.Dataset) -> _Slice:
    row_mm, column_mm = (float(value) for value in data.PixelSpacing)
    return _Slice(
        path=path,
        uid=str(data.SeriesInstanceUID),
        description=str(data.get("SeriesDescription", "")),
        position_mm=np.array(data.ImagePositionPatient, np.float64),
        orientation=np.array(data.ImageOrientationPatient, np.float64),
        pixel_mm=(row_mm, column_mm),
        size=(int(data.Rows), int(data.Columns)),
    )


def _chosen(slices: list[_Slice], folder: Path, series: str | None) -> list[_Slice]:
    names = {one.uid: one.description for one in slices}
    if len(names) > 1:
        wanted = [uid for uid, text in names.items() if series in (uid, text)]
        if len(wanted) != 1:
            listed = ", ".join(
                f"{text or 'without description'} ({uid})" for uid, text in names.items()
            )
            asked = f"--series '{series}' names {len(wanted)} of" if series else "holds"
            raise errors.UserError(
                f"{folder}: {asked} {len(names)} series; choose one with --series: {listed}"
            )
        names = {wanted[0]: names[wanted[0]]}
    return [one for one in slices if one.uid in names]


def _check_spacing(slices: list[_Slice], folder: Path) -> None:
    if len(slices) < 2:
        raise errors.UserError(f"{folder}: a single slice; give the whole series")
    steps = np.diff([one.position_mm for one in slices], axis=0)
    along = steps @ slices[0].normal
    usual = float(np.quantile(along, 0.5, method="lower"))
    if along.min() <= _UNEVEN * max(usual, 1e-6):
        raise errors.UserError(f"{folder}: slices at the same position; give one volume")
    if np.abs(along - usual).max() > _UNEVEN * usual:
        at = slices[int(np.abs(along - usual).argmax())].path.name
        raise errors.UserError(
            f"{folder}: a slice is missing, or slices are unevenly spaced, after {at};"
            " export the whole series again"
        )
    sideways = steps - np.outer(along, slices[0].normal)
    if np.abs(sideways).max() > _UNEVEN * usual:
        raise errors.UserError(
            f"{folder}: the slices are tilted (gantry tilt); resample it to a regular grid"
        )


def _grid(slices: list[_Slice]) -> geometry.Geometry:
    first, last = slices[0], slices[-1]
    # PixelSpacing names the distance of rows (index y) first; the row's direction is index x.
    distance_mm = float((last.position_mm - first.position_mm) @ first.normal) / (len(slices) - 1)
    axes = np.stack([first.orientation[:3], first.orientation[3:], first.normal], axis=1)
    return geometry.Geometry(
        size=(len(slices), *first.size),
        spacing_mm=(distance_mm, *first.pixel_mm),
        origin_mm=tuple(first.position_mm.tolist()),
        direction=tuple((axes / np.linalg.norm(axes, axis=0)).ravel().tolist()),
    )
