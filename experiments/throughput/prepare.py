"""What it costs to prepare whole bodies: subjects an hour and peak memory of `prepare`.

MR and CT have 400 x 400 x 500 voxels (x, y, z), made of phantoms drawn coarsely; they lie in a
temporary folder, half a gigabyte each.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
from typing import Any

from experiments.throughput import alone, bodies
from multires_tf import door

SHAPE = (500, 400, 400)  # voxels (z, y, x)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds this question's flags."""
    kinds = ("none", "rigid", "deformable")
    parser.add_argument("--register", choices=kinds, default="none")
    parser.add_argument("--subjects", type=door.count, default=1)
    parser.add_argument("--memory", default="8GB", help="as of prepare")


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Makes a cohort and prepares it in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        for index in range(chosen.subjects):
            bodies.write(root / "data" / f"{index:03d}", SHAPE, index=index)
        flags = ["--workdir", str(root / "run"), "--data", str(root / "data")]
        flags += ["--config", "configs/multires_unc.yaml", "--memory", chosen.memory]
        used = alone.verb("prepare", *flags, "--set", f"register={chosen.register}")
    row = {
        "register": chosen.register,
        "subjects": chosen.subjects,
        "memory": chosen.memory,
        "wall s": used.wall_s,
        "processor s a subject": used.processor_s / chosen.subjects,
        "an hour": 3600 * chosen.subjects / used.wall_s,
        "peak GB": used.peak_gb,
    }
    return {"rows": [row]}
