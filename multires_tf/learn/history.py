"""The history of a run: one row a reporting interval, and the paper's rule of convergence."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import Any

from multires_tf import runfolder

COLUMNS = ("step", "loss", "val_mae_hu", "learning_rate", "seconds", "waiting_share")


@dataclasses.dataclass
class History:
    """Rows of `history.csv`; a continued run starts from those of its checkpoint."""

    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, **row: float | None) -> None:
        self.rows.append({name: row.get(name) for name in COLUMNS})

    def write(self, path: pathlib.Path) -> None:
        """Writes the table; numbers keep their full precision, an absent one is an empty cell."""
        lines = [",".join(COLUMNS)]
        lines += [",".join(_cell(row[name]) for name in COLUMNS) for row in self.rows]
        runfolder.write_text(path, "\n".join(lines) + "\n")

    def best(self) -> tuple[int, float]:
        """Step and value of the lowest validation MAE in HU; (0, inf) before the first."""
        scored = [(r["step"], r["val_mae_hu"]) for r in self.rows if r["val_mae_hu"] is not None]
        return min(scored, key=lambda pair: pair[1], default=(0, math.inf))

    def waiting_share(self) -> float:
        """Share of all the time that was spent waiting for data."""
        seconds = sum(row["seconds"] for row in self.rows)
        waited = sum(row["seconds"] * row["waiting_share"] for row in self.rows)
        return waited / seconds if seconds else 0.0

    def converged(self, window: int, change: float) -> bool:
        """Whether the mean loss of the last `window` steps differs too little from the one before.

        Kläser et al. 2020, section 2.3: "a sub 5% loss change over a period of 5000 iterations".

        Args:
            window: steps.
            change: share of the earlier mean's size; 0 never converges.
        """
        if not change or not self.rows or self.rows[-1]["step"] < 2 * window:
            return False
        end = self.rows[-1]["step"]
        last = _mean(r["loss"] for r in self.rows if end - window < r["step"])
        rows = (r for r in self.rows if end - 2 * window < r["step"] <= end - window)
        before = _mean(r["loss"] for r in rows)
        return abs(last - before) < change * abs(before)


def _mean(values: Any) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else math.nan


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)
