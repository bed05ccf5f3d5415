"""Whether a NIfTI file is sound. ITK's reader is too kind to be asked.

It reads a file that is cut short, and turns voxels that are not finite into zeros, both without a
word. So the bytes are looked at here.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np

SUFFIXES = (".nii", ".nii.gz")
_HEADER_BYTES = 544
_CHUNK_BYTES = 1 << 24
_FLOATS = {16: "f4", 64: "f8"}


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the bytes of a file tell.

    Attributes:
      complete: there are as many as the header says, and a gzip's checksum is right.
      not_finite: number of voxels that are NaN or infinite.
    """

    complete: bool
    not_finite: int


@dataclasses.dataclass(frozen=True)
class _Layout:
    offset: int
    size: int
    dtype: np.dtype | None


def examine(path: Path) -> Findings:
    """Reads a NIfTI-1 or NIfTI-2 file, gzipped or not: by its first bytes, not by its name."""
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else open(path, "rb") as stream:
            return _examine(stream)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return Findings(complete=False, not_finite=0)


def is_placed(path: Path) -> bool:
    """Tells whether the header says where the voxels lie: one of its two transforms is in use."""
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else open(path, "rb") as stream:
            header = stream.read(_HEADER_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return True  # damaged: for `examine` to say
    for order in "<>":
        if header[:4] == struct.pack(f"{order}i", 348) and len(header) >= 348:
            return any(struct.unpack_from(f"{order}2h", header, 252))
        if header[:4] == struct.pack(f"{order}i", 540) and len(header) >= 540:
            return any(struct.unpack_from(f"{order}2i", header, 344))
    return True


def _examine(stream: gzip.GzipFile | io.BufferedReader) -> Findings:
    layout = _layout(stream.read(_HEADER_BYTES))
    if layout is None:
        return Findings(complete=False, not_finite=0)
    stream.seek(layout.offset)
    left, not_finite = layout.size, 0
    while left > 0 and (chunk := stream.read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
        if layout.dtype is not None:
            whole = len(chunk) // layout.dtype.itemsize
            voxels = np.frombuffer(chunk, layout.dtype, whole)
            not_finite += int(np.count_nonzero(~np.isfinite(voxels)))
    # A gzip's checksum is compared when its end is read.
    while stream.read(_CHUNK_BYTES):
        pass
    return Findings(complete=left == 0, not_finite=not_finite)


def _layout(header: bytes) -> _Layout | None:
    """Returns where the voxels lie, by the header; None if it is none."""
    for order in "<>":
        if header[:4] == struct.pack(f"{order}i", 348) and len(header) >= 348:
            dims = struct.unpack_from(f"{order}8h", header, 40)
            kind, bits = struct.unpack_from(f"{order}2h", header, 70)
            (offset,) = struct.unpack_from(f"{order}f", header, 108)
        elif header[:4] == struct.pack(f"{order}i", 540) and len(header) >= 540:
            dims = struct.unpack_from(f"{order}8q", header, 16)
            kind, bits = struct.unpack_from(f"{order}2h", header, 12)
            (offset,) = struct.unpack_from(f"{order}q", header, 168)
        else:
            continue
        voxels = math.prod(max(1, length) for length in dims[1 : dims[0] + 1])
        dtype = np.dtype(order + _FLOATS[kind]) if kind in _FLOATS else None
        return _Layout(offset=int(offset), size=voxels * bits // 8, dtype=dtype)
    return None
