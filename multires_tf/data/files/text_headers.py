"""NRRD and MetaImage begin with text; SimpleITK makes up what it does not say."""

from __future__ import annotations

import math
import re
from pathlib import Path

# Enough for the text at the beginning, which ends so; what follows are voxels.
_BYTES = 1 << 16
_END = {".nrrd": rb"\r?\n\r?\n", ".mha": rb"(?m)^ElementDataFile.*$"}
_SEPARATOR = {".nrrd": ":", ".mha": "="}
# What gives voxels their size and place, by each of its names: without it they would get 1 mm, the
# origin and LPS. How many numbers it has, in a volume.
_NEEDED: dict[str, dict[tuple[str, ...], int]] = {
    ".nrrd": {("space directions",): 9, ("space origin",): 3},
    ".mha": {
        ("ElementSpacing", "ElementSize"): 3,
        ("Offset", "Position", "Origin"): 3,
        ("TransformMatrix", "Rotation", "Orientation"): 9,
    },
}
# Where the voxels are.
_VOXELS = {".nrrd": ("data file", "datafile"), ".mha": ("ElementDataFile",)}
# All others are taken for the first of them.
_SPACES = (
    *("left-posterior-superior", "lps"),
    *("right-anterior-superior", "ras"),
    *("left-anterior-superior", "las"),
)
# An empty or unknown unit ("", "?") says nothing else.
_MM = {"mm", "millimeter", "millimeters", "millimetre", "millimetres", "s"}  # "millimeter(s)"
_NUMBER = re.compile(r"[^\s(),]+")


def header_fault(path: Path) -> str | None:
    """Returns what is wrong with a header, and the remedy; None where it places its voxels."""
    kind = path.suffix.lower()
    fields = _fields(path, kind)
    # A file of their own would be missed by checksums, and by whoever copies the image.
    if any((fields.get(name) or "local").lower() != "local" for name in _VOXELS[kind]):
        return f"its voxels lie in another file; convert it to a {kind} that holds them"
    if kind == ".nrrd" and "space" not in fields:
        return _unplaced("space")
    space = fields.get("space", "")
    if kind == ".nrrd" and space.lower() not in _SPACES:
        return f"its space is {space[:40]}, not a patient's; convert it again to LPS or RAS"
    for names, count in _NEEDED[kind].items():
        values = next((fields[name] for name in names if name in fields), "")
        numbers = [word for word in _NUMBER.findall(values) if _is_number(word)]
        if len(numbers) < count:
            return _unplaced(names[0])
    units = fields.get("space units" if kind == ".nrrd" else "DistanceUnits", "")
    if not set(re.findall(r"\w+", units.lower())) <= _MM:
        return f"its unit is {units[:40]}, and it is read as mm; convert it again to mm"
    return None


def _unplaced(name: str) -> str:
    reason = f"does not say where its voxels lie (no {name})"
    return f"{reason}; convert it again from the original"


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _fields(path: Path, kind: str) -> dict[str, str]:
    """The values of a header by their names; those of NRRD, which may be either, in small letters.

    MetaImage's have to be as they are, or are not read.
    """
    with open(path, "rb") as file:
        head = file.read(_BYTES)
    end = re.search(_END[kind], head)
    lines = head[: end.end() if end else None].decode("latin-1").splitlines()
    if kind == ".nrrd":  # after ":=" come notes of the user's, whatever their names
        lines = [line for line in lines if ":=" not in line.partition(": ")[0]]
    parts = (line.partition(_SEPARATOR[kind]) for line in lines)
    found = {name.strip(): value.strip() for name, separator, value in parts if separator}
    return {name.lower(): value for name, value in found.items()} if kind == ".nrrd" else found
