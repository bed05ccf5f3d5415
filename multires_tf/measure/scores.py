"""Scores of one subject in HU: by tissue, image similarity, and how much of the bone is found.

All sums are float64. A score without a voxel to stand on is nan, never zero.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from multires_tf.measure import contour, similarity, tissues


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


MU_KVP = 120  # whose map from HU to attenuation is scored, whatever the CT's: one yardstick
_AIR, _BONE = (
    f"{hu:.0f}".replace("-", "−") for hu in (tissues.AIR_BELOW_HU, tissues.BONE_ABOVE_HU)
)
_BAND = f"−{contour.INSIDE_MM:.0f}…+{contour.OUTSIDE_MM:.0f} mm"
METRICS = (
    Metric("mae_hu", "MAE, whole body", "HU", 1, True),
    Metric("mae_air_hu", f"MAE, air (< {_AIR} HU)", "HU", 1, True),
    Metric("mae_soft_hu", f"MAE, soft tissue ({_AIR}…{_BONE} HU)", "HU", 1, True),
    Metric("mae_bone_hu", f"MAE, bone (> {_BONE} HU)", "HU", 1, True),
    Metric("mse_hu2", "MSE, whole body", "HU²", 0, True),
    Metric("psnr_db", "PSNR (SynthRAD2023)", "dB", 2),
    Metric("ssim", "SSIM (SynthRAD2023)", "", 3),
    Metric("psnr_2025_db", "PSNR (SynthRAD2025)", "dB", 2),
    Metric("ms_ssim", "MS-SSIM (SynthRAD2025)", "", 3),
    Metric("bone_found", f"True bone found (pCT > {_BONE} HU)", "%", 1),
    Metric("bone_dice", f"Bone Dice at {_BONE} HU", "", 3),
    Metric("mae_contour_hu", f"MAE, {_BAND} around the body’s contour", "HU", 1, True),
    Metric("mu_mae_per_cm", f"MAE of the μ-map at 511 keV, {MU_KVP} kVp", "cm⁻¹", 5, True),
)


def score(
    pct_hu: np.ndarray,
    ct_hu: np.ndarray,
    body: np.ndarray,
    *,
    band: np.ndarray | None = None,
    mu_per_cm: Callable[[np.ndarray], np.ndarray] | None = None,
) -> dict[str, float]:
    """Scores a synthetic CT against the true one over the voxels of `body`.

    Args:
        pct_hu: the synthetic CT (z, y, x) in HU.
        ct_hu: the true CT (z, y, x) in HU.
        body: boolean (z, y, x), the voxels that count.
        band: boolean (z, y, x), the one around the body's contour, in part outside the body.
        mu_per_cm: linear attenuation coefficients in 1/cm of an array in HU.

    Returns:
        The scores of `METRICS` by key; `mae_contour_hu` and `mu_mae_per_cm` where there is what
        they need. `mae_hu` is the masked MAE of both SynthRAD challenges.

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
    by_tissue = {f"mae_{name}_hu": _mean_abs(error[mask]) for name, mask in tissue.items()}
    found = {
        "mae_hu": _mean_abs(error),
        "mse_hu2": float(np.mean(error**2)),
        **by_tissue,
        "psnr_db": similarity.psnr_db(predicted, true),
        "ssim": similarity.ssim(pct_hu, ct_hu, body),
        **_bone(predicted > tissues.BONE_ABOVE_HU, tissue["bone"]),
        "psnr_2025_db": similarity.psnr_db(predicted, true, similarity.SYNTHRAD2025),
        "ms_ssim": similarity.ms_ssim(pct_hu, ct_hu, body),
    }
    if band is not None:
        found["mae_contour_hu"] = _mean_abs(pct_hu[band].astype(np.float64) - ct_hu[band])
    if mu_per_cm is not None:
        found["mu_mae_per_cm"] = _mean_abs(mu_per_cm(predicted) - mu_per_cm(true))
    return found


def _mean_abs(error: np.ndarray) -> float:
    return float(np.mean(np.abs(error))) if error.size else math.nan


def _bone(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Share of the true bone voxels that the pCT calls bone, and Dice of the two masks."""
    both, either = int((predicted & true).sum()), int(predicted.sum()) + int(true.sum())
    return {
        "bone_found": both / int(true.sum()) if true.any() else math.nan,
        "bone_dice": 2 * both / either if either else math.nan,
    }
