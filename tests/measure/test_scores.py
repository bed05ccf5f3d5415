import math

import numpy as np
import pytest

from multires_tf.measure import scores


def _one(values, shape=(1, 1, 4)):
    return np.array(values, np.float32).reshape(shape)


def test_the_band_and_the_mu_map_are_scored_where_there_is_what_they_need():
    ct_hu, pct_hu = _one([-1000, 0, 300, 500]), _one([-900, 20, 260, 100])
    body, band = np.array([[[False, True, True, True]]]), np.array([[[True, True, False, False]]])
    found = scores.score(pct_hu, ct_hu, body, band=band, mu_per_cm=lambda hu: hu / 1000)
    assert found["mae_contour_hu"] == (100 + 20) / 2
    assert found["mu_mae_per_cm"] == pytest.approx((20 + 40 + 400) / 3 / 1000)
    bare = scores.score(pct_hu, ct_hu, body)
    assert "mae_contour_hu" not in bare and "mu_mae_per_cm" not in bare


def test_the_mae_is_the_masked_one_of_synthrad():
    random = np.random.default_rng(0)
    ct_hu, pct_hu = random.uniform(-2000, 4000, (2, 5, 6, 7))
    mask = random.random((5, 6, 7)) < 0.5
    masked = np.sum(np.abs(ct_hu * mask - pct_hu * mask)) / mask.sum()
    assert scores.score(pct_hu, ct_hu, mask)["mae_hu"] == pytest.approx(masked, rel=1e-12)


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


def test_metrics_are_written_for_people():
    metric = {m.key: m for m in scores.METRICS}
    assert metric["mae_hu"].text(62.418) == "62.4"
    assert metric["bone_found"].text(0.981) == "98.1"
    assert metric["ssim"].text(None) == metric["ssim"].text(math.nan) == "–"
