"""The history's table, its best row and the paper's rule of convergence."""

from __future__ import annotations

import math

from multires_tf.learn import history


def _history(losses, maes=None):
    made = history.History()
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


def test_convergence_compares_two_windows_of_steps():
    # Means 4.0 then 3.9: a change of 2.5 %.
    flat = _history([4.1, 3.9, 3.8, 4.0])
    assert flat.converged(20, 0.05)
    assert not flat.converged(20, 0.02)
    assert not flat.converged(30, 0.05)  # not two windows yet
    assert not flat.converged(20, 0)  # switched off


def test_convergence_of_a_negative_loss_uses_its_size():
    assert _history([-2.0, -2.0, -2.04, -2.04]).converged(20, 0.05)
    assert not _history([-2.0, -2.0, -2.4, -2.4]).converged(20, 0.05)


def test_waiting_is_a_share_of_all_the_time():
    made = history.History()
    assert made.waiting_share() == 0
    made.add(step=1, loss=1.0, seconds=3.0, waiting_share=0.5)
    made.add(step=2, loss=1.0, seconds=1.0, waiting_share=0.1)
    assert math.isclose(made.waiting_share(), 1.6 / 4)
