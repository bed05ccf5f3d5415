"""The command line: prepares once, takes every arm through the rest at the same time, shows."""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from experiments.paper_scale import training
from multires_tf import door
from multires_tf.ground import errors, runfolder
from multires_tf.studies import exhibits, study

ROOT = pathlib.Path("runs/paper_scale")
VERBS = ("prepare", "predict", "evaluate")  # training stands between the first two
SETS = (
    *("register=none", "train.precision=mixed_bfloat16", "train.recompute=[]"),
    *("train.steps=500", "train.schedule=cosine", "train.report_every=50"),
    *("loss.beta=0.5", "loss.deep_supervision=1.0"),
    "cohort.split=[10, 2, 8]",
)
# The windows' own tiles: a body fits several, so that all bodies share one compiled program.
ARMS = [
    study.Arm("unet2d", "unet2d", (), (*SETS, "sampling.batch=10")),
    *(study.Arm(name, name, (), SETS) for name in ("unet3d", "multires")),
    study.Arm("multires_unc", "multires_unc", (), SETS, predict=("--samples", "5")),
]


def parser() -> door.Parser:
    """The flags."""
    parser = door.Parser(prog="paper_scale")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("runs/phantom3mm"))
    parser.add_argument("--root", type=pathlib.Path, default=ROOT)
    text = "key=value for all arms; repeatable"
    parser.add_argument("--set", dest="sets", action="append", default=[], help=text)
    parser.add_argument("--within", choices=[arm.name for arm in ARMS], help=argparse.SUPPRESS)
    return parser


def work(chosen: argparse.Namespace) -> list[str]:
    """Runs all arms, or, in the process of one, that arm.

    Raises:
        errors.UserError: as the verbs do; an arm's training ended so.
        errors.Interruption: an arm's training ended for another reason.
    """
    arms = [dataclasses.replace(arm, sets=(*arm.sets, *chosen.sets)) for arm in ARMS]
    # The arms share the accelerator's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if chosen.within:
        arm = next(arm for arm in arms if arm.name == chosen.within)
        training.run(runfolder.RunFolder(chosen.root / arm.name), arm.load())
        return []
    _verbs(chosen, arms, VERBS[0])
    with concurrent.futures.ThreadPoolExecutor(len(arms)) as pool:
        codes = list(pool.map(lambda arm: _after_prepare(chosen, arm), arms))
    failed = [f"{arm.name} (code {c})" for arm, c in zip(arms, codes, strict=True) if c]
    if failed:
        kind = errors.UserError if 2 in codes else errors.Interruption
        raise kind(f"training failed: {', '.join(failed)}; see above, mend it and run again")
    return study.show(arms, root=chosen.root, exhibits=[exhibits.table1, exhibits.figure2])


def _verbs(chosen: argparse.Namespace, arms: Sequence[study.Arm], *verbs: str) -> None:
    study.run(arms, data=chosen.data, root=chosen.root, verbs=verbs)


def _after_prepare(chosen: argparse.Namespace, arm: study.Arm) -> int:
    """Trains in a process of its own, whose memory is free again when the verbs follow.

    Returns:
        The exit code of the training; unless it is 0 nothing follows.
    """
    command = [sys.executable, "-m", "experiments.paper_scale", *sys.argv[1:], "--within", arm.name]
    code = subprocess.run(command, check=False).returncode
    if not code:
        _verbs(chosen, [arm], *VERBS[1:])
    return code


if __name__ == "__main__":
    door.enter(parser, work)
