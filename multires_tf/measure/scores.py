"""Scores of one subject in HU: by tissue, image similarity, and how much of the bone is found.

All sums are float64. A score without a voxel to stand on is nan, never zero.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from skimage import metrics as skimage_metrics

from multires_tf.measure import tissues

# SynthRAD2023: both images are clipped to this window, and its width is the data range.
CLIP_HU = (-1024.0, 3000.0)
DATA_RANGE_HU = CLIP_HU[1] - CLIP_HU[0]
SSIM_WINDOW = 7
# SSIM holds about ten float64 copies of what it is given: slabs bound the memory.
SLAB = 48


@dataclasses.dataclass(frozen=True)
class Metric:
    """How one score is called and written.

    Attributes:
        key: its column in `scores.csv`.
        label: its name for people.
        unit: "HU", "dB", ...; "%" for a share in 0..1.
        digits: decimals to show.
        lower_is_better: the sense of a ratio to the baseline; None where a ratio says nothing.
    """

    key: str
    label: str
    unit: str
    digits: int
    lower_is_better: bool | None = None

    def text(self, value: float | None) -> str:
        """Writes one value, without its unit; a dash where there is none."""
        if value is None or not math.isfinite(value):
            return "–"
        return f"{value * (100 if self.unit == '%' else 1):.{self.digits}f}"


METRICS = (
    Metric("mae_hu", "MAE, whole body", "HU", 1, True),
    Metric("mae_air_hu", "MAE, air (< −500 HU)", "HU", 1, True),
    Metric("mae_soft_hu", "MAE, soft tissue (−500…200 HU)", "HU", 1, True),
    Metric("mae_bone_hu", "MAE, bone (> 200 HU)", "HU", 1, True),
    Metric("mse_hu2", "MSE, whole body", "HU²", 0, True),
    Metric("psnr_db", "PSNR", "dB", 2),
    Metric("ssim", "SSIM", "", 3),
    Metric("bone_found", "True bone found (pCT > 200 HU)", "%", 1),
    Metric("bone_dice", "Bone Dice at 200 HU", "", 3),
)


def score(pct_hu: np.ndarray, ct_hu: np.ndarray, body: np.ndarray) -> dict[str, float]:
    """Scores a synthetic CT against the true one over the voxels of `body`.

    Args:
        pct_hu: the synthetic CT (z, y, x) in HU.
        ct_hu: the true CT (z, y, x) in HU.
        body: boolean (z, y, x), the voxels that count.

    Returns:
        `mae_hu`, `mse_hu2`, `mae_air_hu`, `mae_soft_hu`, `mae_bone_hu`, `psnr_db`, `ssim`,
        `bone_found` and `bone_dice`.

    Raises:
        ValueError: the shapes differ, or `body` is empty.
    """
    if not pct_hu.shape == ct_hu.shape == body.shape:
        raise ValueError(f"shapes differ: {pct_hu.shape}, {ct_hu.shape}, {body.shape}")
    if not body.any():
        raise ValueError("no voxel to score")
    predicted = pct_hu[body].astype(np.float64)
    true = ct_hu[body].astype(np.float64)
    error = predicted - true
    tissue = tissues.masks(true)
    found = {f"mae_{name}_hu": _mean_abs(error[mask]) for name, mask in tissue.items()}
    return {
        "mae_hu": _mean_abs(error),
        "mse_hu2": float(np.mean(error**2)),
        **found,
        "psnr_db": psnr_db(predicted, true),
        "ssim": ssim(pct_hu, ct_hu, body),
        **_bone(predicted > tissues.BONE_ABOVE_HU, tissue["bone"]),
    }


def psnr_db(pct_hu: np.ndarray, ct_hu: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over the given voxels; definition of SynthRAD2023.

    Both are clipped to -1024..3000 HU and the peak is 4024 HU; infinite for equal arrays.
    """
    difference = np.clip(pct_hu, *CLIP_HU).astype(np.float64) - np.clip(ct_hu, *CLIP_HU)
    mse = float(np.mean(difference**2))
    return 10 * math.log10(DATA_RANGE_HU**2 / mse) if mse else math.inf


def ssim(pct_hu: np.ndarray, ct_hu: np.ndarray, body: np.ndarray) -> float:
    """Structural similarity over `body`; definition of SynthRAD2023.

    Both are clipped to -1024..3000 HU, set to -1024 outside `body` and shifted to start at 0; then
    scikit-image's SSIM with a uniform 7 x 7 x 7 window and data range 4024, its map averaged over
    the voxels of `body` that lie 3 or more voxels inside the volume. An axis shorter than 7 voxels,
    which that definition leaves out, is continued by 3 voxels of its edge on both sides.

    Args:
        pct_hu: the synthetic CT (z, y, x) in HU.
        ct_hu: the true CT (z, y, x) in HU.
        body: boolean (z, y, x).

    Returns:
        The mean, or nan if no voxel of `body` is left.
    """
    margin = SSIM_WINDOW // 2
    widths = [(margin, margin) if size < SSIM_WINDOW else (0, 0) for size in body.shape]
    pct_hu, ct_hu, body = (np.pad(array, widths, mode="edge") for array in (pct_hu, ct_hu, body))
    inner = (slice(margin, -margin),) * 3
    total, count = 0.0, 0
    for start in range(margin, body.shape[0] - margin, SLAB):
        stop = min(start + SLAB, body.shape[0] - margin)
        slab = slice(start - margin, stop + margin)
        counted = body[slab][inner]
        if counted.any():
            images = [_shifted(image[slab], body[slab]) for image in (ct_hu, pct_hu)]
            _, similarity = skimage_metrics.structural_similarity(
                *images, win_size=SSIM_WINDOW, data_range=DATA_RANGE_HU, full=True
            )
            total += float(similarity[inner][counted].sum())
            count += int(counted.sum())
    return total / count if count else math.nan


def _shifted(image_hu: np.ndarray, body: np.ndarray) -> np.ndarray:
    low, high = CLIP_HU
    return np.where(body, np.clip(image_hu, low, high), low).astype(np.float64) - low


def _mean_abs(error: np.ndarray) -> float:
    return float(np.mean(np.abs(error))) if error.size else math.nan


def _bone(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Share of the true bone voxels that the pCT calls bone, and Dice of the two masks."""
    both, either = int((predicted & true).sum()), int(predicted.sum()) + int(true.sum())
    return {
        "bone_found": both / int(true.sum()) if true.any() else math.nan,
        "bone_dice": 2 * both / either if either else math.nan,
    }
