"""What does it cost to prepare whole bodies?

Question: subjects an hour and peak memory of `prepare` at 400 x 400 x 500 voxels (x, y, z), with
N4 and with each kind of registration, alone and two side by side.
Source: ours.
Command: python -m experiments.throughput.prepare [--register none] [--subjects 1] [--memory 8GB]
Cost: 2 idle cores, some minutes a subject, up to 10 GB of memory, 0.5 GB of disk in a temporary
folder.
Expected: memory within what `prepare` reckons with (data/preparation.py, _BYTES_A_VOXEL).
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
from collections.abc import Sequence

import numpy as np
from absl import app
from absl.flags import argparse_flags

from multires_tf.data import geometry, images, resampling
from multires_tf.data.phantom import subject

SHAPE = (500, 400, 400)  # voxels (z, y, x)
COARSE_MM = 5.0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse_flags.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    kinds = ("none", "rigid", "deformable")
    parser.add_argument("--register", choices=kinds, default="none")
    parser.add_argument("--subjects", type=int, default=1)
    parser.add_argument("--memory", default="8GB", help="as of prepare")
    return parser.parse_args(argv[1:])


def main(chosen: argparse.Namespace) -> None:
    """Makes a cohort, prepares it in a process of its own and prints a row of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        for index in range(chosen.subjects):
            _write(root / "data" / f"{index:03d}", index)
        command = [sys.executable, "-m", "multires_tf", "prepare", "--workdir", str(root / "run")]
        command += ["--config", "configs/multires_unc.yaml", "--data", str(root / "data")]
        command += ["--set", f"register={chosen.register}", "--memory", chosen.memory]
        began = time.perf_counter()
        subprocess.run(command, check=True)
        wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = (used.ru_utime + used.ru_stime) / chosen.subjects
    print("| register | subjects | memory | wall s | processor s a subject | an hour | peak GB |")
    print("|---|---|---|---|---|---|---|")
    hour = 3600 * chosen.subjects / wall
    row = (chosen.register, chosen.subjects, chosen.memory, f"{wall:.0f}", f"{processor:.0f}")
    print("| " + " | ".join(map(str, (*row, f"{hour:.0f}", f"{used.ru_maxrss / 1e6:.1f}"))) + " |")


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


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
