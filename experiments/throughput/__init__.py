"""How fast are a branch, the whole network and the input, and what bounds them?

Question: one HighRes3DNet branch beside its peer, MONAI's HighResNet at the best of its precisions
and memory layouts, in a training step and in a forward pass (`branch`); time, memory and shares of
the parts in a training step of a whole network (`network`); windows that the store and tf.data
deliver a second (`input`).
Source: ours; Kläser et al. 2020 for the sizes; MONAI 1.6 (the extra `bench`).
Command: python -m experiments.throughput branch|network|input [--help]; KERAS_BACKEND=jax or torch
runs the first two on whatever accelerator that backend finds, MONAI on the same one with --peer.
Cost: at 80 voxels on 2 cores 3 minutes for a round of `branch`, 2 to 4 minutes and up to 16 GB for
`network`, half a minute for `input`. Only ratios within one run compare; other work disturbs them.
Expected: a step twice and a forward pass 1.5 times as fast as the peer's at equal precision; the
network below 16 GB; 60 triplets a second with flips and 15 with rotation and scaling.
"""
