"""Table 1 at the paper's scale, cut short, on an accelerator that need not have TensorFlow.

Question: do the multi-resolution networks stay ahead of the U-Nets at their published widths and
windows (80 x 80 x 80 seeing 320 x 320 x 320; 3-D U-Net 160 x 160 x 160; 2-D 224 x 224), as far as
they get in so few steps? The budget is equal in steps: a step shows MultiRes 512 000 voxels, the
2-D U-Net 501 760 (ten slices), the 3-D U-Net eight times as many, all that its window holds.
Source: Kläser et al. 2020, Table 1 and sections 2 and 3.2.
Command: python -m multires_tf phantom --out runs/phantom3mm --subjects 20 --seed 0 --spacing_mm 3
    cut -d, -f1-3 runs/phantom3mm/cohort.csv > runs/phantom3mm/unsplit.csv
    KERAS_BACKEND=jax python -m experiments.paper_scale --data runs/phantom3mm/unsplit.csv
Cost: on one H200 twelve minutes with `--set train.steps=550`, the phantoms included: six of them
    training (half of it compiling the 3-D U-Net), four predicting and scoring. All arms train at
    the same time, so that one compiles while another computes: under TensorFlow on processors that
    is too much at once.
Expected: both MultiRes ahead of both U-Nets in the end. So few steps (base.yaml has 100 000) do not
    get there: after 550 the 2-D U-Net leads (experiments/README.md).
"""
