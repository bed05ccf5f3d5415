"""Validation while training: whole volumes predicted without dropout and scored in HU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from multires_tf.data import intensity, masks, store
from multires_tf.ground import config as configs
from multires_tf.joints import assembly, synthesis
from multires_tf.measure import tissues
from multires_tf.model import uncertainty

# For the pictures alone: enough to see where the draws differ.
DRAWS = 4
# Values shown black and white, the same for every subject, step and run.
SHOWN = {
    "MR": (0.0, 1.0),
    "CT": (-1000.0, 1000.0),
    "synthetic CT": (-1000.0, 1000.0),
    "absolute error": (0.0, 500.0),
    "aleatoric sd": (0.0, 300.0),
    "epistemic sd": (0.0, 100.0),
}
Picture = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Validation:
    """What validation found.

    Attributes:
        scores: "mae_hu" over the body and "mae_<tissue>_hu", means over the subjects.
        pictures: of the first subject, {"coronal": slices (z, x), head up, "axial": slices (y, x)},
            each by the names in `SHOWN` that the network has.
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
                "MR": stores["mr"].read_all(),
                "CT": ct_hu,
                "synthetic CT": pct_hu,
                "absolute error": error_hu,
            }
            places = {"coronal": (1, (0, 2)), "axial": (0, (1, 2))}
            for name, (axis, others) in places.items():
                place = int(np.argmax(body.sum(axis=others)))
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
    return [(slices[name], *shown) for name, shown in SHOWN.items() if name in slices]


def legend(slices: Picture) -> str:
    """What the slices of a picture are, in one line."""
    words = [f"{n}, {SHOWN[n][0]:g} to {SHOWN[n][1]:g}" for n in SHOWN if n in slices]
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
                slices[f"{kind} sd"] = hu[name].take(place - slab.start[axis], axis)
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
