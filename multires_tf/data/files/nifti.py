"""Whether a NIfTI file is sound. ITK's reader is too kind to be asked.

It reads a file that is cut short, turns voxels that are not finite into zeros, invents a spacing
where there is none and chooses between two orientations, all without a word. So the bytes are
looked at here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import itertools
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = (".nii", ".nii.gz")
_HEADER_BYTES = 544
_CHUNK_BYTES = 1 << 24
_FARTHEST_BYTE = 1 << 40  # a terabyte; file systems refuse to go much further
_FLOATS = {16: "f4", 64: "f8"}
# sform and qform may differ by this share of a voxel at the corners: one of them was rounded.
_SAME_PLACE = 0.5
_MAGICS = (b"n+1\0", b"n+2\0")
# Form and offset of the fields that are read here, by the length that a header begins with:
# NIfTI-1 and NIfTI-2.
_FIELDS = {
    348: {
        "magic": ("4s", 344),
        "dim": ("8h", 40),
        "kind": ("2h", 70),
        "pixdim": ("8f", 76),
        "offset": ("f", 108),
        "codes": ("2h", 252),
        "quaternion": ("6f", 256),
        "sform": ("12f", 280),
    },
    540: {
        "magic": ("4s", 4),
        "kind": ("2h", 12),
        "dim": ("8q", 16),
        "pixdim": ("8d", 104),
        "offset": ("q", 168),
        "codes": ("2i", 344),
        "quaternion": ("6d", 352),
        "sform": ("12d", 400),
    },
}


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the bytes of a file tell.

    Attributes:
      complete: there are as many as the header says, and a gzip's checksum is right.
      not_finite: number of voxels that are NaN or infinite.
    """

    complete: bool
    not_finite: int


def examine(path: Path) -> Findings:
    """Reads a NIfTI-1 or NIfTI-2 file, gzipped or not: by its first bytes, not by its name."""
    try:
        with _opened(path) as stream:
            return _examine(stream)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return Findings(complete=False, not_finite=0)


def header_fault(path: Path) -> str | None:
    """Returns what is wrong with the voxel sizes or the orientation in a header, and the remedy.

    None where all is well, or where there is no NIfTI header at all.
    """
    try:
        with _opened(path) as stream:
            fields = _fields(stream.read(_HEADER_BYTES))
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return None
    if fields is None:
        return None
    pixdim = np.array(fields["pixdim"][1:4])
    if not (np.isfinite(pixdim).all() and pixdim.min() > 0):
        sizes = " x ".join(f"{value:g}" for value in pixdim)
        return f"voxels of {sizes} mm (pixdim); correct the header"
    if fields["magic"][0] not in _MAGICS:
        return "no NIfTI header (magic n+1 or n+2); convert it again from the original"
    has_qform, has_sform = (code > 0 for code in fields["codes"])
    used = (fields["quaternion"] if has_qform else ()) + (fields["sform"] if has_sform else ())
    if not np.isfinite(used).all():
        return "its sform or qform has NaN or infinite numbers; correct the header"
    if not (has_qform or has_sform):
        return (
            "does not say where its voxels lie (sform and qform codes are 0);"
            " convert it again from the original"
        )
    if has_qform and has_sform and (fault := _disagreement(fields, pixdim)):
        return fault
    return _scale_fault(fields, pixdim) if has_sform else None


def _disagreement(fields: dict[str, Any], pixdim: np.ndarray) -> str | None:
    """Says whether the two orientations put a corner of the volume into different places."""
    difference = np.reshape(fields["sform"], (3, 4)) - _qform(fields)
    ends = [(0, max(1, length) - 1) for length in fields["dim"][1:4]]
    corners = np.array([(*corner, 1) for corner in itertools.product(*ends)])
    apart_mm = np.linalg.norm(corners @ difference.T, axis=1).max()
    if apart_mm <= _SAME_PLACE * pixdim.min():
        return None
    return (
        f"its sform and qform disagree by up to {apart_mm:.1f} mm;"
        " set the code of the wrong one to 0"
    )


def _scale_fault(fields: dict[str, Any], pixdim: np.ndarray) -> str | None:
    """Says whether the sform's voxels have another size than pixdim's, which ITK would take."""
    scales = np.linalg.norm(np.reshape(fields["sform"], (3, 4))[:, :3], axis=0)
    voxels = np.maximum(1, fields["dim"][1:4]) - 1
    if (np.abs(scales - pixdim) * voxels).max() <= _SAME_PLACE * pixdim.min():
        return None
    ours, theirs = (" x ".join(f"{mm:.4g}" for mm in sizes) for sizes in (scales, pixdim))
    return f"voxels of {ours} mm by its sform, of {theirs} mm by pixdim; correct the wrong one"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[gzip.GzipFile | io.BufferedReader]:
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else open(path, "rb") as stream:
        yield stream


def _examine(stream: gzip.GzipFile | io.BufferedReader) -> Findings:
    fields = _fields(stream.read(_HEADER_BYTES))
    if fields is None:
        return Findings(complete=False, not_finite=0)
    kind, bits = fields["kind"]
    dtype = np.dtype(fields["order"] + _FLOATS[kind]) if kind in _FLOATS else None
    dim = fields["dim"]
    left = math.prod(max(1, length) for length in dim[1 : dim[0] + 1]) * bits // 8
    not_finite = 0
    (offset,) = fields["offset"]
    if not 0 <= offset < _FARTHEST_BYTE:  # nor NaN
        return Findings(complete=False, not_finite=0)
    stream.seek(int(offset))
    while left > 0 and (chunk := stream.read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
        if dtype is not None:
            voxels = np.frombuffer(chunk, dtype, len(chunk) // dtype.itemsize)
            not_finite += int(np.count_nonzero(~np.isfinite(voxels)))
    # A gzip's checksum is compared when its end is read.
    while stream.read(_CHUNK_BYTES):
        pass
    return Findings(complete=left == 0, not_finite=not_finite)


def _fields(header: bytes) -> dict[str, Any] | None:
    """Returns the fields of a header and the `order` of its bytes; None if it is none."""
    for order, length in itertools.product("<>", _FIELDS):
        if header[:4] == struct.pack(f"{order}i", length) and len(header) >= length:
            forms = _FIELDS[length].items()
            values = {k: struct.unpack_from(order + form, header, at) for k, (form, at) in forms}
            return {"order": order, **values}
    return None


def _qform(fields: dict[str, Sequence[float]]) -> np.ndarray:
    """Returns the (3, 4) matrix of a qform (the NIfTI-1 standard, method 2)."""
    b, c, d, *offset = fields["quaternion"]
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handedness, *sizes = fields["pixdim"][:4]
    return np.column_stack([turn * sizes * np.array([1, 1, -1 if handedness < 0 else 1]), offset])
