"""What training writes: the best and the last checkpoint, and only by one process."""

from __future__ import annotations

import keras

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
    again.restore([variable])
    assert (float(variable), again.step, again.history.best()) == (30, 30, (20, 70.0))
    assert shown["stop/best_val_mae_hu"] == 70
    assert shown["stop/share_of_last_step"] == 0.75
    assert shown["train/deep"] == 0.5
    assert shown["time/steps_per_second"] == 2.5


def test_only_the_chief_writes(tmp_path):
    made = _record(tmp_path, chief=False)
    _advance(made, keras.Variable(0.0), 10, 90.0)
    made.open_board(config="", settings={}, network=None).scalars(10, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []
