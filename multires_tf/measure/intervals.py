"""From errors on held-out subjects: one scale for both maps, and half-widths by class of voxel.

The scale (Laves et al. 2021, in closed form) makes the mean squared z of the total 1; since both
parts get the same, their shares of the total stay what they were. Split-conformal half-widths
(Papadopoulos 2002; Lei et al. 2018) hold the share that they promise whatever the errors'
distribution, for voxels that could as well have been among those of the fit: voxels of one subject
resemble each other, so that with few subjects the share in a new one scatters around it. A class is
a predicted tissue, its uncertain voxels apart: bone that was taken for soft tissue is mostly among
those, and would else get the half-width of soft tissue that is easy.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from multires_tf.measure import reliability, tissues

COVERAGES = reliability.COVERAGES
Widths = dict[str, dict[str, float]]  # by class, by coverage ("90")
CLASSES = (*tissues.NAMES, *(f"uncertain_{name}" for name in tissues.NAMES))

# Total deviation as the network gives it, a tenth of water's attenuation.
_UNCERTAIN_HU = 100.0

# Bins of the errors; a half-width is the upper edge of the bin that it falls into: never too small.
_HU_EDGES = np.arange(0.0, 8192.0)
_Z_EDGES = np.geomspace(0.001, 10_000.0, 8192)  # 0.2 % wide


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What held-out subjects say about a network's errors.

    Attributes:
        scale: factor of both maps of standard deviations; None for a network without any.
        boundary_sd_hu: scaled total sd above which a voxel is of its tissue's uncertain class; None
            where there are the tissues alone.
        half_widths_hu: half-width in HU of the interval around the pCT.
        half_widths_sd: half-width as a multiple of the scaled total sd; empty without maps.

    Half-widths are by class and by coverage in percent ("90"). Where the held-out subjects had too
    few voxels of a class for a coverage, it has none, and nothing is promised of such voxels.
    """

    scale: float | None
    boundary_sd_hu: float | None
    half_widths_hu: Widths
    half_widths_sd: Widths

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold; `from_dict` reads it again."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Calibration:
        """Reads what `as_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it did not.
        """
        # Before there were classes of one tissue, there was no boundary.
        scale, boundary = found["scale"], found.get("boundary_sd_hu")
        for value in (scale, boundary):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"scale or boundary is {value}")
        widths = (_numbers(found[name]) for name in ("half_widths_hu", "half_widths_sd"))
        return cls(scale, boundary, *widths)

    def scaled(self, sd_hu: np.ndarray) -> np.ndarray:
        """A map of standard deviations, of any kind, as it should have been."""
        return sd_hu if self.scale is None else (sd_hu * np.float32(self.scale))


def key(coverage: float) -> str:
    """The name of a coverage in a table of half-widths."""
    return f"{100 * coverage:.0f}"


def classes(
    pct_hu: np.ndarray, sd_hu: np.ndarray | None, boundary_sd_hu: float | None
) -> dict[str, np.ndarray]:
    """Splits voxels by what is predicted of them.

    Args:
        pct_hu: synthetic CT in HU, any shape.
        sd_hu: predicted total standard deviation of the same voxels, or None.
        boundary_sd_hu: deviation above which they are uncertain; None without maps.

    Returns:
        A boolean array for each of `CLASSES`, or of the tissues alone; every voxel is in one.
    """
    predicted = tissues.masks(pct_hu)
    if sd_hu is None or boundary_sd_hu is None:
        return predicted
    uncertain = sd_hu > boundary_sd_hu
    halves = [mask & half for half in (~uncertain, uncertain) for mask in predicted.values()]
    return dict(zip(CLASSES, halves, strict=True))


