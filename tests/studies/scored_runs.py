"""Run folders of scored arms, with no more in them than the exhibits of a study need."""

import csv
import json
import pathlib
import shutil

import numpy as np

from multires_tf.ground import runfolder
from multires_tf.joints import comparison
from multires_tf.joints import scored as scored_

BASE = pathlib.Path(__file__).parents[2] / "configs" / "base.yaml"


def table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def scored(root, mae_hu):
    """A run folder with scores of these subjects."""
    run = runfolder.RunFolder(root)
    root.mkdir(parents=True)
    rows = [
        {"subject": s, "split": "test", "mae_hu": v, "mse_hu2": v * v, "mae_air_hu": ""}
        for s, v in mae_hu.items()
    ]
    table(run.scores_csv, rows)
    run.scores_json.write_text(json.dumps({"made": scored_.made(run, list(mae_hu))}))
    shutil.copy(BASE, run.config)
    run.provenance.write_text(json.dumps({"trainable_parameters": 2_538_700}))
    return run


def comparison_of(run, subject):
    """Two voxels' worth of anatomy; arm net_a is 50 HU off, others 10."""
    shape = (6, 5, 4)
    ct_hu = np.zeros(shape, np.float32)
    ct_hu[2, 3] = 900.0
    full = np.ones(shape, bool)
    offset = 50.0 if run.root.name == "net_a" else 10.0
    sd_hu = {"aleatoric": np.full(shape, 60.0), "epistemic": np.full(shape, 5.0)}
    sd_hu["total"] = np.hypot(*sd_hu.values())
    return comparison.Comparison(
        subject=subject,
        spacing_mm=(2.0, 2.0, 2.0),
        mr=np.full(shape, 0.5, np.float32),
        ct_hu=ct_hu,
        pct_hu=ct_hu + offset,
        body=full,
        field=full,
        sd_hu=sd_hu,
        calibration=None,
    )
