"""Calibration of a network whose every error is known; no TensorFlow is needed."""

import json

import numpy as np
import pytest

from multires_tf.ground import config, errors, runtime
from multires_tf.joints import assembly, calibration, synthesis
from multires_tf.learn import checkpoints
from multires_tf.steps import calibrate

# Said everywhere: 50 HU, with sd 30 and 40 HU. The validation subject has 20 HU, in a ninth 400.
PCT_HU, SDS_HU = 50.0, {"aleatoric": 30.0, "epistemic": 40.0}
ZMS = (8 * (30 / 50) ** 2 + (350 / 50) ** 2) / 9


@pytest.fixture
def trained(known_run, monkeypatch):
    """The known run with a checkpoint, and how often its network was asked."""
    known_run.folder.checkpoints.mkdir()
    checkpoints.save(known_run.folder.best, [], {"step": 1})
    settings = config.parse(known_run.folder.config)
    calls = []

    def compute(inputs):
        calls.append(1)
        shape = inputs[0][0, ..., 0].shape
        maps = {name: np.full(shape, (sd / 4095) ** 2) for name, sd in SDS_HU.items()}
        return {"ct": np.full(shape, (PCT_HU + 1024) / 4095), **maps}

    monkeypatch.setattr(runtime, "start", lambda **_: None)
    monkeypatch.setattr(assembly, "trained_networks", lambda _: (settings, None, {}))
    monkeypatch.setattr(synthesis, "monte_carlo", lambda *_, **__: compute)
    return known_run.folder, calls


def test_scale_and_half_widths_by_hand(trained):
    folder, _ = trained
    lines = calibrate.run(workdir=folder.root)
    found = calibration.current(folder).values
    assert found.scale == pytest.approx(np.sqrt(ZMS), rel=1e-5)
    # All is predicted soft; eight ninths err by 30 HU, the rest by 350.
    assert list(found.half_widths_hu) == ["soft"]
    expected = {"50": 30, "80": 30, "90": 350, "95": 350}
    assert found.half_widths_hu["soft"] == pytest.approx(expected, abs=1)
    assert found.half_widths_sd["soft"]["90"] == pytest.approx(7 / found.scale, rel=0.003)
    assert lines[0] == f"Standard deviations are multiplied by {np.sqrt(ZMS):.3f}."
    assert lines[1].endswith("deviation is then above 240 HU.") and "soft ±35" in lines[2]


def test_it_is_fitted_to_what_is_delivered(trained, monkeypatch):
    """Whole HU within the window: -1060.4 HU is delivered as -1024."""
    folder, _ = trained

    def compute(inputs):
        shape = inputs[0][0, ..., 0].shape
        return {"ct": np.full(shape, (1024 - 1060.4) / 4095, np.float32)}

    monkeypatch.setattr(synthesis, "monte_carlo", lambda *_, **__: compute)
    calibrate.run(workdir=folder.root)
    widths = calibration.current(folder).values.half_widths_hu
    assert widths["air"]["80"] == pytest.approx(20 + 1024, abs=1)


def test_it_is_fitted_once_a_checkpoint(trained):
    folder, calls = trained
    calibrate.run(workdir=folder.root)
    kept, once = folder.calibration.read_bytes(), len(calls)
    calibrate.run(workdir=folder.root)
    assert len(calls) == once and folder.calibration.read_bytes() == kept
    calibrate.run(workdir=folder.root, samples=5)
    assert len(calls) == 2 * once
    checkpoints.save(folder.best, [], {"step": 2})
    with pytest.raises(errors.UserError, match=r"another checkpoint; run 'calibrate' again"):
        calibration.current(folder)
    calibrate.run(workdir=folder.root)
    assert len(calls) == 3 * once
    assert calibration.current(folder).values.scale == pytest.approx(np.sqrt(ZMS), rel=1e-5)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"made": {}, "scale": 1}'])
def test_a_damaged_file_is_refused_and_replaced(trained, content):
    folder, _ = trained
    folder.calibration.write_text(content)
    with pytest.raises(
        errors.UserError, match=r"calibration.json: damaged .*run 'calibrate' again"
    ):
        calibration.current(folder)
    calibrate.run(workdir=folder.root)
    assert calibration.current(folder).values.scale is not None


def test_what_it_depends_on_is_written_down(trained):
    folder, _ = trained
    calibrate.run(workdir=folder.root, samples=7, seed=3)
    made = json.loads(folder.calibration.read_text())["made"]
    assert (made["samples"], made["seed"], made["subjects"]) == (7, 3, 1)
    assert made["checkpoint"] == assembly.checkpoint_checksum(folder)


def test_without_a_checkpoint_it_names_train(known_run):
    with pytest.raises(errors.UserError, match=r"best.npz: not there yet; run 'train' first"):
        calibrate.run(workdir=known_run.folder.root)


def test_without_a_validation_subject(trained):
    folder, _ = trained
    folder.cohort.write_text(folder.cohort.read_text().replace("validation", "none"))
    with pytest.raises(errors.UserError, match="no subject in split 'validation'"):
        calibrate.run(workdir=folder.root)
    assert not folder.calibration.exists()
