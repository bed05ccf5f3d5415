"""Validation while training: whole volumes predicted without dropout and scored in HU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from multires_tf.data import intensity, masks, store
from multires_tf.ground import config as configs
from multires_tf.joints import assembly, synthesis
from multires_tf.measure import looks, tissues
from multires_tf.model import uncertainty

# For the pictures alone: enough to see where the draws differ.
DRAWS = 4
# From left to right.
SHOWN = (
    *(looks.MR, looks.CT, looks.PCT, looks.ABSOLUTE_ERROR),
    *(looks.OF_KIND[kind] for kind in uncertainty.KINDS),
)
# Slices by the titles of their looks.
Picture = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Validation:
    """What validation found.

    Attributes:
        scores: "mae_hu" over the body and "mae_<tissue>_hu", means over the subjects.
        pictures: of the first subject, {"coronal": slices (z, x), head up, "axial": slices (y, x)},
            as far as the network has what is in `SHOWN`.
    """

    scores: dict[str, float]
    pictures: dict[str, Picture]


def validator(
    config: configs.Config, nets: Any, volumes: Sequence[Any]
) -> Callable[[], Validation]:
    """Returns a function that validates the networks as they are; they are traced once.

    Args:
        config: of the run.
        nets: networks.Networks.
        volumes: pipeline.Volume of the validation subjects, at least one.
    """
    mean, draws = synthesis.mean_network(nets), None
    if nets.sampler or config.network.uncertainty:
        draws = assembly.monte_carlo(config, nets, samples=DRAWS, seed=config.seed)
    return lambda: _validate(config, mean, draws, volumes)


def _validate(
    config: configs.Config,
    compute: synthesis.Compute,
    draws: synthesis.Compute | None,
    volumes: Sequence[Any],
) -> Validation:
    found: list[dict[str, float]] = []
    pictures: dict[str, Picture] = {}
    tiling, window_hu = assembly.tiling(config), config.intensity.ct_window_hu
    for volume in volumes:
        stores = volume.pyramids
        unit = synthesis.predict_volume(stores["mr"], compute, tiling, label="validate")["ct"]
        pct_hu = intensity.clip_hu(intensity.unit_to_ct(unit, window_hu), window_hu)
        ct_hu, body = stores["ct"].read_all(), stores["mask"].read_all() == masks.BODY
        error_hu = np.abs(pct_hu - ct_hu)
        found.append(_mae_hu(error_hu[body], ct_hu[body]))
        if not pictures:
            arrays = {
                looks.MR.title: stores["mr"].read_all(),
                looks.CT.title: ct_hu,
                looks.PCT.title: pct_hu,
                looks.ABSOLUTE_ERROR.title: error_hu,
            }
            y, z = looks.widest_slices(body)
            for name, axis, place in (("coronal", 1, y), ("axial", 0, z)):
                pictures[name] = _picture(
                    config, stores["mr"], draws, arrays, axis=axis, place=place
                )
    return Validation(_means(found), pictures)


def _means(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the subjects that have a score; a tissue that none has is left out."""
    lists = {name: [one[name] for one in found if name in one] for one in found for name in one}
    return {name: float(np.mean(values)) for name, values in lists.items()}


def cells(slices: Picture) -> list[tuple[np.ndarray, float, float]]:
    """The slices of a picture from left to right, each with its values for black and white."""
    return [(slices[look.title], look.low, look.high) for look in SHOWN if look.title in slices]


def legend(slices: Picture) -> str:
    """What the slices of a picture are, in one line."""
    there = [look for look in SHOWN if look.title in slices]
    words = [f"{look.title}, {look.low:g} to {look.high:g}" for look in there]
    return f"From left to right: {'; '.join(words)} (HU; MR in units of its own)."


def _mae_hu(error_hu: np.ndarray, ct_hu: np.ndarray) -> dict[str, float]:
    """MAE of the given voxels and of each tissue that is among them."""
    scores = {"mae_hu": float(error_hu.mean(dtype=np.float64))}
    for name, mask in tissues.masks(ct_hu).items():
        if mask.any():
            scores[f"mae_{name}_hu"] = float(error_hu[mask].mean(dtype=np.float64))
    return scores


def _picture(
    config: configs.Config,
    mr: store.Pyramid,
    draws: synthesis.Compute | None,
    arrays: dict[str, np.ndarray],
    *,
    axis: int,
    place: int,
) -> Picture:
    """One slice of everything, across `axis` (z is 0) at voxel `place`; head up, if z is in it."""
    slices = {name: array.take(place, axis) for name, array in arrays.items()}
    if draws is not None:
        slab = _Slab.around(mr, axis=axis, place=place, thickness=config.network.multiple)
        maps = synthesis.predict_volume(slab, draws, assembly.tiling(config), quiet=True)
        hu = synthesis.in_hu(maps, config.intensity.ct_window_hu)
        for kind in uncertainty.KINDS:
            if (name := uncertainty.map_name(kind)) in hu:
                slices[looks.OF_KIND[kind].title] = hu[name].take(place - slab.start[axis], axis)
    return {name: array if axis == 0 else array[::-1] for name, array in slices.items()}


@dataclasses.dataclass(frozen=True)
class _Slab:
    """A part of a volume that is predicted alone, with the context that it has in the whole."""

    volume: store.Pyramid
    start: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def around(cls, volume: store.Pyramid, *, axis: int, place: int, thickness: int) -> _Slab:
        """The slab across `axis` that holds voxel `place`; thickness divides by all scales."""
        first = place // thickness * thickness
        start, shape = [0, 0, 0], list(volume.shape)
        start[axis], shape[axis] = first, min(thickness, volume.shape[axis] - first)
        return cls(volume, tuple(start), tuple(shape))

    def read(self, scale: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """As store.Pyramid.read, in the slab's own voxels."""
        moved = [s + first // scale for s, first in zip(start, self.start, strict=True)]
        return self.volume.read(scale, moved, size)
