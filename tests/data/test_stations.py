import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf.data import bias_field, checksums, geometry, masks, stations
from multires_tf.data.files import images
from multires_tf.data.phantom import subject, tissues
from multires_tf.ground import errors

GRID = geometry.Geometry(
    size=(40, 24, 24),
    spacing_mm=(5.0, 5.0, 5.0),
    origin_mm=(3.0, -20.0, 100.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
Z, Y, X = np.ogrid[:40, :24, :24]
# Fat around muscle around a bright core that wanders with z; noise in the air.
RADIUS = np.hypot(Y - 12, X - 11 - Z / 20)
WHOLE = np.where(RADIUS < 2, 900.0, np.where(RADIUS < 7, 300.0, np.where(RADIUS < 9, 1000.0, 0.0)))
WHOLE = (WHOLE + np.random.default_rng(0).uniform(1, 10, GRID.size)).astype(np.float32)


def cut(low, high, array=WHOLE, gain=1.0):
    grid = dataclasses.replace(
        GRID,
        size=(high - low, *GRID.size[1:]),
        origin_mm=(*GRID.origin_mm[:2], GRID.origin_mm[2] + 5.0 * low),
    )
    return geometry.to_image(array[low:high] * np.float32(gain), grid)


def fused(*parts, tmp_path):
    return stations.fuse([(tmp_path / f"mr_station{k}.mha", p) for k, p in enumerate(parts, 1)])


@pytest.mark.parametrize("turned", [False, True])
def test_stations_of_different_gain_give_back_the_whole(tmp_path, turned):
    parts = [cut(26, 40, gain=1.4), cut(13, 30, gain=0.7), cut(0, 17, gain=1.1)]
    if turned:  # numbered from the feet, one of them stored head first
        parts = [sitk.Flip(part, (False, False, k == 1)) for k, part in enumerate(parts[::-1])]
    image = fused(*parts, tmp_path=tmp_path)
    assert geometry.same_grid(geometry.of_image(image), GRID)
    ratio = sitk.GetArrayFromImage(image) / WHOLE
    assert ratio == pytest.approx(np.full(GRID.size, ratio[0, 0, 0]), rel=1e-3)


def test_stations_that_were_shifted_each_by_itself(tmp_path):
    parts = [cut(20, 40), cut(0, 24, gain=0.7)]
    shifted = [sitk.Subtract(part, float(10 * k)) for k, part in enumerate(parts, 30)]
    plain, image = (
        sitk.GetArrayFromImage(fused(*own, tmp_path=tmp_path)) for own in (parts, shifted)
    )
    body = RADIUS < 9
    ratio = image[body] / plain[body]
    assert ratio == pytest.approx(np.full(ratio.size, np.median(ratio)), rel=0.02)


def test_what_one_station_has_not_measured_comes_from_the_other(tmp_path):
    holed = WHOLE.copy()
    holed[:, :, :7] = 0  # its field is narrower
    image = fused(cut(16, 40), cut(0, 24, holed), tmp_path=tmp_path)
    assert sitk.GetArrayFromImage(image)[17, 12, 4] == pytest.approx(WHOLE[17, 12, 4], rel=1e-3)
    assert sitk.GetArrayFromImage(image)[10, 12, 4] == 0


def test_a_step_of_shading_is_split_between_neighbours(tmp_path):
    shade = np.exp(0.1 * (X - 11.5) / 12)  # one brighter on the left, the other on the right
    low, high = WHOLE * shade, WHOLE / shade
    image = sitk.GetArrayFromImage(fused(cut(16, 40, high), cut(0, 24, low), tmp_path=tmp_path))
    left, right = RADIUS[20] < 9, RADIUS[20] < 9
    left, right = left & (X[0] < 8), right & (X[0] > 15)
    balance = [image[z][left].mean() / image[z][right].mean() for z in (15, 25)]
    true = [WHOLE[z][left].mean() / WHOLE[z][right].mean() for z in (15, 25)]
    plain = [
        low[15][left].mean() / low[15][right].mean(),
        high[25][left].mean() / high[25][right].mean(),
    ]
    for ours, theirs, truth in zip(balance, plain, true, strict=True):
        # Means over regions are smooth: a fifth of the step at least is taken off each side.
        assert abs(np.log(ours / truth)) < 0.8 * abs(np.log(theirs / truth))


def body_with_lungs(above):
    """The body, and two lungs in it from slice `above` up, which give next to no signal."""
    lungs = (np.hypot(Y - 12, X - 7) < 3) | (np.hypot(Y - 12, X - 15) < 3)
    return np.where(lungs & (above <= Z), WHOLE / 100, WHOLE).astype(np.float32)


def test_a_diaphragm_that_moved_between_stations_changes_nothing_elsewhere(tmp_path):
    held, breathed = body_with_lungs(above=20), body_with_lungs(above=22)
    image = fused(cut(12, 40, breathed), cut(0, 28, held), tmp_path=tmp_path)
    ratio = sitk.GetArrayFromImage(image) / WHOLE
    tissue = (RADIUS < 9) & (np.hypot(Y - 12, X - 7) >= 3) & (np.hypot(Y - 12, X - 15) >= 3)
    slices = np.array([np.median(one[where]) for one, where in zip(ratio, tissue, strict=True)])
    np.testing.assert_allclose(slices / slices[0], 1, atol=0.05)


def test_lungs_that_are_zero_do_not_disturb_the_gain(tmp_path):
    emptied = np.where(body_with_lungs(above=14) < 0.5 * WHOLE, 0, WHOLE)
    emptied[14:26][np.broadcast_to(RADIUS < 6, GRID.size)[14:26]] = 0
    image = fused(cut(12, 40, emptied), cut(0, 28, emptied, gain=0.5), tmp_path=tmp_path)
    array = sitk.GetArrayFromImage(image)
    assert np.isfinite(array).all()
    at = (5, 12, 11), (35, 12, 12)
    low, high = (array[place] / WHOLE[place] for place in at)
    assert high == pytest.approx(low, rel=0.02)


def test_swapped_images_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match=r"mr_station3\.mha: lies on the wrong side"):
        fused(cut(26, 40), cut(0, 17), cut(13, 30), tmp_path=tmp_path)


@pytest.fixture(scope="module")
def whole_body():
    return subject.simulate(0, 0, spacing_mm=6.0, stations=True)


def fused_of(made, tmp_path):
    """The phantom's stations, fused."""
    (x, y, z), mm = made.origin_mm, made.spacing_mm
    parts = []
    for number, (first, array) in enumerate(made.stations, start=1):
        grid = geometry.Geometry(array.shape, (mm,) * 3, (x, y, z + mm * first), GRID.direction)
        parts.append((tmp_path / f"mr_station{number}.mha", geometry.to_image(array, grid)))
    return stations.fuse(parts)


def correlation(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def test_a_phantom_s_stations_are_fused_without_seams(whole_body, tmp_path):
    made = whole_body
    array = sitk.GetArrayFromImage(fused_of(made, tmp_path))
    assert correlation(array, made.images["mr"]) >= 0.995
    # Gain of the fused volume in muscle, slice by slice: neighbours differ by 2 % at most.
    muscle = made.images["tissues"] == tissues.INDEX["muscle"]
    for above, (first, _) in zip(made.stations[1:], made.stations, strict=False):
        seam = range(first - 1, above[0] + len(above[1]) + 1)
        gain = [
            np.median(array[z][muscle[z]] / made.images["mr_clean"][z][muscle[z]]) for z in seam
        ]
        assert np.abs(np.diff(gain) / gain[:-1]).max() <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize("index", range(16))
def test_of_the_default_cohort_nothing_is_lost_by_stations(index, tmp_path):
    # As `prepare` hands them on, for shading that one station alone has looks like the body's.
    made = subject.simulate(0, index, stations=True)
    image = fused_of(made, tmp_path)
    whole = geometry.to_image(made.images["mr"].astype(np.float32), geometry.of_image(image))
    corrected = []
    for mr in (image, whole):
        body = masks.mr_body(sitk.GetArrayViewFromImage(mr), (5.0,) * 3)
        corrected.append(sitk.GetArrayFromImage(bias_field.corrected(mr, body)))
    assert correlation(*corrected) >= 0.995


def test_a_folder_with_stations_is_read_like_an_image(tmp_path):
    for number, (low, high) in enumerate(((20, 40), (0, 25)), start=1):
        images.write(cut(low, high), tmp_path / f"mr_station{number}.nii.gz")
    (tmp_path / "mr_station1.json").write_text("{}")
    images.write(cut(0, 40), tmp_path / "ct.nii.gz")
    image = images.read(tmp_path)
    assert geometry.of_image(image) == images.check_header(tmp_path)
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), WHOLE, rtol=1e-4)
    before = checksums.of_image(tmp_path)
    images.write(cut(1, 40), tmp_path / "ct.nii.gz")
    assert checksums.of_image(tmp_path) == before
    images.write(cut(0, 24), tmp_path / "mr_station2.nii.gz")
    assert checksums.of_image(tmp_path) != before
