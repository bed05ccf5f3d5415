"""Does training in half precision cost accuracy?

Question: 300 steps on phantoms in each of the three precisions: is everything finite, and does the
final validation MAE lie within the spread of three seeds in float32?
Source: ours; Micikevicius et al. 2018 for mixed precision and loss scaling.
Command: python -m experiments.precision --data runs/phantom --set register=none
Cost: five arms of the laptop overlay cut to 300 steps, about 2 minutes each on 2 cores in float32;
a CPU without half-precision arithmetic takes longer over mixed_float16.
Expected: both half precisions inside the spread of the seeds.
"""

from __future__ import annotations

import pathlib

from multires_tf import exhibits, study

ROOT = pathlib.Path("runs/precision")
BUDGET = ("train.steps=300", "train.validate_every=300")
CHANGES = (
    ("float32_seed0", ()),
    ("float32_seed1", ("seed=1",)),
    ("float32_seed2", ("seed=2",)),
    ("mixed_bfloat16", ("train.precision=mixed_bfloat16",)),
    ("mixed_float16", ("train.precision=mixed_float16",)),
)
ARMS = [study.Arm(name, "multires_unc", ("laptop",), (*BUDGET, *sets)) for name, sets in CHANGES]
VERBS = ("prepare", "train")
COLUMNS = ("val_mae_hu", "best_step", "training_seconds")

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, root=ROOT, exhibits=[exhibits.summary(COLUMNS), exhibits.page])
