"""Whether a NIfTI file is all there: ITK reads one that is cut short without a word."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

_HEADER_BYTES = 544
_CHUNK_BYTES = 1 << 24


def is_complete(path: Path) -> bool:
    """Tells whether `path` holds as many bytes as its header says and, if gzipped, a good checksum.

    Args:
      path: `.nii` or `.nii.gz`, NIfTI-1 or NIfTI-2; by its first bytes, not by its name.
    """
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    if not zipped:
        with open(path, "rb") as file:
            return path.stat().st_size >= _declared_bytes(file.read(_HEADER_BYTES))
    try:
        with gzip.open(path) as stream:
            declared = _declared_bytes(stream.read(_HEADER_BYTES))
            return _length(stream) >= declared
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False


def _length(stream: BinaryIO) -> int:
    """Reads on to the end, where gzip compares its checksum; returns the position reached."""
    while stream.read(_CHUNK_BYTES):
        pass
    return stream.tell()


def _declared_bytes(header: bytes) -> float:
    """Returns offset plus size of the voxels, by the header; infinite where it makes no sense."""
    for order in "<>":
        if header[:4] == struct.pack(f"{order}i", 348) and len(header) >= 348:
            dims = struct.unpack_from(f"{order}8h", header, 40)
            (bits,) = struct.unpack_from(f"{order}h", header, 72)
            (offset,) = struct.unpack_from(f"{order}f", header, 108)
        elif header[:4] == struct.pack(f"{order}i", 540) and len(header) >= 540:
            dims = struct.unpack_from(f"{order}8q", header, 16)
            (bits,) = struct.unpack_from(f"{order}h", header, 14)
            (offset,) = struct.unpack_from(f"{order}q", header, 168)
        else:
            continue
        voxels = math.prod(max(1, length) for length in dims[1 : dims[0] + 1])
        return offset + voxels * bits / 8
    return math.inf
