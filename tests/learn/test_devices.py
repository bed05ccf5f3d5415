"""Training on several devices and machines, through the command line."""

from __future__ import annotations

import csv
import json
import math
import os
import pathlib
import re
import socket
import subprocess
import time

import numpy as np
import pytest
from training_runs import ROOT, TINY, command, last, prepared, refused, run, settings


@pytest.mark.slow
def test_more_devices_than_windows_are_refused(phantoms, tmp_path):
    folder = prepared(tmp_path / "w", phantoms, TINY)
    done = run("train", "--workdir", folder, *TINY, "--devices", "cpu:0,cpu:1,cpu:2")
    refused(
        done,
        "sampling.batch: 2 windows do not divide over 3 devices; name fewer --devices",
    )


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
    # Renormalisation lets the last digits of float32 grow from step to step; that it is shared
    # rightly is shown in float64 (test_step.py).
    flags = [*settings(steps=12, validate_every=4), "--set", "network.norm.kind=batch"]
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


def _program(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_the_slurm_script_tells_each_task_who_and_where_it_is(tmp_path):
    _program(tmp_path / "bin" / "scontrol", "printf 'node7\\nnode9\\n'")
    _program(tmp_path / "bin" / "srun", 'shift; SLURM_PROCID=1 "$@"')
    _program(tmp_path / ".venv" / "bin" / "python", 'echo "$TF_CONFIG"; printf "%s\\n" "$@"')
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "123",
        "SLURM_JOB_NODELIST": "node[7,9]",
    }
    script = ["bash", str(ROOT / "docs" / "train.slurm"), "/shared/a run", "--config", "c.yaml"]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cluster, *arguments = done.stdout.splitlines()
    assert json.loads(cluster) == {
        "cluster": {"worker": ["node7:20123", "node9:20123"]},
        "task": {"type": "worker", "index": 1},
    }
    expected = ["-m", "multires_tf", "train", "--workdir"]
    assert arguments == [*expected, "/shared/a run", "--devices", "workers", "--config", "c.yaml"]
