"""What a Keras backend's training needs to know of the machine."""

from __future__ import annotations

import resource

import keras

_GIB_PER_KIB = 1 / 1024**2


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


def peak_gib() -> float:
    """Memory taken at the peak: of the accelerator, if there is one, else of the process."""
    taken = None
    match keras.backend.backend():
        case "jax":
            import jax

            taken = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        case "torch":
            import torch

            if torch.cuda.is_available():
                taken = torch.cuda.max_memory_allocated()
        case "tensorflow":
            import tensorflow as tf

            if tf.config.list_physical_devices("GPU"):
                taken = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return process_peak_gib() if taken is None else taken / 1024**3


def process_peak_gib() -> float:
    """Memory of this process at its peak; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _GIB_PER_KIB
