"""Training through the command line: devices, machines, kills and what else goes wrong."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import pathlib
import pty
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from multires_tf.data import store

ROOT = pathlib.Path(__file__).parent.parent
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


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> pathlib.Path:
    """Four subjects, two of them for training."""
    folder = tmp_path_factory.mktemp("cohort") / "phantoms"
    done = run("phantom", "--out", folder, "--subjects", 4, "--seed", 1, "--spacing_mm", 14)
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


def _kill(training: Watched, moment: str, wait_s: float) -> bool:
    """Kills in a step, in a validation or in the writing of a checkpoint; whether it got there."""
    match moment:
        case "step":
            if not training.wait_for(training.saved()):
                return False
            time.sleep(wait_s)
        case "validation":
            if not training.wait_for(training.validating):
                return False
            time.sleep(wait_s / 4)
        case "checkpoint":
            before = set(training.leftovers())
            if not training.wait_for(lambda: set(training.leftovers()) - before):
                return False
            time.sleep(wait_s / 50)
    during_validation = training.validating()
    training.kill()
    return {
        "step": not during_validation,
        "validation": during_validation,
        "checkpoint": bool(training.leftovers()),
    }[moment]


@pytest.mark.slow
def test_a_killed_run_ends_bit_identical_to_an_uninterrupted_one(phantoms, tmp_path):
    flags = settings(steps=48, validate_every=4, report_every=2)
    whole, killed = (prepared(tmp_path / name, phantoms, flags) for name in ("whole", "killed"))
    assert run("train", "--workdir", whole, *flags).returncode == 0
    chance, hits = random.Random(0), dict.fromkeys(("step", "validation", "checkpoint"), 0)
    for moment in list(hits) * 4:
        training = Watched(killed, flags)
        try:
            hits[moment] += _kill(training, moment, wait_s=chance.uniform(0, 0.2))
        finally:
            training.kill()
    assert run("train", "--workdir", killed, *flags).returncode == 0
    assert sum(hits.values()) >= 10 and min(hits.values()) >= 2, hits
    assert contents(last(whole)) == contents(last(killed))
    assert table(whole) == table(killed)


@pytest.fixture(scope="module")
def begun(phantoms, tmp_path_factory) -> pathlib.Path:
    """A run that was killed after its first checkpoint."""
    flags = settings(steps=8, validate_every=4)
    folder = prepared(tmp_path_factory.mktemp("begun") / "w", phantoms, flags)
    training = Watched(folder, flags)
    assert training.wait_for(training.saved()), training.shown[-2000:]
    training.kill()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["quota", "disk"])
def test_a_disk_full_while_saving_keeps_the_checkpoint(kind, begun, tmp_path):
    flags, options = settings(steps=8, validate_every=4), {}
    folder, size = tmp_path / "disk" / "w", last(begun).stat().st_size
    folder.parent.mkdir()
    if kind == "disk":
        mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder.parent)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("no right to mount a small file system")
    try:
        shutil.copytree(begun, folder)
        before = last(folder).read_bytes()
        if kind == "disk":
            free = shutil.disk_usage(folder).free
            (folder.parent / "filler").write_bytes(bytes(free - size // 2))
        else:
            limit = (size - 100, resource.RLIM_INFINITY)
            options["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        refused(run("train", "--workdir", folder, *flags, **options), "run the same command again")
        assert last(folder).read_bytes() == before
        assert not list((folder / "checkpoints").glob(".*"))
        (folder.parent / "filler").unlink(missing_ok=True)
        assert "finished at step 8" in run("train", "--workdir", folder, *flags).stdout
    finally:
        if kind == "disk":
            subprocess.run(["umount", str(folder.parent)], check=True)


def _spoil(folder: pathlib.Path, value: float) -> str:
    """Sets the whole MR of the first training subject to one value; returns its name."""
    rows = csv.DictReader((folder / "cohort.csv").open())
    subject = next(row["subject"] for row in rows if row["split"] == "train")
    path = folder / "volumes" / subject / "mr.ome.zarr"
    pyramid = store.open_pyramid(path)
    array = np.full(pyramid.shape, value, np.float32)
    store.write_pyramid(path, array, fill=pyramid.fill, attributes=pyramid.attributes)
    return subject


@pytest.mark.slow
def test_volumes_that_changed_since_the_run_began_are_refused(begun, tmp_path):
    folder, flags = tmp_path / "w", settings(steps=8, validate_every=4)
    shutil.copytree(begun, folder)
    before, subject = last(folder).read_bytes(), _spoil(folder, 0.5)
    done = run("train", "--workdir", folder, *flags)
    refused(done, f"{subject}/mr.ome.zarr: its contents are not those that the run began with")
    assert last(folder).read_bytes() == before


@pytest.mark.slow
def test_a_loss_that_is_not_finite_names_the_window_and_keeps_the_checkpoint(phantoms, tmp_path):
    flags = settings(steps=8)
    folder = prepared(tmp_path / "w", phantoms, flags)
    subject = _spoil(folder, math.nan)
    refused(
        run("train", "--workdir", folder, *flags),
        f"step 0: loss is not finite, by {subject} at [",
        "(z, y, x); nothing was saved",
    )
    assert not last(folder).exists()


@pytest.mark.slow
def test_more_devices_than_windows_are_refused(begun):
    done = run(
        "train",
        "--workdir",
        begun,
        *settings(steps=8, validate_every=4),
        "--devices",
        "cpu:0,cpu:1,cpu:2",
    )
    refused(done, "sampling.batch: 2 windows do not divide over 3 devices; set a multiple of 3")


@pytest.mark.slow
def test_multires_unc_trains_in_float16_on_two_devices(phantoms, tmp_path):
    flags = settings(precision="mixed_float16")
    folder = prepared(tmp_path / "w", phantoms, flags)
    done = run("train", "--workdir", folder, *flags, "--devices", "cpu:0,cpu:1")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert all(math.isfinite(float(row[key])) for row in rows for key in ("loss", "val_mae_hu"))
    assert json.loads((folder / "provenance.json").read_text())["replicas"] == 2


def _workers(folder: pathlib.Path, flags: list[str]) -> list[subprocess.Popen]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
        processes.append(
            subprocess.Popen(
                command("train", "--workdir", folder, *flags, "--devices", "workers"),
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": cluster},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


@pytest.mark.slow
def test_two_workers_train_one_model_and_outlive_the_loss_of_either(phantoms, tmp_path):
    flags = settings(steps=12, validate_every=4)
    one, two = (prepared(tmp_path / name, phantoms, flags) for name in ("one", "two"))
    chief, other = _workers(two, flags)
    try:
        while not last(two).exists() and chief.poll() is None:
            time.sleep(0.01)
        other.kill()
        _, complaint = chief.communicate(timeout=300)
    finally:
        for process in (chief, other):
            process.kill()
            process.communicate()
    assert chief.returncode == 1
    line = re.split(r"[\r\n]", complaint.strip())[-1]
    assert line.startswith("multires-tf: another worker has gone") and "same command" in line
    said = [process.communicate(timeout=600) for process in _workers(two, flags)]
    assert "training finished at step 12" in said[0][0], said[0][1][-2000:]
    assert run("train", "--workdir", one, *flags).returncode == 0
    together, alone = (
        [float(row["loss"]) for row in csv.DictReader((folder / "history.csv").open())]
        for folder in (two, one)
    )
    np.testing.assert_allclose(together, alone, rtol=2e-3)
