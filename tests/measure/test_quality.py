import io

import numpy as np
from matplotlib import image as pictures

from multires_tf.measure import quality


def test_the_picture_is_a_png_that_shows_both_outlines():
    mask = np.zeros((20, 30, 40), np.uint8)
    mask[:, :, 5:] = 1
    mask[4:16, 8:22, 12:30] = 2
    png = quality.prepared_subject(
        mask / 2.0, mask * 500.0 - 1000, mask, spacing_mm=(3.0, 2.0, 2.0), title="s1"
    )
    pixels = pictures.imread(io.BytesIO(png), format="png")[..., :3]
    red, green, blue = np.moveaxis(pixels, -1, 0)
    assert np.count_nonzero((red > 0.8) & (blue < 0.4) & (green < 0.7)) > 200
    assert np.count_nonzero((blue > 0.8) & (red < 0.5)) > 100
