"""Minimal filtering against the sums that it saves."""

from __future__ import annotations

import numpy as np
import pytest

from multires_tf.model import winograd


@pytest.mark.parametrize("length", [1, 4, 7, 8, 21])
def test_filters_a_line_padded_by_zeros(length):
    random = np.random.default_rng(length)
    line, taps = random.normal(size=length), random.normal(size=3)
    padded = np.pad(line, 1)
    expected = [taps @ padded[i : i + 3] for i in range(length)]
    made = winograd.filtering(length)
    at_points = (made.there @ line).reshape(winograd.POINTS, -1)
    products = (made.taps @ taps)[:, None] * at_points
    np.testing.assert_allclose(made.back @ products.ravel(), expected, atol=1e-12)


def test_six_products_take_the_place_of_twelve():
    made = winograd.filtering(80)
    assert made.there.shape == (6 * 20, 80) and made.back.shape == (80, 6 * 20)
    assert made.taps.shape == (6, 3)
