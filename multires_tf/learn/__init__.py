"""Wing of time: the training step, checkpoints, history and TensorBoard."""
