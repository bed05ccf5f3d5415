"""Flags: what the given cohort and the registration have noted about a subject."""

from __future__ import annotations

import json

import pairs

from multires_tf import runfolder
from multires_tf.data import cohort
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
