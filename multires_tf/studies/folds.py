"""Folds of a study: its cohort cut into parts, so that every subject is tested once.

With folds the root of a study has the folders `fold1` to `foldK`. Each is what the root of a study
without folds is, one run folder an arm, and has the `cohort.csv` that its arms are prepared from.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from multires_tf.data import cohort, splits
from multires_tf.ground import errors, runfolder

_NAME = re.compile(r"fold[1-9]\d*")


@dataclasses.dataclass(frozen=True)
class Cut:
    """How a cohort is cut.

    Attributes:
        count: of the folds.
        seed: of all chance in it.
        split: proportions of train, validation and test; a fold's test subjects are its part of
            the cohort, so that the first two alone matter.
    """

    count: int
    seed: int
    split: tuple[int, int, int]


def lay_out(data: pathlib.Path, root: pathlib.Path, cut: Cut) -> list[pathlib.Path]:
    """Writes the cohort of every fold and returns their folders.

    Args:
        data: cohort folder or table that names no splits but none.
        root: of the study.
        cut: how many folds, and by what chance.

    Raises:
        errors.UserError: the cohort is none, names splits or is too small for so many folds, or
            root has runs of other folds; nothing is written then.
    """
    subjects = cohort.discover(data)
    named = [one for one in subjects if one.split in cohort.DRAWN_SPLITS]
    if named:
        reason = f"subject {named[0].subject} is in split '{named[0].split}'"
        advice = "empty that column but for 'none', or leave out --folds"
        raise errors.UserError(f"{data}: --folds draws the splits itself, but {reason}; {advice}")
    _check_size(sum(not one.split for one in subjects), cut.count)
    folds = {root / f"fold{k + 1}": placed for k, placed in enumerate(divide(subjects, cut))}
    there = found(root)
    if any(_has_run(folder) for folder in there):
        _refuse_others(root, there, folds)
    for folder in set(there) - set(folds):  # nothing was prepared from them
        runfolder.remove(folder / cohort.TABLE)
    for folder, placed in folds.items():
        cohort.write(folder / cohort.TABLE, placed)
    return list(folds)


def _check_size(subjects: int, count: int) -> None:
    """A fold needs a subject to test, one to validate and one to train."""
    if count < 2:
        raise errors.UserError(f"--folds {count}: needs at least 2; leave it out for no folds")
    if count > subjects:
        reason = f"the cohort has {subjects} subjects that are not in split 'none'"
        raise errors.UserError(f"--folds {count}: {reason}; give no more folds than that")
    if subjects - -(-subjects // count) < 2:
        reason = f"of {subjects} subjects one alone is left to train and validate"
        raise errors.UserError(f"--folds {count}: {reason}; add folds or subjects")


def divide(subjects: Sequence[cohort.Subject], cut: Cut) -> list[list[cohort.Subject]]:
    """Gives every subject its split in each fold; those of split none stay out of all.

    Which subject is tested in which fold depends on the seed, the names and the number of folds
    alone. The parts differ by one subject at most, the larger ones first.
    """
    names = sorted(one.subject for one in subjects if not one.split)
    order = np.random.default_rng(cut.seed).permutation(len(names))
    train, validation, _ = cut.split
    folds = []
    for number, part in enumerate(np.array_split(order, cut.count)):
        tested = {names[index] for index in part}
        others = [one for one in subjects if one.subject not in tested]
        drawn = {
            one.subject: one.split
            for one in splits.draw(others, (train, validation, 0), (cut.seed, number))
        }
        folds.append(
            [
                dataclasses.replace(one, split=drawn.get(one.subject, cohort.DRAWN_SPLITS[-1]))
                for one in subjects
            ]
        )
    return folds


def _has_run(folder: pathlib.Path) -> bool:
    """Tells whether anything in a fold depends on its splits already."""
    runs = (runfolder.RunFolder(entry) for entry in folder.iterdir())
    return any(run.cohort.exists() or run.landmarks.exists() for run in runs)


def _refuse_others(
    root: pathlib.Path,
    there: Sequence[pathlib.Path],
    folds: Mapping[pathlib.Path, Sequence[cohort.Subject]],
) -> None:
    """Parts of another cut, even of another number, differ in one of the folds that are there."""
    for folder in there:
        before = {one.subject: one.split for one in cohort.read(folder / cohort.TABLE)}
        now = {one.subject: one.split for one in folds.get(folder, ())}
        odd = {name for name, _ in before.items() ^ now.items()}
        if odd:
            was, is_now = (splits.get(min(odd), "absent") for splits in (before, now))
            reason = f"in {folder.name} subject {min(odd)} is '{was}', not '{is_now}'"
            advice = "choose another --root"
            raise errors.UserError(
                f"{root}: has runs of {len(there)} other folds: {reason}; {advice}"
            )


def found(root: pathlib.Path) -> list[pathlib.Path]:
    """The folders of the folds that a study has, in their order; none for one without folds."""
    tables = root.glob(f"fold*/{cohort.TABLE}")
    folders = [path.parent for path in tables if _NAME.fullmatch(path.parent.name)]
    # An arm may be called like a fold; its run has a config as well.
    folders = [folder for folder in folders if not runfolder.RunFolder(folder).config.exists()]
    return sorted(folders, key=lambda folder: int(folder.name.removeprefix("fold")))


def need(root: pathlib.Path, count: int | None) -> list[pathlib.Path]:
    """The folders that hold the run folders: those of the folds, or the root itself.

    Args:
        root: of the study.
        count: of the folds; None for a study without.

    Raises:
        errors.UserError: the study has not so many folds.
    """
    there = found(root)
    if count is not None and len(there) != count:
        advice = f"give --folds {len(there)}" if there else "leave it out, or run with it first"
        raise errors.UserError(f"--folds {count}: {root} has {len(there)} folds; {advice}")
    if count is None and there:
        advice = f"add --folds {len(there)}, or choose another --root"
        raise errors.UserError(f"{root}: its runs are in folds; {advice}")
    return there or [root]


def label(arm: str, run: pathlib.Path) -> str:
    """What a message calls the run folder of an arm."""
    fold = run.parent.name
    return f"{arm} of {fold}" if _NAME.fullmatch(fold) else arm
