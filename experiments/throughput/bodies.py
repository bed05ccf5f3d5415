"""Phantoms with as many voxels as a real whole body: drawn coarsely, enlarged, with fresh noise."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from multires_tf.data import geometry, resampling
from multires_tf.data.files import images
from multires_tf.data.phantom import subject

COARSE_MM = 5.0
_UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_NOISE = {"mr": 10, "ct": 15}
_LOWEST = {"mr": 0, "ct": -1024}


def write(
    folder: pathlib.Path,
    shape: Sequence[int],
    *,
    index: int,
    roles: Sequence[str] = ("mr", "ct"),
    spacing_mm: Sequence[float] | None = None,
) -> None:
    """Writes <role>.nii.gz of one phantom.

    Args:
        folder: of the subject.
        shape: voxels (z, y, x).
        index: of the phantom.
        roles: of the images.
        spacing_mm: (z, y, x) that the files claim; None: what makes the body as large as it is.
    """
    made = subject.simulate(0, index, spacing_mm=COARSE_MM)
    coarse = made.images["mr"].shape
    own = geometry.Geometry(coarse, (COARSE_MM,) * 3, (0.0, 0.0, 0.0), _UPRIGHT)
    fine_mm = tuple(COARSE_MM * a / b for a, b in zip(coarse, shape, strict=True))
    grid = dataclasses.replace(own, size=tuple(shape), spacing_mm=fine_mm)
    claimed = dataclasses.replace(grid, spacing_mm=tuple(spacing_mm or fine_mm))
    rng = np.random.default_rng(index)
    for role in roles:
        image = geometry.to_image(made.images[role].astype(np.float32), own)
        array = resampling.interpolate(image, grid)
        array += _NOISE[role] * rng.standard_normal(array.shape, np.float32)
        voxels = np.rint(np.maximum(array, _LOWEST[role])).astype(np.int16)
        images.write(voxels, folder / f"{role}.nii.gz", grid=claimed)
