"""Signal equation, noise, stations, CT noise, smooth fields, distances: numbers by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from multires_tf.data.phantom import ct, fields, mr, shapes, tissues


def test_spoiled_gradient_echo_at_90_degrees_by_hand():
    # cos(90) = 0: S = PD (1 - exp(-TR/T1)) exp(-TE/T2*); TR = T1 ln 2 recovers one half.
    sequence = mr.Sequence(3.0, tr_ms=1000 * np.log(2), te_ms=20 * np.log(4), flip_deg=90)
    signal = mr.spoiled_gradient_echo(np.array(0.8), np.array(1000.0), np.array(20.0), sequence)
    assert signal == pytest.approx(0.8 * 0.5 * 0.25)


def test_spoiled_gradient_echo_at_a_small_angle_by_hand():
    # sin 30 = 0.5, cos 30 = 0.8660254, E1 = 0.5, no decay: 0.5 * 0.5 / (1 - 0.4330127) = 0.4409271
    sequence = mr.Sequence(1.5, tr_ms=100 * np.log(2), te_ms=0, flip_deg=30)
    signal = mr.spoiled_gradient_echo(np.array(1.0), np.array(100.0), np.array(10.0), sequence)
    assert signal == pytest.approx(0.4409271, abs=1e-6)


def test_dark_and_bright_tissues():
    for field in (1.5, 3.0):
        signals = mr.tissue_signals(mr.Sequence(field, 5.5, 2.3, 13.0))
        signal = dict(zip(tissues.NAMES, signals, strict=True))
        for dark in ("air", "gas", "airway", "cortical bone", "lung"):
            assert signal[dark] < 0.15 * signal["muscle"]
        assert signal["fat"] > 1.8 * signal["muscle"]
        assert signal["liver"] > signal["muscle"] > signal["cerebrospinal fluid"]


def test_rician_noise_in_air_and_in_signal():
    rng = np.random.default_rng(0)
    air = mr.rician(rng, np.zeros((50, 50, 50), np.float32), 4.0)
    assert air.mean() == pytest.approx(4 * np.sqrt(np.pi / 2), rel=0.01)
    bright = mr.rician(rng, np.full((50, 50, 50), 100, np.float32), 4.0)
    assert bright.std() == pytest.approx(4.0, rel=0.02)
    assert bright.mean() == pytest.approx(100 + 4**2 / 200, abs=0.05)


@pytest.mark.parametrize(("count", "spacing"), [(250, 5.0), (131, 10.0), (401, 3.0)])
def test_stations_cover_everything_and_overlap(count, spacing):
    pieces = mr.station_slices(count, spacing)
    assert len(pieces) == 4
    assert pieces[0].stop == count
    assert pieces[-1].start == 0
    for upper, lower in itertools.pairwise(pieces):
        assert (lower.stop - upper.start) * spacing >= 60 - 2 * spacing
    assert len({piece.stop - piece.start for piece in pieces}) == 1


def test_ct_noise_grows_with_the_matter_in_the_beam():
    image = np.full((3, 60, 60), -1000.0, np.float32)
    image[1, 20:40, 20:40] = 0
    image[2, 5:55, 5:55] = 0
    sd = ct.noise_sd(np.repeat(image, 30, axis=0), 5.0)
    air, thin, thick = sd[15, 30, 30], sd[45, 30, 30], sd[75, 30, 30]
    assert air == pytest.approx(3.5, rel=0.01)
    # 100 mm of water at 0.0193/mm both ways: 3.5 exp(1.93 / 4), less at the square's edges.
    assert thin == pytest.approx(3.5 * np.exp(1.93 / 4), rel=0.08)
    assert thick > 1.5 * thin


def test_ct_is_clipped_to_its_range():
    clean = np.array([[[-1020.0, 3070.0]]], np.float32)
    noisy = ct.acquire(np.random.default_rng(0), clean, np.full_like(clean, 500))
    assert noisy.dtype == np.int16
    assert noisy.min() >= -1024
    assert noisy.max() <= 3071


def test_smooth_noise_has_unit_spread_and_does_not_depend_on_the_grid():
    coarse = [np.arange(0, 400, 10.0), np.arange(-200, 200, 10.0), np.arange(-200, 200, 10.0)]
    fine = [np.arange(0, 400, 5.0), np.arange(-200, 200, 5.0), np.arange(-200, 200, 5.0)]
    first = fields.smooth_noise(np.random.default_rng(3), coarse, 20.0)
    second = fields.smooth_noise(np.random.default_rng(3), fine, 20.0)
    np.testing.assert_allclose(first, second[::2, ::2, ::2], atol=1e-5)
    assert first.std() == pytest.approx(1.0, abs=0.1)
    # A quarter of a knot changes little.
    assert np.diff(second, axis=0).std() < 0.35


def _distance(shape: shapes.Shape, *point: float) -> float:
    x, y, z = (np.array([value], np.float32) for value in point)
    return float(shape.distance(x, y, z)[0])


def test_distances_by_hand():
    ball = shapes.ellipsoid((1, 2, 3), (5, 5, 5))
    assert _distance(ball, 1, 2, 11) == pytest.approx(3, abs=1e-3)
    assert _distance(ball, 1, 2, 3) == pytest.approx(-5, abs=1e-2)
    rod = shapes.cone((0, 0, 0), (0, 0, 10), 2, 4)
    assert _distance(rod, 7, 0, 5) == pytest.approx(4, abs=1e-5)
    assert _distance(rod, 0, 0, -6) == pytest.approx(4, abs=1e-5)
    ribbon = shapes.cone((0, 0, 0), (0, 0, 10), 2, flat=((1, 0, 0), 3))
    assert _distance(ribbon, 6, 0, 5) == pytest.approx(0, abs=1e-3)
    assert _distance(ribbon, 0, 5, 5) == pytest.approx(3, abs=1e-3)
    plate = shapes.triangle([(0, 0, 0), (10, 0, 0), (0, 10, 0)], 2)
    assert _distance(plate, 2, 2, 4) == pytest.approx(3, abs=1e-5)
    assert _distance(plate, -5, 2, 0) == pytest.approx(4, abs=1e-5)
    reverse = shapes.triangle([(0, 10, 0), (10, 0, 0), (0, 0, 0)], 2)
    assert _distance(reverse, 2, 2, 4) == pytest.approx(3, abs=1e-5)
    pillar = shapes.column([(0, 10, 5, 1), (100, 10, 5, 1)])
    assert _distance(pillar, 13, 1, 50) == pytest.approx(3, abs=0.05)
    assert _distance(pillar, 0, 1, 104) == pytest.approx(4, abs=1e-4)


def test_smooth_union_only_fills_the_crease():
    far = shapes.smooth_union(np.array([1.0]), np.array([9.0]), 4.0)
    near = shapes.smooth_union(np.array([2.0]), np.array([2.0]), 4.0)
    assert far[0] == 1.0
    assert near[0] == pytest.approx(2 - 4 / 4)
