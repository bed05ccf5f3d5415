"""NRRD and MetaImage begin with text; SimpleITK makes up what it does not say."""

from __future__ import annotations

import re
from pathlib import Path

# Enough for the text at the beginning.
_BYTES = 1 << 14
_PLACES = {
    ".nrrd": re.compile(rb"^space directions:", re.MULTILINE),
    ".mha": re.compile(rb"^(TransformMatrix|Rotation|Orientation) *=", re.MULTILINE),
}


def header_fault(path: Path) -> str | None:
    """Returns what a header lacks, and the remedy; None where it gives its voxels a place."""
    with open(path, "rb") as file:
        head = file.read(_BYTES)
    if _PLACES[path.suffix.lower()].search(head):
        return None
    return "does not say where its voxels lie (no direction); convert it again from the original"
