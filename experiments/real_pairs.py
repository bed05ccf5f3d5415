"""Does the network beat a lookup table on real pairs, and after how long?

Question: on limbs as scanners make them, is MultiRes_unc ahead of the best lookup table from MR
intensity to HU, over the body and in bone, after the laptop budget and after a longer one?
Source: ours; pairs of the collection Soft-tissue-Sarcoma (Vallieres et al. 2015).
Command: python -m experiments.real_pairs --data <cohort of MR and CT pairs> --root runs/real_pairs
Cost: on 2 cores half an hour for the laptop budget, some two hours for the longer run; what was
cut short continues.
Expected: bone ahead after either; the body hardly before the pairs are registered (logbook).
"""

from __future__ import annotations

import pathlib

from multires_tf import study

BUDGETS = (
    ("laptop", ()),
    ("long", ("train.steps=40000", "train.validate_every=5000")),
)
ARMS = [study.Arm(name, "multires_unc", ("laptop",), sets) for name, sets in BUDGETS]
VERBS = ("prepare", "train", "predict", "evaluate", "report")
COLUMNS = ("mae_hu", "baseline_mae_hu", "mae_bone_hu", "baseline_mae_bone_hu", "training_seconds")

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, columns=COLUMNS, root=pathlib.Path("runs/real_pairs"))
