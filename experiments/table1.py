"""Table 1: are the multi-resolution networks ahead of the U-Nets?

Question: U-Net 2D, U-Net 3D, MultiRes and MultiRes_unc on the same split: MAE and MSE over the
body, mean and sd over the test subjects, paired t-test and Wilcoxon test of each pair. The budget
is equal in voxels seen: 3500 steps of a window whose outputs are 32 x 32 x 32 voxels (in 2-D, 32
slices).
Source: Kläser et al. 2020, Table 1: 112.94, 99.87, 62.42 and 80.14 HU.
Command: python -m multires_tf phantom --out runs/phantom32 --subjects 32 --seed 0
    cut -d, -f1-3 runs/phantom32/cohort.csv > runs/phantom32/unsplit.csv
    python -m experiments.table1 --data runs/phantom32/unsplit.csv --set register=none
    --set "cohort.split=[17, 5, 10]" (these two lines in one); --folds K for few and real pairs
Cost: on 2 cores alone about 1 minute for the phantoms and 4 times a quarter of an hour; figure2,
figure3 and calibration then find everything in runs/table1.
Expected: both MultiRes ahead of both U-Nets, MultiRes ahead of MultiRes_unc, as in the paper.
"""

from __future__ import annotations

import pathlib

from multires_tf.studies import exhibits, study

ROOT = pathlib.Path("runs/table1")
NAMES = ("unet2d", "unet3d", "multires", "multires_unc")
ARMS = [study.Arm(name, name, ("laptop",)) for name in NAMES]
VERBS = ("prepare", "train", "calibrate", "predict", "evaluate", "report")

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, root=ROOT, exhibits=[exhibits.table1, exhibits.page])
