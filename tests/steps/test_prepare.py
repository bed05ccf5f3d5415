"""What prepare makes of a cohort: stores, pictures and the table of subjects."""

from __future__ import annotations

import json

import numpy as np
import pairs
import pytest
import SimpleITK as sitk

from multires_tf.data import cohort, geometry, store
from multires_tf.data.files import images
from multires_tf.ground import config as configs
from multires_tf.ground import errors, runfolder
from multires_tf.joints import intake, preparer
from multires_tf.steps import prepare


def test_the_run_folder_holds_exactly_what_the_contract_says(data, tmp_path):
    lines = prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    tops = {name.split("/")[0] for name in pairs.files(tmp_path / "run")}
    assert tops == {"config.yaml", "cohort.csv", "volumes", "qa", "train.lock"}
    left = sorted(str(path.relative_to(tmp_path / "run")) for path in tmp_path.glob("run/*/*/*"))
    roles = ("ct", "ct_body", "mask", "mr", "mr_body")
    names = (*(f"{role}.ome.zarr" for role in roles), "registration.json")
    assert left == [f"volumes/{n:03d}/{name}" for n in range(4) for name in names]
    pictures = [f"{n:03d}.png" for n in range(4)]
    assert pairs.files(tmp_path / "run" / "qa") == [*pictures, "index.html"]
    page = (tmp_path / "run" / "qa" / "index.html").read_text()
    assert all(f'src="{name}"' in page for name in pictures)
    assert configs.parse(tmp_path / "run" / "config.yaml") == pairs.config()
    subjects = cohort.read(tmp_path / "run" / "cohort.csv")
    assert [one.subject for one in subjects] == ["000", "001", "002", "003"]
    assert {one.split for one in subjects} == {"train", "validation", "test"}
    assert subjects[0].mr.resolve() == data / "000" / "mr.nii.gz"
    assert lines[0].endswith("4 subjects (2 train, 1 validation, 1 test)")


def test_the_stores_hold_the_pair_on_the_mr_grid(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    folder = runfolder.RunFolder(tmp_path / "run")
    mr, ct, mask = (store.open_pyramid(folder.volume("002", role)) for role in ("mr", "ct", "mask"))
    assert np.array_equal(ct.read_all(), pairs.CT_HU)
    assert np.array_equal(mask.read_all() == 2, pairs.BODY)
    assert mask.read_all().min() == 1
    unit = mr.read_all()
    assert (unit[~pairs.BODY].max(), unit[pairs.BODY].min(), unit[pairs.BODY].max()) == (0, 0, 1)
    assert (mr.fill, ct.fill, mask.fill) == (0, -1024, 0)
    assert mr.spacing_mm == pairs.GRID.spacing_mm
    assert geometry.from_dict(mr.attributes["source"]) == pairs.GRID
    assert geometry.from_dict({**mr.attributes, "size": mr.shape}) == pairs.GRID


def test_another_spacing_is_obeyed(data, tmp_path):
    wanted = pairs.config("spacing_mm=[4.0, 6.0, 6.0]")
    prepare.run(workdir=tmp_path / "run", config=wanted, data=data)
    mr = store.open_pyramid(runfolder.RunFolder(tmp_path / "run").volume("000", "mr"))
    assert mr.shape == (10, 12, 13)
    assert mr.attributes["origin_mm"] == [-28.5, -38.5, 100.0]


def test_memory_is_reckoned_at_the_spacing_that_is_prepared(data, tmp_path):
    """Half of the CT's distances are eight times its voxels, beside those of both images."""
    (one, *_) = cohort.discover(data)
    folder = runfolder.RunFolder(tmp_path / "run")
    as_ct, finer = (
        preparer.Preparer(folder, pairs.config(*sets)).cost_bytes(one)
        for sets in ((), ("spacing_mm=[2.0, 1.5, 1.5]",))
    )
    assert finer / as_ct == pytest.approx((1 + 1 + 8) / (1 + 1 + 1))


def test_keep_going_leaves_bad_subjects_out_and_names_them(data, tmp_path):
    images.write(pairs.CT_HU + np.int16(1000), data / "001" / "ct.nii.gz", grid=pairs.GRID)
    with pytest.raises(errors.PartlyDone) as caught:
        prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data, keep_going=True)
    subjects = {one.subject: one.split for one in cohort.read(tmp_path / "run" / "cohort.csv")}
    assert subjects["001"] == "none"
    assert {subjects[name] for name in ("000", "002", "003")} == {"train", "validation", "test"}
    assert not (tmp_path / "run" / "volumes" / "001").exists()
    assert caught.value.lines[-1].startswith(
        f"left out: 001: {data}/001/ct.nii.gz: a CT from 0 to 1700"
    )


