import json
import pathlib
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf.data import geometry, store
from multires_tf.ground import errors, runfolder
from multires_tf.joints import assembly, calibration, comparison, outputs, scored
from multires_tf.measure import intervals

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = geometry.Geometry((8, 9, 10), (3.0, 2.0, 2.0), (-10.0, 5.0, 100.0), IDENTITY)


def _prepare(tmp_path, source, prepared, ct_hu, **others):
    """A subject whose prepared volumes lie on `prepared`, made from an MR on `source`."""
    run = runfolder.RunFolder(tmp_path)
    attributes = {**prepared.as_dict(), "source": source.as_dict(), **others}
    mask = np.full(prepared.size, 2, np.uint8)
    for role, array in (("mr", np.zeros_like(ct_hu)), ("ct", ct_hu), ("mask", mask)):
        reduce = "min" if role == "mask" else "mean"
        path = run.volume("s", role)
        store.write_pyramid(path, array, fill=0.0, attributes=attributes, reduce=reduce)
    run.prediction("s").mkdir(parents=True)
    return run


def _write(run, image, name="ct.nii.gz"):
    sitk.WriteImage(image, str(run.prediction("s") / name))


def _ramp(grid):
    z, y, x = np.indices(grid.size)
    return (100 * z + 10 * y + x).astype(np.float32)


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR", "SAL"])
def test_any_orientation_comes_back_to_the_bit(tmp_path, orientation):
    ramp = _ramp(GRID)
    image = sitk.DICOMOrient(geometry.to_image(ramp.astype(np.int16), GRID), orientation)
    run = _prepare(tmp_path, geometry.of_image(image), GRID, ramp - 100)
    _write(run, image)
    assert np.array_equal(comparison.load(run, "s").pct_hu, ramp)


def test_a_finer_prepared_grid_is_reached_linearly(tmp_path):
    source = geometry.Geometry((4, 5, 6), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), IDENTITY)
    prepared = geometry.prepared_grid(source, (1.0, 1.0, 1.0))
    run = _prepare(tmp_path, source, prepared, np.zeros(prepared.size, np.float32))
    _write(run, geometry.to_image((100 * np.indices(source.size)[2]).astype(np.int16), source))
    pct_hu = comparison.load(run, "s").pct_hu
    # Edges lie in place: the first centres are a quarter of an old voxel before and after the old.
    assert pct_hu[3, 3].tolist() == [0, 25, 75, 125, 175, 225, 275, 325, 375, 425, 475, 500]


def test_another_grid_is_refused(tmp_path):
    run = _prepare(tmp_path, GRID, GRID, _ramp(GRID))
    image = geometry.to_image(np.zeros(GRID.size, np.int16), GRID)
    image.SetOrigin((-10.0, 5.0, 101.0))
    _write(run, image)
    with pytest.raises(errors.UserError, match=r"ct.nii.gz: not on the grid of the subject's MR"):
        comparison.load(run, "s")


def test_a_broken_file_is_refused(tmp_path):
    run = _prepare(tmp_path, GRID, GRID, _ramp(GRID))
    (run.prediction("s") / "ct.nii.gz").write_bytes(b"\x1f\x8b not an image")
    with pytest.raises(errors.UserError, match=r"ct.nii.gz: not an image.*; run 'predict' again"):
        comparison.load(run, "s")


def test_the_total_is_made_of_its_parts(tmp_path):
    run = _prepare(tmp_path, GRID, GRID, _ramp(GRID))
    _write(run, geometry.to_image(np.zeros(GRID.size, np.int16), GRID))
    for name, value in (("aleatoric", 3.0), ("epistemic", 4.0)):
        sd_hu = np.full(GRID.size, value, np.float32)
        _write(run, geometry.to_image(sd_hu, GRID), f"{name}_sd_hu.nii.gz")
    assert np.allclose(comparison.load(run, "s").sd_hu["total"], 5.0)


@pytest.fixture
def predicted(tmp_path):
    """A prediction and the checkpoint that made it."""
    run = _prepare(tmp_path, GRID, GRID, _ramp(GRID))
    _write(run, geometry.to_image(np.zeros(GRID.size, np.int16), GRID))
    run.checkpoints.mkdir()
    run.best.write_bytes(b"weights")
    _tell(run, checkpoint=assembly.checkpoint_checksum(run))
    return run


def _tell(run, *, checkpoint, checksum=None, values=None, samples=20, **others):
    facts = {"settings": {"checkpoint": checkpoint, "samples": samples}, "calibration": values}
    facts |= others
    if checksum:
        facts["settings"]["calibration"] = checksum
    (run.prediction("s") / "prediction.json").write_text(json.dumps(facts))


def test_a_prediction_older_than_the_checkpoint_is_refused(predicted):
    assert comparison.load(predicted, "s").calibration is None
    predicted.best.write_bytes(b"trained on")
    with pytest.raises(errors.UserError, match=r"older than the checkpoint; run 'predict' again"):
        comparison.load(predicted, "s")


