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

from multires_tf.data import geometry, intensity, masks, overlaps, resampling
from multires_tf.ground import errors

_NAME = re.compile(r"mr_station(\d+)(\..+)?")


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
    stations = overlaps.harmonised(stations, grid.spacing_mm)
    total = np.zeros(grid.size, np.float32)
    weights = np.zeros(grid.size, np.float32)
    for index, one in enumerate(stations):
        weight = _weight(stations, index)[:, None, None] * one.measured
        total[one.first : one.end] += weight * one.array
        weights[one.first : one.end] += weight
    total /= np.maximum(weights, np.finfo(np.float32).tiny)
    return geometry.to_image(total, grid)


def _place(path: Path, image: sitk.Image, grid: geometry.Geometry) -> overlaps.Station:
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
    return overlaps.Station(path, first, array, measured, body)


def _weight(stations: Sequence[overlaps.Station], index: int) -> np.ndarray:
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
