"""Experiments are documents that run: what they ask is said, arms are configs, verbs are known."""

from __future__ import annotations

import importlib
import pathlib
import pkgutil
import subprocess
import sys

import pytest

from multires_tf.ground import config

ROOT = pathlib.Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"
NAMES = sorted(p.stem for p in EXPERIMENTS.glob("*.py") if p.stem != "__init__")
# Packages have a command line of their own; this one's arms are like the others'.
ARMS = [*NAMES, "paper_scale.__main__"]


@pytest.fixture(params=ARMS)
def experiment(request, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module(f"experiments.{request.param}")


@pytest.mark.parametrize("name", [found.name for found in pkgutil.iter_modules([EXPERIMENTS])])
def test_an_experiment_says_what_it_asks_and_costs(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    experiment = importlib.import_module(f"experiments.{name}")
    for word in ("Question:", "Source:", "Command:", "Cost:", "Expected:"):
        assert word in experiment.__doc__, word


def test_its_arms_are_configs_with_names_of_their_own(experiment):
    assert len({arm.name for arm in experiment.ARMS}) == len(experiment.ARMS)
    for arm in experiment.ARMS:
        overlays = [ROOT / "configs" / "overlays" / f"{name}.yaml" for name in arm.overlays]
        config.load(ROOT / "configs" / f"{arm.experiment}.yaml", overlays, arm.sets)


def test_training_is_taken_from_an_earlier_arm_of_the_same_config(experiment):
    earlier = {}
    for arm in experiment.ARMS:
        if arm.trained_as:
            assert arm.flags == earlier[arm.trained_as].flags
        earlier[arm.name] = arm


def test_its_verbs_are_files(experiment):
    for verb in getattr(experiment, "VERBS", ()):
        assert (ROOT / "multires_tf" / "steps" / f"{verb}.py").exists(), verb


@pytest.mark.parametrize("name", NAMES)
def test_its_command_line_says_what_it_takes(name):
    command = [sys.executable, "-m", f"experiments.{name}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "--data" in done.stdout and "--folds" in done.stdout


def test_truth_that_is_not_there_is_told_before_anything_is_trained(tmp_path):
    folder = tmp_path / "scans" / "patient"
    folder.mkdir(parents=True)
    for role in ("mr", "ct"):
        (folder / f"{role}.nii.gz").touch()
    flags = ["--data", str(tmp_path / "scans"), "--root", str(tmp_path / "study")]
    command = [sys.executable, "-m", "experiments.uncertainty_phantom", *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and "labels.json: not there" in line and "'phantom'" in line
    assert not (tmp_path / "study").exists()
