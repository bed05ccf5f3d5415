"""Training as a user runs it: the command line, watched through a terminal."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
TINY = ["--config", "configs/multires_unc.yaml", "--overlay", "configs/overlays/tiny.yaml"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "multires_tf", *map(str, arguments)]


def run(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=ROOT, **options)


def settings(**changes: object) -> list[str]:
    sets = [f"train.{key}={value}" for key, value in changes.items()]
    return [*TINY, *(word for text in sets for word in ("--set", text))]


def prepared(folder: pathlib.Path, phantoms: pathlib.Path, flags: list[str]) -> pathlib.Path:
    done = run("prepare", "--workdir", folder, *flags, "--data", phantoms)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def last(folder: pathlib.Path) -> pathlib.Path:
    return folder / "checkpoints" / "last.npz"


def contents(path: pathlib.Path) -> dict[str, bytes]:
    """Every variable of a checkpoint, to the bit."""
    with np.load(path) as archive:
        return {name: archive[name].tobytes() for name in archive.files if name != "position"}


def table(folder: pathlib.Path) -> list[list[str]]:
    """The columns of history.csv that do not depend on time."""
    return [row[:7] for row in csv.reader((folder / "history.csv").open())]


def refused(done: subprocess.CompletedProcess, *words: str) -> None:
    """Expects one line of complaint with these words; a progress bar may stand before it."""
    line = re.split(r"[\r\n]", done.stderr.strip())[-1]
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in line, line


class Watched:
    """A training under way, whose terminal is read along."""

    def __init__(self, folder: pathlib.Path, flags: list[str]) -> None:
        self.folder, self.shown = folder, ""
        reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))  # else no bar
        self.process = subprocess.Popen(
            command("train", "--workdir", folder, *flags),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=writer,
            start_new_session=True,
        )
        os.close(writer)
        self._reading = threading.Thread(target=self._read, args=(reader,))
        self._reading.start()

    def _read(self, reader: int) -> None:
        with contextlib.suppress(OSError):  # the end of a terminal
            while part := os.read(reader, 4096):
                self.shown += part.decode(errors="replace")
        os.close(reader)

    def wait_for(self, event) -> bool:
        """Waits for what is to happen; False if the training ended before that."""
        while not event():
            if self.process.poll() is not None:
                return False
            time.sleep(0.001)
        return True

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reading.join()

    def saved(self):
        """An event: another last.npz than the one that is there now."""
        path = last(self.folder)
        before = path.stat().st_mtime_ns if path.exists() else 0
        return lambda: path.exists() and path.stat().st_mtime_ns != before

    def leftovers(self) -> list[pathlib.Path]:
        return list((self.folder / "checkpoints").glob(".*.npz"))

    def validating(self) -> bool:
        """Whether the bar of a validation is the last thing shown."""
        return self.shown.rfind("validate") > self.shown.rfind("train:")
