"""Flags: what the given cohort and the registration have noted about a subject."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import numpy as np
import pairs
import pytest

from multires_tf.data import cohort
from multires_tf.data.files import images
from multires_tf.ground import errors, runfolder
from multires_tf.steps import prepare


def test_a_registration_is_kept_and_its_flags_reach_the_cohort(data, tmp_path):
    run = tmp_path / "run"
    prepare.run(workdir=run, config=pairs.config("register=rigid"), data=data)
    found = runfolder.RunFolder(run).registration("002")
    assert found.exists()
    assert found.with_suffix(".tfm").exists()
    record = json.loads(found.read_text())
    assert record["after"]["mutual_information"] >= record["before"]["mutual_information"]
    assert cohort.read(run / "cohort.csv")[2].flags == "; ".join(record["flags"])
    # A later look at the same folder takes up what a registration has noted.
    found.write_text(json.dumps({**record, "flags": ["look here", "and here"]}))
    lines = prepare.run(workdir=run, config=pairs.config("register=rigid"), data=data)
    assert cohort.read(run / "cohort.csv")[2].flags == "look here; and here"
    assert any(line.startswith("flagged, look at them:") and "002" in line for line in lines)


def test_flags_of_the_given_cohort_stay_beside_those_of_the_registration(data, tmp_path):
    lines = [
        "subject,mr,ct,flags",
        *(f"{n:03d},{n:03d}/mr.nii.gz,{n:03d}/ct.nii.gz," for n in range(4)),
    ]
    (data / "cohort.csv").write_text("\n".join([lines[0], lines[1] + "hip implant", *lines[2:]]))
    run = tmp_path / "run"
    prepare.run(workdir=run, config=pairs.config(), data=data)
    found = runfolder.RunFolder(run).registration("000")
    found.write_text(json.dumps({**json.loads(found.read_text()), "flags": ["look here"]}))
    for _ in range(2):
        prepare.run(workdir=run, config=pairs.config(), data=data)
        assert cohort.read(run / "cohort.csv")[0].flags == "hip implant; look here"


def _edit(table, subject, **values):
    """Sets values of a subject in the run's own cohort, as a person would by hand."""
    found = cohort.read(table)
    edited = [
        dataclasses.replace(one, **values) if one.subject == subject else one for one in found
    ]
    cohort.write(table, edited)


def _read(table):
    return {one.subject: one for one in cohort.read(table)}


def test_what_a_person_set_in_the_run_s_cohort_stays(data, tmp_path):
    run, table = tmp_path / "run", tmp_path / "run" / "cohort.csv"
    prepare.run(workdir=run, config=pairs.config(), data=data)
    old = "rigid registration refused: the common field shrank"
    _edit(table, "001", split="none", flags=f"arms cut off; {old}; table in the body")
    for _ in range(2):
        prepare.run(workdir=run, config=pairs.config(), data=data)
        one = _read(table)["001"]
        assert (one.split, one.flags) == ("none", "arms cut off; table in the body")
    images.write(pairs.CT_HU + np.int16(1000), data / "001" / "ct.nii.gz", grid=pairs.GRID)
    with pytest.raises(errors.PartlyDone):
        prepare.run(workdir=run, config=pairs.config(), data=data, keep_going=True)
    images.write(pairs.CT_HU, data / "001" / "ct.nii.gz", grid=pairs.GRID)
    prepare.run(workdir=run, config=pairs.config(), data=data)
    assert _read(table)["001"].split == "none"


def test_the_given_cohort_s_split_is_above_the_run_s(data, tmp_path):
    run = tmp_path / "run"
    prepare.run(workdir=run, config=pairs.config(), data=data)
    _edit(run / "cohort.csv", "001", split="none")
    line = "001,001/mr.nii.gz,001/ct.nii.gz,test\n"
    (data / "cohort.csv").write_text("subject,mr,ct,split\n" + line)
    prepare.run(workdir=run, config=pairs.config(), data=data)
    assert _read(run / "cohort.csv")["001"].split == "test"


@pytest.mark.parametrize("stores_are_left", [False, True])
def test_a_subject_that_was_left_out_is_drawn_once_it_is_mended(data, tmp_path, stores_are_left):
    run, table = tmp_path / "run", tmp_path / "run" / "cohort.csv"
    before = {}
    if stores_are_left:
        prepare.run(workdir=run, config=pairs.config(), data=data)
        before = {name: one.split for name, one in _read(table).items()}
    images.write(pairs.CT_HU + np.int16(1000), data / "001" / "ct.nii.gz", grid=pairs.GRID)
    for _ in range(2):
        with pytest.raises(errors.PartlyDone) as partly:
            prepare.run(workdir=run, config=pairs.config(), data=data, keep_going=True)
    one = _read(table)["001"]
    was = f" (was {before['001']})" if stores_are_left else ""
    assert (one.split, one.flags) == ("none", f"left out by prepare{was}")
    assert not [line for line in partly.value.lines if line.startswith("flagged")]
    images.write(pairs.CT_HU, data / "001" / "ct.nii.gz", grid=pairs.GRID)
    prepare.run(workdir=run, config=pairs.config(), data=data)
    after = _read(table)
    assert after["001"].split in cohort.DRAWN_SPLITS
    assert after["001"].flags == ""
    assert not before or {name: one.split for name, one in after.items()} == before


