"""The stations of a whole-body MR become one volume: ordered, checked, harmonised, blended.

A station is a file `mr_station<k>.*`, or a folder `mr_station<k>` with a DICOM series. Each has its
own receiver gain. Neighbours overlap, so that gains can be told from the body that both show.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from multires_tf.data import geometry, intensity, masks, resampling
from multires_tf.ground import errors

_NAME = re.compile(r"mr_station(\d+)(\..+)?")
# Of the body's intensities in the overlap; the tails are noise, vessels and artefacts.
_PERCENTILES = np.arange(20, 96, 5)
# The same anatomy twice, noisy and breathing, correlates far better; another anatomy does not.
_LEAST_CORRELATION = 0.5
_LEAST_BODY_VOXELS = 50
# Coils shade each station over some decimetres: shading is compared in regions of this width, and
# what an overlap tells of it fades with this distance from it.
_REGION_MM, _REACH_MM = 50.0, 100.0


@dataclasses.dataclass(frozen=True)
class _Station:
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


def paths(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Returns the stations in a subject's folder by number; empty where there are none.

    Args:
      suffixes: of the files that can be read; a station without one is a folder.

    Raises:
      UserError: a number is missing or there twice, or there is one station only; the folder may
        not be read.
    """
    with errors.reading(folder):
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
    found: dict[int, Path] = {}
    for entry in entries:
        match = _NAME.fullmatch(entry.name.lower())
        if match is None or (match[2] or "") not in ("", *suffixes):
            continue
        if (match[2] is None) != entry.is_dir():
            continue
        number = int(match[1])
        if number in found:
            listed = f"{found[number].name} and {entry.name}"
            raise errors.UserError(
                f"{folder}: {listed} are two candidates for one station; keep one"
            )
        found[number] = entry
    if not found:
        return []
    for number in range(1, max(found)):
        if number not in found:
            raise errors.UserError(
                f"{folder}: mr_station{number} is missing; add it, or number them from 1"
            )
    if len(found) < 2:
        raise errors.UserError(
            f"{folder / found[max(found)].name}: a single station; add the others,"
            " or call it mr if it is the whole MR"
        )
    return [found[number] for number in sorted(found)]


def check(headers: Sequence[tuple[Path, geometry.Geometry]]) -> geometry.Geometry:
    """Returns the grid of the fused volume, canonical, from the stations' grids alone.

    Args:
      headers: path and grid of each station, in the order of their numbers.

    Raises:
      UserError: stations are turned or scaled against each other, out of order, or leave a gap.
    """
    grids = [(path, geometry.canonical(grid)) for path, grid in headers]
    reference = grids[0][1]
    for path, grid in grids[1:]:
        turned = not np.allclose(grid.direction, reference.direction, atol=1e-3)
        if turned or not np.allclose(grid.spacing_mm, reference.spacing_mm, rtol=1e-3):
            raise errors.UserError(
                f"{path}: differs in orientation or spacing from {grids[0][0].name};"
                " give stations of one protocol"
            )
    spans = [(path, *_span(grid, reference)) for path, grid in grids]
    _check_order(spans)
    corners = np.array(
        [
            reference.index_xyz(grid.position_mm(index))
            for _, grid in grids
            for index in ((0, 0, 0), np.array(grid.size[::-1]) - 1)
        ]
    )
    low, high = np.round(corners.min(axis=0)), np.round(corners.max(axis=0))
    return dataclasses.replace(
        reference,
        size=tuple(int(n) for n in (high - low + 1)[::-1]),
        origin_mm=tuple(reference.position_mm(low).tolist()),
    )


def _span(grid: geometry.Geometry, reference: geometry.Geometry) -> tuple[float, float]:
    """Returns where a grid begins and ends along z, in slices of the reference."""
    first = reference.index_xyz(grid.position_mm((0, 0, 0)))[2]
    return first - 0.5, first + grid.size[0] - 0.5


def _check_order(spans: Sequence[tuple[Path, float, float]]) -> None:
    """Numbers go from the head down or from the feet up, and neighbours overlap."""
    starts = [low for _, low, _ in spans]
    upward = starts[-1] > starts[0]
    for (above, low, _), (below, next_low, _) in itertools.pairwise(spans):
        if (next_low > low) != upward or next_low == low:
            raise errors.UserError(
                f"{below}: lies on the wrong side of {above.name}: swapped stations;"
                " name them in the order of their positions"
            )
    for (above, low, high), (below, next_low, next_high) in itertools.pairwise(spans):
        if min(high, next_high) - max(low, next_low) < 2:
            raise errors.UserError(
                f"{below}: does not overlap {above.name}; a station between them is missing: add it"
            )


