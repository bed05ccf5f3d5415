"""The history of a run: one row a reporting interval, and the paper's rule of convergence."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import Any

from multires_tf.ground import tables

COLUMNS = (
    "step",
    "loss",
    "val_mae_hu",
    "best_val_mae_hu",
    "best_step",
    "loss_change",
    "last_step",
    "learning_rate",
    "seconds",
    "waiting_share",
)


@dataclasses.dataclass
class History:
    """Rows of `history.csv`; a continued run starts from those of its checkpoint.

    Attributes:
        rows: one a reporting interval, keys are `COLUMNS`.
        window: steps that the paper's rule of convergence looks at.
        last_step: upper bound of the run.
    """

    window: int
    last_step: int
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, **row: float | None) -> dict[str, Any]:
        """Adds a row and all that says when the run will stop; returns it."""
        self.rows.append({name: row.get(name) for name in COLUMNS})
        best_step, best_hu = self.best()
        self.rows[-1] |= {"loss_change": self.loss_change(), "last_step": self.last_step}
        if best_step:
            self.rows[-1] |= {"best_val_mae_hu": best_hu, "best_step": best_step}
        return self.rows[-1]

    def write(self, path: pathlib.Path) -> None:
        """Writes the table; numbers keep their full precision, an absent one is an empty cell."""
        tables.write(path, self.rows, COLUMNS)

    def best(self) -> tuple[int, float]:
        """Step and value of the lowest finite validation MAE in HU; (0, inf) before the first."""
        scored = [(r["step"], r["val_mae_hu"]) for r in self.rows if _is_finite(r["val_mae_hu"])]
        return min(scored, key=lambda pair: pair[1], default=(0, math.inf))

    def waiting_share(self) -> float:
        """Share of all the time that was spent waiting for data."""
        seconds = sum(row["seconds"] for row in self.rows)
        waited = sum(row["seconds"] * row["waiting_share"] for row in self.rows)
        return waited / seconds if seconds else 0.0

    def loss_change(self) -> float | None:
        """Change of the mean loss over the last `window` steps, as a share of that before.

        Kläser et al. 2020, section 2.3: "a sub 5% loss change over a period of 5000 iterations".
        Each row counts by its steps. None before two windows have passed, or where rows are further
        apart than a window.
        """
        if not self.rows or self.rows[-1]["step"] < 2 * self.window:
            return None
        end, window = self.rows[-1]["step"], self.window
        before, last = (
            self._mean_loss(end - 2 * window, end - window),
            self._mean_loss(end - window, end),
        )
        return abs(last - before) / abs(before) if before and last is not None else None

    def _mean_loss(self, first: int, last: int) -> float | None:
        """Over the steps of the rows that end after `first` and not after `last`."""
        ends = [0, *(row["step"] for row in self.rows)]
        chosen = [
            (row["step"] - start, row["loss"])
            for start, row in zip(ends[:-1], self.rows, strict=True)
            if first < row["step"] <= last
        ]
        steps = sum(count for count, _ in chosen)
        return sum(count * loss for count, loss in chosen) / steps if steps else None

    def converged(self, change: float) -> bool:
        """Whether the loss has changed by less than `change`; 0 never converges."""
        found = self.loss_change()
        return bool(change) and found is not None and found < change


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
