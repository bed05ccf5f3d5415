"""What training writes: checkpoints, the history and TensorBoard's events; by one process alone."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any

from multires_tf.ground import errors
from multires_tf.learn import board, checkpoints, history, loop


@dataclasses.dataclass
class Record:
    """The position of a run and the files that keep it.

    Attributes:
        chief: whether this process writes; others only keep count.
        history: of the run.
        table: history.csv.
        best: checkpoint with the lowest validation error; the network's variables alone.
        last: checkpoint from which the run continues.
        events: folder of TensorBoard's files.
        step: done so far.
        finished: whether the run has reached its end.
        facts: kept with the last checkpoint; those that name no subject with the best one as well.
    """

    chief: bool
    history: history.History
    table: pathlib.Path
    best: pathlib.Path
    last: pathlib.Path
    events: pathlib.Path
    step: int = 0
    finished: bool = False
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    _saved: float = dataclasses.field(default_factory=time.monotonic)

    def restore(self, variables: Sequence[Any], *, validate_every: int) -> None:
        """Takes up the last checkpoint, if there is one, and checks that the best is beside it.

        Args:
            variables: in the order in which they were saved.
            validate_every: so many steps.

        Raises:
            errors.UserError: one of the two is damaged or missing, or another network's.
        """
        if not self.last.exists():
            # A run that was killed between the two has only just validated for the first time.
            first = min(validate_every, self.history.last_step)
            if self.best.exists() and _step_of(self.best) > first:
                reason = f"not there, and a new run would replace {self.best.name}"
                raise errors.UserError(f"{self.last}: {reason}; {checkpoints.REMEDY}")
            return
        position = checkpoints.load(self.last, variables)
        try:
            self.step, self.finished = position.pop("step"), position.pop("finished")
            self.history.rows = position.pop("history")
            best_step, _ = self.history.best()
        except (KeyError, TypeError, AttributeError):
            raise errors.UserError(f"{self.last}: damaged; {checkpoints.REMEDY}") from None
        self.facts = position
        # A run that was killed between the two has a newer best one.
        if best_step and not self.best.exists():
            reason = f"not there, though step {best_step} was the best so far"
            raise errors.UserError(f"{self.best}: {reason}; {checkpoints.REMEDY}")
        if best_step and _step_of(self.best) < best_step:
            raise errors.UserError(f"{self.best}: of another run; {checkpoints.REMEDY}")

    def write_lost_history(self) -> None:
        """Writes history.csv where it has gone; the last checkpoint holds all of it."""
        if self.chief and self.step and not self.table.exists():
            self.history.write(self.table)

    def need_best(self) -> None:
        """Refuses a run whose validations were all not finite: it has nothing that could predict.

        Raises:
            errors.UserError: it is such a one.
        """
        if self.chief and not self.history.best()[0]:
            advice = "train in float32 or with a lower train.learning_rate, in another --workdir"
            raise errors.UserError(f"{self.table}: no validation was finite; {advice}")

    def open_board(self, *, config: str, settings: dict[str, Any], network: Any) -> board.Board:
        """Opens TensorBoard's files; at the start of a run writes what does not change.

        Args:
            config: as text.
            settings: the config's leaves, by key.
            network: whose graph is shown.
        """
        opened = board.Board(self.events if self.chief else None)
        if self.chief and not self.step:
            opened.text("config", config)
            opened.hyper_parameters(settings, metric="validation/mae_hu")
            opened.graph(network)
        return opened

    def add(
        self, done: loop.Interval, *, scores: dict[str, float], learning_rate: float
    ) -> dict[str, float | None]:
        """Adds the row of an interval that ends at `step`; returns what TensorBoard shows of it.

        Args:
            done: the interval.
            scores: of the validation at its end, "mae_hu" and others; may be empty.
            learning_rate: of the next step.
        """
        row = self.history.add(
            step=self.step,
            loss=done.means["loss"],
            val_mae_hu=scores.get("mae_hu"),
            learning_rate=learning_rate,
            seconds=round(done.seconds, 3),
            waiting_share=round(done.waiting_share, 4),
        )
        return {
            **{f"train/{name}": value for name, value in done.means.items()},
            **{f"validation/{name}": value for name, value in scores.items()},
            "train/learning_rate": learning_rate,
            "stop/best_val_mae_hu": row.get("best_val_mae_hu"),
            "stop/best_step": row.get("best_step"),
            "stop/loss_change": row["loss_change"],
            "stop/share_of_last_step": self.step / row["last_step"],
            "time/steps_per_second": done.steps / done.seconds,
            "time/waiting_share": done.waiting_share,
        }

    def save(self, network: Sequence[Any], everything: Sequence[Any]) -> None:
        """Writes best.npz if this is the best so far, history.csv and, to close the step, last.npz.

        Whatever a kill leaves unwritten is written again from the last.npz before.

        Args:
            network: variables of the network.
            everything: these and whatever else a step changes.
        """
        if not self.chief:
            return
        place = {"step": self.step, "finished": self.finished, "history": self.history.rows}
        position = {**place, **self.facts}
        if self.history.best()[0] == self.step:
            checkpoints.save(self.best, network, checkpoints.without_names(position))
        self.history.write(self.table)
        checkpoints.save(self.last, everything, position)
        self._saved = time.monotonic()

    def age(self) -> float:
        """Seconds since the last checkpoint."""
        return time.monotonic() - self._saved

    def summary(self, how: str) -> str:
        """One line about the run."""
        step, best_hu = self.history.best()
        found = f"best validation MAE {best_hu:.1f} HU at step {step}; " if step else ""
        share = 100 * self.history.waiting_share()
        return (
            f"training {how} at step {self.step}: {found}waited for data {share:.1f} % of the time"
        )


def _step_of(path: pathlib.Path) -> int:
    """The step of a checkpoint, all of which is read: it may be damaged anywhere."""
    return checkpoints.load(path, ()).get("step", 0)
