"""What memory `predict` takes at its peak for a whole body, and whether it grows with the draws.

The MR has 512 x 512 x 531 voxels (x, y, z) of 1.5 x 1.5 x 2 mm, which are the network's as well.
The network is MultiRes_unc of the laptop overlay after two steps on small phantoms that claim the
same voxels: memory does not depend on what it has learnt. All lies in a temporary folder.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
from typing import Any

from experiments.throughput import alone, bodies
from multires_tf import door
from multires_tf.ground import errors

SHAPE = (531, 512, 512)  # voxels (z, y, x)
SPACING_MM = (2.0, 1.5, 1.5)
SMALL = (48, 64, 64)
SETTINGS = (
    *("register=none", "train.steps=2", "train.report_every=1", "train.validate_every=2"),
    "cohort.split=[1, 1, 1]",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds this question's flags."""
    parser.add_argument(
        "--samples", type=door.count, action="append", help="draws; repeatable: 2 and 4"
    )
    parser.add_argument("--memory", default="6GB", help="as of predict, which takes its tile by it")
    text = "divide the edges of the body by this"
    parser.add_argument("--smaller", type=door.count, default=1, help=text)


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Trains for two steps and predicts the body with each number of draws.

    Raises:
        errors.UserError: so little of the body would be left.
    """
    shape = [edge // chosen.smaller for edge in SHAPE]
    most = 2 * min(SHAPE) // min(SMALL)
    if chosen.smaller > most:
        raise errors.UserError(f"--smaller {chosen.smaller}: needs 1 to {most}")
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        for index in range(3):
            bodies.write(root / "data" / f"{index:03d}", SMALL, index=index, spacing_mm=SPACING_MM)
        run = ("--workdir", str(root / "run"))
        config = ["--config", "configs/multires_unc.yaml"]
        config += ["--overlay", "configs/overlays/laptop.yaml"]
        for setting in SETTINGS:
            config += ["--set", setting]
        alone.verb("prepare", *run, *config, "--data", str(root / "data"))
        alone.verb("train", *run, *config)
        bodies.write(root / "body", shape, index=3, roles=["mr"], spacing_mm=SPACING_MM)
        rows = [_row(root, run, shape, draws, chosen.memory) for draws in chosen.samples or (2, 4)]
    return {"rows": rows}


def _row(
    root: pathlib.Path, run: tuple[str, str], shape: list[int], draws: int, memory: str
) -> dict[str, Any]:
    places = ["--input", str(root / "body" / "mr.nii.gz"), "--output", str(root / f"out{draws}")]
    flags = ["--samples", str(draws), "--tile", "auto", "--memory", memory]
    used = alone.verb("predict", *run, *places, *flags)
    return {
        "voxels": " x ".join(map(str, reversed(shape))),
        "draws": draws,
        "memory": memory,
        "peak GB": used.peak_gb,
        "wall s": used.wall_s,
        "processor s": used.processor_s,
    }