class Fit:
    """Collects errors subject by subject; memory does not grow with them."""

    def __init__(self) -> None:
        self._hu = {name: np.zeros(_HU_EDGES.size + 1, np.int64) for name in CLASSES}
        self._z = {name: np.zeros(_Z_EDGES.size + 1, np.int64) for name in CLASSES}
        self._z2, self._voxels = 0.0, 0

    def add(self, pct_hu: np.ndarray, ct_hu: np.ndarray, sd_hu: np.ndarray | None) -> None:
        """Counts the voxels of one subject.

        Args:
            pct_hu: synthetic CT of the body's voxels in HU, any shape.
            ct_hu: true CT of the same voxels.
            sd_hu: predicted total standard deviation of the same voxels, unscaled; None for every
                subject where the network has none.
        """
        error_hu = np.abs(pct_hu.astype(np.float64) - ct_hu)
        found = classes(pct_hu, sd_hu, _UNCERTAIN_HU)
        for name, mask in found.items():
            self._hu[name] += _count(error_hu[mask], _HU_EDGES)
        if sd_hu is not None:
            z = error_hu / np.maximum(sd_hu, reliability.SMALLEST_SD_HU)
            self._z2 += float(np.sum(z**2))
            self._voxels += z.size
            for name, mask in found.items():
                self._z[name] += _count(z[mask], _Z_EDGES)

    def calibration(self) -> Calibration:
        """Returns the scale and the half-widths.

        Raises:
            ValueError: no voxel was added, or all errors are zero.
        """
        if not any(counts.any() for counts in self._hu.values()):
            raise ValueError("no voxel to calibrate on")
        half_widths_hu = _widths(self._hu, _HU_EDGES)
        if not self._voxels:
            return Calibration(None, None, half_widths_hu, {})
        if not self._z2:
            raise ValueError("every held-out voxel is predicted without any error")
        scale = math.sqrt(self._z2 / self._voxels)
        half_widths_sd = _widths(self._z, _Z_EDGES / scale)
        return Calibration(scale, _UNCERTAIN_HU * scale, half_widths_hu, half_widths_sd)


def coverages(
    found: Calibration, pct_hu: np.ndarray, ct_hu: np.ndarray, sd_hu: np.ndarray | None
) -> dict[str, float]:
    """Shares of voxels inside the conformal intervals.

    Args:
        found: of the network.
        pct_hu: synthetic CT of the voxels in HU, any shape but not empty.
        ct_hu: true CT of the same voxels.
        sd_hu: the scaled total standard deviation of the same voxels, or None.

    Returns:
        `conformal_hu_P` and, with maps, `conformal_sd_P` for each coverage, of the voxels whose
        class has a half-width; none where no voxel has one.
    """
    error_hu = np.abs(pct_hu.astype(np.float64) - ct_hu)
    voxels = classes(pct_hu, sd_hu, found.boundary_sd_hu)
    kinds: list[tuple[str, Widths, Any]] = [("hu", found.half_widths_hu, 1.0)]
    if sd_hu is not None and found.half_widths_sd:
        kinds.append(("sd", found.half_widths_sd, np.maximum(sd_hu, reliability.SMALLEST_SD_HU)))
    shares = {}
    for kind, widths, unit in kinds:
        for name in map(key, COVERAGES):
            half_width = np.full(error_hu.shape, np.nan)
            for group, mask in voxels.items():
                half_width[mask] = widths.get(group, {}).get(name, np.nan)
            promised = np.isfinite(half_width)
            if promised.any():
                inside = error_hu <= half_width * unit  # false where there is none
                shares[f"conformal_{kind}_{name}"] = float(inside.sum() / promised.sum())
    return shares


def _count(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts by the first edge that is no smaller; the last bin has none."""
    return np.bincount(np.searchsorted(edges, values), minlength=edges.size + 1)


def _widths(counts: dict[str, np.ndarray], edges: np.ndarray) -> Widths:
    """The ceil((n + 1) p)-th smallest value by class and coverage p, where there is one."""
    widths: Widths = {}
    for name, found in counts.items():
        n, below = int(found.sum()), np.cumsum(found[:-1])
        ranks = {key(p): math.ceil((n + 1) * p - 1e-9) for p in COVERAGES}
        reached = {p: int(np.searchsorted(below, rank)) for p, rank in ranks.items()}
        kept = {p: float(edges[i]) for p, i in reached.items() if i < edges.size}
        if n and kept:
            widths[name] = kept
    return widths


def _numbers(widths: dict[str, dict[str, float]]) -> Widths:
    """A checked table of half-widths."""
    for group, by_coverage in widths.items():
        for coverage, width in by_coverage.items():
            if not (math.isfinite(width) and width >= 0):
                raise ValueError(f"half-width {group} {coverage} is {width}")
    return widths
