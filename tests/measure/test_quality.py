import io

import numpy as np
from matplotlib import image as pictures

from multires_tf.measure import quality, quality_page


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


def test_names_are_no_mathematics_and_links_no_fragments():
    mask = np.full((8, 8, 8), 2, np.uint8)
    assert quality.prepared_subject(mask / 2.0, mask, mask, spacing_mm=(1.0,) * 3, title="p$_$")
    odd = quality_page.Checked("a#b?", "train", "", "a#b?50%41.png", record(0.99))
    assert 'src="a%23b%3F50%2541.png"' in quality_page.render("run", [odd])


def test_squares_of_both_alternate():
    board = quality._checkerboard(np.zeros((4, 4)), np.full((4, 4), 1000.0), (20.0, 20.0))
    assert board.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]


def record(dice):
    sides = {"mutual_information": 0.5, "dice": dice, "overlap": 9, "jacobian": [0.9, 1.1]}
    stages = [{"name": "rigid", "refused": "space <folds>"}]
    return {"before": {**sides, "dice": 0.9}, "after": sides, "stages": stages}


def test_the_page_shows_flagged_subjects_first_then_the_smallest_overlap():
    subjects = [
        quality_page.Checked("good", "train", "", "good.png", record(0.99)),
        quality_page.Checked("poor", "train", "", "poor.png", record(0.95)),
        quality_page.Checked("<odd>", "none", "look & see", "odd.png", record(0.98)),
    ]
    page = quality_page.render("run", subjects)
    places = [page.index(words) for words in ("&lt;odd&gt;", "poor.png", "good.png")]
    assert places == sorted(places)
    assert "3 subjects, 1 flagged" in page
    assert "0.900 → 0.950" in page
    assert "rigid (space &lt;folds&gt;)" in page
    assert "look &amp; see" in page
