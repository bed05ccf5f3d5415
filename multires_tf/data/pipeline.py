"""From stores to batches: the windows that training and prediction see.

Batches are (B, Z, Y, X, 1) float32. MR is in [0, 1] as prepared; CT is in units of the HU window,
0 at its lower and 1 at its upper end; the weight is 1 where there is truth (inside the MR's field).
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from multires_tf.data import augmentation, intensity, sampling, store, windows
from multires_tf.ground import errors

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Volume:
    """The stores of one subject on one grid, opened when first needed and then kept open.

    Attributes:
      subject: its name.
      mr: store of the MR, 0 to 1.
      ct: store of the CT in HU.
      mask: store of the mask: 0 outside the MR's field, 1 inside it, 2 body inside it.
    """

    subject: str
    mr: Path
    ct: Path
    mask: Path

    @functools.cached_property
    def pyramids(self) -> dict[str, store.Pyramid]:
        """The open stores under "mr", "ct" and "mask".

        Raises:
          UserError: a store is missing or damaged.
        """
        return {role: store.open_pyramid(getattr(self, role)) for role in ("mr", "ct", "mask")}

    @functools.cached_property
    def body(self) -> np.ndarray:
        """The voxels that windows may be centred on, see `sampling.body_voxels`."""
        return sampling.body_voxels(self.pyramids["mask"].read_all())


@dataclasses.dataclass(frozen=True)
class WindowRules:
    """How a window is drawn and made; lengths three are (z, y, x).

    Attributes:
      seed: of the run.
      batch: windows a step, over all devices.
      window: voxels that each branch sees of a tile no larger than itself; fixes the context.
      tile: output voxels of a training window.
      scales: of the MR windows.
      supervised_scales: those that have "ct_<s>" and "weight_<s>".
      body_share: share of windows centred on the body.
      flip_axes: letters of the axes that are mirrored, each with probability one half.
      rotation_deg: angles about the three axes are uniform in +- this.
      scaling: magnifications along the three axes are uniform in 1 +- this.
      augment_share: share of windows that are rotated and scaled.
      ct_window_hu: HU of the CT units 0 and 1.
    """

    seed: int
    batch: int
    window: tuple[int, int, int]
    tile: tuple[int, int, int]
    scales: tuple[int, ...]
    supervised_scales: tuple[int, ...]
    body_share: float
    flip_axes: tuple[str, ...]
    rotation_deg: float
    scaling: float
    augment_share: float
    ct_window_hu: tuple[float, float]

    @property
    def keys(self) -> list[str]:
        """Names of the arrays of an element."""
        truths = [f"{role}_{s}" for s in self.supervised_scales for role in ("ct", "weight")]
        return [f"mr_{s}" for s in self.scales] + truths


def read_windows(
    mr: store.Pyramid,
    start: Sequence[int],
    tile: Sequence[int],
    *,
    window: Sequence[int],
    scales: Sequence[int],
) -> dict[str, np.ndarray]:
    """Returns {"mr_1": (z, y, x) float32, ...}: what the branches read for one tile.

    Args:
      mr: the open store of the MR.
      start: (z, y, x) first voxel of the tile.
      tile: (z, y, x) output voxels.
      window: (z, y, x) voxels of a training window.
      scales: of the branches.
    """
    boxes = windows.branch_windows(start, tile, window=window, scales=scales)
    return {f"mr_{s}": mr.read(s, box.start, box.size) for s, box in boxes.items()}


def training_window(
    volumes: Sequence[Volume], rules: WindowRules, *, step: int, index: int
) -> tuple[dict[str, np.ndarray], int, windows.Triple]:
    """Returns the arrays (z, y, x) of one window, its subject's place in `volumes` and its start.

    A pure function: the same seed, step and index always give the same window.

    Args:
      volumes: the training subjects, in a fixed order.
      rules: how windows are drawn.
      step: of the training.
      index: in the batch.
    """
    place = {"seed": rules.seed, "step": step, "index": index}
    subject = sampling.subject(len(volumes), batch=rules.batch, **place)
    volume = volumes[subject]
    start = sampling.start(
        volume.pyramids["mr"].shape,
        rules.tile,
        body=volume.body,
        body_share=rules.body_share,
        alignment=max(rules.scales),
        **place,
    )
    change = sampling.change(
        flip_axes=rules.flip_axes,
        rotation_deg=rules.rotation_deg,
        scaling=rules.scaling,
        augment_share=rules.augment_share,
        **place,
    )
    boxes = windows.branch_windows(start, rules.tile, window=rules.window, scales=rules.scales)
    read = _reader(volume.pyramids, change)
    arrays = {f"mr_{s}": read("mr", s, boxes[s]) for s in rules.scales}
    for s in rules.supervised_scales:
        ct_hu = intensity.clip_hu(read("ct", s, boxes[s]), rules.ct_window_hu)
        arrays[f"ct_{s}"] = intensity.ct_to_unit(ct_hu, rules.ct_window_hu)
        # Interpolated, a voxel has truth only where all its neighbours have.
        arrays[f"weight_{s}"] = (read("mask", s, boxes[s]) >= 1 - 1e-3).astype(np.float32)
    return arrays, subject, start


def _reader(pyramids: Mapping[str, store.Pyramid], change: sampling.Change):
    """Returns read(role, scale, box) for windows that are changed in the given way."""
    mirror = tuple(slice(None, None, -1 if flip else 1) for flip in change.flips)
    matrix = augmentation.voxel_matrix(change, pyramids["mr"].spacing_mm)

    def read(role: str, scale: int, box: windows.Window) -> np.ndarray:
        pyramid = pyramids[role]
        if not change.is_affine:
            return pyramid.read(scale, box.start, box.size)[mirror]
        shape = [-(-n // scale) for n in pyramid.shape]
        source = augmentation.source_window(box, matrix, shape=shape)
        array = pyramid.read(scale, source.start, source.size)
        if role == "mask":
            if array.min() > 0:
                return np.ones(box.size, np.float32)
            array = np.minimum(array, 1)
        return augmentation.warp(array, matrix, source=source, window=box, fill=pyramid.fill)

    return read


def complaint(error: Exception) -> errors.UserError | None:
    """Returns the UserError behind an error of a dataset of `training_windows`, if there is one.

    TensorFlow hands on what goes wrong in Python as text: "...: UserError: <what it said>".
    """
    found = re.search(r"\bUserError: (.+)", str(error))
    return errors.UserError(found[1]) if found else None


def training_windows(
    volumes: Sequence[Volume],
    rules: WindowRules,
    *,
    start_step: int,
    stop_step: int,
    shares: Sequence[int] = (0,),
    of: int = 1,
    parallel: int | None = None,
) -> tf.data.Dataset:
    """Returns the batches of the steps `start_step`, ..., `stop_step` - 1, in that order.

    The batch of a step does not depend on `start_step`, on `parallel`, on chance or on how many
    devices share it: `of` devices get the same windows as one, each its share.

    Args:
      volumes: the training subjects, in a fixed order.
      rules: how windows are drawn and made; its batch is a multiple of `of`.
      start_step: first step to yield.
      stop_step: the step after the last one.
      shares: which shares of each step's batch to yield, one element each, in this order.
      of: number of equal shares that a batch is cut into.
      parallel: batches made at a time; None leaves it to tf.data.

    Returns:
      A dataset of {"mr_<s>", "ct_<s>", "weight_<s>": (B, z, y, x, 1) float32 of the size that the
      branch at scale s reads (windows.branch_windows), "subject": (B,) int32
      place in `volumes`, "start": (B, 3) int32 first level-1 voxels, "step": () int64,
      "index": (B,) int32 place in the step's batch}, with B = batch / of.

    Raises:
      UserError: a store is missing or damaged, the stores of a subject differ in shape, or
        window or tile do not fit the scales.
    """
    import tensorflow as tf

    keys, size = rules.keys, rules.batch // of
    boxes = windows.branch_windows((0, 0, 0), rules.tile, window=rules.window, scales=rules.scales)
    for volume in volumes:
        if len({pyramid.shape for pyramid in volume.pyramids.values()}) > 1:
            raise errors.UserError(
                f"{volume.mr.parent}: stores differ in shape; delete them and run 'prepare' again"
            )

    def make(step, indices):
        made = [training_window(volumes, rules, step=int(step), index=int(i)) for i in indices]
        values = [np.stack([arrays[key] for arrays, _, _ in made])[..., None] for key in keys]
        subjects, starts = ([one[i] for one in made] for i in (1, 2))
        return [*values, np.array(subjects, np.int32), np.array(starts, np.int32)]

    def element(place):
        step = place // len(shares)
        share = tf.gather(tf.constant(list(shares), tf.int32), place % len(shares))
        index = share * size + tf.range(size)
        types = [tf.float32] * len(keys) + [tf.int32, tf.int32]
        *values, subject, start = tf.numpy_function(make, [step, index], types, stateful=False)
        for key, value in zip(keys, values, strict=True):
            value.set_shape((size, *boxes[int(key.rpartition("_")[2])].size, 1))
        subject.set_shape((size,))
        start.set_shape((size, 3))
        arrays = dict(zip(keys, values, strict=True))
        return {**arrays, "subject": subject, "start": start, "step": step, "index": index}

    calls = tf.data.AUTOTUNE if parallel is None else parallel
    dataset = tf.data.Dataset.range(start_step * len(shares), stop_step * len(shares))
    return dataset.map(element, num_parallel_calls=calls, deterministic=True).prefetch(2)
