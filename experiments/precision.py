"""Does training in half precision cost accuracy?

Question: 300 steps on phantoms in each of the three precisions: is everything finite, and does the
final validation MAE lie within the spread of three seeds in float32? Each precision has the three
seeds, so that a shift can be told from the luck of one run.
Source: ours; Micikevicius et al. 2018 for mixed precision and loss scaling.
Command: python -m experiments.precision --data runs/phantom --set register=none
Cost: nine arms of the laptop overlay cut to 300 steps, about 1.5 minutes each on 2 cores.
Expected: both half precisions inside the spread of the seeds.
"""

from __future__ import annotations

import pathlib

from multires_tf.studies import exhibits, study

ROOT = pathlib.Path("runs/precision")
BUDGET = ("train.steps=300", "train.validate_every=300")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
ARMS = [
    study.Arm(
        f"{precision}_seed{seed}",
        "multires_unc",
        ("laptop",),
        (*BUDGET, f"train.precision={precision}", f"seed={seed}"),
    )
    for seed in range(3)
    for precision in PRECISIONS
]
VERBS = ("prepare", "train")
COLUMNS = ("val_mae_hu", "best_step", "training_seconds")

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, root=ROOT, exhibits=[exhibits.summary(COLUMNS), exhibits.page])
