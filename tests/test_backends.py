"""A run that was trained and is predicted where Keras runs on another backend than TensorFlow."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk

ROOT = pathlib.Path(__file__).parent.parent
TINY = ["--config", "configs/multires_unc.yaml", "--overlay", "configs/overlays/tiny.yaml"]
TRAIN = """import pathlib
import sys
from experiments.paper_scale import training
from multires_tf.ground import config, runfolder
folder = runfolder.RunFolder(pathlib.Path(sys.argv[1]))
training.run(folder, config.parse(folder.config))
"""
pytestmark = pytest.mark.slow


def _start(backend, *words):
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)


def _verb(backend, *words):
    done = _start(backend, "-m", "multires_tf", *words)
    assert done.returncode == 0, done.stderr[-2000:]


def _maps(folder):
    return {
        path.name: sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.float32)
        for path in sorted(folder.rglob("*.nii.gz"))
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose network was trained and calibrated under JAX."""
    pytest.importorskip("jax", reason="the JAX backend comes with the dev extra")
    root = tmp_path_factory.mktemp("backends")
    phantoms, run = root / "phantoms", root / "run"
    _verb("tensorflow", "phantom", "--out", phantoms, "--subjects", 3, "--spacing_mm", 14)
    _verb("jax", "prepare", "--workdir", run, *TINY, "--data", phantoms)
    done = _start("jax", "-c", TRAIN, run)
    assert done.returncode == 0, done.stderr[-2000:]
    _verb("jax", "calibrate", "--workdir", run, "--samples", 2)
    return run


def _predicted(trained, backend):
    out = trained.parent / backend
    where = ["--input", trained.parent / "phantoms" / "phantom000" / "mr.nii.gz", "--output", out]
    _verb(backend, "predict", "--workdir", trained, *where, "--samples", 3)
    return _maps(out)


@pytest.fixture(scope="module")
def by_tensorflow(trained):
    """What TensorFlow predicts of it."""
    return _predicted(trained, "tensorflow")


def test_others_predict_what_tensorflow_does(trained, by_tensorflow, backend):
    found = _predicted(trained, backend)
    assert set(found) == set(by_tensorflow) >= {"ct.nii.gz", "epistemic_sd_hu.nii.gz"}
    for name, made in found.items():
        assert np.ptp(made) > 1
        # Whole HU: a rounding may fall to the other side.
        assert np.abs(made - by_tensorflow[name]).max() <= 1, name


def test_its_history_and_provenance_are_those_of_a_run(trained):
    assert (trained / "history.csv").read_text().splitlines()[0].startswith("step,loss,val_mae_hu")
    facts = json.loads((trained / "provenance.json").read_text())
    assert facts["trainable_parameters"] > 0


@pytest.mark.parametrize(
    ("backend", "words", "what"),
    [
        ("jax", ("train", *TINY), "train"),
        ("jax", ("export",), "export"),
        ("jax", ("predict", "--tile", "auto"), "--tile auto"),
        ("torch", ("train", *TINY), "train"),
    ],
    indirect=["backend"],
)
def test_what_is_tensorflow_s_alone_says_so(trained, backend, words, what):
    verb, *others = words
    before = sorted(trained.rglob("*"))
    done = _start(backend, "-m", "multires_tf", verb, "--workdir", trained, *others)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert what in line
    assert "set KERAS_BACKEND=tensorflow" in line
    assert sorted(trained.rglob("*")) == before
