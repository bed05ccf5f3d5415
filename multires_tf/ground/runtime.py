"""Seeds, precision, devices and provenance: the only global state of a process."""

from __future__ import annotations

import datetime
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from multires_tf.ground import errors, runfolder

_BACKENDS = ("tensorflow", "jax", "torch")
_PACKAGES = ("multires_tf", "keras", *_BACKENDS, "numpy", "SimpleITK", "tensorstore")


def start(*, seed: int, precision: str) -> None:
    """Sets the precision, and makes what follows repeatable: TensorFlow's seed and kernels.

    Under another backend everything random here has seeds of its own; its kernels are its own, too.
    """
    quiet()
    import keras

    # A person's own Keras settings are for their own networks.
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            # Not all of it at once: what is free tells how large a tile may be, others use it, too.
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.experimental.enable_op_determinism()
        # Op determinism asks for it; under another backend it would load TensorFlow. Whatever is
        # random here has a seed of its own.
        keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)


def need_tensorflow(what: str) -> None:
    """Refuses what only TensorFlow does here, where Keras was told to run on another backend.

    Raises:
        errors.UserError: it was.
    """
    if (name := backend()) != "tensorflow":
        advice = "set KERAS_BACKEND=tensorflow"
        raise errors.UserError(f"{what}: runs on TensorFlow, not on {name}; {advice}")


def backend() -> str:
    """What Keras runs on, or will: KERAS_BACKEND, else its own settings, else TensorFlow.

    Raises:
        errors.UserError: the networks do not run on it, or it is not installed.
    """
    if not (name := os.environ.get("KERAS_BACKEND")):
        home = os.environ.get("KERAS_HOME") or pathlib.Path("~/.keras").expanduser()
        settings = pathlib.Path(home, "keras.json")
        try:
            found = json.loads(settings.read_text("utf-8"))
        except (OSError, ValueError):
            found = {}
        if not isinstance(found, dict):
            raise errors.UserError(f"{settings}: damaged; delete it, and Keras makes one")
        name = found.get("backend", "tensorflow")
    if name not in _BACKENDS:
        raise errors.UserError(f"KERAS_BACKEND: {name}; set it to one of {', '.join(_BACKENDS)}")
    if importlib.util.find_spec(name) is None:
        raise errors.UserError(f"KERAS_BACKEND: {name} is not installed; install it with pip")
    return name


def settle_tensorflow() -> None:
    """Sets what TensorFlow reads once, as it is loaded; a person's own settings stay."""
    # Among several workers, TensorFlow tells at length of one that is lost; so do we, in a line.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if "TF_CONFIG" in os.environ else "2")
    # It takes oneDNN's kernels by itself on the newest processors only. On one that has AVX2 and
    # no AVX-512 a training step with them is three times as fast (experiments/README.md).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def quiet() -> None:
    """Loads TensorFlow, if Keras runs on it, without its start-up notes.

    No log level keeps them off stderr.
    """
    settle_tensorflow()
    if backend() != "tensorflow" or "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.config.list_physical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def strategy(devices: str) -> Any:
    """The distribution strategy for a `--devices` text; before TensorFlow touches a device.

    Args:
        devices: names such as "cpu" or "gpu:0,gpu:1", several of which are mirrored; "workers" (the
            machines of TF_CONFIG, each with all its GPUs or its CPU; waits for all of them); or
            "auto" (workers if TF_CONFIG is set, else all GPUs, else the CPU).

    Raises:
        errors.UserError: a device that is not there, a text of another form, a bad TF_CONFIG.
    """
    import tensorflow as tf

    if devices == "workers" or (devices == "auto" and "TF_CONFIG" in os.environ):
        check_tf_config(os.environ.get("TF_CONFIG"))
        return tf.distribute.MultiWorkerMirroredStrategy()
    names = _device_names(devices, len(tf.config.list_physical_devices("GPU")))
    if len(names) == 1:
        return tf.distribute.OneDeviceStrategy(names[0])
    return tf.distribute.MirroredStrategy(names)


def devices_of(strategy: Any) -> list[str]:
    """The devices of this process that a strategy computes on, such as GPU:0."""
    found = [str(name) for name in strategy.extended.worker_devices]
    return [name.upper().removeprefix("/").rpartition("DEVICE:")[2] for name in found]


