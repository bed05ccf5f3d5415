"""Rotation and scaling of windows: one affine map about the centre that all windows share.

The map is made in millimetres, so that a rotation stays one on voxels of unequal edges. It is the
same matrix in the voxels of every level, because a level's spacing is a multiple of the volume's;
levels, MR, CT and mask therefore stay registered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from multires_tf.data import sampling, windows


def voxel_matrix(change: sampling.Change, spacing_mm: Sequence[float]) -> np.ndarray:
    """Returns the (3, 3) matrix from offsets in the window to offsets in the volume.

    Offsets are (z, y, x) voxels from the common centre. The window is mirrored first, then
    magnified along its axes, then turned about x, y and z.

    Args:
      change: flips, angles and factors.
      spacing_mm: (z, y, x) of a voxel.
    """
    turn = np.eye(3)
    for axis, angle_deg in zip((2, 1, 0), reversed(change.angles_deg), strict=True):
        turn = _rotation(axis, math.radians(angle_deg)) @ turn
    signs = np.where(change.flips, -1.0, 1.0)
    in_mm = turn @ np.diag(signs / np.asarray(change.factors))
    spacing = np.asarray(spacing_mm, float)
    return in_mm * spacing / spacing[:, None]


def _rotation(axis: int, angle: float) -> np.ndarray:
    first, second = (i for i in range(3) if i != axis)
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[first, second] = -math.sin(angle)
    matrix[second, first] = math.sin(angle)
    return matrix


def source_window(
    window: windows.Window, matrix: np.ndarray, *, shape: Sequence[int]
) -> windows.Window:
    """Returns the box that has to be read to fill `window`, in voxels of the same level.

    Args:
      window: what is wanted.
      matrix: (3, 3), from `voxel_matrix`.
      shape: (z, y, x) of the level. The box ends one voxel beyond it: the rest is fill.
    """
    size = np.asarray(window.size)
    centre = np.asarray(window.start) + (size - 1) / 2
    reach = np.abs(matrix) @ ((size - 1) / 2)
    low = np.maximum(np.floor(centre - reach), -1).astype(int)
    high = np.minimum(np.ceil(centre + reach), np.asarray(shape)).astype(int)
    low = np.minimum(low, np.asarray(shape))
    high = np.maximum(high, low)
    return windows.Window(tuple(low.tolist()), tuple((high - low + 1).tolist()))


def warp(
    array: np.ndarray,
    matrix: np.ndarray,
    *,
    source: windows.Window,
    window: windows.Window,
    fill: float,
) -> np.ndarray:
    """Returns `window` of the turned and scaled volume, linearly interpolated, float32.

    Args:
      array: what was read of `source`, any real dtype.
      matrix: (3, 3), from `voxel_matrix`.
      source: from `source_window`.
      window: what is wanted.
      fill: value beyond the volume.
    """
    half = (np.asarray(window.size) - 1) / 2
    centre = np.asarray(window.start) + half - np.asarray(source.start)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[::-1, ::-1].ravel().tolist())
    transform.SetTranslation((centre - matrix @ half)[::-1].tolist())
    resample = sitk.ResampleImageFilter()
    resample.SetSize([int(n) for n in reversed(window.size)])
    resample.SetInterpolator(sitk.sitkLinear)
    resample.SetTransform(transform)
    resample.SetDefaultPixelValue(float(fill))
    resample.SetOutputPixelType(sitk.sitkFloat32)
    return sitk.GetArrayFromImage(resample.Execute(sitk.GetImageFromArray(array)))
