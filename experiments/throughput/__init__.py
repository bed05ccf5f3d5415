"""How fast are a branch, the whole network, its input, a prediction and preparing?

Question: one HighRes3DNet branch beside its peer, MONAI's HighResNet at the best of its precisions
and memory layouts, in a training step and in a forward pass (`branch`); time, memory and shares of
the parts in a training step of a whole network (`network`); windows that the store and tf.data
deliver a second (`input`); twenty draws of a whole body beside NiftyNet's way and three of the
peer's networks (`predict`); the memory that a whole body takes (`memory`); subjects that `prepare`
does in an hour (`prepare`).
Source: ours; Kläser et al. 2020 for the sizes; MONAI 1.6 (the extra `bench`).
Command: python -m experiments.throughput branch|network|input|predict|memory|prepare [--help];
KERAS_BACKEND=jax or torch runs the first two on whatever accelerator that finds, MONAI on the same
one with --peer.
Cost: at 80 voxels on 2 cores 3 minutes for a round of `branch`, 2 to 4 minutes and up to 16 GB for
`network`, half a minute for `input`, 10 minutes and 8 GB for `predict`, half an hour for `memory`,
some minutes and up to 10 GB a subject for `prepare`. Only ratios within one run compare; other work
disturbs them.
Expected: a step twice and a forward pass 1.5 times as fast as the peer's at equal precision; the
network below 16 GB; 60 triplets a second with flips and 15 with rotation and scaling; a body at
least 4 times as fast as NiftyNet's way at equal precision and 8 times as fast as the peer's at its
best; a body of 512 x 512 x 531 below 6 GB with any number of draws; memory of `prepare` within what
it reckons with (data/preparation.py, _BYTES_A_VOXEL).
"""
