import io

import matplotlib.image
import numpy as np

from multires_tf.measure import figures, looks, reliability


def _pixels(png):
    return matplotlib.image.imread(io.BytesIO(png), format="png")


def _panels(volume, spacing_mm, slices=(0, 0)):
    images = [(looks.CT, volume)]
    return _pixels(figures.panels([images], spacing_mm=spacing_mm, slices=slices))


def _extent(pixels, colour, tolerance=0.02):
    """Rows and columns of the box that holds all pixels of a colour."""
    rows, columns = np.nonzero(np.abs(pixels[..., :3] - colour).max(axis=-1) < tolerance)
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_slices_with_the_most_bone():
    ct_hu = np.zeros((4, 5, 6))
    ct_hu[3, 1, :2] = 900
    ct_hu[:, 4, 5] = 900
    body = np.ones(ct_hu.shape, bool)
    assert looks.central_slices(ct_hu, body) == (4, 3)
    body[:, 4] = False
    assert looks.central_slices(ct_hu, body) == (1, 3)


def test_coronal_slice_is_head_up_and_to_scale():
    # Ten slices of 6 mm, ten columns of 3 mm; the upper half is grey: 30 mm x 30 mm, a square.
    ct_hu = np.full((10, 8, 10), -1000.0)
    ct_hu[5:] = 0.0
    pixels = _panels(ct_hu, (6.0, 3.0, 3.0))
    grey = _extent(pixels[: pixels.shape[0] // 2], 0.5)
    black = _extent(pixels, 0.0)
    assert grey[1] == black[0]
    assert abs((grey[1] - grey[0]) - (grey[3] - grey[2])) <= 2


def test_patients_left_is_on_the_right():
    ct_hu = np.full((8, 8, 8), -1000.0)
    ct_hu[:, :, 6:] = 0.0
    pixels = _panels(ct_hu, (1.0, 1.0, 1.0))
    grey = np.abs(pixels[..., :3] - 0.5).max(axis=-1) < 0.01
    upper = grey[: pixels.shape[0] // 2]
    columns = np.nonzero(upper.sum(axis=0) > upper.sum(axis=0).max() / 2)[0]
    assert columns.min() > pixels.shape[1] * 0.6


def test_every_image_gets_a_column():
    volume = np.zeros((8, 8, 8))
    shown = [looks.MR, looks.CT, looks.PCT, looks.ERROR, looks.ALEATORIC]
    images = [(look, volume) for look in shown]
    six = figures.panels([images], spacing_mm=(1.0, 1.0, 1.0), slices=(4, 4))
    one = figures.panels([images[:1]], spacing_mm=(1.0, 1.0, 1.0), slices=(4, 4))
    assert _pixels(six).shape[1] > 3 * _pixels(one).shape[1]


def test_curves_and_histograms_are_drawn_even_of_little():
    nan = float("nan")
    loss = [-1.0, *np.linspace(-3, -4, 98), 110.0]  # a spike leaves the rest to be seen
    spiky = figures.training_curve(range(100), loss, [90.0] * 100)
    flat = figures.training_curve(range(100), [*loss[:-1], -4.0], [90.0] * 100)
    assert abs(_pixels(spiky)[40:-40, 60:500].std() / _pixels(flat)[40:-40, 60:500].std() - 1) < 0.3
    curve = figures.training_curve([1, 2, 3], [3.0, 2.0, 1.0], [nan, 90.0, nan])
    assert _pixels(curve).shape[0] > 300
    assert _pixels(figures.training_curve([], [], [])).shape[0] > 300
    histogram = reliability.JointHistogram()
    histogram.add(np.full(500, 50.0), np.linspace(-100, 100, 500))
    for titles in (("aleatoric",), ("aleatoric", "epistemic", "total")):
        png = figures.uncertainty_against_error([(title, histogram) for title in titles])
        assert _pixels(png).shape[1] > 500


def test_calibration_has_a_panel_for_each_state_and_one_for_sparsification():
    curves = {
        "reliability": {"nominal": [0.0, 0.5, 1.0], "observed": [0.0, 0.25, 1.0]},
        "sparsification": {
            "removed": [0.0, 0.5],
            "mae_by_sd_hu": [80.0, 40.0],
            "mae_oracle_hu": [80.0, 20.0],
        },
    }
    raw = figures.calibration({"raw": {"body": curves}})
    both = figures.calibration({"raw": {"body": curves}, "calibrated": {"body": curves}})
    assert _pixels(both).shape[1] * 2 == _pixels(raw).shape[1] * 3
