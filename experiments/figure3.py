"""Figure 3: does the error rise with either uncertainty?

Question: joint histograms (log10 counts) of the absolute error and the epistemic and the
heteroscedastic (aleatoric) standard deviation over all test subjects, with the mean error at each;
and the maps of both beside the absolute error, 0 to 800 HU.
Source: Kläser et al. 2020, Figure 3.
Command: python -m experiments.figure3 --show
Cost: a minute once MultiRes_unc of table1 has run; without --show, and with table1's own flags, it
runs what is missing of it.
Expected: the mean error rises with both; the heteroscedastic one is the larger at borders and gas.
"""

from __future__ import annotations

from experiments import table1
from multires_tf.studies import exhibits, study

ARMS = [arm for arm in table1.ARMS if arm.name == "multires_unc"]
VERBS = table1.VERBS

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, root=table1.ROOT, exhibits=[exhibits.figure3, exhibits.page])
