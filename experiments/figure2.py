"""Figure 2: where do the arms err?

Question: MR, CT, the four synthetic CTs and below them their residuals, coronal and axial, the same
slice and window for all; of the test subject whose MAE is the median of MultiRes_unc.
Source: Kläser et al. 2020, Figure 2.
Command: python -m experiments.figure2 --show
Cost: seconds once the arms of table1 have run; without --show, and with table1's own flags, it runs
what is missing of them.
Expected: the U-Nets err in bone and at lungs and gas, MultiRes less, at their borders.
"""

from __future__ import annotations

from experiments import table1
from multires_tf.studies import exhibits, study

ARMS, VERBS = table1.ARMS, table1.VERBS

if __name__ == "__main__":
    study.main(ARMS, verbs=VERBS, root=table1.ROOT, exhibits=[exhibits.figure2, exhibits.page])
