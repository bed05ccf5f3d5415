"""A folder with a DICOM series becomes one 3-D image; slices are sorted and checked by position.

A plain reader takes the distance of the first two slices for all of them. Here a slice that is
missing, doubled, tilted or turned is refused by its name.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from multires_tf.data import geometry
from multires_tf.data.files import dicom_headers
from multires_tf.data.files.dicom_headers import Fault, Series, Slice
from multires_tf.ground import errors

# Slices may be off by this share of their distance: positions are rounded when written.
_UNEVEN = 0.05
# And by this share of a voxel from where the series' grid has them: small errors add up.
_OFF_GRID = 0.5
# Spacings are rounded, too: over a thousand pixels this adds up to a tenth of one.
_ROUNDED = 1e-4


def is_series_folder(path: Path) -> bool:
    """Tells whether a folder holds a DICOM file directly."""
    with errors.reading(path):
        return path.is_dir() and any(
            entry.is_file() and pydicom.misc.is_dicom(entry) for entry in sorted(path.iterdir())
        )


def header(
    folder: Path, *, series: str | None = None, modality: str | None = None
) -> geometry.Geometry:
    """Returns the series' grid after reading the headers only.

    Raises:
      UserError: as `read`.
    """
    return grid_of(slices(folder, series=series, modality=modality))


def slices(folder: Path, *, series: str | None = None, modality: str | None = None) -> list[Slice]:
    """Returns the slices of the series, along its normal.

    Raises:
      UserError: as `read`.
    """
    found, faults = dicom_headers.read(folder)
    if not (found or faults):
        raise errors.UserError(f"{folder}: no DICOM image in it; give a folder with a series")
    chosen = _chosen(found, faults, folder, series, modality)
    for fault in faults:
        if fault.series.uid == chosen.uid:
            raise errors.UserError(fault.words)
    found = [one for one in found if one.series.uid == chosen.uid]
    _check_alike(found, folder)
    normal = found[0].normal
    found.sort(key=lambda one: float(one.position_mm @ normal))
    _check_spacing(found, folder)
    _check_places(found, folder)
    return found


def grid_of(slices: Sequence[Slice]) -> geometry.Geometry:
    """Returns the grid of a series' slices, which must be along its normal."""
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


def read(folder: Path, *, series: str | None = None, modality: str | None = None) -> sitk.Image:
    """Reads the series as float32, rescaled as its headers say (CT in HU).

    Args:
      folder: searched with all that is below it; files that are not DICOM images are passed over.
      series: UID, description or number of one series where the folder has several; several such
        words are separated by commas (one names the MR, another the CT).
      modality: MR or CT: what the series has to be; chooses where the folder has both.

    Raises:
      UserError: no series, several to choose from, slices missing, doubled, tilted or damaged.
    """
    found = slices(folder, series=series, modality=modality)
    if found[0].frame is None:
        rows = [_pixels(one) for one in found]
    else:
        counts = collections.Counter(one.path for one in found)
        stored = {path: _frames(path) for path in counts}
        for path, count in counts.items():
            if len(stored[path]) != count:
                raise _damaged(path)
        rows = [_rescaled(stored[one.path][one.frame], one) for one in found]
    return geometry.to_image(np.stack(rows), grid_of(found))


def _rescaled(stored: np.ndarray, one: Slice) -> np.ndarray:
    return (stored * one.slope + one.intercept).astype(np.float32)


def _pixels(one: Slice) -> np.ndarray:
    """Returns a plain file's pixels, rescaled, float32 (y, x).

    ITK knows more compressions. But pixels that are lacking it fills with what lies in memory, and
    those that are shown inverted it turns around.
    """
    if one.inverse or not one.compressed:
        return _rescaled(_frames(one.path)[0], one)
    try:
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(one.path), sitk.sitkFloat32))
    except RuntimeError:
        reason = "damaged, or compressed in a way that cannot be read"
        raise errors.UserError(
            f"{one.path}: {reason}; export the series again, uncompressed"
        ) from None
    return pixels.reshape(pixels.shape[-2:])


def _frames(path: Path) -> np.ndarray:
    """Returns a file's stored values, float64 (frame, y, x)."""
    with errors.reading(path), dicom_headers.UNCHECKED:
        try:
            pixels = pydicom.dcmread(path).pixel_array
        except (NotImplementedError, RuntimeError):
            raise errors.UserError(
                f"{path}: compressed in a way that cannot be read; export it uncompressed"
            ) from None
        except dicom_headers.DAMAGE:
            raise _damaged(path) from None
    return np.asarray(pixels, np.float64).reshape(-1, *pixels.shape[-2:])


def _damaged(path: Path) -> errors.UserError:
    return errors.UserError(f"{path}: damaged or cut short; export the series again")


