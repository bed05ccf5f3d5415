"""A study: arms (one config each) taken through the verbs, and their numbers side by side.

What experiments are written in. Every verb runs in a process of its own, as a user would run it, so
that arms cannot disturb each other; a finished arm is skipped by the verbs themselves.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from absl import app
from absl.flags import argparse_flags

from multires_tf import errors, runfolder

CONFIGS = pathlib.Path("configs")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One config of a study.

    Attributes:
        name: of its run folder.
        experiment: a file of configs/, without suffix.
        overlays: files of configs/overlays/, without suffix.
        sets: further settings, key=value.
    """

    name: str
    experiment: str
    overlays: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()

    @property
    def flags(self) -> list[str]:
        """The arm as flags of the command line."""
        flags = ["--config", str(CONFIGS / f"{self.experiment}.yaml")]
        for overlay in self.overlays:
            flags += ["--overlay", str(CONFIGS / "overlays" / f"{overlay}.yaml")]
        for setting in self.sets:
            flags += ["--set", setting]
        return flags


def main(
    arms: Sequence[Arm], *, verbs: Sequence[str], columns: Sequence[str], root: pathlib.Path
) -> None:
    """The command line of an experiment: runs its arms and prints their table.

    Args:
        arms: of the experiment.
        verbs: that each goes through.
        columns: of the table, as `numbers` names them.
        root: folder of the run folders, where --root names no other.
    """

    def parse(argv: Sequence[str]) -> argparse.Namespace:
        parser = argparse_flags.ArgumentParser(allow_abbrev=False)
        parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("runs/phantom"))
        parser.add_argument("--root", type=pathlib.Path, default=root)
        names = [arm.name for arm in arms]
        parser.add_argument("--only", action="append", choices=names, help="an arm; repeatable")
        text = "key=value for all arms; repeatable"
        parser.add_argument("--set", dest="sets", action="append", default=[], help=text)
        return parser.parse_args(argv[1:])

    def experiment(chosen: argparse.Namespace) -> int:
        asked = [
            dataclasses.replace(arm, sets=(*arm.sets, *chosen.sets))
            for arm in arms
            if not chosen.only or arm.name in chosen.only
        ]
        try:
            results = run(asked, data=chosen.data, root=chosen.root, verbs=verbs)
        except errors.UserError as error:
            print(error, file=sys.stderr)
            return 2
        print(table(results, columns))
        return 0

    app.run(experiment, flags_parser=parse)


def run(
    arms: Sequence[Arm], *, data: pathlib.Path, root: pathlib.Path, verbs: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Takes every arm through the verbs and returns {arm's name: its numbers}.

    Args:
        arms: with names of their own.
        data: the cohort, the same for all.
        root: folder of the run folders.
        verbs: of the command line, in their order.

    Raises:
        errors.UserError: a verb failed; its own message is on stderr above.
    """
    for arm in arms:
        for verb in verbs:
            command = [sys.executable, "-m", "multires_tf", verb, "--workdir", str(root / arm.name)]
            if verb in ("prepare", "train"):
                command += arm.flags
            if verb == "prepare":
                command += ["--data", str(data)]
            if subprocess.run(command).returncode:
                raise errors.UserError(f"arm {arm.name}: '{verb}' failed; mend it and run again")
    return {arm.name: numbers(root / arm.name) for arm in arms}


def numbers(folder: pathlib.Path) -> dict[str, Any]:
    """The best validation MAE of a run, its step and time, and its test scores, if any."""
    run_folder = runfolder.RunFolder(folder)
    with open(run_folder.need(run_folder.history, "train"), newline="") as file:
        rows = list(csv.DictReader(file))
    scored = [(float(r["val_mae_hu"]), int(r["step"])) for r in rows if r["val_mae_hu"]]
    best_hu, step = min(scored)
    found = {
        "val_mae_hu": best_hu,
        "best_step": step,
        "training_seconds": sum(float(r["seconds"]) for r in rows),
    }
    if run_folder.scores_json.exists():
        scores = json.loads(run_folder.scores_json.read_text(encoding="utf-8"))
        found |= scores["mean"]
    return found


def table(results: dict[str, dict[str, Any]], columns: Sequence[str]) -> str:
    """The numbers of all arms as a Markdown table, one row an arm."""
    lines = ["| arm | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, found in results.items():
        cells = [_cell(found.get(column)) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.1f}"
