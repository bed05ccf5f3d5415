"""A study: arms (one config each) taken through the verbs, and their numbers side by side.

What experiments are written in. Every verb runs in a process of its own, as a user would run it, so
that arms cannot disturb each other; a finished arm is skipped by the verbs themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app
from absl.flags import argparse_flags

from multires_tf import cluster, errors, runfolder, tables

CONFIGS = pathlib.Path("configs")
Runs = Mapping[str, runfolder.RunFolder]
# From the finished runs and the folder of the study to the lines to print, files written there.
Exhibit = Callable[[Runs, pathlib.Path], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One config of a study.

    Attributes:
        name: of its run folder.
        experiment: a file of configs/, without suffix.
        overlays: files of configs/overlays/, without suffix.
        sets: further settings, key=value.
        trained_as: an earlier arm of the same config whose trained network this one takes, for arms
            that differ in prediction alone.
        predict: flags of `predict`.
    """

    name: str
    experiment: str
    overlays: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    trained_as: str = ""
    predict: tuple[str, ...] = ()

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
    arms: Sequence[Arm],
    *,
    verbs: Sequence[str],
    root: pathlib.Path,
    columns: Sequence[str] = (),
    exhibits: Sequence[Exhibit] = (),
) -> None:
    """The command line of an experiment: runs its arms and shows what came out.

    Args:
        arms: of the experiment.
        verbs: that each goes through.
        root: folder of the run folders, where --root names no other.
        columns: of the table of arms, as `numbers` names them; none: no such table.
        exhibits: tables and figures of all arms together.
    """

    def parse(argv: Sequence[str]) -> argparse.Namespace:
        parser = argparse_flags.ArgumentParser(allow_abbrev=False)
        parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("runs/phantom"))
        parser.add_argument("--root", type=pathlib.Path, default=root)
        names = [arm.name for arm in arms]
        parser.add_argument("--only", action="append", choices=names, help="an arm; repeatable")
        text = "key=value for all arms; repeatable"
        parser.add_argument("--set", dest="sets", action="append", default=[], help=text)
        text = "run nothing: show what the runs of all arms have come to"
        parser.add_argument("--show", action="store_true", help=text)
        text = "hand the arms to the Dask scheduler at this address, such as tcp://host:8786"
        parser.add_argument("--cluster", metavar="ADDRESS", help=text)
        return parser.parse_args(argv[1:])

    def experiment(chosen: argparse.Namespace) -> int:
        asked = [
            dataclasses.replace(arm, sets=(*arm.sets, *chosen.sets))
            for arm in arms
            if not chosen.only or arm.name in chosen.only
        ]
        try:
            if not chosen.show:
                run(
                    asked,
                    data=chosen.data,
                    root=chosen.root,
                    verbs=verbs,
                    scheduler=chosen.cluster,
                )
            for line in show(asked, root=chosen.root, columns=columns, exhibits=exhibits):
                print(line)
        except errors.UserError as error:
            print(error, file=sys.stderr)
            return 2
        return 0

    app.run(experiment, flags_parser=parse)


def run(
    arms: Sequence[Arm],
    *,
    data: pathlib.Path,
    root: pathlib.Path,
    verbs: Sequence[str],
    scheduler: str | None = None,
) -> None:
    """Takes every arm through the verbs; arms that borrow a trained network follow the others.

    Args:
        arms: with names of their own.
        data: the cohort, the same for all.
        root: folder of the run folders.
        verbs: of the command line, in their order.
        scheduler: address of a Dask scheduler that gets the arms; None: one after the other here.

    Raises:
        errors.UserError: a verb failed; its own message is on stderr above, or the worker's.
    """
    one_arm = functools.partial(
        _through_verbs,
        verbs=tuple(verbs),
        data=data.absolute(),
        root=root.absolute(),
        here=pathlib.Path.cwd(),
    )
    for wave in (
        [arm for arm in arms if not arm.trained_as],
        [arm for arm in arms if arm.trained_as],
    ):
        for _ in cluster.each(one_arm, wave, address=scheduler, words="arms"):
            pass


