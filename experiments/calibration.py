"""Can the uncertainty be trusted?

Question: on ten test subjects at least, how many of the voxels lie inside the 90 % interval, in
the body, by tissue and around the contour, before and after calibration on the validation subjects;
how sure is that (bootstrap over subjects)? Gaussian intervals of the total sd, and split-conformal
ones.
Source: ours; Laves et al. 2021 (scaling), Lei et al. 2018 (split conformal).
Command: python -m experiments.calibration --show
Cost: seconds once MultiRes_unc of table1 has run; without --show, and with table1's own flags, it
runs what is missing of it, a quarter of an hour on 2 cores.
Expected: after calibration 85 to 95 % in the body, 80 % and more in bone.
"""

from __future__ import annotations

from experiments import table1
from multires_tf.studies import exhibits, study

ARMS = [arm for arm in table1.ARMS if arm.name == "multires_unc"]
VERBS = table1.VERBS

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, root=table1.ROOT, exhibits=[exhibits.coverage, exhibits.page])
