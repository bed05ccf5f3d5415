"""A second prepare on a run folder: what is kept, what is made again, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pairs
import pytest

from multires_tf.data import cohort, store
from multires_tf.data.files import images
from multires_tf.ground import config as configs
from multires_tf.ground import errors, runfolder
from multires_tf.joints import preparer
from multires_tf.measure import quality
from multires_tf.steps import prepare


def test_a_second_run_changes_nothing(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    before = {name: (tmp_path / "run" / name).stat() for name in pairs.files(tmp_path / "run")}
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    assert list(before) == pairs.files(tmp_path / "run")
    kept = [name for name in before if name.startswith("volumes") or name.endswith(".png")]
    for name in kept:
        now = (tmp_path / "run" / name).stat()
        assert (now.st_ino, now.st_mtime_ns) == (before[name].st_ino, before[name].st_mtime_ns)


def test_a_damaged_store_and_a_changed_image_are_prepared_again(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    folder = runfolder.RunFolder(tmp_path / "run")
    (folder.volume("001", "ct") / "0" / "0" / "0" / "0").unlink()
    images.write(pairs.CT_HU + np.int16(7), data / "003" / "ct.nii.gz", grid=pairs.GRID)
    left = folder.volumes / ".12345678.000"
    left.mkdir()
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    assert np.array_equal(store.open_pyramid(folder.volume("001", "ct")).read_all(), pairs.CT_HU)
    assert np.array_equal(
        store.open_pyramid(folder.volume("003", "ct")).read_all(), pairs.CT_HU + 7
    )
    assert not left.exists()


def test_an_image_that_changes_while_it_is_prepared_is_prepared_again(data, tmp_path, monkeypatch):
    folder, ct = runfolder.RunFolder(tmp_path / "run"), data / "003" / "ct.nii.gz"
    written = preparer.Preparer._write

    def late(self, one, *given):
        if one.subject == "003":
            images.write(pairs.CT_HU + np.int16(7), ct, grid=pairs.GRID)
        written(self, one, *given)

    with monkeypatch.context() as patch:
        patch.setattr(preparer.Preparer, "_write", late)
        prepare.run(workdir=folder.root, config=pairs.config(), data=data)
    prepare.run(workdir=folder.root, config=pairs.config(), data=data)
    assert np.array_equal(
        store.open_pyramid(folder.volume("003", "ct")).read_all(), pairs.CT_HU + 7
    )


def test_a_picture_is_never_older_than_the_stores(data, tmp_path, monkeypatch):
    run, picture = tmp_path / "run", tmp_path / "run" / "qa" / "003.png"
    prepare.run(workdir=run, config=pairs.config(), data=data)
    old = picture.read_bytes()
    images.write(np.roll(pairs.CT_HU, 1, axis=2), data / "003" / "ct.nii.gz", grid=pairs.GRID)

    def interrupted(*_, **__):
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(quality, "prepared_subject", interrupted)
        with pytest.raises(InterruptedError):
            prepare.run(workdir=run, config=pairs.config(), data=data)
    assert not picture.exists()
    prepare.run(workdir=run, config=pairs.config(), data=data)
    assert picture.read_bytes() != old


def test_a_file_that_was_only_touched_is_not_prepared_again(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    path = runfolder.RunFolder(tmp_path / "run").volume("000", "mr") / ".zattrs"
    before = path.stat().st_ino
    (data / "000" / "mr.nii.gz").touch()
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data, memory=1e9)
    assert path.stat().st_ino == before


def test_a_drawn_split_stays_when_subjects_join(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    first = {one.subject: one.split for one in cohort.read(tmp_path / "run" / "cohort.csv")}
    for number in (4, 5, 6):
        pairs.write_subject(data / f"{number:03d}", number)
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    second = {one.subject: one.split for one in cohort.read(tmp_path / "run" / "cohort.csv")}
    assert len(second) == 7
    assert {name: second[name] for name in first} == first


def test_another_config_is_refused_by_key_where_volumes_depend_on_it(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    for setting, key in (
        ("intensity.mr_percentiles=[1, 99]", "intensity.mr_percentiles"),
        ("spacing_mm=[2, 2, 2]", "spacing_mm"),
        ("cohort.split=[1, 1, 1]", "cohort.split"),
        ("seed=5", "seed"),
    ):
        with pytest.raises(errors.UserError, match=f"prepared with {key}"):
            prepare.run(workdir=tmp_path / "run", config=pairs.config(setting), data=data)
    other = pairs.config("train.steps=7")
    prepare.run(workdir=tmp_path / "run", config=other, data=data)
    assert configs.parse(tmp_path / "run" / "config.yaml") == other


def test_the_config_of_a_trained_run_stays(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    (tmp_path / "run" / "checkpoints").mkdir()
    prepare.run(workdir=tmp_path / "run", config=pairs.config("train.steps=7"), data=data)
    assert configs.parse(tmp_path / "run" / "config.yaml") == pairs.config()


@pytest.mark.slow
def test_a_killed_run_is_continued(tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    for number in range(30):
        pairs.write_subject(data / f"{number:03d}", number)
    command = [sys.executable, "-m", "multires_tf", "prepare", "--workdir", str(run)]
    command += ["--config", str(pairs.CONFIG), "--set", "register=none", "--data", str(data)]
    process = subprocess.Popen(command, cwd=pairs.REPOSITORY, stderr=subprocess.DEVNULL)
    side_by_side = os.cpu_count()
    while len(list(run.glob("volumes/0*"))) < 2 + side_by_side:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (run / "cohort.csv").exists()
    for path in run.glob("volumes/0*/*.ome.zarr"):
        store.open_pyramid(path)
    done = {path: path.stat().st_ino for path in run.glob("volumes/0*")}
    # Of those in hand the pictures may be missing: they alone are made again.
    finished = [path for path in done if (run / "qa" / f"{path.name}.png").exists()]
    assert len(finished) >= 2
    prepare.run(workdir=run, config=pairs.config(), data=data)
    assert all(path.stat().st_ino == done[path] for path in finished)
    assert not list(run.glob("*/.*"))
    assert len(cohort.read(run / "cohort.csv")) == 30