def test_a_prediction_that_does_not_tell_its_checkpoint_is_refused(predicted):
    path = predicted.prediction("s") / "prediction.json"
    for content in ("{}", "[]", "{", '{"settings": "x"}', '{"bytes": 7}', '{"calibration": 7}'):
        path.write_text(content)
        with pytest.raises(errors.UserError, match=r"prediction\.json: .*; run 'predict' again"):
            comparison.load(predicted, "s")
    path.unlink()
    with pytest.raises(errors.UserError, match=r"prediction.json: .*run 'predict' first"):
        comparison.load(predicted, "s")


def test_a_prediction_older_than_the_calibration_is_refused(predicted):
    values = intervals.Calibration(2.0, 100.0, {"soft": {"90": 5.0}}, {})
    checkpoint = assembly.checkpoint_checksum(predicted)
    calibration.save(predicted, values, {"checkpoint": checkpoint, "samples": 20})
    with pytest.raises(errors.UserError, match=r"older than the calibration; run 'predict' again"):
        comparison.load(predicted, "s")
    _tell(predicted, checkpoint=checkpoint, samples=1)  # one draw was not calibrated, and need not
    assert comparison.load(predicted, "s").calibration is None
    checksum = calibration.current(predicted).checksum
    _tell(predicted, checkpoint=checkpoint, checksum=checksum, values=values.as_dict())
    assert comparison.load(predicted, "s").calibration == values
    predicted.calibration.unlink()
    with pytest.raises(errors.UserError, match="older than the calibration"):
        comparison.load(predicted, "s")


def test_a_prediction_of_other_images_is_refused(tmp_path):
    attributes = {"inputs": {"mr": "now"}}
    run = _prepare(tmp_path, GRID, GRID, _ramp(GRID), **attributes)
    _write(run, geometry.to_image(np.zeros(GRID.size, np.int16), GRID))
    _tell(run, checkpoint=None, inputs={"mr": "now"})
    before = scored.made(run, ["s"])
    comparison.load(run, "s")
    for others in ({"inputs": {"mr": "before"}}, {}):
        _tell(run, checkpoint=None, **others)
        with pytest.raises(errors.UserError, match=r"prediction\.json: made of other images than"):
            comparison.load(run, "s")
    _tell(run, checkpoint=None, inputs={"mr": "now"})
    assert scored.made(run, ["s"]) == before
    path = run.volume("s", "mr")
    shutil.rmtree(path)
    attributes = {**GRID.as_dict(), "source": GRID.as_dict(), "inputs": {"mr": "later"}}
    store.write_pyramid(path, _ramp(GRID), fill=0.0, attributes=attributes)
    assert scored.made(run, ["s"]) != before  # so that the scores are refused as well
    with pytest.raises(errors.UserError, match="run 'predict' again"):
        comparison.load(run, "s")


def test_a_prediction_of_another_preparation_of_the_same_images_is_refused(tmp_path):
    """Of another DICOM series in their folder, or by other landmarks."""
    made = {"inputs": {"mr": "now"}, "recipe": {"series": "t1"}}
    run = _prepare(tmp_path, GRID, GRID, _ramp(GRID), **made)
    _write(run, geometry.to_image(np.zeros(GRID.size, np.int16), GRID))
    _tell(run, checkpoint=None, **outputs.made_of(made))
    comparison.load(run, "s")
    _tell(run, checkpoint=None, **outputs.made_of({**made, "recipe": {"series": "t2"}}))
    with pytest.raises(errors.UserError, match=r"made of other images than are .*, or otherwise"):
        comparison.load(run, "s")


def test_scores_of_a_copy_without_volumes_are_still_of_it(tmp_path):
    run = _prepare(tmp_path, GRID, GRID, _ramp(GRID), inputs={"mr": "now"})
    _tell(run, checkpoint=None, inputs={"mr": "now"})
    run.scores_json.write_text(json.dumps({"made": scored.made(run, ["s"])}))
    shutil.rmtree(run.volumes)
    assert scored.refuse_stale(run) == {"s"}


@pytest.mark.parametrize("change", [pathlib.Path.unlink, lambda path: path.write_bytes(b"cut")])
def test_a_prediction_that_has_lost_a_map_is_refused(predicted, change):
    folder = predicted.prediction("s")
    _write(predicted, geometry.to_image(np.ones(GRID.size, np.float32), GRID), "total_sd_hu.nii.gz")
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.nii.gz")}
    (folder / ".DS_Store").touch()  # what others leave there is no harm
    _tell(predicted, checkpoint=assembly.checkpoint_checksum(predicted), bytes=sizes)
    comparison.load(predicted, "s")
    change(folder / "total_sd_hu.nii.gz")
    lost = r"total_sd_hu\.nii\.gz is not there as it was written; run 'predict' again"
    with pytest.raises(errors.UserError, match=lost):
        comparison.load(predicted, "s")


def test_what_was_fitted_to_one_draw_is_not_for_several_nor_the_reverse(predicted):
    values = intervals.Calibration(2.0, 100.0, {"soft": {"90": 5.0}}, {})
    for fitted, asked in ((1, 20), (20, 1), (1, 1), (20, 5)):
        made = {"checkpoint": assembly.checkpoint_checksum(predicted), "samples": fitted}
        calibration.save(predicted, values, made)
        kept = calibration.current(predicted, samples=asked)
        assert (kept is not None) == ((fitted == 1) == (asked == 1))
