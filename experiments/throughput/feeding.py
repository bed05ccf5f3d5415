"""Windows that the store and tf.data deliver a second, nothing else running.

Without --workdir it makes two subjects of 320 x 256 x 384 voxels: smooth bodies with noise, which
compress about as badly as scans do.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import pathlib
import statistics
import tempfile
import time
from typing import Any

import numpy as np

from multires_tf import door
from multires_tf.data import pipeline, store
from multires_tf.ground import config as configs
from multires_tf.ground import runfolder
from multires_tf.joints import assembly

SHAPE = (320, 256, 384)
AUGMENTATIONS = {"flips": 0.0, "flips, half rotated and scaled": 0.5, "all rotated and scaled": 1.0}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds this question's flags."""
    parser.add_argument("--config", type=pathlib.Path, default="configs/multires_unc.yaml")
    parser.add_argument("--overlay", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--workdir", type=pathlib.Path, help="a prepared run, for real scans")
    parser.add_argument(
        "--windows", type=door.count, default=200, help="timed, after as many as fill it"
    )
    parser.add_argument("--rounds", type=door.count, default=3, help="whose median counts")
    parser.add_argument("--edge", type=door.count, help="of the made volumes, for trials")


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Times the windows with flips alone, and with rotation and scaling."""
    config = configs.load(chosen.config, chosen.overlay)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.workdir:
            volumes = assembly.volumes(runfolder.RunFolder(chosen.workdir), "train")
        else:
            shape = (chosen.edge,) * 3 if chosen.edge else SHAPE
            volumes = [_made(pathlib.Path(folder) / str(k), k, shape) for k in range(2)]
        rates = collections.defaultdict(list)
        for _ in range(chosen.rounds):  # in turn, so that none has the machine's worst minute
            for name, share in AUGMENTATIONS.items():
                rates[name].append(_rate(config, volumes, share, chosen.windows))
    rows = [{"windows": name, "a second": statistics.median(of)} for name, of in rates.items()]
    return {
        "tile": list(config.training_tile),
        "count": chosen.windows,
        "rows": rows,
        "all": dict(rates),
    }


def _rate(
    config: configs.Config, volumes: list[pipeline.Volume], augment_share: float, count: int
) -> float:
    """Windows a second, from one that fills the pipeline to the last.

    The end of the iterator does not count: now and then tf.data takes five seconds to stop.
    """
    warm = 1 + count // 5
    rules = dataclasses.replace(
        assembly.window_rules(config, seed=config.seed), batch=1, augment_share=augment_share
    )
    dataset = pipeline.training_windows(volumes, rules, start_step=0, stop_step=warm + count)
    arrivals = [time.perf_counter() for _ in dataset]
    return count / (arrivals[-1] - arrivals[warm - 1])


def _made(folder: pathlib.Path, seed: int, shape: tuple[int, ...]) -> pipeline.Volume:
    """Writes the stores of one made-up subject."""
    random = np.random.default_rng(seed)
    places = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    inside = sum(np.square(place / 0.8) for place in places) < 1
    mr = np.where(inside, 0.5 + 0.2 * np.sin(9 * places[0]), 0.0).astype(np.float32)
    mr += 0.02 * random.standard_normal(shape, np.float32)
    ct = np.where(inside, 40.0 + 300 * np.sin(7 * places[1]), -1000.0).astype(np.float32)
    ct += 12 * random.standard_normal(shape, np.float32)
    arrays = {"mr": (mr, 0.0), "ct": (ct, -1024.0), "mask": ((1 + inside).astype(np.uint8), 0)}
    paths = {role: folder / f"{role}.ome.zarr" for role in arrays}
    for role, (array, fill) in arrays.items():
        reduce = "min" if role == "mask" else "mean"
        attributes = {"spacing_mm": [1.0, 1.0, 1.0]}
        store.write_pyramid(paths[role], array, fill=fill, reduce=reduce, attributes=attributes)
    return pipeline.Volume(folder.name, **paths)
