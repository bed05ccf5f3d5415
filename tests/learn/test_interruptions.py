"""Training is killed, runs out of disk, meets other data than before, or diverges."""

from __future__ import annotations

import csv
import math
import pathlib
import random
import resource
import shutil
import subprocess
import time

import numpy as np
import pytest
from training_runs import (
    Watched,
    contents,
    last,
    prepared,
    refused,
    run,
    settings,
    table,
)

from multires_tf.data import store


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
    # One branch: a third of the time to trace it, in each of fourteen processes.
    one_branch = ["--set", "network.multires.scales=[1]", "--set", "train.recompute=[]"]
    flags = [*settings(steps=24, validate_every=4, report_every=2), *one_branch]
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
        refused(
            run("train", "--workdir", folder, *flags, **options),
            "what was there before is kept; free some space",
        )
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
    for more in ((), ("--dry_run",)):
        refused(
            run("train", "--workdir", folder, *flags, *more),
            f"step 0: loss is not finite, by {subject} at [",
            "(z, y, x); nothing was saved",
        )
    assert not last(folder).exists()
