"""A training step of a whole network: seconds, peak memory, share of each part.

The step is measured in a process of its own, so that its peak memory is its own. Shares are those
of the threads' time in TensorFlow's own kernels, by the names of the layers, in one step more.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import re
import statistics
import tempfile
import time
from typing import Any

import numpy as np

from experiments.throughput import alone, roofline
from multires_tf import door
from multires_tf.data import windows
from multires_tf.ground import config as configs
from multires_tf.joints import assembly

# In this order: a layer of a head is one of the objective's, too.
PARTS = {
    "branch, high": r"branch_1\b",
    "branch, medium": r"branch_2\b",
    "branch, low": r"branch_4\b",
    "cascade": r"cascade_",
    "head, CT": r"\bct\.",
    "head, log variance": r"\blog_var\.",
    "loss": r"gaussian_nll|squared_error",
    "optimiser": r"[Aa]dam|clip_by_global_norm|global_norm",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds this question's flags."""
    parser.add_argument("--config", type=pathlib.Path, default="configs/multires_unc.yaml")
    parser.add_argument("--overlay", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=door.count, default=2, help="timed steps and passes")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measures in a process of its own, or, where this is that process, itself.

    Raises:
        errors.UserError: the process ended, by its own message or for want of memory.
    """
    config = configs.load(chosen.config, chosen.overlay, chosen.sets)
    if chosen.within:
        return _measure(config, chosen.rounds)
    flags = ["--config", str(chosen.config), "--rounds", str(chosen.rounds)]
    flags += [word for path in chosen.overlay for word in ("--overlay", str(path))]
    flags += [word for text in chosen.sets for word in ("--set", text)]
    return alone.measured("network", flags)


def _measure(config: configs.Config, rounds: int) -> dict[str, Any]:
    import keras

    from experiments.throughput import machine
    from multires_tf.model import thin

    keras.config.set_dtype_policy(config.train.precision)
    nets = assembly.networks(config)
    objective = assembly.objective(config, nets)
    optimiser = assembly.optimiser(config, clips=True)
    objective.compile(optimiser, jit_compile=machine.compiled())
    law = {"window": config.network.window, "scales": nets.scales}
    boxes = windows.branch_windows((0, 0, 0), config.training_tile, **law)
    batch = {
        tensor.name: _random(tensor.name, config.sampling.batch, boxes)
        for tensor in objective.inputs
    }
    mr = [batch[f"mr_{scale}"] for scale in nets.scales]
    seconds = {
        "step": _timed(lambda: objective.train_on_batch(batch), rounds),
        "forward": _timed(lambda: nets.plain.predict_on_batch(mr), rounds),
    }
    peak_gib = machine.peak_gib()
    medians = {what: statistics.median(times) for what, times in seconds.items()}
    tflop = 2 * sum(thin.Draws(nets).multiply_adds([one.shape for one in mr], None)) / 1e12
    row = {
        "precision": config.train.precision,
        "device": machine.device(),
        **{f"{what} s": median for what, median in medians.items()},
        "step TFLOP/s": roofline.BACKWARD * tflop / medians["step"],
        "forward TFLOP/s": tflop / medians["forward"],
        "peak GiB": peak_gib,
    }
    if keras.backend.backend() == "tensorflow":
        row |= _shares(lambda: objective.train_on_batch(batch))
    return {"rows": [row], "all": seconds}


def _timed(call: Any, rounds: int) -> list[float]:
    """Seconds of each call but the first, which builds and warms up."""
    call()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return times


def _random(name: str, batch: int, boxes: dict[int, windows.Window]) -> np.ndarray:
    """Values for one input, as large as the branch of its scale reads in training."""
    if name == "draw":
        return np.zeros((batch, 2), np.int32)
    size = boxes[int(name.rpartition("_")[2])].size
    values = np.random.default_rng(0).random((batch, *size, 1), np.float32)
    return np.ones_like(values) if name.startswith("weight") else values


def _shares(call: Any) -> dict[str, str]:
    """Each part's share of the time that threads spent in kernels during one call."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        call()
        tf.profiler.experimental.stop()
        spent = collections.Counter()
        for name, seconds in _kernels(pathlib.Path(folder)):
            spent[part_of(name)] += seconds
    total = sum(spent.values())
    return {part: f"{spent[part] / total:.1%}" for part in [*PARTS, "other"]}


def part_of(name: str) -> str:
    """The part of the network that an operation's name belongs to."""
    return next((part for part, sign in PARTS.items() if re.search(sign, name)), "other")


def _kernels(folder: pathlib.Path) -> list[tuple[str, float]]:
    """Name and seconds of every kernel that ran, from the profiler's files."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    found = []
    for path in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in space.planes:
            names = {key: entry.name for key, entry in plane.event_metadata.items()}
            for line in plane.lines:
                for event in line.events:
                    name, mark, kind = names[event.metadata_id].rpartition(":")
                    if mark and name[-1:] != ":" and re.fullmatch(r"_?[A-Z]\w+", kind):
                        found.append((name, event.duration_ps / 1e12))
    return found
