"""Stations of one body are brought to one scale and one shading, told from where they overlap."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import linalg, ndimage

from multires_tf.data import splines
from multires_tf.ground import errors

# Of the body's intensities in the overlap; the tails are noise, vessels and artefacts.
_PERCENTILES = np.arange(20, 96, 5)
# The same anatomy twice, noisy and breathing, correlates far better; another anatomy does not.
_LEAST_CORRELATION = 0.5
_LEAST_BODY_VOXELS = 50
# Coils shade each station over two decimetres and more. Neighbours are compared by the means of
# regions of this sd, which a little motion changes little, at places so far apart.
_KNOTS_MM, _REGION_MM, _PLACES_MM = 200.0, 15.0, 10.0
# A region far darker than the brightest tells nothing: its ratio goes to 1.
_NO_SIGNAL = 1e-3
# Squared steps between coefficients, and their squares, against the squared misfit at places.
_STIFFNESS, _LEAST = 0.02, 0.002


@dataclasses.dataclass(frozen=True)
class Station:
    """A station on the common grid's voxels: `array` begins at its slice `first`."""

    path: Path
    first: int
    array: np.ndarray
    measured: np.ndarray
    body: np.ndarray

    @property
    def end(self) -> int:
        return self.first + len(self.array)

    def cut(self, array: np.ndarray, low: int, high: int) -> np.ndarray:
        """Returns slices low to high, counted on the common grid, of an array of this station."""
        return array[low - self.first : high - self.first]

    def times(self, factor: float | np.ndarray) -> Station:
        """Returns the station with its array multiplied."""
        return dataclasses.replace(self, array=self.array * np.asarray(factor, np.float32))


@dataclasses.dataclass(frozen=True)
class _Overlap:
    """What two neighbours both show, from slice `low` of the common grid on."""

    lower: Station
    upper: Station
    low: int
    ours: np.ndarray
    theirs: np.ndarray
    body: np.ndarray

    @classmethod
    def of(cls, lower: Station, upper: Station) -> _Overlap:
        span = upper.first, min(lower.end, upper.end)
        both = lower.cut(lower.body, *span) & upper.cut(upper.body, *span)
        ours, theirs = lower.cut(lower.array, *span), upper.cut(upper.array, *span)
        return cls(lower, upper, upper.first, ours, theirs, both)

    def gain(self) -> float:
        """Returns the factor that brings the upper station to the scale of the lower.

        The median of the ratios of the body's percentiles; not the ratio voxel by voxel, for the
        body may have moved between the stations.
        """
        names = f"{self.lower.path} and {self.upper.path.name}"
        ours, theirs = self.ours[self.body], self.theirs[self.body]
        if ours.size < _LEAST_BODY_VOXELS:
            raise errors.UserError(
                f"{names}: show no body where they overlap; give neighbouring stations"
            )
        correlation = float(np.corrcoef(ours, theirs)[0, 1])
        if not correlation >= _LEAST_CORRELATION:
            raise errors.UserError(
                f"{names}: show different anatomy where they overlap (correlation"
                f" {correlation:.2f}): swapped stations or two patients; give one patient in order"
            )
        ratios = np.percentile(ours, _PERCENTILES) / np.percentile(theirs, _PERCENTILES)
        return float(np.median(ratios))

    def places(self, spacing_mm: Sequence[float]) -> tuple[np.ndarray, ...]:
        """Returns the voxels of the body at which the stations are compared."""
        taken = np.zeros_like(self.body)
        taken[tuple(slice(None, None, max(1, round(_PLACES_MM / mm))) for mm in spacing_mm)] = True
        return np.nonzero(self.body & taken)

    def log_ratios(self, places: tuple[np.ndarray, ...], spacing_mm: Sequence[float]) -> np.ndarray:
        """Returns log(upper / lower) of the regional means around places."""
        sigmas = [_REGION_MM / mm for mm in spacing_mm]
        ours, theirs = (
            ndimage.gaussian_filter(np.where(self.body, array, 0), sigmas, mode="constant")[places]
            for array in (self.ours, self.theirs)
        )
        floor = _NO_SIGNAL * ours.max(initial=0.0)
        return np.log((theirs + floor) / (ours + floor))


def harmonised(stations: Sequence[Station], spacing_mm: Sequence[float]) -> list[Station]:
    """Returns the stations on the scale of the lowest, without steps of shading between them.

    Args:
      stations: by position, neighbours overlap.

    Raises:
      UserError: two neighbours show different anatomy, or no body, in their overlap.
    """
    scaled = list(stations[:1])
    for upper in stations[1:]:
        scaled.append(upper.times(_Overlap.of(scaled[-1], upper).gain()))
    return _evened(scaled, spacing_mm)


def _evened(stations: Sequence[Station], spacing_mm: Sequence[float]) -> list[Station]:
    """Divides each station by a shading of its own, so that neighbours agree where they overlap.

    All are found at once, the smoothest and least that account for the ratios in every overlap.
    What stations do not differ by is the body's shading, and stays.
    """
    models = [splines.Spline.over(one.array.shape, spacing_mm, _KNOTS_MM) for one in stations]
    penalties = [_STIFFNESS * model.roughness() for model in models]
    penalty = linalg.block_diag(*penalties)
    penalty += _LEAST * np.eye(len(penalty))
    ends = np.cumsum([0, *map(len, penalties)])
    rows, ratios = [], []
    for index, (lower, upper) in enumerate(itertools.pairwise(stations)):
        shared = _Overlap.of(lower, upper)
        places = shared.places(spacing_mm)
        row = np.zeros((len(places[0]), len(penalty)), np.float32)
        for sign, k in ((-1, index), (1, index + 1)):
            z = places[0] + shared.low - stations[k].first
            row[:, ends[k] : ends[k + 1]] = sign * models[k].rows((z, *places[1:]))
        rows.append(row)
        ratios.append(shared.log_ratios(places, spacing_mm))
    values = np.concatenate(ratios)
    found = splines.fit(np.concatenate(rows), values, np.ones(len(values)), penalty)
    parts = np.split(found, ends[1:-1])
    return [
        one.times(np.exp(-model.field(part)))
        for one, model, part in zip(stations, models, parts, strict=True)
    ]
