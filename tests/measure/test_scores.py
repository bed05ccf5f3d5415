import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from multires_tf.measure import scores


def _one(values, shape=(1, 1, 4)):
    return np.array(values, np.float32).reshape(shape)


@pytest.fixture(scope="module")
def pair():
    random = np.random.default_rng(3)
    ct_hu = random.uniform(-1100, 3200, (60, 12, 11)).astype(np.float32)
    pct_hu = ct_hu + random.normal(0, 300, ct_hu.shape).astype(np.float32)
    return pct_hu, ct_hu, random.random(ct_hu.shape) < 0.7


def test_scores_of_four_voxels():
    ct_hu = _one([-1000, 0, 300, 500])
    pct_hu = _one([-900, 20, 260, 100])
    found = scores.score(pct_hu, ct_hu, np.ones((1, 1, 4), bool))
    assert found["mae_hu"] == (100 + 20 + 40 + 400) / 4
    assert found["mse_hu2"] == (100**2 + 20**2 + 40**2 + 400**2) / 4
    assert found["mae_air_hu"] == 100
    assert found["mae_soft_hu"] == 20
    assert found["mae_bone_hu"] == (40 + 400) / 2
    assert found["bone_found"] == 1 / 2
    assert found["bone_dice"] == 2 * 1 / (1 + 2)


def test_voxels_outside_the_body_do_not_count():
    ct_hu, pct_hu = _one([0, 0, 300, -1000]), _one([10, 999, 290, 999])
    found = scores.score(pct_hu, ct_hu, np.array([[[True, False, True, False]]]))
    assert found["mae_hu"] == 10
    assert math.isnan(found["mae_air_hu"])
    assert found["bone_found"] == 1


def test_a_body_without_bone_has_no_bone_scores():
    found = scores.score(_one([1, 1, 1, 1]), _one([0, 0, 0, 0]), np.ones((1, 1, 4), bool))
    keys = ("mae_bone_hu", "bone_found", "bone_dice", "mae_air_hu")
    assert all(math.isnan(found[key]) for key in keys)
    assert found["mae_soft_hu"] == 1


def test_integer_predictions_do_not_overflow():
    ct_hu, pct_hu = _one([3000] * 4), np.full((1, 1, 4), -1000, np.int16)
    assert scores.score(pct_hu, ct_hu, np.ones((1, 1, 4), bool))["mse_hu2"] == 16e6


def test_empty_body_and_unequal_shapes_are_errors():
    zeros = np.zeros((1, 1, 4))
    with pytest.raises(ValueError, match="no voxel"):
        scores.score(zeros, zeros, np.zeros((1, 1, 4), bool))
    with pytest.raises(ValueError, match="shapes differ"):
        scores.score(zeros, zeros[..., :3], np.ones((1, 1, 4), bool))


def test_psnr_by_hand():
    # Clipping leaves a difference of 402.4 HU, a tenth of the range: 20 dB.
    true, predicted = np.array([3000.0, -9999.0]), np.array([3000.0 - 402.4, -1024.0 + 402.4])
    assert scores.psnr_db(predicted, true) == pytest.approx(20.0, abs=1e-9)
    assert scores.psnr_db(true, true) == math.inf


def test_psnr_equals_scikit_image(pair):
    from skimage.metrics import peak_signal_noise_ratio

    pct_hu, ct_hu, body = (array.astype(float) for array in pair)
    voxels = [np.clip(image[body > 0], -1024, 3000) for image in (ct_hu, pct_hu)]
    expected = peak_signal_noise_ratio(*voxels, data_range=4024)
    assert scores.psnr_db(pct_hu[body > 0], ct_hu[body > 0]) == pytest.approx(expected, abs=1e-9)


def test_ssim_in_slabs_equals_synthrad2023_in_one(pair):
    pct_hu, ct_hu, body = pair
    assert ct_hu.shape[0] > scores.SLAB
    clipped = (np.clip(image, -1024, 3000).astype(float) for image in (ct_hu, pct_hu))
    images = [np.where(body, image, -1024.0) + 1024 for image in clipped]
    _, whole = structural_similarity(*images, data_range=4024, full=True)
    inner = (slice(3, -3),) * 3
    expected = whole[inner][body[inner]].mean()
    assert scores.ssim(pct_hu, ct_hu, body) == pytest.approx(expected, abs=1e-10)


def test_ssim_of_one_slice_is_that_of_the_same_slice_repeated(pair):
    pct_hu, ct_hu, body = (array[:1] for array in pair)
    repeated = (np.repeat(array, 7, axis=0) for array in (pct_hu, ct_hu, body))
    thin = scores.ssim(pct_hu, ct_hu, body)
    assert 0 < thin < 1
    assert thin == pytest.approx(scores.ssim(*repeated), abs=1e-10)


def test_ssim_without_an_inner_body_voxel_is_nan(pair):
    pct_hu, ct_hu, body = pair
    rim = np.zeros_like(body)
    rim[:2] = True
    assert math.isnan(scores.ssim(pct_hu, ct_hu, rim))


def test_metrics_are_written_for_people():
    metric = {m.key: m for m in scores.METRICS}
    assert metric["mae_hu"].text(62.418) == "62.4"
    assert metric["bone_found"].text(0.981) == "98.1"
    assert metric["ssim"].text(None) == metric["ssim"].text(math.nan) == "–"
