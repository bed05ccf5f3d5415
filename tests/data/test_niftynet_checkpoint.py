"""Reading TensorFlow-1 checkpoints."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from multires_tf.data import niftynet_checkpoint
from multires_tf.ground import errors

_KERNEL = "HighRes3DNet/conv_0_bn_prelu/conv_/w"


@pytest.fixture
def prefix(tmp_path) -> pathlib.Path:
    """Writes a checkpoint as TensorFlow 1 does."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        values = np.arange(27 * 16, dtype=np.float32).reshape(3, 3, 3, 1, 16)
        tf1.get_variable(_KERNEL, initializer=tf1.constant(values), use_resource=False)
        tf1.get_variable("global_step", initializer=7, use_resource=False)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"), global_step=7)
    return tmp_path / "model.ckpt-7"


@pytest.mark.parametrize("suffix", ["", ".index"])
def test_names_and_values(prefix, suffix):
    arrays = niftynet_checkpoint.read(f"{prefix}{suffix}")
    assert set(arrays) == {_KERNEL, "global_step"}
    assert arrays[_KERNEL][2, 2, 2, 0, 15] == 27 * 16 - 1
    assert arrays["global_step"] == 7


def test_missing(tmp_path):
    with pytest.raises(errors.UserError, match=r"model\.ckpt-1\.index: no such file"):
        niftynet_checkpoint.read(tmp_path / "model.ckpt-1")


@pytest.mark.parametrize("name", ["model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001"])
def test_cut_short(prefix, name):
    whole = (prefix.parent / name).read_bytes()
    (prefix.parent / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(errors.UserError, match=r"model\.ckpt-7: not a complete"):
        niftynet_checkpoint.read(prefix)
    (prefix.parent / name).unlink()
    with pytest.raises(errors.UserError):
        niftynet_checkpoint.read(prefix)
