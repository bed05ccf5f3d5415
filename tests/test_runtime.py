"""The names of devices: what they become, and which are refused."""

from __future__ import annotations

import pytest

from multires_tf import errors, runtime


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


def test_several_machines_are_not_there_yet(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(errors.UserError, match="TF_CONFIG"):
        runtime.strategy("cpu")
