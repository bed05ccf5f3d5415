import numpy as np
import pytest

from multires_tf.measure import contour


def _line(body, field, spacing_mm=1.0):
    """A band along x of a volume whose slices are all the same."""
    body, field = (
        np.broadcast_to(np.array(line, bool), (3, 4, len(line))) for line in (body, field)
    )
    found = contour.band(body, field, (5.0, 5.0, spacing_mm))
    assert (found == found[1, 1]).all()
    return np.flatnonzero(found[1, 1])


def test_eight_voxels_inside_and_four_outside_at_one_millimetre():
    body, field = [0] * 10 + [1] * 20, [1] * 30
    # Centres lie half a millimetre from the contour: 0.5 ... 7.5 inside, 0.5 ... 3.5 outside.
    assert _line(body, field).tolist() == list(range(6, 18))


def test_at_five_millimetres_two_voxels_inside_and_one_outside():
    assert _line([0] * 5 + [1] * 5, [1] * 10, spacing_mm=5.0).tolist() == [4, 5, 6]


def test_the_field_s_end_is_no_contour():
    body, field = [0] * 5 + [1] * 30, [1] * 35
    assert _line(body, field).max() == 12
    # Nothing outside the field counts, and a body that the field cuts has no contour there.
    assert _line([0] * 5 + [1] * 30, [0] * 5 + [1] * 30).size == 0
    assert _line([0] * 5 + [1] * 30, [0] * 3 + [1] * 32).min() == 3


def test_a_corner_is_measured_in_space():
    body = np.zeros((1, 20, 20), bool)
    body[:, 10:, 10:] = True
    found = contour.band(body, np.ones_like(body), (1.0, 1.0, 1.0))
    assert found[0, 9, 9] and found[0, 7, 7]  # 3 sqrt(2) - 0.5 = 3.7 mm
    assert not found[0, 6, 6]  # 4 sqrt(2) - 0.5 = 5.2 mm


@pytest.mark.parametrize("slab", [1, 7, 500])
def test_slabs_do_not_show(monkeypatch, slab):
    random = np.random.default_rng(0)
    body = np.zeros((40, 12, 12), bool)
    body[8:30, 3:9, 2:11] = True
    field = body | (random.random(body.shape) < 0.9)
    whole = contour.band(body, field, (2.0, 1.5, 1.5))
    monkeypatch.setattr(contour, "SLAB", slab)
    assert np.array_equal(contour.band(body, field, (2.0, 1.5, 1.5)), whole)
