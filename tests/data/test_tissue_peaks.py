import numpy as np
import pytest

from multires_tf.data import tissue_peaks

RNG = np.random.default_rng(0)
FAT, MUSCLE = np.log(1000.0), np.log(370.0)


def noisy(logs):
    return (logs + 0.05 * RNG.standard_normal(np.shape(logs))).astype(np.float32)


def test_each_tissue_is_a_peak():
    logs = noisy(np.repeat([FAT, MUSCLE], [2000, 5000]))
    assert tissue_peaks.find(logs) == pytest.approx([MUSCLE, FAT], abs=0.01)
    assert tissue_peaks.find(logs[:1]) == pytest.approx([logs[0]], abs=0.01)


def test_voxels_beside_another_tissue_are_none():
    logs = np.full((3, 3, 6), FAT, np.float32)
    logs[..., 3:] = MUSCLE
    within = np.ones(logs.shape, bool)
    peaks = np.array([MUSCLE, FAT])
    told = tissue_peaks.nearest(logs, within, peaks, 0.2)
    nan = np.nan
    np.testing.assert_allclose(told[1, 1], [FAT, FAT, nan, nan, MUSCLE, MUSCLE], rtol=1e-6)
    within[:, 0] = False  # what is not looked at is none, and neither are its neighbours
    assert np.isnan(tissue_peaks.nearest(logs, within, peaks, 0.2)[:, :2]).all()
    mixed = np.full(logs.shape, (FAT + MUSCLE) / 2, np.float32)
    assert np.isnan(tissue_peaks.nearest(mixed, np.ones(logs.shape, bool), peaks, 0.2)).all()


def test_a_field_along_the_body_is_told_from_all_tissues_of_a_slab():
    fat = np.zeros((120, 12, 12), bool)
    fat[:, :, :4] = True
    field = 0.3 * np.cos(np.arange(120) / 30)[:, None, None]
    logs = noisy(np.where(fat, FAT, MUSCLE) + field)
    level = np.ones(logs.shape, bool)
    level[100:] = False  # where nothing is told, the last slab's holds on
    found = tissue_peaks.along(logs, level, 5.0)
    assert np.ptp(found, axis=(1, 2)).max() == 0
    off = (found - field)[:90]
    assert off.std() < 0.03 < 0.15 < field[:90].std()
