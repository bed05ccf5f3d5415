import numpy as np
import pytest

from multires_tf.measure import baseline


def _table(*subjects):
    fit = baseline.Fit()
    for mr, ct_hu in subjects:
        fit.add(np.array(mr), np.array(ct_hu))
    return fit.table()


def test_median_of_odd_and_even_numbers_of_voxels():
    low, high = 0.1, 0.9
    table = _table(([low, low, low, high, high], [-1000, 40, 50, 100, 104]))
    assert table.apply(np.array([low, high])).tolist() == [40, 102]


def test_subjects_are_pooled():
    table = _table(([0.5], [0]), ([0.5, 0.5], [30, 90]))
    assert table.apply(np.array([[0.5]])).tolist() == [[30]]


def test_empty_bins_lie_on_the_line_between_their_neighbours():
    table = _table(([10.5 / 256, 20.5 / 256], [0, 100]))
    assert table.hu[[0, 10, 15, 20, 255]].tolist() == [0, 0, 50, 100, 100]


def test_ends_of_the_intensities_fall_into_the_end_bins():
    table = _table(([0.0, 1.0], [-1024, 3071]))
    assert table.apply(np.array([0.0, 1.0, -0.1, 1.1])).tolist() == [-1024, 3071, -1024, 3071]


def test_equals_numpy_on_many_voxels():
    random = np.random.default_rng(0)
    mr, ct_hu = random.random(20_000), random.integers(-1000, 1500, 20_000)
    table = _table((mr[:7000], ct_hu[:7000]), (mr[7000:], ct_hu[7000:]))
    bins = (mr * 256).astype(int)
    expected = [np.median(ct_hu[bins == b]) for b in range(256)]
    assert np.array_equal(table.hu, expected)


def test_nothing_to_fit_is_an_error():
    with pytest.raises(ValueError, match="no training voxel"):
        baseline.Fit().table()
