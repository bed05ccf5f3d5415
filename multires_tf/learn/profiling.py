"""A profile of some steps, for TensorBoard's profile tab."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

# The first steps trace and settle; a few are enough to see where the time goes.
FIRST, COUNT = 5, 5


@contextlib.contextmanager
def profiled(function: Callable[[Any], Any], folder: pathlib.Path) -> Iterator[Callable]:
    """Yields `function`, of whose calls `FIRST`, ..., `FIRST + COUNT - 1` are recorded.

    A run that ends before leaves a profile of the calls there were.

    Args:
        function: one training step.
        folder: of the event files.
    """
    calls, recording = 0, False

    def watched(batch: Any) -> Any:
        nonlocal calls, recording
        if calls == FIRST:
            tf.profiler.experimental.start(str(folder))
            recording = True
        with tf.profiler.experimental.Trace("train", step_num=calls, _r=1):
            result = function(batch)
        calls += 1
        if calls == FIRST + COUNT:
            tf.profiler.experimental.stop()
            recording = False
        return result

    try:
        yield watched
    finally:
        if recording:
            tf.profiler.experimental.stop()
