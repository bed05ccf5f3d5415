"""A question asked again in a process of its own, so that memory and threads are its own."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from multires_tf import errors


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
