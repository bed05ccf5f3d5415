"""What the headers of DICOM files tell of their slices: plain files and enhanced multi-frame ones.

Nothing that names a patient is read, and no UID leaves this module and `dicom` in a message.
"""

from __future__ import annotations

import contextlib
import dataclasses
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from multires_tf.ground import errors

_NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_SCALE = ("RescaleSlope", "RescaleIntercept")
_TAGS = [
    *_NEEDED,
    *_SCALE,
    "Modality",
    "SeriesInstanceUID",
    "SeriesDescription",
    "SeriesNumber",
    "ImageType",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
# Where an enhanced file keeps what a plain one keeps at its top level.
_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
# What reading and converting the values of a damaged file raises.
DAMAGE = (
    *(EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(NotImplementedError, RecursionError, struct.error, zlib.error),
    pydicom.errors.BytesLengthException,
)


class _Unchecked(contextlib.ContextDecorator):
    """Keeps pydicom from checking values: its complaints quote them, names and UIDs among them.

    There is one setting for all threads: the first of several switches it, the last one back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._off = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._off.enter_context(pydicom.config.disable_value_validation())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._off.close()


UNCHECKED = _Unchecked()


@dataclasses.dataclass(frozen=True)
class Series:
    """What tells one series from another.

    Attributes:
      uid: never shown.
      modality: MR, CT, ...
      description: what the scanner's operator called it.
      number: of the series in its study, as text.
    """

    uid: str
    modality: str
    description: str
    number: str


@dataclasses.dataclass(frozen=True)
class Fault:
    """An image that is no slice of a volume: a capture of a screen, a dose, a damaged export.

    Attributes:
      series: that it belongs to.
      words: what is wrong and the remedy, for the user.
    """

    series: Series
    words: str


class _NoSliceError(Exception):
    """Its text is what is wrong with an image, and the remedy."""


@dataclasses.dataclass(frozen=True)
class Slice:
    """One slice: a file, or a frame of one.

    Attributes:
      path: the file.
      frame: index in an enhanced file; None for a plain one.
      series: that it belongs to.
      localizer: a scout, made for planning.
      position_mm: (x, y, z) centre of its first pixel.
      orientation: 6 direction cosines: along a row (index x), then along a column (index y).
      pixel_mm: distance of rows and of columns.
      size: rows and columns.
      slope, intercept: of its stored values.
      inverse: shown with the darkest as the brightest, which changes no value.
      compressed: its pixels are, or nobody says.
    """

    path: Path
    frame: int | None
    series: Series
    localizer: bool
    position_mm: np.ndarray
    orientation: np.ndarray
    pixel_mm: tuple[float, float]
    size: tuple[int, int]
    slope: float
    intercept: float
    inverse: bool
    compressed: bool

    @property
    def normal(self) -> np.ndarray:
        """The direction across the slice, of length 1 though the cosines are rounded."""
        across = np.cross(self.orientation[:3], self.orientation[3:])
        return across / np.linalg.norm(across)

    @property
    def name(self) -> str:
        """For messages."""
        return self.path.name if self.frame is None else f"{self.path.name}, frame {self.frame + 1}"


def read(folder: Path) -> tuple[list[Slice], list[Fault]]:
    """Reads the headers of all DICOM images in and below a folder; other files are passed over.

    Returns:
      The slices; and the images that are none, which may be nothing but company of what is wanted.

    Raises:
      UserError: a header is damaged; a file may not be read.
    """
    by_file = {e: _in_file(e) for e in sorted(folder.rglob("*")) if e.is_file()}
    found = [one for ones in by_file.values() for one in ones or ()]
    slices = [one for one in found if isinstance(one, Slice)]
    suffixes = {one.path.suffix for one in slices}
    for path in (path for path, ones in by_file.items() if ones is None):
        if _lost(path, suffixes):
            raise _damaged(path)
    return slices, [one for one in found if isinstance(one, Fault)]


def _lost(path: Path, suffixes: set[str]) -> bool:
    """Whether a file that is no DICOM was a slice: at an end of a series none would be missed."""
    if path.name.startswith("."):
        return False
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    with path.open("rb") as file:  # a copy that broke off leaves nothing, or zeros
        return path.suffix in suffixes and not any(file.read(1024))


def _in_file(path: Path) -> Sequence[Slice | Fault] | None:
    """The images of a file; None where it is no DICOM."""
    with errors.reading(path), UNCHECKED:  # values are converted when they are asked for
        try:
            data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            return _images(path, data) if "Rows" in data else []
        except pydicom.errors.InvalidDicomError:
            return None
        except OSError as error:
            if error.errno is not None:  # the system's; pydicom's own has no number
                raise
            raise _damaged(path) from None
        except DAMAGE:
            raise _damaged(path) from None


def _damaged(path: Path) -> errors.UserError:
    return errors.UserError(f"{path}: its DICOM header is damaged; export the series again")


def _images(path: Path, data: pydicom.Dataset) -> Sequence[Slice | Fault]:
    try:
        return list(_slices(path, data))
    except _NoSliceError as error:
        return [Fault(_series(data), f"{error}, move it away or choose another with --series")]


def _slices(path: Path, data: pydicom.Dataset) -> Iterator[Slice]:
    if int(data.get("SamplesPerPixel") or 1) != 1:
        raise _NoSliceError(f"{path}: a colour image; give a scalar series")
    frames = data.get("PerFrameFunctionalGroupsSequence")
    if frames is None:
        if int(data.get("NumberOfFrames") or 1) > 1:
            raise _NoSliceError(
                f"{path}: many frames without their positions; export it as single slices"
            )
        yield _slice(path, data, None, {name: data.get(name) for name in (*_NEEDED, *_SCALE)})
        return
    shared = data.get("SharedFunctionalGroupsSequence")
    for index, frame in enumerate(frames):
        groups = [frame, *(shared or [])]
        yield _slice(path, data, index, {name: _grouped(groups, name) for name in _GROUPS})


def _grouped(groups: list[pydicom.Dataset], name: str):
    """Returns a value of a frame's own functional group, else of the shared one, else None."""
    for group in groups:
        for item in group.get(_GROUPS[name]) or []:
            if item.get(name) is not None:
                return item.get(name)
    return None


def _series(data: pydicom.Dataset) -> Series:
    return Series(
        uid=str(data.get("SeriesInstanceUID", "")),
        modality=str(data.get("Modality", "")),
        description=str(data.get("SeriesDescription", "")).strip(),
        number="" if data.get("SeriesNumber") is None else str(data.get("SeriesNumber")),
    )


def _words(value: Any) -> list[str]:
    """The words of a value, which is one where it has one alone."""
    words = [value] if isinstance(value, str) else value or []
    return [str(word).upper() for word in words]


def _slice(path: Path, data: pydicom.Dataset, frame: int | None, values: dict) -> Slice:
    counts = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    for name, count in counts.items():
        if values[name] is None or len(values[name]) != count:
            where = f"{path}" if frame is None else f"{path}, frame {frame + 1}"
            raise _NoSliceError(
                f"{where}: no {name} in its header, so its place is unknown;"
                " export the series again with it"
            )
    row_mm, column_mm = (float(value) for value in values["PixelSpacing"])
    slope, intercept = values.get("RescaleSlope"), values.get("RescaleIntercept")
    syntax = data.file_meta.get("TransferSyntaxUID")
    return Slice(
        path=path,
        frame=frame,
        series=_series(data),
        localizer="LOCALIZER" in _words(data.get("ImageType")),
        position_mm=np.array(values["ImagePositionPatient"], np.float64),
        orientation=np.array(values["ImageOrientationPatient"], np.float64),
        pixel_mm=(row_mm, column_mm),
        size=(int(data.Rows), int(data.Columns)),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        inverse=data.get("PhotometricInterpretation") == "MONOCHROME1",
        compressed=not (syntax and syntax.is_transfer_syntax) or syntax.is_compressed,
    )
