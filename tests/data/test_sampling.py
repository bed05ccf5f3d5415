"""What the sampler draws: pure, complete and in the shares that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from multires_tf.data import sampling

NO_BODY = np.zeros((0, 3), np.int32)


def draw_starts(count, *, shape, window, body=NO_BODY, body_share=0.0, alignment=4):
    return np.array(
        [
            sampling.start(
                shape,
                window,
                body=body,
                body_share=body_share,
                alignment=alignment,
                seed=3,
                step=step,
                index=0,
            )
            for step in range(count)
        ]
    )


def draw_change(step, *, seed=3, index=0, augment_share=1.0, flip_axes=("x",)):
    return sampling.change(
        flip_axes=flip_axes,
        rotation_deg=10.0,
        scaling=0.1,
        augment_share=augment_share,
        seed=seed,
        step=step,
        index=index,
    )


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_every_subject_once_an_epoch_in_changing_order(batch):
    seen = [
        sampling.subject(6, seed=7, step=step, index=index, batch=batch)
        for step in range(12 // batch)
        for index in range(batch)
    ]
    first, second = seen[:6], seen[6:]
    assert sorted(first) == sorted(second) == list(range(6))
    assert first != second
    other = [sampling.subject(6, seed=8, step=step, index=0, batch=1) for step in range(6)]
    assert other != first


def test_body_voxels_are_those_of_the_body_on_a_grid_of_four():
    mask = np.ones((9, 8, 8), np.uint8)
    mask[4, 4, :5] = 2
    mask[5, 5, 5] = 2
    assert sampling.body_voxels(mask).tolist() == [[4, 4, 0], [4, 4, 4]]


def test_uniform_starts_reach_both_ends_and_nothing_else():
    starts = draw_starts(400, shape=(24, 21, 16), window=(16, 16, 16))
    assert set(starts[:, 0]) == {0, 4, 8}
    assert set(starts[:, 1]) == {0, 4, 8}  # 21 counts as 24: the store is padded to that
    assert set(starts[:, 2]) == {0}
    assert np.bincount(starts[:, 0]).max() < 400 / 3 * 1.3


def test_without_coarser_scales_any_slice_can_be_drawn():
    starts = draw_starts(200, shape=(5, 8, 8), window=(1, 8, 8), alignment=1)
    assert set(starts[:, 0]) == {0, 1, 2, 3, 4}


def test_small_volumes_are_centred_in_the_window():
    assert draw_starts(3, shape=(8, 15, 7), window=(16, 16, 32)).tolist() == [[-4, 0, -12]] * 3


def test_body_windows_are_centred_on_the_body_within_the_borders():
    body = np.array([[32, 4, 60]], np.int32)
    starts = draw_starts(3, shape=(64, 64, 64), window=(16, 16, 16), body=body, body_share=1.0)
    assert starts.tolist() == [[24, 0, 48]] * 3


def test_windows_of_one_slice_are_centred_on_every_slice_of_the_body():
    body = np.array([[4, 4, 4], [8, 4, 4]], np.int32)
    starts = draw_starts(
        200, shape=(16, 8, 8), window=(1, 8, 8), alignment=1, body=body, body_share=1.0
    )
    assert set(starts[:, 0]) == set(range(4, 12))


def test_body_share_is_kept():
    body = np.array([[32, 32, 32]], np.int32)
    shape = (400, 400, 400)
    starts = draw_starts(1000, shape=shape, window=(16, 16, 16), body=body, body_share=0.8)
    on_body = np.mean(np.all(starts == 24, axis=1))
    assert abs(on_body - 0.8) < 0.04


def test_a_subject_without_body_is_sampled_anywhere():
    starts = draw_starts(50, shape=(64, 64, 64), window=(16, 16, 16), body_share=1.0)
    assert len(np.unique(starts, axis=0)) > 30


def test_changes_depend_on_seed_step_and_index_only():
    assert draw_change(5) == draw_change(5)
    others = [draw_change(6), draw_change(5, seed=4), draw_change(5, index=1)]
    assert draw_change(5) not in others


def test_changes_stay_in_their_ranges():
    changes = [draw_change(step) for step in range(300)]
    angles = np.array([c.angles_deg for c in changes])
    factors = np.array([c.factors for c in changes])
    assert 9 < np.abs(angles).max() <= 10 and abs(angles.mean()) < 1
    assert 0.09 < np.abs(factors - 1).max() <= 0.1
    flips = np.mean([c.flips for c in changes], axis=0)
    assert flips[0] == flips[1] == 0 and abs(flips[2] - 0.5) < 0.1


def test_the_share_of_rotated_windows_is_kept_and_the_rest_is_untouched():
    changes = [draw_change(step, augment_share=0.3) for step in range(500)]
    assert abs(np.mean([c.is_affine for c in changes]) - 0.3) < 0.06
    plain = next(c for c in changes if not c.is_affine)
    assert plain.factors == (1.0, 1.0, 1.0)
