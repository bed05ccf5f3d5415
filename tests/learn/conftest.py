"""The cohort that trainings through the command line start from."""

from __future__ import annotations

import pathlib

import pytest
import training_runs


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> pathlib.Path:
    """Four subjects, two of them for training."""
    folder = tmp_path_factory.mktemp("cohort") / "phantoms"
    done = training_runs.run(
        "phantom", "--out", folder, "--subjects", 4, "--seed", 1, "--spacing_mm", 14
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder
