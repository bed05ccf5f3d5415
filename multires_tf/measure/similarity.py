"""Image similarity exactly as the SynthRAD challenges compute it, so that numbers can be compared.

Read in SynthRAD2023/metrics (3200007) and SynthRAD2025/evaluation (17cac47). Their masked MAE is
the mean absolute error over the mask, without clipping: `mae_hu` of `scores`. Volumes are (z, y, x)
in HU, `body` is their mask. What holds several float64 copies goes slab by slab.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import ndimage
from skimage import metrics as skimage_metrics

# Both images are clipped to the window of the year; its width is the data range.
Window = tuple[float, float]
SYNTHRAD2023: Window = (-1024.0, 3000.0)
SYNTHRAD2025: Window = (-1024.0, 3071.0)
SSIM_WINDOW = 7
MARGIN = SSIM_WINDOW // 2
SLAB = 48
# Wang et al. 2003: the weight of each scale, finest first. SynthRAD2025 weighs the luminance by
# them at every scale too, where Wang has it at the coarsest alone.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Smaller volumes are continued by their edge to this size, so that five scales fit.
SMALLEST_EDGE = 97


def psnr_db(pct_hu: np.ndarray, ct_hu: np.ndarray, window: Window = SYNTHRAD2023) -> float:
    """Peak signal-to-noise ratio in dB over the given voxels, both clipped to the window.

    The peak is the window's width (4024 HU in 2023, 4095 in 2025); infinite for equal arrays.
    """
    difference = np.clip(pct_hu, *window).astype(np.float64) - np.clip(ct_hu, *window)
    mse = float(np.mean(difference**2))
    return 10 * math.log10((window[1] - window[0]) ** 2 / mse) if mse else math.inf


def ssim(pct_hu: np.ndarray, ct_hu: np.ndarray, body: np.ndarray) -> float:
    """Structural similarity over `body`; definition of SynthRAD2023.

    Both are clipped, set to -1024 outside `body` and shifted to start at 0; then scikit-image's
    SSIM with a uniform 7 x 7 x 7 window and data range 4024, its map averaged over the voxels of
    `body` that lie 3 or more voxels inside the volume. An axis shorter than 7 voxels, which that
    definition leaves out, is continued by 3 voxels of its edge on both sides.

    Returns:
        The mean, or nan if no voxel of `body` is left.
    """
    widths = [(MARGIN, MARGIN) if size < SSIM_WINDOW else (0, 0) for size in body.shape]
    pct_hu, ct_hu, body = (np.pad(array, widths, mode="edge") for array in (pct_hu, ct_hu, body))
    low, high = SYNTHRAD2023
    mean = _Mean()
    for slab in _slabs(body):
        images = [_shifted(image[slab], body[slab], SYNTHRAD2023) for image in (ct_hu, pct_hu)]
        _, similarity = skimage_metrics.structural_similarity(
            *images, win_size=SSIM_WINDOW, data_range=high - low, full=True
        )
        mean.add(similarity, body[slab])
    return mean.value


def ms_ssim(pct_hu: np.ndarray, ct_hu: np.ndarray, body: np.ndarray) -> float:
    """Multi-scale structural similarity over `body`; definition of SynthRAD2025.

    Clipped, masked and shifted as for `ssim`, with the window of 2025. At each of five scales the
    parts of SSIM (uniform 7 x 7 x 7 window, sample covariance), negative ones set to 0, are raised
    to the scale's weight and multiplied; their product is averaged over the voxels of `body` 3 or
    more voxels inside the volume. The result is the product of the five means. A textbook MS-SSIM
    does not reproduce it, for the luminance counts at every scale.

    Returns:
        A number in 0..1, or nan if at some scale no voxel of `body` is left.
    """
    missing = [max(SMALLEST_EDGE - size, 0) for size in body.shape]
    widths = [(n // 2, n - n // 2) for n in missing]
    pct_hu, ct_hu, body = (np.pad(array, widths, mode="edge") for array in (pct_hu, ct_hu, body))
    # Float32 holds what scanners and predictions hold, whole HU, exactly.
    images = [_shifted(image, body, SYNTHRAD2025).astype(np.float32) for image in (ct_hu, pct_hu)]
    product = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            images, body = [_halved(image) for image in images], body[::2, ::2, ::2]
        mean = _Mean()
        for slab in _slabs(body):
            parts = (image[slab].astype(np.float64) for image in images)
            mean.add(_weighted_similarity(*parts, weight=weight), body[slab])
        product *= mean.value
    return product


class _Mean:
    """Mean of a map over the body's voxels that no window's edge cuts off, slab by slab."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, values: np.ndarray, body: np.ndarray) -> None:
        counted = values[_INNER][body[_INNER]]
        self._sum += float(counted.sum(dtype=np.float64))
        self._count += counted.size

    @property
    def value(self) -> float:
        return self._sum / self._count if self._count else math.nan


_INNER = (slice(MARGIN, -MARGIN),) * 3


def _slabs(body: np.ndarray) -> Iterator[slice]:
    """Slabs along z that overlap by the windows' margins; those without body are left out."""
    for start in range(MARGIN, body.shape[0] - MARGIN, SLAB):
        slab = slice(start - MARGIN, min(start + SLAB, body.shape[0] - MARGIN) + MARGIN)
        if body[slab][_INNER].any():
            yield slab


def _shifted(image_hu: np.ndarray, body: np.ndarray, window: Window) -> np.ndarray:
    low, high = window
    return np.where(body, np.clip(image_hu, low, high), low).astype(np.float64) - low


def _halved(image: np.ndarray) -> np.ndarray:
    """Every second voxel of the mean over each voxel and its neighbours before it.

    The same as a convolution with 2 x 2 x 2 ones over 8, "same" size, then [::2]: before the first
    voxel of an axis lies 0, so that the first is halved.
    """
    half = np.asarray(image, np.float64)
    for axis in range(image.ndim):
        half = np.moveaxis(half, axis, 0)
        kept = half[::2].copy()
        kept[1:] += half[1 : 2 * len(kept) - 2 : 2]
        half = np.moveaxis(kept / 2, 0, axis)
    return half


def _weighted_similarity(first: np.ndarray, second: np.ndarray, *, weight: float) -> np.ndarray:
    """Luminance, contrast and structure of SSIM, each raised to the weight, multiplied."""
    voxels = SSIM_WINDOW**3
    mean, mean2 = (ndimage.uniform_filter(image, SSIM_WINDOW) for image in (first, second))

    def covariance(a: np.ndarray, b: np.ndarray, of_means: np.ndarray) -> np.ndarray:
        return voxels / (voxels - 1) * (ndimage.uniform_filter(a * b, SSIM_WINDOW) - of_means)

    variance = covariance(first, first, mean * mean)
    variance2 = covariance(second, second, mean2 * mean2)
    both = covariance(first, second, mean * mean2)
    spread = np.sqrt(np.maximum(variance, 0)) * np.sqrt(np.maximum(variance2, 0))
    span = SYNTHRAD2025[1] - SYNTHRAD2025[0]
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    luminance = (2 * mean * mean2 + c1) / (mean * mean + mean2 * mean2 + c1)
    contrast = (2 * spread + c2) / (variance + variance2 + c2)
    structure = (both + c2 / 2) / (spread + c2 / 2)
    product = np.ones_like(mean)
    for part in (luminance, contrast, structure):
        product *= np.maximum(part, 0) ** weight
    return product
