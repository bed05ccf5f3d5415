"""Reads a NiftyNet (TensorFlow 1) checkpoint as a dictionary of arrays."""

from __future__ import annotations

import pathlib

import numpy as np

from multires_tf.ground import errors


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads all variables of a checkpoint.

    Args:
        path: the checkpoint's prefix (`models/model.ckpt-20000`) or its `.index` file.

    Returns:
        {variable name: array}, optimiser slots and counters included.

    Raises:
        errors.UserError: no checkpoint is there, or it is incomplete.
    """
    prefix = str(path).removesuffix(".index")
    if not pathlib.Path(f"{prefix}.index").is_file():
        raise errors.UserError(
            f"{prefix}.index: no such file; give a checkpoint's prefix, such as model.ckpt-20000"
        )
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise errors.UserError(
            f"{prefix}: not a complete TensorFlow checkpoint ({reason}); copy its .index and .data "
            "files again"
        ) from error
