"""Which normalisation, and which statistics at inference?

Question: the original normalises over the batch at batch 1, and which statistics its inference used
is not published. Tried on held-out real pairs before this project, a plain HighRes3DNet scored 367
HU with moving statistics and 140 with the window's own, 90 with group norm. And for MultiRes?
Source: Kläser et al. 2020, section 2.3; NiftyNet's batch norm; Wu and He 2018 (group norm).
Command: python -m experiments.normalisation --data <cohort> [--set register=none, for phantoms]
Cost: seven arms of the laptop overlay, about 8 minutes each on 2 cores.
Expected: group or re-estimated batch norm ahead of plain moving statistics.
"""

from __future__ import annotations

import pathlib

from multires_tf.studies import exhibits, study

ROOT = pathlib.Path("runs/normalisation")
CHANGES = (
    ("none", ("network.norm.kind=none",)),
    ("renorm", ("network.norm.kind=renorm",)),
    ("batch_reestimated", ("network.norm.kind=batch", "train.statistics_windows=64")),
    ("batch_moving", ("network.norm.kind=batch", "train.statistics_windows=0")),
    ("batch_local", ("network.norm.kind=batch", "network.norm.statistics=local")),
    ("group", ("network.norm.kind=group", "network.norm.groups=4")),
    ("instance", ("network.norm.kind=instance",)),
)
ARMS = [study.Arm(name, "multires", ("laptop",), sets) for name, sets in CHANGES]
VERBS = ("prepare", "train")
COLUMNS = ("val_mae_hu", "best_step", "training_seconds")

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, root=ROOT, exhibits=[exhibits.summary(COLUMNS), exhibits.page])
