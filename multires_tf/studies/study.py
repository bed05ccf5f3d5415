"""A study: arms (one config each) taken through the verbs, and their numbers side by side.

What experiments are written in. Every verb runs in a process of its own, as a user would run it, so
that arms cannot disturb each other; a finished arm is skipped by the verbs themselves. With folds
every arm has a run in each of them, and is shown as one.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

from multires_tf import door
from multires_tf.data import cohort
from multires_tf.ground import cluster, config, errors, runfolder
from multires_tf.studies import folds, jobs, pooling
from multires_tf.studies.jobs import Arm
from multires_tf.studies.pooling import Runs

# From the finished runs and the folder of the study to the lines to print, files written there.
Exhibit = Callable[[Runs, pathlib.Path], Sequence[str]]


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

    def parser() -> door.Parser:
        parser = door.Parser()
        parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("runs/phantom"))
        parser.add_argument("--root", type=pathlib.Path, default=root)
        names = [arm.name for arm in arms]
        parser.add_argument("--only", action="append", choices=names, help="an arm; repeatable")
        text = "test every subject once, in one of K folds of a cohort that names no splits"
        parser.add_argument("--folds", type=int, metavar="K", help=text)
        text = "key=value for all arms; repeatable"
        parser.add_argument("--set", dest="sets", action="append", default=[], help=text)
        text = "run nothing: show what the runs of all arms have come to"
        parser.add_argument("--show", action="store_true", help=text)
        text = "hand the arms to the Dask scheduler at this address, such as tcp://host:8786"
        parser.add_argument("--cluster", dest="scheduler", metavar="ADDRESS", help=text)
        return parser

    def experiment(chosen: argparse.Namespace) -> list[str]:
        every = [dataclasses.replace(arm, sets=(*arm.sets, *chosen.sets)) for arm in arms]
        asked = [arm for arm in every if not chosen.only or arm.name in chosen.only]
        if not chosen.show:
            run(
                asked,
                data=chosen.data,
                root=chosen.root,
                verbs=verbs,
                scheduler=chosen.scheduler,
                cut=None if chosen.folds is None else folds_of(every, chosen.folds),
            )
        return show(asked, root=chosen.root, exhibits=exhibits, count=chosen.folds)

    door.enter(parser, experiment)


def folds_of(arms: Sequence[Arm], count: int) -> folds.Cut:
    """How the cohort is cut for all arms alike, whichever of them are asked for.

    Seeds may differ from arm to arm; that of the first is the folds'.

    Raises:
        errors.UserError: arms want other proportions of the splits.
    """
    first, *others = (arm.load() for arm in arms)
    for arm, other in zip(arms[1:], others, strict=True):
        difference = config.first_difference(other, first, ("cohort",))
        if difference:
            reason = f"arm {arms[0].name} has {difference} as in arm {arm.name}"
            raise errors.UserError(f"--folds: {reason}; folds are the same for all arms")
    return folds.Cut(count, first.seed, first.cohort.split)


def run(
    arms: Sequence[Arm],
    *,
    data: pathlib.Path,
    root: pathlib.Path,
    verbs: Sequence[str],
    scheduler: str | None = None,
    cut: folds.Cut | None = None,
) -> None:
    """Takes every arm through the verbs; arms that borrow a trained network follow the others.

    Args:
        arms: with names of their own.
        data: the cohort, the same for all.
        root: folder of the run folders, or of the folds that hold them.
        verbs: of the command line, in their order.
        scheduler: address of a Dask scheduler that gets the arms; None: one after the other here.
        cut: of the cohort into folds, in each of which every arm has a run; None: no folds.

    Raises:
        errors.UserError: a verb failed; its own message is on stderr above, or the worker's. The
            cohort cannot be cut so, or root holds runs of another kind.
    """
    places = _places(arms, data, root, cut)
    through_verbs = functools.partial(jobs.through_verbs, here=pathlib.Path.cwd())
    for wave in _waves(arms, places, verbs):
        for _ in cluster.each(through_verbs, wave, scheduler=scheduler, words="arms"):
            pass


def _places(
    arms: Sequence[Arm], data: pathlib.Path, root: pathlib.Path, cut: folds.Cut | None
) -> dict[pathlib.Path, pathlib.Path]:
    """The folders that get a run of every arm, and the cohort of each; absolute, for workers."""
    if cut is None:
        return {place.absolute(): data.absolute() for place in folds.need(root, None)}
    for arm in arms:
        if runfolder.RunFolder(root / arm.name).cohort.exists():
            reason = f"arm {arm.name} has a run without folds there"
            raise errors.UserError(f"{root}: {reason}; leave out --folds, or choose another --root")
    folders = [folder.absolute() for folder in folds.lay_out(data, root, cut)]
    return {folder: folder / cohort.TABLE for folder in folders}


def _waves(
    arms: Sequence[Arm], places: Mapping[pathlib.Path, pathlib.Path], verbs: Sequence[str]
) -> tuple[list[jobs.Job], list[jobs.Job], list[jobs.Job]]:
    """Jobs that need nothing of one another, in three waves that build on those before.

    The first prepares what others take, the second does all the rest of the arms that train, the
    third all of those that borrow.
    """
    own = [arm for arm in arms if not arm.trained_as]
    prepared_in = jobs.prepared_in(own, list(places)) if "prepare" in verbs else {}
    without = tuple(verb for verb in verbs if verb != "prepare")
    borrowed = tuple(verb for verb in without if verb != "train")
    first: list[jobs.Job] = []
    second: list[jobs.Job] = []
    third: list[jobs.Job] = []
    for place, data in places.items():
        for arm in own:
            run, volumes = place / arm.name, prepared_in.get(place / arm.name)
            if volumes == run:
                first.append(jobs.Job(arm, place, data, ("prepare",)))
            rest = without if volumes == run else tuple(verbs)
            second.append(jobs.Job(arm, place, data, rest, volumes))
        third += [jobs.Job(arm, place, data, borrowed) for arm in arms if arm.trained_as]
    return first, second, third


def show(
    arms: Sequence[Arm],
    *,
    root: pathlib.Path,
    exhibits: Sequence[Exhibit],
    count: int | None = None,
) -> list[str]:
    """Returns the lines of all exhibits of finished arms.

    Args:
        arms: to show, with names of their own.
        root: folder of the run folders, or of the folds that hold them.
        exhibits: tables and figures of these arms together.
        count: of the folds; None: there are none.

    Raises:
        errors.UserError: there are other folds, an arm has no run, its subjects were split
            otherwise, or its folds are of unlike configs.
    """
    places = folds.need(root, count)
    runs = {a.name: [runfolder.RunFolder(place / a.name) for place in places] for a in arms}
    check(runs)
    lines = []
    for exhibit in exhibits:
        lines += ["", *exhibit(runs, root)]
    return lines


def check(runs: Runs) -> None:
    """Refuses to compare what cannot be compared, fold by fold.

    Raises:
        errors.UserError: an arm has no run, its subjects were split otherwise, or its folds are of
            unlike configs.
    """
    for fold in zip(*runs.values(), strict=True):
        named = zip(runs, fold, strict=True)
        _check_fold({folds.label(name, run.root): run for name, run in named})
    pooling.refuse_unlike_folds(runs)


def _check_fold(runs: Mapping[str, runfolder.RunFolder]) -> None:
    splits = {}
    for name, run in runs.items():
        if not run.cohort.exists():
            raise errors.UserError(f"arm {name}: no run in {run.root}; run it, or leave it out")
        splits[name] = {one.subject: one.split for one in cohort.read(run.cohort)}
    first, *others = splits
    for other in others:
        # One that is in no split need not have a row: it was left out, or is not there any more.
        used = [{s: p for s, p in splits[arm].items() if p != "none"} for arm in (first, other)]
        odd = dict(used[0].items() ^ used[1].items())
        if odd:
            where = (f"'{splits[arm].get(min(odd), 'absent')}' in {arm}" for arm in (first, other))
            reason = f"subject {min(odd)} is {' but '.join(where)}"
            raise errors.UserError(f"arm {other}: {reason}; prepare both from one cohort")
