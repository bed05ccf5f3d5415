"""NRRD and MetaImage begin with text; SimpleITK makes up what it does not say."""

from __future__ import annotations

import re
from pathlib import Path

# Enough for the text at the beginning, which ends so; what follows are voxels.
_BYTES = 1 << 16
_END = {".nrrd": rb"\r?\n\r?\n", ".mha": rb"(?mi)^ElementDataFile.*$"}
_SEPARATOR = {".nrrd": ":", ".mha": "="}
# What gives voxels their size and place, by each of its names: without it they would get 1 mm, the
# origin and LPS.
_NEEDED = {
    ".nrrd": (("space",), ("space directions",), ("space origin",)),
    ".mha": (
        ("ElementSpacing", "ElementSize"),
        ("Offset", "Position", "Origin"),
        ("TransformMatrix", "Rotation", "Orientation"),
    ),
}
# All others are taken for the first of them.
_SPACES = (
    *("left-posterior-superior", "lps"),
    *("right-anterior-superior", "ras"),
    *("left-anterior-superior", "las"),
)


def header_fault(path: Path) -> str | None:
    """Returns what is wrong with a header, and the remedy; None where it places its voxels."""
    kind = path.suffix.lower()
    fields = _fields(path, kind)
    # A file of their own would be missed by checksums, and by whoever copies the image.
    elsewhere = fields.get("elementdatafile", fields.get("data file", fields.get("datafile")))
    if (elsewhere or "local").lower() != "local":
        return f"its voxels lie in another file; convert it to a {kind} that holds them"
    for names in _NEEDED[kind]:
        if not any(fields.get(name.lower()) for name in names):
            reason = f"does not say where its voxels lie (no {names[0]})"
            return f"{reason}; convert it again from the original"
    space = fields.get("space", _SPACES[0])
    if space.lower() not in _SPACES:
        return f"its space is {space[:40]}, not a patient's; convert it again to LPS or RAS"
    return None


def _fields(path: Path, kind: str) -> dict[str, str]:
    """The values of a header by their names in small letters."""
    with open(path, "rb") as file:
        head = file.read(_BYTES)
    end = re.search(_END[kind], head)
    lines = head[: end.end() if end else None].decode("latin-1").splitlines()
    parts = (line.partition(_SEPARATOR[kind]) for line in lines)
    return {name.strip().lower(): value.strip() for name, found, value in parts if found}
