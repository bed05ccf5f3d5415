"""Reading and writing images, with checks that name the file and the remedy.

Read: NIfTI, MetaImage, NRRD, a folder with a DICOM series, or one with the stations of an MR, which
are fused. Whatever fails a check raises `errors.UserError` in one line.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from multires_tf.data import geometry, intensity, masks, stations
from multires_tf.data.files import dicom, nifti, text_headers
from multires_tf.ground import errors, runfolder

# Scanners of patients do not resolve less, nor cut thicker slices: it is another unit, or nothing.
_SMALLEST_MM, _LARGEST_MM = 0.05, 50.0
SUFFIXES = (".nii.gz", ".nii", ".mha", ".nrrd")
# What a CT in HU looks like: air below -600, and of all that is denser than lung the median is soft
# tissue (fat to contrast-filled vessels).
_AIR_HU, _SOFT_HU, _LEAST_TISSUE = -600.0, (-200.0, 200.0), 0.01
_KEPT = (sitk.sitkInt16, sitk.sitkFloat32)


def read(
    path: Path,
    *,
    series: str | None = None,
    modality: str | None = None,
    may_be_flat: bool = False,
) -> sitk.Image:
    """Reads a 3-D image and checks its voxels; int16 and float32 are kept, all else is float32.

    Args:
      path: a file, a folder with a DICOM series, or a folder with the stations of an MR.
      series: number, description or UID of the DICOM series, where a folder has several.
      modality: MR or CT: what a DICOM series has to be.
      may_be_flat: voxels that are all the same are fine: a map, not a scan.

    Raises:
      UserError: the file is missing, cut short, no image, not 3-D or not scalar; its axes are not
        orthogonal; its voxels are not finite or all the same.
    """
    path = Path(path)
    parts = stations_in(path)
    if parts:
        return stations.fuse(
            [(part, read(part, series=series, modality=modality)) for part in parts]
        )
    if path.is_dir():
        image = dicom.read(path, series=series, modality=modality)
    else:
        check_header(path)
        if path.name.lower().endswith(nifti.SUFFIXES):
            with errors.reading(path):
                findings = nifti.examine(path)
            if not findings.complete:
                raise _damaged(path)
            _check_finite(findings.not_finite, path)
        image = _execute(path, sitk.ReadImage)
    if image.GetPixelID() not in _KEPT:
        image = sitk.Cast(image, sitk.sitkFloat32)
    array = sitk.GetArrayViewFromImage(image)
    _check_finite(int(np.count_nonzero(~np.isfinite(array))), path)
    if not may_be_flat:
        _check_contrast(array, path)
    return image


def stations_in(folder: Path) -> list[Path]:
    """Returns the stations of an MR in a folder, by number; empty where there are none.

    Raises:
      UserError: a station is missing or there twice.
    """
    return stations.paths(folder, SUFFIXES)


def check_header(
    path: Path, *, series: str | None = None, modality: str | None = None
) -> geometry.Geometry:
    """Checks all that can be told without reading voxels and returns the image's grid.

    Raises:
      UserError: as `read`, as far as the header shows it.
    """
    path = Path(path)
    parts = stations_in(path)
    if parts:
        return stations.check(
            [(part, check_header(part, series=series, modality=modality)) for part in parts]
        )
    if path.is_dir():
        return dicom.header(path, series=series, modality=modality)
    if not path.exists():
        raise errors.UserError(f"{path}: no such file; correct the path")
    if not path.name.lower().endswith(SUFFIXES):
        raise errors.UserError(f"{path}: not an image; give one of {', '.join(SUFFIXES)}")
    if path.suffix != ".mha" and path.suffix.lower() == ".mha":  # ITK would not know it
        raise errors.UserError(f"{path}: write its suffix in small letters, .mha")
    reader = _execute(path, _read_information)
    _check_shape(reader, path)
    is_nifti = path.name.lower().endswith(nifti.SUFFIXES)
    with errors.reading(path):
        fault = nifti.header_fault(path) if is_nifti else text_headers.header_fault(path)
    if fault:
        raise errors.UserError(f"{path}: {fault}")
    header = geometry.Geometry(
        size=tuple(reader.GetSize()[::-1]),
        spacing_mm=tuple(reader.GetSpacing()[::-1]),
        origin_mm=tuple(reader.GetOrigin()),
        direction=tuple(reader.GetDirection()),
    )
    check_grid(header, path)
    return header


def _read_information(path: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    reader.ReadImageInformation()
    return reader


def _execute(path: Path, action):
    """Calls SimpleITK with the file's name and turns its failure into one line."""
    try:
        with _QUIET_STDERR:
            return action(str(path))
    except RuntimeError as error:
        if not os.access(path, os.R_OK):
            raise errors.UserError(f"{path}: may not be read; change its permissions") from None
        if "orthonormal" in str(error):
            raise _not_orthonormal(path) from None
        raise _damaged(path) from None


def _damaged(path: Path) -> errors.UserError:
    return errors.UserError(
        f"{path}: not an image, or damaged or cut short; copy or convert it again"
    )


