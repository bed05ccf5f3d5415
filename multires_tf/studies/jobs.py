"""An arm of a study, and the job that takes it through the verbs, here or on a cluster's worker."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

from multires_tf.ground import config, errors, runfolder
from multires_tf.studies import folds

CONFIGS = pathlib.Path("configs")


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


@dataclasses.dataclass(frozen=True)
class Job:
    """An arm in one place, and the verbs that it goes through.

    Attributes:
        arm: of the study.
        place: folder of its run folder.
        data: the cohort.
        verbs: of the command line.
        volumes: run folder that has prepared what this one would.
    """

    arm: Arm
    place: pathlib.Path
    data: pathlib.Path
    verbs: tuple[str, ...]
    volumes: pathlib.Path | None = None

    @property
    def run(self) -> pathlib.Path:
        """Its run folder."""
        return self.place / self.arm.name

    def __str__(self) -> str:
        return folds.label(self.arm.name, self.run)


def prepared_in(
    arms: Sequence[Arm], places: Sequence[pathlib.Path]
) -> dict[pathlib.Path, pathlib.Path]:
    """Names, for each run folder, the first whose volumes it would make over again.

    It is the same in all folds, unless the volumes depend on which subjects train.
    """
    found: dict[pathlib.Path, pathlib.Path] = {}
    firsts: dict[str, config.Config] = {}
    for arm in arms:
        own = arm.load()
        alike = (
            n for n, c in firsts.items() if not config.first_difference(own, c, config.PREPARED)
        )
        first = next(alike, arm.name)
        firsts.setdefault(first, own)
        for place in places:
            maker = places[0] if own.intensity.mr_landmarks == "none" else place
            found[place / arm.name] = maker / first
    return found


def through_verbs(job: Job, *, here: pathlib.Path) -> None:
    """Takes one arm through verbs, here or on a cluster's worker; `here` has the configs."""
    arm = job.arm
    if arm.trained_as:
        _take_training(job.place / arm.trained_as, job.run)
    elif "prepare" in job.verbs and job.volumes:
        _take_volumes(job.volumes, job.run)
    for verb in job.verbs:
        command = [sys.executable, "-m", "multires_tf", verb, "--workdir", str(job.run)]
        if verb in ("prepare", "train"):
            command += arm.flags
        if verb == "prepare":
            command += ["--data", str(job.data)]
        if verb == "predict":
            command += arm.predict
        if subprocess.run(command, cwd=here).returncode:
            raise errors.UserError(
                f"arm {job}: '{verb}' failed; see its message above, mend that and run again"
            )


def _take_volumes(source: pathlib.Path, target: pathlib.Path) -> None:
    """Links what another run has prepared, so that `prepare` finds done what is the same."""
    ours, theirs = runfolder.RunFolder(target), runfolder.RunFolder(source)
    for own, made in ((ours.volumes, theirs.volumes), (ours.qa, theirs.qa)):
        if made.exists() and not own.exists():
            with runfolder.replacing(own) as beside:
                shutil.copytree(made, beside, copy_function=_linked)


def _linked(source: str, target: str) -> None:
    """Links a file, or copies it where it lies on another disk, or on one without links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _take_training(source: pathlib.Path, target: pathlib.Path) -> None:
    """Links a trained run into the folder of an arm that predicts otherwise."""
    target.mkdir(parents=True, exist_ok=True)
    run = runfolder.RunFolder(source)
    for path in run.trained:
        if not path.exists():
            raise errors.UserError(f"{path}: not there yet; run that arm first")
    for path in (*run.trained, run.landmarks):
        link = target / path.name
        if path.exists() and not link.exists():
            link.symlink_to(os.path.relpath(path.resolve(), target.resolve()))
