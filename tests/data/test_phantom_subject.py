"""One simulated subject: what every voxel must obey."""

from __future__ import annotations

import numpy as np
import pytest

from multires_tf.data.phantom import body, canvas, shapes, subject, tissues

SPACING_MM = 6.0


@pytest.fixture(scope="module")
def made() -> subject.Subject:
    return subject.simulate(7, 1, spacing_mm=SPACING_MM, stations=True)


def _core(made: subject.Subject, name: str) -> np.ndarray:
    """Voxels of a tissue all of whose six neighbours are the same tissue in the CT."""
    there = np.pad(made.images["tissues"] == tissues.INDEX[name], 1)
    inside = there.copy()
    for axis in range(3):
        for step in (-1, 1):
            inside &= np.roll(there, step, axis)
    return inside[1:-1, 1:-1, 1:-1]


def test_the_same_arguments_give_the_same_subject_and_others_do_not(made):
    again = subject.simulate(7, 1, spacing_mm=SPACING_MM, stations=True)
    for name, image in made.images.items():
        np.testing.assert_array_equal(image, again.images[name], err_msg=name)
    assert again.origin_mm == made.origin_mm
    other = subject.simulate(7, 2, spacing_mm=SPACING_MM)
    assert other.facts["height_mm"] != made.facts["height_mm"]
    assert other.origin_mm != made.origin_mm


def test_the_body_does_not_depend_on_the_spacing(made):
    coarse = subject.simulate(7, 1, spacing_mm=2 * SPACING_MM)
    assert coarse.facts["height_mm"] == made.facts["height_mm"]
    volume = made.images["body_mask"].sum() * SPACING_MM**3
    assert coarse.images["body_mask"].sum() * (2 * SPACING_MM) ** 3 == pytest.approx(
        volume, rel=0.03
    )


def test_stations_leave_the_scans_as_they_are(made):
    plain = subject.simulate(7, 1, spacing_mm=SPACING_MM)
    np.testing.assert_array_equal(plain.images["mr"], made.images["mr"])
    assert not plain.stations


def test_types_and_ranges(made):
    ct, mr = made.images["ct"], made.images["mr"]
    assert ct.dtype == np.int16
    assert mr.dtype == np.int16
    assert ct.shape == mr.shape
    assert 0.5e6 < ct.size < 3e6
    assert -1024 <= ct.min() < -990
    assert 1200 < ct.max() <= 3071
    outside = made.images["body_mask"] == 0
    assert np.median(ct[outside]) == pytest.approx(-1000, abs=3)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("lung", -900, -740),
        ("fat", -125, -80),
        ("muscle", 35, 75),
        ("liver", 40, 80),
        ("fatty spongy bone", 150, 400),
    ],
)
def test_hounsfield_units_of_tissues(made, name, low, high):
    core = _core(made, name)
    assert core.sum() > 20
    assert low < np.median(made.images["ct"][core]) < high


def test_bone_and_air_are_dark_in_mr_and_only_context_tells_them_apart(made):
    clean, hu = made.images["mr_clean"], made.images["ct_clean_hu"]
    muscle = np.median(clean[_core(made, "muscle")])
    bone = hu > 1000
    assert bone.sum() > 100
    assert np.median(clean[bone]) < 0.35 * muscle
    lung = _core(made, "lung")
    assert np.percentile(clean[lung], 90) < 0.2 * muscle
    # As dark as each other: many voxels of dense bone lie within the lung's range of intensities.
    noisy = made.images["mr"]
    assert (noisy[bone] < np.percentile(noisy[lung], 99)).mean() > 0.1
    # And spongy bone is as bright as soft tissue.
    spongy = np.median(clean[_core(made, "fatty spongy bone")])
    assert muscle < spongy < np.median(clean[_core(made, "fat")])


def test_every_tissue_that_matters_is_there(made):
    present = {tissues.NAMES[i] for i in np.unique(made.images["tissues"])}
    wanted = set(tissues.NAMES) - {"tooth", "spinal cord"}
    assert wanted <= present