class _QuietStderr:
    """Keeps the chatter of ITK's C++ readers off the terminal: the user gets our one line.

    There is one stderr: the first of several threads hides it, the last one shows it again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._shown = False
        self._kept = -1

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            self._shown = sitk.ProcessObject.GetGlobalWarningDisplay()
            sitk.ProcessObject.SetGlobalWarningDisplay(False)
            self._kept = os.dup(2)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                sitk.ProcessObject.SetGlobalWarningDisplay(self._shown)
                os.dup2(self._kept, 2)
                os.close(self._kept)


_QUIET_STDERR = _QuietStderr()


def _check_shape(reader: sitk.ImageFileReader, path: Path) -> None:
    size = reader.GetSize()
    if len(size) < 3 or min(size) < 2:
        raise errors.UserError(f"{path}: a 2-D image {size}; give the whole 3-D volume")
    if len(size) > 3:
        raise errors.UserError(f"{path}: a {len(size)}-D image {size}; give one 3-D volume of it")
    if reader.GetNumberOfComponents() != 1:
        raise errors.UserError(f"{path}: several values a voxel; give a scalar image")


def check_grid(grid: geometry.Geometry, path: Path) -> None:
    """Raises UserError unless spacings are those of a body and the axes orthogonal unit vectors."""
    if not np.all(np.isfinite(grid.spacing_mm)) or min(grid.spacing_mm) <= 0:
        raise errors.UserError(f"{path}: spacing {grid.spacing_mm} mm; correct the header")
    odd = [mm for mm in grid.spacing_mm if not _SMALLEST_MM <= mm <= _LARGEST_MM]
    if odd:
        voxel = f"voxels of {odd[0]:g} mm"
        raise errors.UserError(f"{path}: {voxel}; correct the header, which is read as millimetres")
    if not np.allclose(grid.matrix.T @ grid.matrix, np.eye(3), atol=1e-3):
        raise _not_orthonormal(path)


def _not_orthonormal(path: Path) -> errors.UserError:
    return errors.UserError(
        f"{path}: its axes are not orthogonal (sheared or scaled); resample it to a regular grid"
    )


def _check_finite(not_finite: int, path: Path) -> None:
    if not_finite:
        raise errors.UserError(
            f"{path}: {not_finite} voxels are NaN or infinite; replace them by the value of air"
        )


def _check_contrast(array: np.ndarray, path: Path) -> None:
    if array.min() == array.max():
        raise errors.UserError(
            f"{path}: all voxels are {array.flat[0]:g}; give an image with something in it"
        )


def check_ct_hu(image: sitk.Image, path: Path) -> None:
    """Raises UserError unless the values can be Hounsfield units.

    Padding apart, there is air, and most of what is denser than lung is soft tissue: a CT without
    its rescale intercept, or with it twice, another slope or the other sign fails one of the two.
    """
    array = sitk.GetArrayViewFromImage(image)
    measured = array[array > intensity.PADDING_HU]
    tissue = measured[measured > masks.BODY_HU]
    has_air = measured.size and measured.min() < _AIR_HU
    has_tissue = tissue.size >= _LEAST_TISSUE * measured.size and tissue.size
    if not (has_air and has_tissue and _SOFT_HU[0] <= np.median(tissue) <= _SOFT_HU[1]):
        raise errors.UserError(
            f"{path}: a CT from {float(array.min()):g} to {float(array.max()):g} is not in HU"
            " (air -1000, water 0); convert it to HU"
        )


def check_overlap(mr: geometry.Geometry, ct: geometry.Geometry, *, mr_path: Path, ct_path: Path):
    """Raises UserError if the fields of MR and CT have no volume in common."""
    (mr_low, mr_high), (ct_low, ct_high) = mr.bounds_mm(), ct.bounds_mm()
    if np.any(np.minimum(mr_high, ct_high) <= np.maximum(mr_low, ct_low)):
        raise errors.UserError(
            f"{ct_path}: does not overlap {mr_path} in space; give a pair in one frame"
        )


def write(image: sitk.Image | np.ndarray, path: Path, *, grid: geometry.Geometry | None = None):
    """Writes an image, or an array (z, y, x) on `grid`, to a file that is complete or absent.

    Raises:
      OSError: the disk is full or the folder cannot be written.
    """
    if isinstance(image, np.ndarray):
        if grid is None:
            raise ValueError("an array needs its grid")
        image = geometry.to_image(image, grid)
    with runfolder.replacing(Path(path)) as temporary:
        # Tells of a forbidden folder or a full disk in the system's own terms; ITK does not.
        with open(temporary, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 4096)
        try:
            with _QUIET_STDERR:
                sitk.WriteImage(image, str(temporary), useCompression=True)
                # To a full disk ITK writes part of a file without a word.
                if not _is_whole(temporary):
                    raise RuntimeError
        except RuntimeError:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None


def _is_whole(path: Path) -> bool:
    if path.name.lower().endswith(nifti.SUFFIXES):
        return nifti.examine(path).complete
    sitk.ReadImage(str(path))  # MetaImage and NRRD readers count their bytes
    return True