def _chosen(
    slices: Sequence[Slice],
    faults: Sequence[Fault],
    folder: Path,
    wanted: str | None,
    modality: str | None,
) -> Series:
    """Chooses by modality, then by what was asked for, then by leaving scouts out.

    A series without a single slice of a volume is taken only by its name, or where nothing but
    scouts is left: there a person has to know what is wrong with it.
    """
    every = [*(fault.series for fault in faults), *(one.series for one in slices)]
    one_each = {one.uid: one for one in every}
    fitting = [one for one in one_each.values() if modality in (None, "", one.modality)]
    if not fitting:
        kinds = " and ".join(sorted({one.modality or "no modality" for one in one_each.values()}))
        raise errors.UserError(f"{folder}: holds {kinds}, not {modality}; give the {modality} here")
    is_scout = {one.series.uid: one.localizer for one in slices}
    volumes = [one for one in fitting if one.uid in is_scout]
    scans = [one for one in volumes if not is_scout[one.uid]]
    if wanted:
        named = _named(fitting, wanted)
        asked = [one for one in named if one in volumes] or named
    else:
        asked = scans
    if len(asked) == 1:
        return asked[0]
    if not (asked or scans) and len(volumes) < len(fitting):
        return next(one for one in fitting if one not in volumes)
    if not asked and len(volumes) == 1:
        return volumes[0]
    raise _ambiguous(folder, volumes or fitting, asked, wanted)


def _named(series: Sequence[Series], wanted: str) -> list[Series]:
    names = {wanted, *wanted.split(",")}
    return [one for one in series if names & {one.uid, one.description, one.number}]


def _ambiguous(
    folder: Path, series: Sequence[Series], asked: Sequence[Series], wanted: str | None
) -> errors.UserError:
    listed = ", ".join(
        f"{one.number or 'no number'} ({one.modality} '{one.description}')" for one in series
    )
    reason = f"--series '{wanted}' matches {len(asked)} of" if wanted else "holds"
    return errors.UserError(
        f"{folder}: {reason} {len(series)} series; choose one with --series: {listed}"
    )


def _check_alike(slices: Sequence[Slice], folder: Path) -> None:
    first = slices[0]
    if len(slices) < 2:
        raise errors.UserError(f"{folder}: a single slice; give the whole series")
    lengths = np.linalg.norm(first.orientation.reshape(2, 3), axis=1)
    across = abs(first.orientation[:3] @ first.orientation[3:])
    if not np.allclose(lengths, 1, atol=1e-3) or across > 1e-3:
        raise errors.UserError(
            f"{first.path}: its rows and columns are not at right angles;"
            " export the series again with its orientation"
        )
    for one in slices:
        same = np.allclose(one.orientation, first.orientation, atol=1e-3)
        same &= np.allclose(one.pixel_mm, first.pixel_mm, rtol=_ROUNDED)
        if not same or one.size != first.size:
            raise errors.UserError(
                f"{one.path}: differs in orientation, size or spacing from the rest of its series;"
                " give one volume"
            )
        if not (np.isfinite(one.position_mm).all() and min(one.pixel_mm) > 0):
            raise errors.UserError(
                f"{one.path}: no sound position or pixel spacing; export the series again"
            )


def _check_spacing(slices: Sequence[Slice], folder: Path) -> None:
    normal = slices[0].normal
    steps = np.diff([one.position_mm for one in slices], axis=0)
    along = steps @ normal
    usual = float(np.quantile(along, 0.5, method="lower"))
    for (before, after), step, distance in zip(
        itertools.pairwise(slices), steps, along, strict=True
    ):
        pair = f"{before.name} and {after.name}"
        if distance <= _UNEVEN * max(usual, 1e-6):
            raise errors.UserError(
                f"{folder}: {pair} are at the same position; give one volume, each slice once"
            )
        if abs(distance - usual) > _UNEVEN * usual:
            lacking = round(distance / usual) - 1
            missing = lacking > 0 and abs(distance / usual - lacking - 1) < 2 * _UNEVEN
            what = "a slice is missing" if missing else "slices are unevenly spaced"
            raise errors.UserError(
                f"{folder}: {what} between {pair} ({distance:g} mm, elsewhere {usual:g} mm);"
                " export the whole series again"
            )
        if np.abs(step - distance * normal).max() > _UNEVEN * usual:
            raise errors.UserError(
                f"{folder}: the slices are tilted from {pair} on (gantry tilt);"
                " resample it to a regular grid"
            )


def _check_places(slices: Sequence[Slice], folder: Path) -> None:
    """Refuses what passes from slice to slice, but ends far from its place on the grid."""
    grid = grid_of(slices)
    for index, one in enumerate(slices):
        off = grid.index_xyz(one.position_mm) - (0, 0, index)
        if np.abs(off).max() > _OFF_GRID:
            cause = "unevenly spaced" if abs(off[2]) > _OFF_GRID else "tilted (gantry tilt)"
            off_mm = float(np.linalg.norm(grid.steps_mm @ off))
            raise errors.UserError(
                f"{folder}: the slices are {cause}: {one.name} is {off_mm:.1f} mm off its place;"
                " resample it to a regular grid"
            )