def test_bone_makes_up_a_plausible_share_of_the_body(made):
    inside = made.images["body_mask"] > 0
    assert 0.04 < (made.images["ct"][inside] > 200).mean() < 0.14


def test_gas_moves_between_the_scans(made):
    ct, mr = made.images["gas_ct"] > 127, made.images["gas_mr"] > 127
    assert ct.sum() > 30
    assert mr.sum() > 30
    assert (ct & mr).sum() < 0.8 * (ct | mr).sum()
    only_mr = mr & ~(made.images["gas_ct"] > 0)
    assert np.median(made.images["ct_clean_hu"][only_mr]) > -200
    assert np.median(made.images["mr_clean"][only_mr]) < 0.35 * np.median(
        made.images["mr_clean"][_core(made, "muscle")]
    )


def test_noise_has_the_spread_that_the_truth_says(made):
    images = made.images
    inside = images["body_mask"] > 0
    ct = (images["ct"] - images["ct_clean_hu"])[inside] / images["ct_noise_sd_hu"][inside]
    assert ct.std() == pytest.approx(1.0, abs=0.01)
    assert abs(ct.mean()) < 0.01
    bright = inside & (images["mr_clean"] > 10 * images["mr_noise_sd"])
    mr = (images["mr"] - images["mr_clean"])[bright] / images["mr_noise_sd"][bright]
    assert mr.std() == pytest.approx(1.0, abs=0.02)


def test_stations_agree_where_they_overlap_up_to_their_gains(made):
    gains = made.facts["station_gains"]
    assert len(made.stations) == 4
    inside = made.images["mr_clean"] > 10 * made.images["mr_noise_sd"]
    for k in range(3):
        (upper_start, upper), (lower_start, lower) = made.stations[k : k + 2]
        count = lower_start + lower.shape[0] - upper_start
        assert count >= 2
        mask = inside[upper_start : upper_start + count]
        ratio = upper[:count][mask] / np.maximum(lower[-count:][mask], 1)
        assert np.median(ratio) == pytest.approx(gains[k] / gains[k + 1], rel=0.25)
    assert made.stations[0][0] + made.stations[0][1].shape[0] == made.images["mr"].shape[0]
    assert made.stations[3][0] == 0


def test_partial_volume_by_hand():
    # A half space whose surface cuts the third voxel of four at a quarter of its depth.
    grid = canvas.Grid((0.0, 0.0, 0.0), (4, 1, 1), 2.0)
    still = [np.zeros(grid.shape, np.float32)] * 3
    values = np.zeros(len(tissues.NAMES), np.float32)
    values[tissues.INDEX["muscle"]] = 100
    table, none = {"ct": values, "mr": values}, {"ct": 0 * values, "mr": 0 * values}
    noise = {"ct": still[0], "mr": still[0]}
    page = canvas.Canvas(grid, 1.0, still, table, none, noise)
    block = shapes.half_space((0, 0, 3.5), (0, 0, 1))
    page.fill(shapes.common(shapes.ellipsoid((0, 0, 0), (90, 90, 90)), block), "muscle")
    np.testing.assert_allclose(page.scans["ct"].ravel(), [100, 100, 25, 0], atol=1e-4)
    muscle = tissues.INDEX["muscle"]
    np.testing.assert_array_equal(page.label.ravel(), [muscle, muscle, 0, 0])


def test_bodies_vary_and_are_plausible():
    people = [body.draw_body(0, index) for index in range(60)]
    assert {p.sex for p in people} == {"female", "male"}
    heights = np.array([p.height_mm for p in people])
    assert heights.std() > 50
    assert 1500 <= heights.min() < heights.max() <= 1960
    assert all(18 <= p.bmi <= 35 for p in people)
    heavy = [p.fat for p in people if p.bmi > 28 and p.sex == "male"]
    light = [p.fat for p in people if p.bmi < 23 and p.sex == "male"]
    assert np.mean(heavy) > np.mean(light) + 5
