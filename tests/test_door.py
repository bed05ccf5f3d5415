"""How a command line ends: what is said, and with which exit code."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from multires_tf import door


class ResourceExhaustedError(Exception):
    """As TensorFlow calls it; by its name alone is it known."""


def _numpy():
    return np.zeros((1 << 40, 1 << 10))


def _python():
    raise MemoryError


def _tensorflow():
    raise ResourceExhaustedError("Graph execution error: Detected at node objective")


def _jax():
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("No space left on device", "the disk is full"),
        ("Too many open files", "too many open files"),
    ],
)
def test_what_tensorflow_calls_exhausted_may_be_a_disk_or_files(words, said, capsys):
    def work():
        raise ResourceExhaustedError(f"runs/x; {words}")

    assert door.answer(work, program="p", task="export") == 2
    assert capsys.readouterr().err.startswith(f"p: export: {said}")


def _torch():
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate")


def _torch_on_a_full_gpu():
    raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously ...")


class OutOfMemoryError(RuntimeError):
    """Called as torch's."""


def _torch_on_a_gpu():
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    "work",
    [_numpy, _python, _tensorflow, _jax, _torch, _torch_on_a_gpu, _torch_on_a_full_gpu],
)
def test_too_little_memory_is_told_with_its_remedy(work, capsys):
    code = door.answer(work, program="p", task="train", less_memory="take less")
    assert code == 2
    assert capsys.readouterr().err == "p: train: not enough memory; take less\n"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EEXIST, "a file lies where a folder should be"),
        (errno.ENOTDIR, "is a file, not a folder"),
    ],
)
def test_what_the_system_says_is_told_with_the_path(number, words, capsys):
    def work():
        raise OSError(number, "", "w/checkpoints")

    assert door.answer(work) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("w/checkpoints: ") and words in line


def test_what_nobody_foresaw_is_one_line_and_a_log(tmp_path, capsys):
    assert door.answer(lambda: 1 / 0, task="train", folder=tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train failed: ZeroDivisionError: division by zero; details in ")
    assert "ZeroDivisionError" in (tmp_path / "failure.log").read_text()
