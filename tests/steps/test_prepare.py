import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf import config as configs
from multires_tf import errors, intake, runfolder
from multires_tf.data import cohort, geometry, images, store
from multires_tf.steps import prepare

REPOSITORY = pathlib.Path(__file__).parents[2]
CONFIG = REPOSITORY / "configs" / "multires_unc.yaml"
GRID = geometry.Geometry(
    size=(10, 24, 26),
    spacing_mm=(4.0, 3.0, 3.0),
    origin_mm=(-30.0, -40.0, 100.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
Z, Y, X = np.ogrid[:10, :24, :26]
BODY = np.broadcast_to((Y - 11.5) ** 2 + (X - 12.5) ** 2 < 9**2, GRID.size)
BONE = np.broadcast_to((Y - 11.5) ** 2 + (X - 12.5) ** 2 < 2**2, GRID.size)
CT_HU = np.where(BONE, 700, np.where(BODY, 40, -1000)).astype(np.int16)


def config(*sets):
    """The pairs made here are in one frame."""
    return configs.load(CONFIG, [], ["register=none", *sets])


def write_subject(folder, number):
    noise = np.random.default_rng(number).integers(1, 20, GRID.size)
    mr = np.where(BONE, 50, np.where(BODY, 400, 0)) + noise
    images.write(mr.astype(np.int16), folder / "mr.nii.gz", grid=GRID)
    images.write(CT_HU, folder / "ct.nii.gz", grid=GRID)


@pytest.fixture
def data(tmp_path):
    for number in range(4):
        write_subject(tmp_path / "data" / f"{number:03d}", number)
    return tmp_path / "data"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_run_folder_holds_exactly_what_the_contract_says(data, tmp_path):
    lines = prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    tops = {name.split("/")[0] for name in files(tmp_path / "run")}
    assert tops == {"config.yaml", "cohort.csv", "volumes", "qa", "train.lock"}
    left = sorted(str(path.relative_to(tmp_path / "run")) for path in tmp_path.glob("run/*/*/*"))
    roles = ("ct", "ct_body", "mask", "mr", "mr_body")
    names = (*(f"{role}.ome.zarr" for role in roles), "registration.json")
    assert left == [f"volumes/{n:03d}/{name}" for n in range(4) for name in names]
    pictures = [f"{n:03d}.png" for n in range(4)]
    assert files(tmp_path / "run" / "qa") == [*pictures, "index.html"]
    page = (tmp_path / "run" / "qa" / "index.html").read_text()
    assert all(f'src="{name}"' in page for name in pictures)
    assert configs.parse(tmp_path / "run" / "config.yaml") == config()
    subjects = cohort.read(tmp_path / "run" / "cohort.csv")
    assert [one.subject for one in subjects] == ["000", "001", "002", "003"]
    assert {one.split for one in subjects} == {"train", "validation", "test"}
    assert subjects[0].mr.resolve() == data / "000" / "mr.nii.gz"
    assert lines[0].endswith("4 subjects (2 train, 1 validation, 1 test)")


def test_a_registration_is_kept_and_its_flags_reach_the_cohort(data, tmp_path):
    run = tmp_path / "run"
    prepare.run(workdir=run, config=config("register=rigid"), data=data)
    found = runfolder.RunFolder(run).registration("002")
    assert found.exists()
    assert found.with_suffix(".tfm").exists()
    record = json.loads(found.read_text())
    assert record["after"]["mutual_information"] >= record["before"]["mutual_information"]
    assert cohort.read(run / "cohort.csv")[2].flags == "; ".join(record["flags"])
    # A later look at the same folder takes up what a registration has noted.
    found.write_text(json.dumps({**record, "flags": ["look here", "and here"]}))
    lines = prepare.run(workdir=run, config=config("register=rigid"), data=data)
    assert cohort.read(run / "cohort.csv")[2].flags == "look here; and here"
    assert any(line.startswith("flagged, look at them:") and "002" in line for line in lines)


def test_the_stores_hold_the_pair_on_the_mr_grid(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    folder = runfolder.RunFolder(tmp_path / "run")
    mr, ct, mask = (store.open_pyramid(folder.volume("002", role)) for role in ("mr", "ct", "mask"))
    assert np.array_equal(ct.read_all(), CT_HU)
    assert np.array_equal(mask.read_all() == 2, BODY)
    assert mask.read_all().min() == 1
    unit = mr.read_all()
    assert (unit[~BODY].max(), unit[BODY].min(), unit[BODY].max()) == (0, 0, 1)
    assert (mr.fill, ct.fill, mask.fill) == (0, -1024, 0)
    assert mr.spacing_mm == GRID.spacing_mm
    assert geometry.from_dict(mr.attributes["source"]) == GRID
    assert geometry.from_dict({**mr.attributes, "size": mr.shape}) == GRID


def test_another_spacing_is_obeyed(data, tmp_path):
    wanted = config("spacing_mm=[4.0, 6.0, 6.0]")
    prepare.run(workdir=tmp_path / "run", config=wanted, data=data)
    mr = store.open_pyramid(runfolder.RunFolder(tmp_path / "run").volume("000", "mr"))
    assert mr.shape == (10, 12, 13)
    assert mr.attributes["origin_mm"] == [-28.5, -38.5, 100.0]


def test_a_second_run_changes_nothing(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    before = {name: (tmp_path / "run" / name).stat() for name in files(tmp_path / "run")}
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    assert list(before) == files(tmp_path / "run")
    kept = [name for name in before if name.startswith("volumes") or name.endswith(".png")]
    for name in kept:
        now = (tmp_path / "run" / name).stat()
        assert (now.st_ino, now.st_mtime_ns) == (before[name].st_ino, before[name].st_mtime_ns)


def test_a_damaged_store_and_a_changed_image_are_prepared_again(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    folder = runfolder.RunFolder(tmp_path / "run")
    (folder.volume("001", "ct") / "0" / "0" / "0" / "0").unlink()
    images.write(CT_HU + np.int16(7), data / "003" / "ct.nii.gz", grid=GRID)
    left = folder.volumes / ".12345678.000"
    left.mkdir()
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    assert np.array_equal(store.open_pyramid(folder.volume("001", "ct")).read_all(), CT_HU)
    assert np.array_equal(store.open_pyramid(folder.volume("003", "ct")).read_all(), CT_HU + 7)
    assert not left.exists()


def test_a_drawn_split_stays_when_subjects_join(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    first = {one.subject: one.split for one in cohort.read(tmp_path / "run" / "cohort.csv")}
    for number in (4, 5, 6):
        write_subject(data / f"{number:03d}", number)
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    second = {one.subject: one.split for one in cohort.read(tmp_path / "run" / "cohort.csv")}
    assert len(second) == 7
    assert {name: second[name] for name in first} == first


def test_another_config_is_refused_by_key_where_volumes_depend_on_it(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    for setting, key in (
        ("intensity.mr_percentiles=[1, 99]", "intensity.mr_percentiles"),
        ("spacing_mm=[2, 2, 2]", "spacing_mm"),
        ("cohort.split=[1, 1, 1]", "cohort.split"),
        ("seed=5", "seed"),
    ):
        with pytest.raises(errors.UserError, match=f"prepared with {key}"):
            prepare.run(workdir=tmp_path / "run", config=config(setting), data=data)
    other = config("train.steps=7")
    prepare.run(workdir=tmp_path / "run", config=other, data=data)
    assert configs.parse(tmp_path / "run" / "config.yaml") == other


def test_the_config_of_a_trained_run_stays(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    (tmp_path / "run" / "checkpoints").mkdir()
    prepare.run(workdir=tmp_path / "run", config=config("train.steps=7"), data=data)
    assert configs.parse(tmp_path / "run" / "config.yaml") == config()


def test_keep_going_leaves_bad_subjects_out_and_names_them(data, tmp_path):
    images.write(CT_HU + np.int16(1000), data / "001" / "ct.nii.gz", grid=GRID)
    with pytest.raises(errors.PartlyDone) as caught:
        prepare.run(workdir=tmp_path / "run", config=config(), data=data, keep_going=True)
    subjects = {one.subject: one.split for one in cohort.read(tmp_path / "run" / "cohort.csv")}
    assert subjects["001"] == "none"
    assert {subjects[name] for name in ("000", "002", "003")} == {"train", "validation", "test"}
    assert not (tmp_path / "run" / "volumes" / "001").exists()
    assert caught.value.lines[-1].startswith(
        f"left out: 001: {data}/001/ct.nii.gz: a CT from 0 to 1700"
    )


def test_a_given_mask_is_the_body(data, tmp_path):
    part = (BODY & (X > 12)).astype(np.uint8)
    images.write(part, data / "body.nii.gz", grid=GRID)
    table = data / "cohort.csv"
    table.write_text("subject,mr,ct,mask\ns,000/mr.nii.gz,000/ct.nii.gz,body.nii.gz\n")
    prepare.run(workdir=tmp_path / "run", config=config(), data=table)
    mask = store.open_pyramid(runfolder.RunFolder(tmp_path / "run").volume("s", "mask")).read_all()
    assert np.array_equal(mask == 2, part == 1)


def test_a_ct_on_another_grid_of_the_same_frame_needs_no_registration(data, tmp_path):
    # One voxel further on every side, and flipped in x.
    wide = np.pad(CT_HU, 1, constant_values=-1000)
    origin = tuple(np.subtract(GRID.origin_mm, (3, 3, 4)).tolist())
    grid = geometry.Geometry(wide.shape, GRID.spacing_mm, origin, GRID.direction)
    flipped = sitk.Flip(geometry.to_image(wide, grid), (True, False, False))
    images.write(flipped, data / "000" / "ct.nii.gz")
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    ct = store.open_pyramid(runfolder.RunFolder(tmp_path / "run").volume("000", "ct"))
    assert np.array_equal(ct.read_all(), CT_HU)


@pytest.mark.slow
def test_a_killed_run_is_continued(tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    for number in range(30):
        write_subject(data / f"{number:03d}", number)
    command = [sys.executable, "-m", "multires_tf", "prepare", "--workdir", str(run)]
    command += ["--config", str(CONFIG), "--set", "register=none", "--data", str(data)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
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
    prepare.run(workdir=run, config=config(), data=data)
    assert all(path.stat().st_ino == done[path] for path in finished)
    assert not list(run.glob("*/.*"))
    assert len(cohort.read(run / "cohort.csv")) == 30


def test_levels_of_the_store_are_readable_as_json(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    path = runfolder.RunFolder(tmp_path / "run").volume("000", "mr")
    root = json.loads((path / ".zattrs").read_text())["multires_tf"]
    assert root["mr_low"] < root["mr_high"]
    assert root["direction"] == list(GRID.direction)


def test_the_cohort_s_own_folder_is_no_run_folder(data):
    table = "subject,mr,ct\n000,000/mr.nii.gz,000/ct.nii.gz\n"
    (data / "cohort.csv").write_text(table)
    for given in (data, data / "cohort.csv"):
        with pytest.raises(errors.UserError, match="data: holds the cohort itself; choose another"):
            prepare.run(workdir=data, config=config(), data=given)
    assert (data / "cohort.csv").read_text() == table


def test_landmarks_are_those_of_the_training_subjects_and_are_kept(data, tmp_path):
    wanted = config("intensity.mr_landmarks=nyul")
    prepare.run(workdir=tmp_path / "run", config=wanted, data=data)
    folder = runfolder.RunFolder(tmp_path / "run")
    name, *numbers = folder.landmarks.read_text().split()
    assert (name, len(numbers), float(numbers[0]), float(numbers[-1])) == ("mr", 13, 0.0, 100.0)
    mr = store.open_pyramid(folder.volume("000", "mr"))
    unit = mr.read_all()
    assert unit[BODY].min() == 0
    assert unit[BODY].max() == pytest.approx(1, abs=0.05)
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


def test_a_training_mr_without_a_body_gives_no_landmarks_and_moves_no_other(data, tmp_path):
    for number in (4, 5):
        write_subject(data / f"{number:03d}", number)
    wanted, run = config("intensity.mr_landmarks=nyul"), tmp_path / "run"
    prepare.run(workdir=tmp_path / "whole", config=wanted, data=data)
    before = {one.subject: one.split for one in cohort.read(tmp_path / "whole" / "cohort.csv")}
    bad = next(name for name, split in before.items() if split == "train")
    flat = np.zeros(GRID.size, np.int16)
    flat[0, 0, 0] = 1
    images.write(flat, data / bad / "mr.nii.gz", grid=GRID)
    with pytest.raises(errors.UserError, match=f"{bad}/mr.nii.gz: "):
        prepare.run(workdir=run, config=wanted, data=data)
    with pytest.raises(errors.PartlyDone) as partly:
        prepare.run(workdir=run, config=wanted, data=data, keep_going=True)
    assert any(line.startswith(f"left out: {bad}: ") for line in partly.value.lines)
    after = {one.subject: one.split for one in cohort.read(run / "cohort.csv")}
    assert after == {**before, bad: "none"}


def test_flags_of_the_given_cohort_stay_beside_those_of_the_registration(data, tmp_path):
    lines = [
        "subject,mr,ct,flags",
        *(f"{n:03d},{n:03d}/mr.nii.gz,{n:03d}/ct.nii.gz," for n in range(4)),
    ]
    (data / "cohort.csv").write_text("\n".join([lines[0], lines[1] + "hip implant", *lines[2:]]))
    run = tmp_path / "run"
    prepare.run(workdir=run, config=config(), data=data)
    found = runfolder.RunFolder(run).registration("000")
    found.write_text(json.dumps({**json.loads(found.read_text()), "flags": ["look here"]}))
    for _ in range(2):
        prepare.run(workdir=run, config=config(), data=data)
        assert cohort.read(run / "cohort.csv")[0].flags == "hip implant; look here"


def test_bodies_of_both_scans_are_in_the_store(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    folder = runfolder.RunFolder(tmp_path / "run")
    mr, ct = (store.open_pyramid(folder.volume("001", f"{role}_body")) for role in ("mr", "ct"))
    assert np.array_equal(ct.read_all() == 1, BODY)
    both = np.count_nonzero((mr.read_all() == 1) & BODY)
    assert 2 * both / (np.count_nonzero(mr.read_all()) + np.count_nonzero(BODY)) > 0.97


def test_a_file_that_was_only_touched_is_not_prepared_again(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=config(), data=data)
    path = runfolder.RunFolder(tmp_path / "run").volume("000", "mr") / ".zattrs"
    before = path.stat().st_ino
    (data / "000" / "mr.nii.gz").touch()
    prepare.run(workdir=tmp_path / "run", config=config(), data=data, memory=1e9)
    assert path.stat().st_ino == before


def test_subjects_side_by_side_are_what_they_are_alone(data, tmp_path):
    prepare.run(workdir=tmp_path / "one", config=config(), data=data, memory=1.0)
    prepare.run(workdir=tmp_path / "many", config=config(), data=data, memory=1e9)
    assert files(tmp_path / "one") == files(tmp_path / "many")
    for name in files(tmp_path / "one"):
        if name.startswith("volumes"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
