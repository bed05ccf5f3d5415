"""A run goes on with the subjects and volumes that it began with, in their order."""

from __future__ import annotations

import json

import numpy as np
import pytest

from multires_tf.data import geometry, pipeline, store
from multires_tf.ground import errors, runfolder
from multires_tf.joints import trained_on

GRID = geometry.Geometry((8, 8, 8), (3.0, 2.0, 1.0), (0, 0, 0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


@pytest.fixture
def run(tmp_path):
    made = runfolder.RunFolder(tmp_path)
    attributes = {**GRID.as_dict(), "source": GRID.as_dict()}
    del attributes["size"]
    for number, subject in enumerate("abc"):
        for role in ("mr", "ct", "mask"):
            array = np.full(GRID.size, number, np.float32)
            store.write_pyramid(made.volume(subject, role), array, fill=0.0, attributes=attributes)
    return made


def _volumes(run, subjects):
    roles = ("mr", "ct", "mask")
    return [pipeline.Volume(name, *(run.volume(name, role) for role in roles)) for name in subjects]


def _facts(run, training, held_out, known):
    return trained_on.facts(run, _volumes(run, training), _volumes(run, held_out), known)


def test_the_same_subjects_go_on(run):
    began = _facts(run, "ab", "c", {})
    assert began["spacing_mm"] == [3.0, 2.0, 1.0]
    kept = json.loads(json.dumps(began))  # as a checkpoint keeps it
    assert _facts(run, "ab", "c", kept) == began


@pytest.mark.parametrize(("training", "held_out"), [("ac", "b"), ("ba", "c")])
def test_another_split_or_order_is_refused(run, training, held_out):
    known = _facts(run, "ab", "c", {})
    with pytest.raises(errors.UserError, match=r"cohort.csv: subjects have changed their split"):
        _facts(run, training, held_out, known)
