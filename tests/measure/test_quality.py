import io
import warnings

import numpy as np
import pytest
from matplotlib import image as pictures

from multires_tf.measure import quality, quality_page


def colours(png):
    """Counts of the pixels in the colours of the lines."""
    pixels = pictures.imread(io.BytesIO(png), format="png")[..., :3]
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return {
        "orange": np.count_nonzero((red > 0.8) & (blue < 0.4) & (green < 0.7)),
        "blue": np.count_nonzero((blue > 0.8) & (red < 0.5)),
        "green": np.count_nonzero((green > 0.7) & (red < 0.5) & (blue < 0.7)),
        "yellow": np.count_nonzero((red > 0.7) & (green > 0.6) & (blue < 0.4)),
    }


MASK = np.zeros((20, 30, 40), np.uint8)
MASK[:, :, 5:] = 1
MASK[4:16, 8:22, 12:30] = 2
CT_HU = np.where(MASK == 2, 600.0, -1000.0)


def drawn(before_hu=None, mr_body=MASK == 2):
    prepared = quality.Prepared(MASK / 2.0, CT_HU, mr_body, MASK == 2, MASK > 0, before_hu)
    return quality.prepared_subject(prepared, spacing_mm=(3.0, 2.0, 2.0), title="s1")


def test_the_picture_is_a_png_that_shows_all_outlines():
    shown = colours(drawn())
    assert min(shown["orange"], shown["green"], shown["yellow"]) > 100
    assert shown["blue"] > 100


def test_the_mr_shows_its_own_body_and_not_the_ct_s():
    none = colours(drawn(mr_body=np.zeros(MASK.shape, bool)))
    assert none["green"] == 0
    assert none["orange"] == colours(drawn())["orange"]


def test_edges_of_the_ct_are_shown_before_and_after():
    once = colours(drawn())["yellow"]
    twice = colours(drawn(before_hu=np.roll(CT_HU, 3, axis=2)))["yellow"]
    assert 1.8 * once < twice < 2.2 * once


def test_a_ct_that_lay_far_off_has_no_edges_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing = colours(drawn(before_hu=np.full(MASK.shape, -1024.0)))["yellow"]
    assert nothing == pytest.approx(colours(drawn())["yellow"], rel=0.05)


def test_names_are_no_mathematics_and_links_no_fragments():
    full = np.ones((8, 8, 8), bool)
    prepared = quality.Prepared(full / 1.0, full / 1.0, full, full, full)
    assert quality.prepared_subject(prepared, spacing_mm=(1.0,) * 3, title="p$_$")
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
