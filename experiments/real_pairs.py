"""Does the network beat a lookup table on real pairs, and after how long?

Question: on limbs as scanners make them, is MultiRes_unc ahead of the best lookup table from MR
intensity to HU, over the body and in bone, after the laptop budget and after a longer one?
Source: ours; pairs of the collection Soft-tissue-Sarcoma (Vallieres et al. 2015).
Command: python -m experiments.real_pairs --data <cohort of MR and CT pairs> --root runs/real_pairs
    and with --folds 4, if they are about a dozen: each pair is tested once then
Cost: on 2 cores a quarter of an hour for the laptop budget, an hour for the longer run, of each
fold; what was cut short continues.
Expected: both ahead in both, once the pairs are registered (logbook: before that, only in bone).
"""

from __future__ import annotations

import pathlib

from multires_tf.studies import exhibits, study

ROOT = pathlib.Path("runs/real_pairs")
# Half the voxels in plane, so that a window sees twice as far, and limbs have no up or down.
LONG = (
    "spacing_mm=[3.27, 1.953, 1.953]",
    "sampling.flip_axes=[x, y, z]",
    "train.steps=12000",
    "train.validate_every=2000",
)
BUDGETS = (("laptop", ()), ("long", LONG))
ARMS = [study.Arm(name, "multires_unc", ("laptop",), sets) for name, sets in BUDGETS]
VERBS = ("prepare", "train", "predict", "evaluate", "report")
COLUMNS = ("mae_hu", "baseline_mae_hu", "mae_bone_hu", "baseline_mae_bone_hu", "training_seconds")

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, root=ROOT, exhibits=[exhibits.summary(COLUMNS), exhibits.page])
