"""Tissues of an MR by its histogram of log intensities: each peak is one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, signal

# The histogram's bins, the sd by which it is smoothed (half a tissue's), how far apart peaks are at
# least, and the least share of the highest by which one must stand out.
_BIN, _SMOOTHING, _APART, _STANDS_OUT = 0.002, 0.03, 0.2, 0.05
# Slabs across the body, and the bins of their histograms and the sd by which those are smoothed.
_SLAB_MM, _SLAB_BIN, _SLAB_SMOOTHING = 30.0, 0.01, 0.04
# How far a field may step from one slab to the next and go in all, and the sd by which the steps
# are smoothed afterwards.
_STEP, _FARTHEST, _STEPS_MM = 0.08, 1.0, 40.0
_LEAST_VOXELS = 100


def find(logs: np.ndarray) -> np.ndarray:
    """Returns the peaks of a histogram, ascending.

    Args:
      logs: (voxels,) log intensities, at least one.
    """
    edges = np.arange(logs.min() - _APART, logs.max() + _APART, _BIN)
    heights = _histogram(logs, edges, _SMOOTHING)
    found, _ = signal.find_peaks(
        heights, prominence=_STANDS_OUT * heights.max(), distance=_APART / _BIN
    )
    return edges[found] + _BIN / 2


def nearest(logs: np.ndarray, within: np.ndarray, peaks: np.ndarray, width: float) -> np.ndarray:
    """Returns for each voxel the peak of its tissue, NaN for those that are none or mixed.

    A voxel counts if it and its six neighbours all lie nearer than `width` to the same peak.

    Args:
      logs: float32 (z, y, x).
      within: bool, voxels to look at; others are no tissue.
      peaks: as `find` gives them.
    """
    index = np.searchsorted((peaks[1:] + peaks[:-1]) / 2, logs).astype(np.int8)
    values = peaks.astype(np.float32)[index]
    index[~within | (np.abs(logs - values) >= width)] = -1
    six = ndimage.generate_binary_structure(3, 1)
    least = ndimage.minimum_filter(index, footprint=six)
    alike = (least >= 0) & (least == ndimage.maximum_filter(index, footprint=six))
    return np.where(alike, values, np.float32(np.nan))


def along(logs: np.ndarray, level: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Returns a log field float32 (z, y, x) that changes along z alone.

    From the slab with most voxels on, up and down, the histogram of each is shifted to where it
    fits those before it best: all tissues of a slab together tell what one alone would not.

    Args:
      logs: float32 (z, y, x).
      level: bool, voxels away from edges, at least one.
      spacing_mm: along z.
    """
    thick = max(1, round(_SLAB_MM / spacing_mm))
    starts = np.arange(0, len(logs), thick)
    slabs = [logs[z : z + thick][level[z : z + thick]] for z in starts]
    edges = np.arange(logs[level].min() - _FARTHEST, logs[level].max() + _FARTHEST, _SLAB_BIN)
    heights = [_histogram(slab, edges, _SLAB_SMOOTHING) / max(1, len(slab)) for slab in slabs]
    floor = 0.1 / len(edges)  # a tenth of what an even histogram has
    farthest, step = round(_FARTHEST / _SLAB_BIN), round(_STEP / _SLAB_BIN)
    shifts = np.zeros(len(slabs), int)
    fullest = int(np.argmax([len(slab) for slab in slabs]))
    for way in (range(fullest + 1, len(slabs)), range(fullest - 1, -1, -1)):
        before, last = heights[fullest], 0
        for index in way:
            if len(slabs[index]) >= _LEAST_VOXELS:
                tries = np.clip(np.arange(last - step, last + step + 1), -farthest, farthest)
                shifted = np.stack([np.roll(heights[index], -shift) for shift in tries])
                best = int(np.argmax(shifted @ np.log(before + floor)))
                last, before = int(tries[best]), (before + shifted[best]) / 2
            shifts[index] = last
    places = np.arange(len(logs)) + 0.5
    profile = np.interp(places, starts + thick / 2, shifts * _SLAB_BIN)
    profile = ndimage.gaussian_filter1d(profile, _STEPS_MM / spacing_mm).astype(np.float32)
    return np.broadcast_to(profile[:, None, None], logs.shape)


def _histogram(logs: np.ndarray, edges: np.ndarray, sd: float) -> np.ndarray:
    counts = np.histogram(logs, edges)[0].astype(float)
    return ndimage.gaussian_filter1d(counts, sd / (edges[1] - edges[0]))