def test_a_given_mask_is_the_body(data, tmp_path):
    part = (pairs.BODY & (pairs.X > 12)).astype(np.uint8)
    images.write(part, data / "body.nii.gz", grid=pairs.GRID)
    table = data / "cohort.csv"
    table.write_text("subject,mr,ct,mask\ns,000/mr.nii.gz,000/ct.nii.gz,body.nii.gz\n")
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=table)
    mask = store.open_pyramid(runfolder.RunFolder(tmp_path / "run").volume("s", "mask")).read_all()
    assert np.array_equal(mask == 2, part == 1)


def test_a_ct_on_another_grid_of_the_same_frame_needs_no_registration(data, tmp_path):
    # One voxel further on every side, and flipped in x.
    wide = np.pad(pairs.CT_HU, 1, constant_values=-1000)
    origin = tuple(np.subtract(pairs.GRID.origin_mm, (3, 3, 4)).tolist())
    grid = geometry.Geometry(wide.shape, pairs.GRID.spacing_mm, origin, pairs.GRID.direction)
    flipped = sitk.Flip(geometry.to_image(wide, grid), (True, False, False))
    images.write(flipped, data / "000" / "ct.nii.gz")
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    ct = store.open_pyramid(runfolder.RunFolder(tmp_path / "run").volume("000", "ct"))
    assert np.array_equal(ct.read_all(), pairs.CT_HU)


def test_levels_of_the_store_are_readable_as_json(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    path = runfolder.RunFolder(tmp_path / "run").volume("000", "mr")
    root = json.loads((path / ".zattrs").read_text())["multires_tf"]
    assert root["mr_low"] < root["mr_high"]
    assert root["direction"] == list(pairs.GRID.direction)


def test_the_cohort_s_own_folder_is_no_run_folder(data):
    table = "subject,mr,ct\n000,000/mr.nii.gz,000/ct.nii.gz\n"
    (data / "cohort.csv").write_text(table)
    for given in (data, data / "cohort.csv"):
        with pytest.raises(errors.UserError, match="data: holds the cohort itself; choose another"):
            prepare.run(workdir=data, config=pairs.config(), data=given)
    assert (data / "cohort.csv").read_text() == table


def test_bodies_of_both_scans_are_in_the_store(data, tmp_path):
    prepare.run(workdir=tmp_path / "run", config=pairs.config(), data=data)
    folder = runfolder.RunFolder(tmp_path / "run")
    mr, ct = (store.open_pyramid(folder.volume("001", f"{role}_body")) for role in ("mr", "ct"))
    assert np.array_equal(ct.read_all() == 1, pairs.BODY)
    both = np.count_nonzero((mr.read_all() == 1) & pairs.BODY)
    assert 2 * both / (np.count_nonzero(mr.read_all()) + np.count_nonzero(pairs.BODY)) > 0.97


def test_subjects_side_by_side_are_what_they_are_alone(data, tmp_path):
    prepare.run(workdir=tmp_path / "one", config=pairs.config(), data=data, memory=1.0)
    prepare.run(workdir=tmp_path / "many", config=pairs.config(), data=data, memory=1e9)
    assert pairs.files(tmp_path / "one") == pairs.files(tmp_path / "many")
    for name in pairs.files(tmp_path / "one"):
        if name.startswith("volumes"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


@pytest.mark.parametrize("trained", [False, True])
def test_another_version_leaves_the_volumes_of_a_trained_run(data, tmp_path, monkeypatch, trained):
    run = runfolder.RunFolder(tmp_path / "run")
    prepare.run(workdir=run.root, config=pairs.config(), data=data)
    if trained:
        run.checkpoints.mkdir()
    path = run.volume("001", "mr")
    before = store.open_pyramid(path).attributes["recipe"]["method"]
    monkeypatch.setattr(intake, "METHOD", before + 1)
    prepare.run(workdir=run.root, config=pairs.config(), data=data)
    now = store.open_pyramid(path).attributes["recipe"]["method"]
    assert now == (before if trained else before + 1)
