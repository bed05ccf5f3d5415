"""Table 1 at the paper's scale, in minutes, on an accelerator that need not have TensorFlow.

Question: do the multi-resolution networks stay ahead of the U-Nets at their published widths and
windows (80 x 80 x 80 seeing 320 x 320 x 320; 3-D U-Net 160 x 160 x 160; 2-D 224 x 224), as far as
they get in so few steps? The budget is equal in steps: a step shows MultiRes 512 000 voxels, the
2-D U-Net 501 760 (ten slices), the 3-D U-Net eight times as many, all that its window holds.
Source: Kläser et al. 2020, Table 1 and sections 2 and 3.2.
Command: python -m multires_tf phantom --out runs/phantom3mm --subjects 20 --seed 0 --spacing_mm 3
    KERAS_BACKEND=jax python -m experiments.paper_scale --data runs/phantom3mm
Cost: see the logbook; steps are `--set train.steps=N`. All arms train at the same time, so that one
compiles while another computes.
Expected: both MultiRes ahead of both U-Nets. So few steps are a thousandth of the paper's: the
order may differ, and says little of where it would end.
"""
