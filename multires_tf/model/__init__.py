"""Wing of tensors: layers, networks, losses and draws, for any Keras 3 backend."""
