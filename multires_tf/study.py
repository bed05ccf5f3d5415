"""A study: arms (one config each) taken through the verbs, and their numbers side by side.

What experiments are written in. Every verb runs in a process of its own, as a user would run it, so
that arms cannot disturb each other; a finished arm is skipped by the verbs themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from absl import app
from absl.flags import argparse_flags

from multires_tf import cluster, config, errors, runfolder

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

    def load(self) -> config.Config:
        """Its config."""
        overlays = [CONFIGS / "overlays" / f"{name}.yaml" for name in self.overlays]
        return config.load(CONFIGS / f"{self.experiment}.yaml", overlays, self.sets)

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
    exhibits: Sequence[Exhibit],
) -> None:
    """The command line of an experiment: runs its arms and shows what came out.

    Args:
        arms: of the experiment.
        verbs: that each goes through.
        root: folder of the run folders, where --root names no other.
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
            for line in show(asked, root=chosen.root, exhibits=exhibits):
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
    own = [arm for arm in arms if not arm.trained_as]
    prepared_as = _prepared_alike(own) if "prepare" in verbs else {}
    firsts = [arm for arm in own if prepared_as.get(arm.name) == arm.name]
    without = [verb for verb in verbs if verb != "prepare"]
    borrowed = [verb for verb in without if verb != "train"]
    waves = (
        [_Job(arm, ("prepare",)) for arm in firsts],
        [_Job(arm, tuple(without if arm in firsts else verbs)) for arm in own],
        [_Job(arm, tuple(borrowed)) for arm in arms if arm.trained_as],
    )
    through_verbs = functools.partial(
        _through_verbs,
        prepared_as=prepared_as,
        data=data.absolute(),
        root=root.absolute(),
        here=pathlib.Path.cwd(),
    )
    for wave in waves:
        for _ in cluster.each(through_verbs, wave, address=scheduler, words="arms"):
            pass


@dataclasses.dataclass(frozen=True)
class _Job:
    """An arm and the verbs that it goes through."""

    arm: Arm
    verbs: tuple[str, ...]

    def __str__(self) -> str:
        return self.arm.name


def _prepared_alike(arms: Sequence[Arm]) -> dict[str, str]:
    """Names, for each arm, the first whose volumes and splits it would make over again."""
    found: dict[str, str] = {}
    firsts: dict[str, config.Config] = {}
    for arm in arms:
        own = arm.load()
        alike = (
            n for n, c in firsts.items() if not config.first_difference(own, c, config.PREPARED)
        )
        found[arm.name] = next(alike, arm.name)
        firsts.setdefault(found[arm.name], own)
    return found


def _through_verbs(
    job: _Job,
    *,
    prepared_as: Mapping[str, str],
    data: pathlib.Path,
    root: pathlib.Path,
    here: pathlib.Path,
) -> None:
    """Takes one arm through verbs, here or on a cluster's worker; `here` has the configs."""
    arm = job.arm
    if arm.trained_as:
        _take_training(root / arm.trained_as, root / arm.name)
    elif "prepare" in job.verbs:
        _take_volumes(root / prepared_as[arm.name], root / arm.name)
    for verb in job.verbs:
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
    exhibits: Sequence[Exhibit],
) -> list[str]:
    """Returns the lines of all exhibits of finished arms.

    Raises:
        errors.UserError: an arm has no run, or its subjects were split otherwise.
    """
    runs = {arm.name: runfolder.RunFolder(root / arm.name) for arm in arms}
    check(runs)
    lines = []
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


def _take_volumes(source: pathlib.Path, target: pathlib.Path) -> None:
    """Links what another arm has prepared, so that `prepare` finds it done."""
    for name in ("volumes", "qa"):
        if (source / name).exists() and not (target / name).exists():
            with runfolder.replacing(target / name) as beside:
                shutil.copytree(source / name, beside, copy_function=os.link)


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
