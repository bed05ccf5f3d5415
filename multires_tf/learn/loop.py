"""Runs steps between two stops and keeps account of losses and of time."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class NotFinite(Exception):
    """A loss or gradient was not finite; carries the step."""

    def __init__(self, step: int, name: str) -> None:
        super().__init__(f"step {step}: {name} is not finite")
        self.step = step


@dataclasses.dataclass(frozen=True)
class Watch:
    """Over losses that have to be finite.

    Attributes:
        tolerated: by name, how many steps in a row need not be: loss scaling skips some while it
            looks for its factor.
        in_a_row: how many were not, so far.
    """

    tolerated: Mapping[str, int]
    in_a_row: dict[str, int] = dataclasses.field(default_factory=dict)

    def see(self, step: int, name: str, value: float) -> None:
        """Takes in one value; raises NotFinite when too many in a row are not finite."""
        self.in_a_row[name] = 0 if math.isfinite(value) else self.in_a_row.get(name, 0) + 1
        if self.in_a_row[name] > self.tolerated.get(name, math.inf):
            raise NotFinite(step, name)


@dataclasses.dataclass(frozen=True)
class Interval:
    """What happened between two stops.

    Attributes:
        means: of each part of the loss, over the steps.
        gradients: of the last step, in the weights' order.
        steps: how many.
        seconds: wall time.
        waiting_share: of that time, spent waiting for data.
    """

    means: dict[str, float]
    gradients: list[Any]
    steps: int
    seconds: float
    waiting_share: float


def advance(
    step_function: Callable[[Any], tuple[dict[str, Any], list[Any]]],
    batches: Iterator[Any],
    *,
    first: int,
    last: int,
    watch: Watch,
    after_step: Callable[[], Any],
) -> Interval:
    """Runs the steps `first` to `last`, the latter not included.

    Args:
        step_function: from a batch to scalar losses and gradients.
        batches: one a step.
        watch: that sees every loss of every step.
        after_step: called after each step, for a progress bar.

    Raises:
        NotFinite: the watch says so.
    """
    sums: dict[str, float] = {}
    gradients: list[Any] = []
    waited, began = 0.0, time.perf_counter()
    for step in range(first, last):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        parts, gradients = step_function(batch)
        for name, value in parts.items():
            number = float(value)
            watch.see(step, name, number)
            sums[name] = sums.get(name, 0.0) + number
        after_step()
    seconds = time.perf_counter() - began
    means = {name: total / (last - first) for name, total in sums.items()}
    return Interval(means, gradients, last - first, seconds, waited / seconds)
