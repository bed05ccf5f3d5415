"""What is measured in a process of its own, so that memory and threads are its own."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from multires_tf.ground import errors


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one process took: seconds on the wall and of the processors, and memory at its peak."""

    wall_s: float
    processor_s: float
    peak_gb: float


def measured(question: str, flags: Sequence[str]) -> dict[str, Any]:
    """Runs a question of this package with `--within` and more flags; returns what it found.

    Raises:
        errors.UserError: the process ended, by its own message or for want of memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "experiments.throughput", question, "--within"]
        command += [*flags, "--results", folder]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            raise errors.UserError(f"measuring {question} ended early; it may lack memory")
        path = pathlib.Path(folder) / f"throughput_{question}.json"
        return json.loads(path.read_text(encoding="utf-8"))


def verb(*words: str) -> Usage:
    """Runs a verb of multires_tf and returns what it took.

    Raises:
        errors.UserError: it failed; its own message stands above.
    """
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "multires_tf", *words])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise errors.UserError(f"{words[0]} ended with {process.returncode}")
    wall_s = time.perf_counter() - began
    # Linux counts in KiB.
    return Usage(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9)
