"""The names of devices: what they become, and which are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from multires_tf.ground import errors, runtime


@pytest.mark.parametrize(
    ("devices", "gpus", "names"),
    [
        ("auto", 0, ["/cpu:0"]),
        ("auto", 2, ["/gpu:0", "/gpu:1"]),
        ("cpu", 1, ["/cpu:0"]),
        ("gpu", 1, ["/gpu:0"]),
        ("gpu:1,gpu:0", 2, ["/gpu:1", "/gpu:0"]),
    ],
)
def test_names(devices, gpus, names):
    assert runtime._device_names(devices, gpus) == names


@pytest.mark.parametrize(
    ("devices", "gpus", "words"),
    [
        ("gpu:0", 0, "--devices gpu:0: no 'gpu:0' here; 0 GPUs are found"),
        ("gpu:0,gpu:2", 2, "no 'gpu:2' here; 2 GPUs are found"),
        ("tpu:0", 0, "'tpu:0' is not of the form cpu or gpu:0"),
        ("gpu:0, gpu:1", 2, "' gpu:1' is not of the form"),
        ("", 0, "'' is not of the form"),
        ("cpu:-1", 0, "'cpu:-1' is not of the form"),
        ("cpu:1", 0, "count CPUs from cpu:0 on"),
        ("gpu,gpu:0", 1, "names a device twice"),
    ],
)
def test_mistakes(devices, gpus, words):
    with pytest.raises(errors.UserError) as caught:
        runtime._device_names(devices, gpus)
    assert words in str(caught.value)


def _cluster(job="worker", index=0, **changes):
    task = {"type": job, "index": index}
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    return json.dumps({"cluster": cluster, "task": task, **changes})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "TF_CONFIG: not set, but --devices workers needs it"),
        ("{}", "TF_CONFIG: KeyError 'cluster'"),
        ("worker", "TF_CONFIG: JSONDecodeError"),
        (_cluster(index=2), "there is no worker 2"),
        (_cluster(job="ps"), "TF_CONFIG: KeyError 'ps'"),
        (_cluster(cluster={"worker": ["a:1"], "evaluator": ["b:1"]}), "job evaluator; only chief"),
        (_cluster(cluster={"worker": ["a", "b:1"]}), "an address host:port of its own"),
        (_cluster(cluster={"worker": ["a:1", "a:1"]}), "an address host:port of its own"),
    ],
)
def test_a_bad_cluster(text, words):
    with pytest.raises(errors.UserError) as caught:
        runtime.check_tf_config(text)
    assert words in str(caught.value)


def test_a_good_cluster():
    runtime.check_tf_config(_cluster(index=1))
    runtime.check_tf_config(_cluster("chief", cluster={"chief": ["a:1"], "worker": ["b:1"]}))


def test_what_a_run_was_made_with_is_kept_when_it_continues(tmp_path):
    path = tmp_path / "provenance.json"
    runtime.write_provenance(path, {"seed": 1}, continued=False)
    runtime.write_provenance(path, {"seed": 2}, continued=True)
    assert json.loads(path.read_text()) == {"seed": 1, "continued": [{"seed": 2}]}


@pytest.mark.parametrize(
    ("content", "continued"),
    [('{"seed": 1, "continued": null}', [{"seed": 2}]), ("[]", None), ('{"seed', None)],
)
def test_a_damaged_provenance_is_told_by_its_name(tmp_path, content, continued):
    path = tmp_path / "provenance.json"
    path.write_text(content)
    if continued:
        runtime.write_provenance(path, {"seed": 2}, continued=True)
        assert json.loads(path.read_text())["continued"] == continued
        return
    with pytest.raises(errors.UserError, match=r"provenance\.json: damaged; run 'train' again"):
        runtime.write_provenance(path, {"seed": 2}, continued=True)


_ARITHMETIC = """
from multires_tf.ground import runtime
runtime.start(seed=0, precision="float32")
import keras
print(keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format())
"""


@pytest.mark.parametrize(
    "settings", [{"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}, []]
)
def test_a_person_s_keras_settings_change_no_arithmetic(tmp_path, settings):
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": ""}
    done = subprocess.run(
        [sys.executable, "-c", _ARITHMETIC], env=environment, capture_output=True, text=True
    )
    if settings:
        assert done.stdout.split() == ["float32", "1e-07", "channels_last"], done.stderr
    else:
        assert "keras.json: damaged; delete it" in done.stderr


def test_some_memory_is_free():
    assert 1e6 < runtime.free_bytes() < 1e13


def test_a_gpu_that_does_not_tell_its_memory_asks_for_the_flag(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    monkeypatch.setenv("PATH", "")
    with pytest.raises(errors.UserError, match=r"nvidia-smi does not tell .*; give --memory"):
        runtime.memory_bytes()


@pytest.mark.parametrize("own", [None, "0"])
def test_tensorflow_s_fast_kernels_are_on_unless_a_person_turned_them_off(monkeypatch, own):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if own:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", own)
    runtime.settle_tensorflow()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == (own or "1")


def test_they_are_settled_before_tensorflow_is_loaded():
    code = """
import os, sys
os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
from multires_tf.ground import runtime
runtime.start(seed=0, precision="float32")
from tensorflow.python.util import _pywrap_util_port
print(_pywrap_util_port.IsMklEnabled())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True"], done.stderr