def fuse(images: Sequence[tuple[Path, sitk.Image]]) -> sitk.Image:
    """Fuses stations into one float32 volume in the unit of the lowest; zero is no signal in it.

    Neighbours are brought to one scale by the percentiles that the body has in their overlap, to
    one shading by its regional means there, and blended across it by a raised cosine. Voxels which
    one of them has not measured (its field ended there) come from the other.

    Args:
      images: path and image of each station, in the order of their numbers.

    Raises:
      UserError: as `check`; two neighbours show different anatomy, or no body, in their overlap.
    """
    grid = check([(path, geometry.of_image(image)) for path, image in images])
    stations = [_place(path, image, grid) for path, image in images]
    stations.sort(key=lambda one: one.first)
    for index in range(1, len(stations)):
        pair = _harmonised(stations[index - 1], stations[index], grid)
        stations[index - 1 : index + 1] = pair
    total = np.zeros(grid.size, np.float32)
    weights = np.zeros(grid.size, np.float32)
    for index, one in enumerate(stations):
        weight = _weight(stations, index)[:, None, None] * one.measured
        total[one.first : one.end] += weight * one.array
        weights[one.first : one.end] += weight
    total /= np.maximum(weights, np.finfo(np.float32).tiny)
    return geometry.to_image(total, grid)


def _place(path: Path, image: sitk.Image, grid: geometry.Geometry) -> _Station:
    image, _ = intensity.above_zero(geometry.canonical_image(image))
    own = geometry.of_image(image)
    first = round(float(grid.index_xyz(own.position_mm((0, 0, 0)))[2]))
    slab = dataclasses.replace(
        grid,
        size=(own.size[0], *grid.size[1:]),
        origin_mm=tuple(grid.position_mm((0, 0, first)).tolist()),
    )
    zero = masks.zero_border(sitk.GetArrayViewFromImage(image))
    measured = resampling.resample_mask(~zero, own, slab, share=0.999)
    array = resampling.resample(image, slab, fill=0.0)
    if not measured.any():
        raise errors.UserError(f"{path}: is zero everywhere; give a station with a body in it")
    body = masks.mr_body(array, slab.spacing_mm, outside=~measured)
    return _Station(path, first, array, measured, body)


def _harmonised(
    lower: _Station, upper: _Station, grid: geometry.Geometry
) -> tuple[_Station, _Station]:
    """Brings the upper of two neighbours to the scale of the lower, and both to one shading."""
    low, high = upper.first, min(lower.end, upper.end)
    both = lower.cut(lower.body, low, high) & upper.cut(upper.body, low, high)
    ours, theirs = lower.cut(lower.array, low, high), upper.cut(upper.array, low, high)
    gain = _gain(ours[both], theirs[both], f"{lower.path} and {upper.path.name}")
    shading = _shading(ours, theirs * np.float32(gain), both, grid.spacing_mm)
    return (
        _shaded(lower, shading, 0.5, (low, high), grid),
        _shaded(upper, shading, -0.5, (low, high), grid, gain=gain),
    )


def _gain(ours: np.ndarray, theirs: np.ndarray, names: str) -> float:
    """Returns the factor that brings `theirs` to the scale of `ours`: the body in an overlap.

    The median of the ratios of their percentiles; not the ratio voxel by voxel, for the body may
    have moved between the stations.
    """
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
    seen = (ours > 0) & (theirs > 0)  # lungs may be zero, of one station or of both
    ratios = np.percentile(ours[seen], _PERCENTILES) / np.percentile(theirs[seen], _PERCENTILES)
    return float(np.median(ratios))


def _shading(
    ours: np.ndarray, theirs: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float]
) -> np.ndarray:
    """Returns log(theirs / ours) of regional means in the overlap, float32 (y, x)."""
    sigmas = [_REGION_MM / mm for mm in spacing_mm[1:]]
    means = [
        ndimage.gaussian_filter(np.where(body, one, 0).sum(axis=0, dtype=np.float32), sigmas)
        for one in (ours, theirs)
    ]
    # Far from the body both means vanish; there the ratio goes to 1.
    floor = 1e-3 * means[0].max()
    return np.log((means[1] + floor) / (means[0] + floor))


def _shaded(
    one: _Station,
    shading: np.ndarray,
    share: float,
    overlap: tuple[int, int],
    grid: geometry.Geometry,
    *,
    gain: float = 1.0,
) -> _Station:
    """Multiplies a station by gain * exp(share * shading); the shading fades beyond the overlap."""
    low, high = overlap
    places = np.arange(one.first, one.end)
    beyond_mm = np.maximum(np.maximum(low - places, places - (high - 1)), 0) * grid.spacing_mm[0]
    fading = np.exp(-0.5 * (beyond_mm / _REACH_MM) ** 2).astype(np.float32)
    factor = np.exp(np.float32(share) * fading[:, None, None] * shading)
    return dataclasses.replace(one, array=one.array * (factor * np.float32(gain)))


def _weight(stations: Sequence[_Station], index: int) -> np.ndarray:
    """Returns the weight of each slice of a station; at every height the weights add up to 1."""
    one = stations[index]
    weight = np.ones(len(one.array), np.float32)
    if index:
        weight *= _ramp(one.first, stations[index - 1].end, one.first, one.end)
    if index + 1 < len(stations):
        weight *= 1 - _ramp(stations[index + 1].first, one.end, one.first, one.end)
    return weight


def _ramp(low: int, high: int, first: int, end: int) -> np.ndarray:
    """Returns 0 below slice `low`, 1 from `high` on, a raised cosine between, on first to end."""
    place = (np.arange(first, end) + 0.5 - low) / (high - low)
    return (0.5 - 0.5 * np.cos(np.pi * np.clip(place, 0, 1))).astype(np.float32)
