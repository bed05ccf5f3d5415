"""The history's table, its best row and the paper's rule of convergence."""

from __future__ import annotations

import math

from multires_tf.learn import history


def _history(losses, maes=None, window=20):
    made = history.History(window=window, last_step=1000)
    for i, loss in enumerate(losses):
        mae = maes[i] if maes else None
        made.add(step=10 * (i + 1), loss=loss, val_mae_hu=mae, seconds=1.0)
    return made


def test_rows_keep_full_precision_and_leave_absent_cells_empty(tmp_path):
    _history([0.1 + 0.2, 1 / 3], [None, 2 / 3]).write(tmp_path / "history.csv")
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0].startswith("step,loss,val_mae_hu")
    assert lines[1].startswith("10,0.30000000000000004,,")
    assert float(lines[2].split(",")[2]) == 2 / 3


def test_the_best_step_has_the_lowest_validation_error():
    assert _history([1, 1, 1], [90.0, 70.0, 80.0]).best() == (20, 70.0)
    assert _history([1]).best() == (0, math.inf)
    assert _history([1, 1], [math.nan, 70.0]).best() == (20, 70.0)


def test_convergence_compares_two_windows_of_steps():
    # Means 4.0 then 3.9: a change of 2.5 %.
    losses = [4.1, 3.9, 3.8, 4.0]
    flat = _history(losses)
    assert math.isclose(flat.loss_change(), 0.025)
    assert flat.converged(0.05)
    assert not flat.converged(0.02)
    assert not flat.converged(0)  # switched off
    assert not _history(losses, window=30).converged(0.05)  # not two windows yet
    assert _history(losses, window=30).loss_change() is None


def test_convergence_weighs_rows_by_their_steps():
    made = history.History(window=30, last_step=1000)
    # Rows of 10 and 20 steps: (10 x 6 + 20 x 3) / 30 = 4, then (20 x 4.5 + 10 x 0) / 30 = 3.
    for step, loss in ((10, 6.0), (30, 3.0), (50, 4.5), (60, 0.0)):
        made.add(step=step, loss=loss, seconds=1.0)
    assert made.loss_change() == 0.25


def test_rows_further_apart_than_the_window_never_converge():
    made = history.History(window=10, last_step=100)
    for step in (30, 60, 90):
        made.add(step=step, loss=1.0, seconds=1.0, waiting_share=0.0)
    assert made.loss_change() is None
    assert not made.converged(0.05)


def test_convergence_of_a_negative_loss_uses_its_size():
    assert _history([-2.0, -2.0, -2.04, -2.04]).converged(0.05)
    assert not _history([-2.0, -2.0, -2.4, -2.4]).converged(0.05)


def test_a_row_tells_all_that_ends_a_run():
    made = _history([4.1, 3.9, 3.8, 4.0], [None, 70.0, None, 80.0])
    first, last = made.rows[0], made.rows[-1]
    assert (first["best_val_mae_hu"], first["best_step"], first["loss_change"]) == (None,) * 3
    assert (last["best_val_mae_hu"], last["best_step"], last["last_step"]) == (70.0, 20, 1000)
    assert math.isclose(last["loss_change"], 0.025)


def test_the_columns_that_others_rely_on_come_first_and_timings_last():
    assert history.COLUMNS[:3] == ("step", "loss", "val_mae_hu")
    assert history.COLUMNS[-2:] == ("seconds", "waiting_share")


def test_waiting_is_a_share_of_all_the_time():
    made = history.History(window=20, last_step=1000)
    assert made.waiting_share() == 0
    made.add(step=1, loss=1.0, seconds=3.0, waiting_share=0.5)
    made.add(step=2, loss=1.0, seconds=1.0, waiting_share=0.1)
    assert math.isclose(made.waiting_share(), 1.6 / 4)
