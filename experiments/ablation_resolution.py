"""What does each part of MultiRes_unc bring?

Question: one, two or three resolutions; deep supervision; where channels drop out; the likelihood
weighted (beta 0.5) or not; tiles of the training's size or larger; 1 to 50 draws.
Source: ours; Kläser et al. 2020 leave all of them open but the three resolutions and 20 draws.
Command: python -m experiments.ablation_resolution --data runs/phantom --set register=none
Cost: seven arms of the laptop overlay, about a quarter of an hour each on 2 cores, and six that
only predict, minutes each. Ten draws a subject, where the arm asks for no other number.
Expected: context (three resolutions) brings the most; larger tiles and more than 10 draws hardly
change the error, one draw costs some and has no epistemic part.
"""

from __future__ import annotations

import pathlib

from multires_tf.studies import exhibits, study

ROOT = pathlib.Path("runs/ablation_resolution")
TRAINED = (
    ("three_resolutions", ()),
    ("two_resolutions", ("network.multires.scales=[1, 2]",)),
    ("one_resolution", ("network.multires.scales=[1]",)),
    ("no_deep_supervision", ("loss.deep_supervision=0.0",)),
    ("no_dropout", ("network.dropout.place=none",)),
    ("late_dropout", ("network.dropout.place=late",)),
    ("plain_likelihood", ("loss.beta=0.0",)),
)
DRAWS = ("--samples", "10")
PREDICTED = (
    ("tile_32", ("--tile", "32", *DRAWS)),
    ("tile_96", ("--tile", "96", *DRAWS)),
    *((f"draws_{n}", ("--samples", str(n))) for n in (1, 5, 20, 50)),
)
ARMS = [
    *(study.Arm(name, "multires_unc", ("laptop",), sets, predict=DRAWS) for name, sets in TRAINED),
    *(
        study.Arm(name, "multires_unc", ("laptop",), trained_as=TRAINED[0][0], predict=flags)
        for name, flags in PREDICTED
    ),
]
VERBS = ("prepare", "train", "predict", "evaluate")
COLUMNS = (
    *("val_mae_hu", "mae_hu", "mae_bone_hu", "bone_found", "zms", "coverage_90", "ause"),
    "training_seconds",
)

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, root=ROOT, exhibits=[exhibits.summary(COLUMNS), exhibits.page])