def check_tf_config(text: str | None) -> None:
    """Checks the TF_CONFIG of one process, which TensorFlow would take for one machine or wait on.

    Raises:
        errors.UserError: it is missing, or does not say who the workers are and which one this is.
    """
    form = """{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}"""
    if text is None:
        raise errors.UserError(
            f"TF_CONFIG: not set, but --devices workers needs it; set it to {form}"
        )
    try:
        settings = json.loads(text)
        jobs, task = settings["cluster"], settings["task"]
        strangers = set(jobs) - {"chief", "worker"}
        addresses = jobs[task["type"]]
        known = isinstance(task["index"], int) and 0 <= task["index"] < len(addresses)
        every = [address for job in jobs.values() for address in job]
        named = all(re.fullmatch(r"[^\s:/]+:\d+", address) for address in every)
    except (ValueError, KeyError, TypeError) as error:
        raise errors.UserError(
            f"TF_CONFIG: {type(error).__name__} {error}; set it to {form}"
        ) from None
    if strangers:
        raise errors.UserError(f"TF_CONFIG: job {min(strangers)}; only chief and worker train here")
    if not known:
        raise errors.UserError(f"TF_CONFIG: there is no {task['type']} {task['index']}; correct it")
    if not named or len(set(every)) < len(every):
        raise errors.UserError("TF_CONFIG: give every worker an address host:port of its own")


def _device_names(devices: str, gpus: int) -> list[str]:
    if devices == "auto":
        return [f"/gpu:{i}" for i in range(gpus)] or ["/cpu:0"]
    names = devices.split(",")
    cpus = sum(name.startswith("cpu") for name in names)
    for name in names:
        form = re.fullmatch(r"(cpu|gpu)(?::(\d+))?", name)
        if form is None:
            raise errors.UserError(f"--devices {devices}: '{name}' is not of the form cpu or gpu:0")
        if form[1] == "gpu" and int(form[2] or 0) >= gpus:
            raise errors.UserError(f"--devices {devices}: no '{name}' here; {gpus} GPUs are found")
        if form[1] == "cpu" and int(form[2] or 0) >= cpus:
            raise errors.UserError(f"--devices {devices}: count CPUs from cpu:0 on, without a gap")
    numbered = [name if ":" in name else f"{name}:0" for name in names]
    if len(set(numbered)) < len(numbered):
        raise errors.UserError(f"--devices {devices}: names a device twice; give each once")
    _make_logical_cpus(cpus)
    return [f"/{name}" for name in numbered]


def _make_logical_cpus(count: int) -> None:
    """Splits the CPU into `count` devices, so that mirrored training can be tried without GPUs."""
    if count < 2:
        return
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(cpu, parts)


def memory_bytes() -> float:
    """Memory that a process may well take: of the GPU if there is one, else of the machine.

    Three quarters of what is free now, within the limit of a container.

    Raises:
        errors.UserError: there is a GPU, but nothing tells how much of it is free.
    """
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return free_bytes()
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        query.append(f"--id={visible}")
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        return 0.75 * 2**20 * min(int(line) for line in told.split())
    except (OSError, ValueError, subprocess.CalledProcessError):
        reason = "nvidia-smi does not tell how much memory of the GPU is free"
        raise errors.UserError(f"--tile auto: {reason}; give --memory as well") from None


def free_bytes() -> float:
    """Three quarters of the memory that is free now, within the limit of a container."""
    free = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    told = pathlib.Path("/proc/meminfo")
    if told.exists() and (found := re.search(r"MemAvailable:\s+(\d+) kB", told.read_text())):
        free.append(float(found[1]) * 1024)
    limit = pathlib.Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        free.append(float(text) - float(limit.with_name("memory.current").read_text()))
    return 0.75 * min(free)


def provenance(
    seed: int, *, weights: Sequence[Any], replicas: int, devices: Sequence[str]
) -> dict[str, Any]:
    """What made a run: versions, machine kind and commit; no names of people, hosts or paths.

    Args:
        seed: of the run.
        weights: that are trained, with their shapes.
        replicas: that share a batch.
        devices: their kinds.
    """
    return {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seed": seed,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: _version(name) for name in _PACKAGES},
        "backend": backend(),
        "commit": _commit(),
        "trainable_parameters": sum(math.prod(weight.shape) for weight in weights),
        "replicas": replicas,
        "devices": [*devices],
    }


def write_provenance(path: pathlib.Path, facts: dict[str, Any], *, continued: bool) -> None:
    """Writes what made a run, or adds to it what made one that continues."""
    if continued and path.exists():
        began = runfolder.read_json(path, "train")
        others = began.get("continued") or []
        facts = {**began, "continued": [*(others if isinstance(others, list) else []), facts]}
    runfolder.write_json(path, facts)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    here = os.path.dirname(__file__)
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