def test_a_split_that_a_person_gives_to_a_subject_left_out_is_above_the_old_one(data, tmp_path):
    run, table = tmp_path / "run", tmp_path / "run" / "cohort.csv"
    prepare.run(workdir=run, config=pairs.config(), data=data)
    one = next(one for one in _read(table).values() if one.split == "train").subject
    images.write(pairs.CT_HU + np.int16(1000), data / one / "ct.nii.gz", grid=pairs.GRID)
    with pytest.raises(errors.PartlyDone):
        prepare.run(workdir=run, config=pairs.config(), data=data, keep_going=True)
    _edit(table, one, split="test")
    images.write(pairs.CT_HU, data / one / "ct.nii.gz", grid=pairs.GRID)
    prepare.run(workdir=run, config=pairs.config(), data=data)
    assert (_read(table)[one].split, _read(table)[one].flags) == ("test", "")


def test_a_subject_that_is_away_for_a_while_keeps_its_row(data, tmp_path):
    run, table = tmp_path / "run", tmp_path / "run" / "cohort.csv"
    prepare.run(workdir=run, config=pairs.config(), data=data)
    _edit(table, "001", flags="heavy motion")
    before = _read(table)
    (data / "001").rename(tmp_path / "elsewhere")
    for _ in range(2):
        lines = prepare.run(workdir=run, config=pairs.config(), data=data)
        assert lines[-1] == f"not in {data} any more, left out with its row kept: 001"
        one = _read(table)["001"]
        mark = f"left out by prepare (was {before['001'].split})"
        assert (one.split, one.flags) == ("none", f"heavy motion; {mark}")
        # The order of the others, by which windows are drawn, is that of the data.
        assert list(_read(table)) == ["000", "002", "003", "001"]
    (tmp_path / "elsewhere").rename(data / "001")
    prepare.run(workdir=run, config=pairs.config(), data=data)
    assert _read(table) == before


def test_a_subject_that_is_renamed_keeps_its_split_and_what_people_noted(data, tmp_path):
    run, table = tmp_path / "run", tmp_path / "run" / "cohort.csv"
    text = "subject,mr,ct\n" + "".join(
        f"{n:03d},{n:03d}/mr.nii.gz,{n:03d}/ct.nii.gz\n" for n in range(4)
    )
    (data / "cohort.csv").write_text(text)
    prepare.run(workdir=run, config=pairs.config(), data=data / "cohort.csv")
    _edit(table, "001", flags="heavy motion")
    before = _read(table)
    (data / "cohort.csv").write_text(text.replace("\n001,", "\n001b,"))
    prepare.run(workdir=run, config=pairs.config(), data=data / "cohort.csv")
    after = _read(table)
    assert list(after) == ["000", "001b", "002", "003"]
    assert (after["001b"].split, after["001b"].flags) == (before["001"].split, "heavy motion")
    assert all(after[name] == before[name] for name in ("000", "002", "003"))


def test_splits_follow_the_mr_where_names_are_changed_about(data, tmp_path):
    run, table = tmp_path / "run", tmp_path / "run" / "cohort.csv"
    rows = {n: f"{n:03d}/mr.nii.gz,{n:03d}/ct.nii.gz" for n in range(4)}

    def prepared(**names):
        lines = [f"{name},{rows[int(of[1:])]}" for name, of in names.items()]
        (data / "cohort.csv").write_text("\n".join(["subject,mr,ct", *lines]) + "\n")
        with contextlib.suppress(errors.PartlyDone):
            prepare.run(
                workdir=run, config=pairs.config(), data=data / "cohort.csv", keep_going=True
            )
        return _read(table)

    before = prepared(a="_0", b="_1", c="_2", d="_3")
    after = prepared(b="_0", a="_1", d="_2", e="_3")  # a swap and a chain
    was = {name: before[old].split for name, old in zip("bade", "abcd", strict=True)}
    assert {name: one.split for name, one in after.items()} == was
    (data / "000" / "ct.nii.gz").write_bytes(b"")  # left out while it is renamed once more
    assert prepared(f="_0", a="_1", d="_2", e="_3")["f"].flags.endswith(f"(was {was['b']})")


def test_a_subject_whose_folder_is_faulty_keeps_its_row(data, tmp_path):
    run, table = tmp_path / "run", tmp_path / "run" / "cohort.csv"
    prepare.run(workdir=run, config=pairs.config(), data=data)
    _edit(table, "001", flags="arms cut off")
    before = _read(table)
    (data / "001" / "mr.nii").touch()  # two candidates for its MR
    for _ in range(2):
        with pytest.raises(errors.PartlyDone) as partly:
            prepare.run(workdir=run, config=pairs.config(), data=data, keep_going=True)
        assert partly.value.lines[0].endswith(", 1 none)")
        assert partly.value.lines[1].endswith(": 3 prepared")
        one = _read(table)["001"]
        mark = f"left out by prepare (was {before['001'].split})"
        assert (one.split, one.flags) == ("none", f"arms cut off; {mark}")
    (data / "001" / "mr.nii").unlink()
    prepare.run(workdir=run, config=pairs.config(), data=data)
    assert _read(table) == before
