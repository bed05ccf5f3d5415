"""Nyul landmarks of the cohort: from its training subjects alone, and kept."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pairs
import pytest

from multires_tf.data import cohort, store
from multires_tf.data.files import images
from multires_tf.ground import errors, runfolder
from multires_tf.joints import intake
from multires_tf.steps import prepare

SETS = ("intensity.mr_landmarks=nyul", "cohort.split=[1, 1, 2]")


def test_landmarks_are_those_of_the_training_subjects_and_are_kept(data, tmp_path):
    wanted = pairs.config("intensity.mr_landmarks=nyul")
    prepare.run(workdir=tmp_path / "run", config=wanted, data=data)
    folder = runfolder.RunFolder(tmp_path / "run")
    name, *numbers = folder.landmarks.read_text().split()
    assert (name, len(numbers), float(numbers[0]), float(numbers[-1])) == ("mr", 13, 0.0, 100.0)
    mr = store.open_pyramid(folder.volume("000", "mr"))
    unit = mr.read_all()
    assert unit[pairs.BODY].min() == 0
    assert unit[pairs.BODY].max() == pytest.approx(1, abs=0.05)
    # What became 0 and 1 are the ends of the landmarks, not the percentiles of the config.
    image = images.read(data / "000" / "mr.nii.gz")
    found = intake.percentiles(wanted, image, data)
    assert (mr.attributes["mr_low"], mr.attributes["mr_high"]) == (found[0], found[-1])
    before = (folder.volume("000", "mr") / ".zattrs").stat().st_ino
    prepare.run(workdir=tmp_path / "run", config=wanted, data=data)
    assert (folder.volume("000", "mr") / ".zattrs").stat().st_ino == before
    # Another cohort's landmarks in their place are another preparation.
    folder.landmarks.write_text("mr " + " ".join(str(n * n / 1.44) for n in range(13)) + "\n")
    prepare.run(workdir=tmp_path / "run", config=wanted, data=data)
    assert (folder.volume("000", "mr") / ".zattrs").stat().st_ino != before


@pytest.mark.parametrize("change", ["nothing", "seed", "image", "percentiles"])
def test_landmarks_of_a_killed_prepare_are_those_of_what_it_is_now(
    data, tmp_path, monkeypatch, change
):
    wanted = pairs.config(*SETS)
    folder = runfolder.RunFolder(tmp_path / "run")
    monkeypatch.setattr(prepare, "_write", lambda *_: 1 / 0)  # dies before the config is written
    with pytest.raises(ZeroDivisionError):
        prepare.run(workdir=folder.root, config=wanted, data=data)
    monkeypatch.undo()
    before = folder.landmarks.read_text()
    (training,) = json.loads(folder.landmarks_made.read_text())["made"]["training"]
    if change == "image":
        mr = images.read(data / training / "mr.nii.gz")
        images.write(mr**2, data / training / "mr.nii.gz")
    if change == "percentiles":
        wanted = pairs.config("intensity.mr_percentiles=[2, 98]", *SETS)
    if change == "seed":
        wanted = pairs.config("seed=5", *SETS)
    prepare.run(workdir=folder.root, config=wanted, data=data)
    prepare.run(workdir=tmp_path / "fresh", config=wanted, data=data)
    fresh = runfolder.RunFolder(tmp_path / "fresh")
    assert folder.landmarks.read_text() == fresh.landmarks.read_text()
    assert (folder.landmarks.read_text() == before) == (change in ("nothing", "percentiles"))
    for name in ("000", "001", "002", "003"):
        ours, theirs = (store.open_pyramid(one.volume(name, "mr")) for one in (folder, fresh))
        assert np.array_equal(ours.read_all(), theirs.read_all())


def test_a_training_mr_without_a_body_gives_no_landmarks_and_moves_no_other(data, tmp_path):
    for number in (4, 5):
        pairs.write_subject(data / f"{number:03d}", number)
    wanted, run = pairs.config("intensity.mr_landmarks=nyul"), tmp_path / "run"
    prepare.run(workdir=tmp_path / "whole", config=wanted, data=data)
    before = {one.subject: one.split for one in cohort.read(tmp_path / "whole" / "cohort.csv")}
    bad = next(name for name, split in before.items() if split == "train")
    flat = np.zeros(pairs.GRID.size, np.int16)
    flat[0, 0, 0] = 1
    images.write(flat, data / bad / "mr.nii.gz", grid=pairs.GRID)
    with pytest.raises(errors.UserError, match=f"{bad}/mr.nii.gz: "):
        prepare.run(workdir=run, config=wanted, data=data)
    with pytest.raises(errors.PartlyDone) as partly:
        prepare.run(workdir=run, config=wanted, data=data, keep_going=True)
    assert any(line.startswith(f"left out: {bad}: ") for line in partly.value.lines)
    after = {one.subject: one.split for one in cohort.read(run / "cohort.csv")}
    assert after == {**before, bad: "none"}


def test_volumes_taken_from_a_run_with_other_training_subjects_are_made_anew(data, tmp_path):
    """As the folds of a study take them; the run that they are linked from keeps its own."""
    wanted = pairs.config("intensity.mr_landmarks=nyul", "intensity.mr_bias_field=none")
    one, other = (runfolder.RunFolder(tmp_path / name) for name in ("one", "other"))
    subjects = cohort.discover(data)[:2]
    for run, splits in ((one, ("train", "test")), (other, ("test", "train"))):
        placed = [
            dataclasses.replace(subject, split=split)
            for subject, split in zip(subjects, splits, strict=True)
        ]
        cohort.write(tmp_path / f"{run.root.name}.csv", placed)
    prepare.run(workdir=one.root, config=wanted, data=tmp_path / "one.csv")
    before = store.open_pyramid(one.volume("000", "mr")).read_all()
    for name in ("volumes", "qa"):
        shutil.copytree(one.root / name, other.root / name, copy_function=os.link)
    prepare.run(workdir=other.root, config=wanted, data=tmp_path / "other.csv")
    assert one.landmarks.read_text() != other.landmarks.read_text()
    assert not np.array_equal(store.open_pyramid(other.volume("000", "mr")).read_all(), before)
    assert np.array_equal(store.open_pyramid(one.volume("000", "mr")).read_all(), before)


def test_workers_get_whole_paths_after_landmarks_were_made_too(data, tmp_path, monkeypatch):
    seen = []

    def here(do, todo, *, words, **_):
        seen.extend((words, one.mr.is_absolute()) for one in todo)
        for one in todo:
            do(one)
        return []

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prepare.parallel, "problems", here)
    places = {"workdir": pathlib.Path("run"), "data": data.relative_to(tmp_path)}
    prepare.run(config=pairs.config(*SETS), scheduler="tcp://nowhere:1", **places)
    assert sorted(set(seen)) == [("check", True), ("prepare", True)]
