"""What training writes: the best and the last checkpoint, and only by one process."""

from __future__ import annotations

import keras
import pytest

from multires_tf.ground import errors
from multires_tf.learn import checkpoints, history, loop, record


def _record(folder, *, chief=True):
    return record.Record(
        chief=chief,
        history=history.History(window=20, last_step=40),
        table=folder / "history.csv",
        best=folder / "best.npz",
        last=folder / "last.npz",
        events=folder / "events",
    )


def _advance(made, variable, step, mae_hu):
    """Ends an interval in which the variable came to be the step."""
    variable.assign(float(step))
    made.step = step
    done = loop.Interval({"loss": 1.0, "deep": 0.5}, [], 10, 4.0, 0.25)
    shown = made.add(done, scores={"mae_hu": mae_hu}, learning_rate=0.1)
    made.save([variable], [variable])
    return shown


def test_the_best_is_kept_while_the_last_moves_on(tmp_path):
    made, variable = _record(tmp_path), keras.Variable(0.0)
    made.facts = {"spacing_mm": [3, 2, 1], "subjects": {"training": ["Doe"]}, "stores": {"Doe": 1}}
    for step, mae_hu in ((10, 90.0), (20, 70.0), (30, 80.0)):
        shown = _advance(made, variable, step, mae_hu)
    checkpoints.load(tmp_path / "best.npz", [variable])
    assert float(variable) == 20
    # It goes from hand to hand, the last one does not.
    assert checkpoints.position(tmp_path / "best.npz")["spacing_mm"] == [3, 2, 1]
    assert b"Doe" not in (tmp_path / "best.npz").read_bytes()
    assert b"Doe" in (tmp_path / "last.npz").read_bytes()
    again = _record(tmp_path)
    again.restore([variable], validate_every=10)
    assert (float(variable), again.step, again.history.best()) == (30, 30, (20, 70.0))
    assert shown["stop/best_val_mae_hu"] == 70
    assert shown["stop/share_of_last_step"] == 0.75
    assert shown["train/deep"] == 0.5
    assert shown["time/steps_per_second"] == 2.5


@pytest.fixture
def thirty_steps(tmp_path):
    """A run folder after three validations, the second the best, and its variable."""
    made, variable = _record(tmp_path), keras.Variable(0.0)
    for step, mae_hu in ((10, 90.0), (20, 70.0), (30, 80.0)):
        _advance(made, variable, step, mae_hu)
    return tmp_path, variable


def _restored(folder, variable):
    again = _record(folder)
    again.restore([variable], validate_every=10)
    return again


def test_a_history_that_was_lost_is_written_again(thirty_steps):
    folder, variable = thirty_steps
    table = (folder / "history.csv").read_bytes()
    (folder / "history.csv").unlink()
    again = _restored(folder, variable)
    assert not (folder / "history.csv").exists()  # as a dry run leaves it
    again.write_lost_history()
    assert (folder / "history.csv").read_bytes() == table


def test_a_best_checkpoint_that_was_lost_is_told_before_anything_is_trained(thirty_steps):
    folder, variable = thirty_steps
    whole = (folder / "best.npz").read_bytes()
    (folder / "best.npz").write_bytes(whole[:-50])
    with pytest.raises(errors.UserError, match=r"best\.npz: damaged .*; bring an intact copy"):
        _restored(folder, variable)
    (folder / "best.npz").unlink()
    with pytest.raises(errors.UserError, match=r"best\.npz: not there, though step 20 was"):
        _restored(folder, variable)
    checkpoints.save(folder / "best.npz", [variable], {"step": 10})
    with pytest.raises(errors.UserError, match=r"best\.npz: of another run"):
        _restored(folder, variable)
    # As a run leaves it that was killed before it wrote last.npz.
    checkpoints.save(folder / "best.npz", [variable], {"step": 40})
    assert _restored(folder, variable).step == 30


def test_a_new_run_does_not_replace_the_best_checkpoint_of_another(thirty_steps):
    folder, variable = thirty_steps
    (folder / "last.npz").unlink()
    with pytest.raises(errors.UserError, match=r"last\.npz: not there, and a new run would repl"):
        _restored(folder, variable)
    # As a run leaves it that was killed at its first validation.
    checkpoints.save(folder / "best.npz", [variable], {"step": 10})
    assert _restored(folder, variable).step == 0


@pytest.mark.parametrize("position", [{"step": 3}, {"step": 3, "finished": False, "history": 7}])
def test_a_position_without_its_parts_is_damage(tmp_path, position):
    variable = keras.Variable(0.0)
    checkpoints.save(tmp_path / "last.npz", [variable], position)
    with pytest.raises(errors.UserError, match=r"last\.npz: damaged; bring an intact copy"):
        _restored(tmp_path, variable)


def test_only_the_chief_writes(tmp_path):
    made = _record(tmp_path, chief=False)
    _advance(made, keras.Variable(0.0), 10, 90.0)
    made.open_board(config="", settings={}, network=None).scalars(10, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []
