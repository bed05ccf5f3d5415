"""Accumulated draws against two-pass numbers."""

from __future__ import annotations

import numpy as np
import pytest

from multires_tf.model import uncertainty


def _draws(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ct = 0.3 + 0.01 * rng.normal(size=(n, 5, 6, 7))
    return ct.astype(np.float32), rng.normal(-8, 1, (n, 5, 6, 7)).astype(np.float32)


def test_two_pass_numbers():
    ct, log_var = _draws(20)
    accumulator = uncertainty.Accumulator()
    for pair in zip(ct, log_var, strict=True):
        accumulator.add(*pair)
    estimate = accumulator.estimate()
    wide = ct.astype(np.float64)
    np.testing.assert_allclose(estimate.ct, wide.mean(0), atol=1e-6)
    np.testing.assert_allclose(estimate.epistemic_variance, wide.var(0, ddof=1), rtol=1e-4)
    sd = np.sqrt(estimate.epistemic_variance)
    np.testing.assert_allclose(sd, wide.std(0, ddof=1), atol=1e-6)
    np.testing.assert_allclose(
        estimate.aleatoric_variance, np.exp(log_var.astype(np.float64)).mean(0), rtol=1e-5
    )
    assert estimate.draws == 20
    assert estimate.ct.dtype == np.float32


def test_two_pass_numbers_in_float64():
    ct, log_var = _draws(20)
    accumulator = uncertainty.Accumulator("float64")
    for pair in zip(ct, log_var, strict=True):
        accumulator.add(*pair)
    estimate, wide = accumulator.estimate(), ct.astype(np.float64)
    np.testing.assert_allclose(estimate.epistemic_variance, wide.var(0, ddof=1), rtol=1e-6)


def test_maps_in_hu_by_hand():
    accumulator = uncertainty.Accumulator("float64")
    for ct in (0.25, 0.75):
        accumulator.add(np.array([ct]), np.array([np.log(0.02)]))
    estimate, window_hu = accumulator.estimate(), (-1000.0, 3000.0)
    assert estimate.ct[0] == pytest.approx(0.5)
    sd = [
        uncertainty.sd_hu(variance, window_hu)[0]
        for variance in (estimate.aleatoric_variance, estimate.epistemic_variance)
    ]
    assert sd == pytest.approx([4000 * np.sqrt(0.02), 4000 * np.sqrt(0.125)])


def test_only_the_maps_that_there_are():
    accumulator = uncertainty.Accumulator()
    accumulator.add(np.zeros(3))
    estimate = accumulator.estimate()
    assert estimate.aleatoric_variance is estimate.epistemic_variance is None
    with pytest.raises(ValueError, match="every draw or with none"):
        accumulator.add(np.zeros(3), np.zeros(3))
