"""What a Keras backend's training needs to know of the machine."""

from __future__ import annotations

import keras


def device() -> str:
    """Name of the device that the running Keras backend computes on."""
    match keras.backend.backend():
        case "jax":
            import jax

            return jax.devices()[0].device_kind
        case "torch":
            import torch

            return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        case _:
            import tensorflow as tf

            gpus = tf.config.list_physical_devices("GPU")
            details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
            return details.get("device_name", "cpu")


def compiled() -> bool:
    """Whether Keras compiles steps: not TensorFlow's on a CPU, five times slower, nor Torch's."""
    if keras.backend.backend() == "tensorflow":
        return device() != "cpu"
    return keras.backend.backend() == "jax"
