"""What it costs to prepare whole bodies: subjects an hour and peak memory of `prepare`.

MR and CT have 400 x 400 x 500 voxels (x, y, z), made of phantoms drawn coarsely; they lie in a
temporary folder, half a gigabyte each.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from multires_tf.data import geometry, images, resampling
from multires_tf.data.phantom import subject

SHAPE = (500, 400, 400)  # voxels (z, y, x)
COARSE_MM = 5.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds this question's flags."""
    kinds = ("none", "rigid", "deformable")
    parser.add_argument("--register", choices=kinds, default="none")
    parser.add_argument("--subjects", type=int, default=1)
    parser.add_argument("--memory", default="8GB", help="as of prepare")


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Makes a cohort and prepares it in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        for index in range(chosen.subjects):
            _write(root / "data" / f"{index:03d}", index)
        command = [sys.executable, "-m", "multires_tf", "prepare", "--workdir", str(root / "run")]
        command += ["--config", "configs/multires_unc.yaml", "--data", str(root / "data")]
        command += ["--set", f"register={chosen.register}", "--memory", chosen.memory]
        before, began = _processor_s(), time.perf_counter()
        subprocess.run(command, check=True)
        wall = time.perf_counter() - began
    row = {
        "register": chosen.register,
        "subjects": chosen.subjects,
        "memory": chosen.memory,
        "wall s": wall,
        "processor s a subject": (_processor_s() - before) / chosen.subjects,
        "an hour": 3600 * chosen.subjects / wall,
        "peak GB of a process": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6,
    }
    return {"rows": [row]}


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _write(folder: pathlib.Path, index: int) -> None:
    """Writes a phantom, drawn coarsely, on a grid of the wanted size, with noise of its own."""
    made = subject.simulate(0, index, spacing_mm=COARSE_MM)
    coarse = made.images["mr"].shape
    own = geometry.Geometry(coarse, (COARSE_MM,) * 3, (0, 0, 0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    spacing_mm = tuple(COARSE_MM * a / b for a, b in zip(coarse, SHAPE, strict=True))
    grid = dataclasses.replace(own, size=SHAPE, spacing_mm=spacing_mm)
    rng = np.random.default_rng(index)
    for role, noise in (("mr", 10), ("ct", 15)):
        image = geometry.to_image(made.images[role].astype(np.float32), own)
        array = resampling.interpolate(image, grid)
        array += noise * rng.standard_normal(SHAPE, np.float32)
        low = 0 if role == "mr" else -1024
        images.write(
            np.rint(np.maximum(array, low)).astype(np.int16), folder / f"{role}.nii.gz", grid=grid
        )
