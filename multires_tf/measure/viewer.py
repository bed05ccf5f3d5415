"""The page's slice viewer: the subjects' images, made small, for `viewer.html` and `viewer.js`.

Drawn on plain canvases. NiiVue, tried first, is 2.3 MB of script and wants WebGL2 and a context for
each image; without a GPU the first took six seconds to start. Slices need none of that.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from skimage import measure

from multires_tf.measure import looks, page

# Voxels of all subjects' grids together: six images of so many make a page of some 20 MB.
MOST_VOXELS = 4_000_000
MOST_VOXELS_A_SUBJECT = 1_500_000
# Values are rounded to whole steps before they are packed; what is not scored is blank.
STEP_HU, STEP_UNIT = 4.0, 1 / 255
BLANK = -(2**15)
MARGIN_VOXELS = 2


@dataclasses.dataclass(frozen=True)
class Subject:
    """One subject's images, packed for the page.

    Attributes:
        name: of the subject.
        remark: a few words beside it.
        size: (x, y, z) number of voxels.
        spacing_mm: (x, y, z).
        start: (x, y, z) voxel to show first.
        volumes: gzipped int16, little-endian, x fastest, by the key of its look.
        averaged: number of prepared voxels in each.
    """

    name: str
    remark: str
    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    start: tuple[int, ...]
    volumes: Mapping[str, bytes]
    averaged: int


def subject(
    name: str,
    remark: str,
    images: Mapping[str, tuple[looks.Look, np.ndarray]],
    *,
    body: np.ndarray,
    spacing_mm: Sequence[float],
    most_voxels: float,
) -> Subject:
    """Crops a subject's images to its body, averages them to a grid small enough, and packs them.

    Args:
        name: of the subject.
        remark: a few words beside it.
        images: (z, y, x) on a canonical grid, by key; "ct" is one of them. nan is blank.
        body: (z, y, x) boolean, not empty.
        spacing_mm: (z, y, x).
        most_voxels: that the grid may have.
    """
    box = _box(body)
    factors = _factors(body[box].shape, spacing_mm, most_voxels)
    small = {key: _reduced(image[box], factors) for key, (_, image) in images.items()}
    inside = _reduced(body[box].astype(np.float32), factors) >= 0.5
    y, z = looks.central_slices(small["ct"], inside)
    size = small["ct"].shape[::-1]
    return Subject(
        name=name,
        remark=remark,
        size=size,
        spacing_mm=tuple(float(mm) for mm in (factors * spacing_mm)[::-1]),
        start=(size[0] // 2, y, z),
        volumes={key: _packed(image, images[key][0]) for key, image in small.items()},
        averaged=int(factors.prod()),
    )


def render(
    subjects: Sequence[Subject],
    shown: Mapping[str, looks.Look],
    *,
    views: Sequence[str],
    overlays: Sequence[str],
) -> str:
    """Returns the viewer's part of the page, whole; empty without subjects.

    Args:
        subjects: the first is shown first.
        shown: how to show each image, by key.
        views: keys of the images that are shown side by side.
        overlays: keys of those that can be laid over MR, CT and pCT.
    """
    if not subjects:
        return ""
    content = {
        "looks": {key: _look(look) for key, look in shown.items()},
        "colours": {name: _colours(name) for name in {look.colours for look in shown.values()}},
        "subjects": [_entry(found) for found in subjects],
        "blank": BLANK,
        "views": views,
        "overlays": overlays,
    }
    return string.Template(page.resource("viewer.html")).substitute(
        note=_note(subjects),
        # In a script element only "<" could be misread.
        data=json.dumps(content).replace("<", "\\u003c"),
        script=page.resource("viewer.js"),
    )


def _box(body: np.ndarray) -> tuple[slice, ...]:
    """The body's bounding box with a margin."""
    ends = ((index.min(), index.max()) for index in np.nonzero(body))
    return tuple(slice(max(0, low - MARGIN_VOXELS), high + 1 + MARGIN_VOXELS) for low, high in ends)


def _factors(size: Sequence[int], spacing_mm: Sequence[float], most_voxels: float) -> np.ndarray:
    """How many voxels (z, y, x) to average until few enough are left; finest axes first."""
    factors = np.ones(3, int)
    while np.prod(np.ceil(size / factors)) > most_voxels:
        factors[np.argmin(factors * spacing_mm)] += 1
    return factors


def _reduced(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Means over blocks of voxels, nan left out; what does not fill the last block is repeated."""
    missing = [(0, -n % factor) for n, factor in zip(image.shape, factors, strict=True)]
    padded = np.pad(image, missing, mode="edge")
    known = np.isfinite(padded)
    sums, counts = (
        measure.block_reduce(values, tuple(factors), np.sum)
        for values in (np.where(known, padded, 0.0), known.astype(int))
    )
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _step(look: looks.Look) -> float:
    return STEP_HU if look.unit == "HU" else STEP_UNIT


def _packed(image: np.ndarray, look: looks.Look) -> bytes:
    steps = np.nan_to_num(np.rint(image / _step(look)), nan=BLANK)
    return gzip.compress(steps.astype("<i2").tobytes(), mtime=0)


def _entry(found: Subject) -> dict[str, Any]:
    volumes = {key: base64.b64encode(file).decode("ascii") for key, file in found.volumes.items()}
    return {
        "name": found.name,
        "remark": found.remark,
        "size": found.size,
        "spacing_mm": found.spacing_mm,
        "start": found.start,
        "volumes": volumes,
    }


def _look(look: looks.Look) -> dict[str, Any]:
    return {
        "title": look.title,
        "unit": look.unit,
        "low": look.low,
        "high": look.high,
        "colours": look.colours,
        "step": _step(look),
        "digits": 0 if look.unit == "HU" else 2,
    }


def _colours(name: str) -> list[list[int]]:
    """A colour map of matplotlib as 256 times red, green and blue, 0..255."""
    return matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3].tolist()


def _note(subjects: Sequence[Subject]) -> str:
    averaged = max(found.averaged for found in subjects)
    coarser = f" after averaging up to {averaged} voxels" if averaged > 1 else ""
    return f"For the page, not for the scores, values are rounded to {STEP_HU:.0f} HU{coarser}."
