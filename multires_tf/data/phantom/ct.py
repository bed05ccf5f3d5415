"""What a CT scanner makes of the body: HU with noise that grows with the matter in the beam."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

WATER_PER_MM = 0.0193  # linear attenuation of water at about 70 keV (NIST XCOM), 1/mm


def noise_sd(clean_hu: np.ndarray, spacing_mm: float, *, base_hu: float = 3.5) -> np.ndarray:
    """Returns the noise's standard deviation per voxel.

    The variance of a ray grows with the exponential of the attenuation along it; here one ray along
    x and one along y through each voxel stand for all, and tube-current modulation takes back half
    of the logarithm.

    Args:
        clean_hu: the noiseless image (z, y, x).
        base_hu: noise in air, at the voxel size used.

    Returns:
        float32 of the same shape, HU.
    """
    density = np.clip(clean_hu / 1000 + 1, 0, 2.2) * (WATER_PER_MM * spacing_mm)
    paths = [density.sum(axis=axis, keepdims=True) for axis in (1, 2)]
    variance = 0.5 * (np.exp(paths[0] / 2) + np.exp(paths[1] / 2))
    sd = base_hu * np.sqrt(np.minimum(variance, 60.0))
    return ndimage.gaussian_filter(sd, 10.0 / spacing_mm).astype(np.float32)


def acquire(rng: np.random.Generator, clean_hu: np.ndarray, sd_hu: np.ndarray) -> np.ndarray:
    """Returns the noisy CT as int16 HU within [-1024, 3071]."""
    noisy = clean_hu + sd_hu * rng.standard_normal(clean_hu.shape, np.float32)
    return np.rint(np.clip(noisy, -1024, 3071)).astype(np.int16)
