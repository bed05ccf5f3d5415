"""Chance: what the window of a step is, as a pure function of (seed, step, index in the batch).

Nothing here keeps a state, so a continued run draws what an uninterrupted one would.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from multires_tf.data import masks, windows

BODY_STRIDE = 4
# Each kind of chance has its own stream of random numbers.
_EPOCH, _PLACE, _CHANGE = range(3)


@dataclasses.dataclass(frozen=True)
class Change:
    """A random change of a window; lengths three are (z, y, x).

    Attributes:
      flips: whether each axis is mirrored.
      angles_deg: rotation about each axis.
      factors: magnification along each axis.
    """

    flips: tuple[bool, bool, bool]
    angles_deg: tuple[float, float, float]
    factors: tuple[float, float, float]

    @property
    def is_affine(self) -> bool:
        """Whether more than flips has to be done."""
        return self.angles_deg != (0.0, 0.0, 0.0) or self.factors != (1.0, 1.0, 1.0)


def _generator(seed: int, stream: int, *position: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream, *position])))


@functools.lru_cache(maxsize=16)
def _epoch_order(subjects: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(_generator(seed, _EPOCH, epoch).permutation(subjects).tolist())


def subject(subjects: int, *, seed: int, step: int, index: int, batch: int) -> int:
    """Returns which of so many subjects is seen: each once an epoch, every epoch in a new order."""
    epoch, place = divmod(step * batch + index, subjects)
    return _epoch_order(subjects, seed, epoch)[place]


def body_voxels(mask: np.ndarray) -> np.ndarray:
    """Returns (n, 3) int32 voxels (z, y, x) of the body, one in 4 along each axis.

    Args:
      mask: (z, y, x), 2 where the body is.
    """
    thinned = mask[(slice(None, None, BODY_STRIDE),) * 3] == masks.BODY
    return (np.argwhere(thinned) * BODY_STRIDE).astype(np.int32)


def start(
    shape: Sequence[int],
    window: Sequence[int],
    *,
    body: np.ndarray,
    body_share: float,
    alignment: int,
    seed: int,
    step: int,
    index: int,
) -> windows.Triple:
    """Returns the first voxel (z, y, x) of a window.

    With probability `body_share` the window is centred on a body voxel, as near as alignment and
    the borders of the volume allow; else all possible starts are equally likely. Volumes smaller
    than the window are centred in it.

    Args:
      shape: (z, y, x) of the volume.
      window: (z, y, x) voxels.
      body: (n, 3) voxels of the body, from `body_voxels`; may be empty.
      body_share: 0 to 1.
      alignment: starts are multiples of this: the coarsest scale.
      seed: of the run.
      step: of the training.
      index: in the batch.
    """
    random = _generator(seed, _PLACE, step, index)
    on_body = random.random() < body_share and len(body) > 0
    ranges = [
        windows.first_and_last_start(length, edge, alignment)
        for length, edge in zip(shape, window, strict=True)
    ]
    if on_body:
        centre = body[random.integers(len(body))] + random.integers(0, BODY_STRIDE, 3)
        wanted = [(c - edge // 2) // alignment for c, edge in zip(centre, window, strict=True)]
    else:
        wanted = [
            random.integers(low // alignment, high // alignment, endpoint=True)
            for low, high in ranges
        ]
    z, y, x = (
        min(max(int(k) * alignment, low), high)
        for k, (low, high) in zip(wanted, ranges, strict=True)
    )
    return z, y, x


def change(
    *,
    flip_axes: Sequence[str],
    rotation_deg: float,
    scaling: float,
    augment_share: float,
    seed: int,
    step: int,
    index: int,
) -> Change:
    """Returns how a window is changed.

    Args:
      flip_axes: letters of the axes that are mirrored, each with probability one half.
      rotation_deg: angles about the three axes are uniform in +- this.
      scaling: magnifications along the three axes are uniform in 1 +- this.
      augment_share: probability of rotation and scaling.
      seed: of the run.
      step: of the training.
      index: in the batch.
    """
    random = _generator(seed, _CHANGE, step, index)
    flips = random.random(3) < 0.5
    affine = random.random() < augment_share
    angles = random.uniform(-1, 1, 3) * rotation_deg * affine
    factors = 1 + random.uniform(-1, 1, 3) * scaling * affine
    flip_z, flip_y, flip_x = (
        bool(flip) and axis in flip_axes for axis, flip in zip(windows.AXES, flips, strict=True)
    )
    return Change((flip_z, flip_y, flip_x), tuple(angles.tolist()), tuple(factors.tolist()))