def _through_verbs(
    arm: Arm,
    *,
    verbs: Sequence[str],
    data: pathlib.Path,
    root: pathlib.Path,
    here: pathlib.Path,
) -> None:
    """A job of one arm, here or on a cluster's worker; `here` has the configs."""
    if arm.trained_as:
        _take_training(root / arm.trained_as, root / arm.name)
    for verb in verbs:
        if arm.trained_as and verb in ("prepare", "train"):
            continue
        command = [sys.executable, "-m", "multires_tf", verb, "--workdir", str(root / arm.name)]
        if verb in ("prepare", "train"):
            command += arm.flags
        if verb == "prepare":
            command += ["--data", str(data)]
        if verb == "predict":
            command += arm.predict
        if subprocess.run(command, cwd=here).returncode:
            raise errors.UserError(f"arm {arm.name}: '{verb}' failed; mend it and run again")


def show(
    arms: Sequence[Arm],
    *,
    root: pathlib.Path,
    columns: Sequence[str] = (),
    exhibits: Sequence[Exhibit] = (),
) -> list[str]:
    """Returns the lines of the table and the exhibits of finished arms.

    Raises:
        errors.UserError: an arm has no run, or its subjects were split otherwise.
    """
    runs = {arm.name: runfolder.RunFolder(root / arm.name) for arm in arms}
    check(runs)
    lines = []
    if columns:
        found = {name: numbers(run.root) for name, run in runs.items()}
        lines += table(found, columns).splitlines()
    for exhibit in exhibits:
        lines += ["", *exhibit(runs, root)]
    return lines


def check(runs: Runs) -> None:
    """Refuses to compare what cannot be compared.

    Raises:
        errors.UserError: an arm has no run, or its subjects were split otherwise.
    """
    from multires_tf.data import cohort

    splits = {}
    for name, run in runs.items():
        if not run.cohort.exists():
            raise errors.UserError(f"arm {name}: no run in {run.root}; run it, or leave it out")
        splits[name] = {one.subject: one.split for one in cohort.read(run.cohort)}
    first, *others = splits
    for other in others:
        odd = dict(splits[first].items() ^ splits[other].items())
        if odd:
            where = (f"'{splits[arm].get(min(odd), 'absent')}' in {arm}" for arm in (first, other))
            reason = f"subject {min(odd)} is {' but '.join(where)}"
            raise errors.UserError(f"arm {other}: {reason}; prepare both from one cohort")


# What makes a run trained; the predictions and scores are the arm's own.
_TRAINED = ("config.yaml", "cohort.csv", "volumes", "checkpoints", "history.csv", "provenance.json")


def _take_training(source: pathlib.Path, target: pathlib.Path) -> None:
    """Links a trained run into the folder of an arm that predicts otherwise."""
    target.mkdir(parents=True, exist_ok=True)
    for name in _TRAINED:
        if not (source / name).exists():
            raise errors.UserError(f"{source / name}: not there yet; run that arm first")
        if not (target / name).exists():
            (target / name).symlink_to(os.path.relpath((source / name).resolve(), target.resolve()))


def numbers(folder: pathlib.Path) -> dict[str, Any]:
    """The best validation MAE of a run, its step and time, and its test scores, if any."""
    run_folder = runfolder.RunFolder(folder)
    rows = tables.read(run_folder.need(run_folder.history, "train"))
    scored = [(float(r["val_mae_hu"]), int(r["step"])) for r in rows if r["val_mae_hu"]]
    scored = [one for one in scored if math.isfinite(one[0])]
    best_hu, step = min(scored, default=(None, None))
    found: dict[str, Any] = {
        "val_mae_hu": best_hu,
        "best_step": step,
        "training_seconds": sum(float(r["seconds"]) for r in rows),
    }
    if run_folder.scores_json.exists():
        scores = runfolder.read_json(run_folder.scores_json, "evaluate")
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
    if isinstance(value, int):
        return str(value)
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
