import numpy as np
import pytest

from multires_tf.data import splines

SIZE, SPACING_MM = (20, 12, 16), (5.0, 6.0, 5.0)
Z, Y, X = np.indices(SIZE).astype(np.float32)


@pytest.fixture
def spline():
    return splines.Spline.over(SIZE, SPACING_MM, 40.0)


def test_a_cubic_field_is_given_back_from_a_quarter_of_its_voxels(spline):
    field = 0.01 * Z - 0.002 * Y * X + 1e-4 * Z * X**2
    places = np.nonzero(np.random.default_rng(0).uniform(size=SIZE) < 0.25)
    rows, none = spline.rows(places), 1e-6 * spline.roughness()
    found = splines.fit(rows, field[places], np.ones(len(rows)), none)
    # The corners hang on few voxels.
    np.testing.assert_allclose(spline.field(found), field, atol=0.03)
    np.testing.assert_allclose(rows @ found, spline.field(found)[places], atol=1e-5)


def test_a_stiff_field_is_constant_and_voxels_without_weight_have_no_say(spline):
    places = np.nonzero(X >= 0)
    weights = (X < 8)[places].astype(float)
    values = np.where(X < 8, 3.0, 9.0)[places]
    found = splines.fit(spline.rows(places), values, weights, 1e6 * spline.roughness())
    np.testing.assert_allclose(spline.field(found), 3.0, atol=0.01)
