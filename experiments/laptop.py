"""Which choices let a laptop-size network find bone in ten minutes?

Question: at some thousand steps on two cores, absolute error leaves all bone unlearnt, although
lookup tables show that the phantoms are not noise. What is in the way: the norm, the margins of the
windows, the weighting of the likelihood, the dropout?
Source: ours; Seitzer et al. 2022 for the weighting (beta-NLL).
Command: python -m experiments.laptop --data runs/phantom --set register=none
Cost: seven arms of the laptop overlay cut to 1500 steps, about 5 minutes each on 2 cores.
Expected: every departure from the overlay is behind it; wide margins and dropout by the most.
"""

from __future__ import annotations

import pathlib

from multires_tf.studies import exhibits, study

ROOT = pathlib.Path("runs/laptop")
BUDGET = ("train.steps=1500", "train.validate_every=1500")
CHANGES = (
    ("overlay", ()),
    ("renorm", ("network.norm.kind=renorm",)),
    ("wide_margins", ("network.window=[32, 32, 32]",)),
    ("beta_0", ("loss.beta=0.0",)),
    ("beta_1", ("loss.beta=1.0",)),
    ("keep_0.9", ("network.dropout.keep=0.9",)),
    ("adam_beta2_0.999", ("train.adam_beta2=0.999",)),
)
ARMS = [study.Arm(name, "multires_unc", ("laptop",), (*BUDGET, *sets)) for name, sets in CHANGES]
VERBS = ("prepare", "train", "predict", "evaluate")
COLUMNS = ("val_mae_hu", "mae_hu", "mae_bone_hu", "mae_soft_hu", "training_seconds")

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, root=ROOT, exhibits=[exhibits.summary(COLUMNS), exhibits.page])
