"""`prepare`: a cohort of MR and CT becomes the pyramid stores that training reads."""

from __future__ import annotations

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence, Set
from typing import Any

from multires_tf.data import cohort, flags, splits
from multires_tf.ground import config as configs
from multires_tf.ground import errors, parallel, runfolder, runtime
from multires_tf.joints import preparer
from multires_tf.measure import quality_page

# What came of a subject's registration.
Record = dict[str, Any]


def run(
    *,
    workdir: pathlib.Path,
    config: configs.Config,
    data: pathlib.Path,
    series: str | None = None,
    keep_going: bool = False,
    memory: float | None = None,
    scheduler: str | None = None,
) -> list[str]:
    """Prepares every subject of a cohort; a run that was cut short is continued.

    All images are read and checked before anything is written; what only the work itself shows (no
    body in an MR, or none that both images share) ends it with whole subjects written.

    Args:
        workdir: run folder to fill.
        config: its sections seed, spacing_mm, register, cohort and intensity matter here.
        data: cohort folder or table.
        series: number, description or UID of the DICOM series, where a folder has several.
        keep_going: subjects that cannot be used get the split none instead of an error.
        memory: bytes that subjects prepared side by side may take; None: most of what is free.
        scheduler: address of a Dask scheduler that hands the subjects to its workers.

    Raises:
        errors.PartlyDone: with `keep_going`, subjects were left out.
        errors.UserError: the cohort or one of its images is unusable, or the run folder was
            prepared with another config.
        OSError: the disk is full or the folder cannot be written.
    """
    folder = runfolder.RunFolder(workdir)
    _check_folder(workdir, data)
    _check_config(folder, config)
    roll = _call(folder, data, keep_going)
    maker = preparer.Preparer(folder, config, series)
    if scheduler is not None:  # its workers are in folders of their own
        maker = maker.absolute()
        roll.subjects = [one.absolute() for one in roll.subjects]
    todo = roll.todo(maker)
    side_by_side = functools.partial(
        parallel.problems,
        cost_bytes=maker.cost_bytes,
        budget_bytes=memory or runtime.free_bytes(),
        keep_going=keep_going,
        scheduler=scheduler,
    )
    roll.strike(side_by_side(maker.check, todo, words="check"))
    if all(one.subject in roll.out for one in roll.subjects):
        first = next(iter(roll.problems.values()))
        raise errors.UserError(f"{data}: no subject can be used; {first}")
    with runfolder.locked(folder.lock):
        _tidy(folder)
        before = _earlier_splits(maker, roll)
        placed = _with_splits(before, roll, config)
        training = [one for one in placed if one.split == "train"]
        if maker.find_landmarks(training, faults=roll.problems if keep_going else None):
            todo = roll.todo(maker)
        todo = [one for one in todo if one.subject not in roll.out]
        roll.strike(side_by_side(maker.prepare, todo, words="prepare"))
        if folder.landmarks.exists():  # they come from the training subjects: what was drawn stays
            subjects = [_left_out(one) if one.subject in roll.out else one for one in placed]
        else:
            subjects = _with_splits(before, roll, config)
        subjects = _write(maker, roll, subjects, _marks(before, roll))
    lines = _lines(folder, subjects, roll.out)
    if roll.away:
        names = ", ".join(sorted(roll.away))
        lines.append(f"not in {data} any more, left out with its row kept: {names}")
    if roll.problems:
        lines += [f"left out: {name}: {why}" for name, why in sorted(roll.problems.items())]
        raise errors.PartlyDone(lines)
    return lines


@dataclasses.dataclass
class _Roll:
    """Who belongs to the cohort, and who is left out of it so far.

    Attributes:
        subjects: all of them; those that are away have their row of the run's own table.
        problems: why a subject cannot be used, by its name.
        away: names of those that were prepared and are not in the cohort now.
        renamed: the names that subjects of the run's own table have now, where they are others.
    """

    subjects: list[cohort.Subject]
    problems: dict[str, str]
    away: set[str]
    renamed: dict[str, str]

    @property
    def out(self) -> set[str]:
        """Names of all that are left out."""
        return self.problems.keys() | self.away

    def todo(self, maker: preparer.Preparer) -> list[cohort.Subject]:
        """Those that are neither left out nor prepared."""
        return [
            one for one in self.subjects if one.subject not in self.out and not maker.is_done(one)
        ]

    def now(self, name: str) -> str:
        """What a subject of the run's own table is called now."""
        return self.renamed.get(name, name)

    def known(self, folder: runfolder.RunFolder) -> list[cohort.Subject]:
        """The run's own rows, the renamed last: where a name went to another MR, they count."""
        return sorted(_earlier(folder), key=lambda one: one.subject in self.renamed)

    def strike(self, found: Sequence[tuple[cohort.Subject, str]]) -> None:
        """Leaves subjects out, and notes why."""
        self.problems |= {one.subject: why for one, why in found}


def _call(folder: runfolder.RunFolder, data: pathlib.Path, keep_going: bool) -> _Roll:
    """Finds the cohort's subjects, and adds the run's own rows of others.

    Their splits and flags would be lost else: they are away, or their folders are faulty. A subject
    is known by its MR, whatever its name.
    """
    problems: dict[str, str] = {}
    subjects = cohort.discover(data, faults=problems if keep_going else None)
    names = {one.mr.resolve(): one.subject for one in subjects}
    rows = {one.subject: one for one in _earlier(folder)}
    now = {name: names.get(row.mr.resolve(), name) for name, row in rows.items()}
    renamed = {name: other for name, other in now.items() if other != name}
    lacking = rows.keys() - names.values() - renamed.keys()
    subjects += [row for name, row in rows.items() if name in lacking]
    return _Roll(subjects, problems, lacking - problems.keys(), renamed)


def _marks(before: Mapping[str, str], roll: _Roll) -> dict[str, str]:
    """Flags that say which split those would have who are left out by nobody's wish."""
    return {
        name: flags.left_out(before.get(name, ""))
        for name in roll.out
        if before.get(name) != "none"
    }


def _check_folder(workdir: pathlib.Path, data: pathlib.Path) -> None:
    existing = next((part for part in (workdir, *workdir.parents) if part.exists()), workdir)
    if existing.exists() and not existing.is_dir():
        raise errors.UserError(f"{existing}: a file, not a folder; choose another --workdir")
    # Both have a cohort.csv, and ours would take the place of theirs.
    if data.exists() and workdir.resolve() == (data if data.is_dir() else data.parent).resolve():
        raise errors.UserError(f"{workdir}: holds the cohort itself; choose another --workdir")


def _check_config(folder: runfolder.RunFolder, config: configs.Config) -> None:
    """Refuses a folder whose volumes or splits were made with other values."""
    if folder.config.exists():
        configs.need_prepared(folder.config, config, configs.PREPARED)


def _tidy(folder: runfolder.RunFolder) -> None:
    """Removes what a killed process left under temporary names."""
    for place in (folder.volumes, folder.qa):
        for left in runfolder.leftovers(place):
            runfolder.remove(left)


def _earlier(folder: runfolder.RunFolder) -> list[cohort.Subject]:
    return cohort.read(folder.cohort) if folder.cohort.exists() else []


def _earlier_splits(maker: preparer.Preparer, roll: _Roll) -> dict[str, str]:
    """Returns what stays of the run's own cohort: splits once drawn, and those a person has set.

    A subject that was left out has the split none as well, but nobody wanted that: its mark says
    what it was in, and nothing is prepared of it where it was left out before there were marks.
    """
    kept = {}
    for one in roll.known(maker.folder):
        before = flags.split_before(one.flags)
        # A person may have set another split since.
        split = one.split if before is None or one.split != "none" else before
        if split in cohort.DRAWN_SPLITS or (split == "none" and maker.has_stores(one)):
            kept[roll.now(one.subject)] = split
    return kept


def _with_splits(
    before: Mapping[str, str], roll: _Roll, config: configs.Config
) -> list[cohort.Subject]:
    """Gives every subject its split: its own, else the one it had before, else drawn now."""
    placed = []
    for one in roll.subjects:
        split = "none" if one.subject in roll.out else one.split or before.get(one.subject, "")
        placed.append(dataclasses.replace(one, split=split))
    return splits.draw(placed, config.cohort.split, config.seed)


def _left_out(one: cohort.Subject) -> cohort.Subject:
    return dataclasses.replace(one, split="none")


def _write(
    maker: preparer.Preparer,
    roll: _Roll,
    subjects: Sequence[cohort.Subject],
    marks: Mapping[str, str],
) -> list[cohort.Subject]:
    """Writes the config, the cohort with its flags, which it returns, and the page.

    Args:
        roll: knows under which names the run's own table has them.
        subjects: with their splits.
        marks: flags of the subjects that were left out, by nobody's wish.
    """
    folder = maker.folder
    records = {one.subject: maker.record(one) for one in subjects}
    earlier = {roll.now(one.subject): one.flags for one in roll.known(folder)}
    flagged = []
    for one in subjects:
        # Those of an earlier prepare are replaced by those of this one; what people noted stays.
        noted = [*flags.by_people(one.flags), *flags.by_people(earlier.get(one.subject, ""))]
        record = records[one.subject]
        noted += [marks[one.subject]] if one.subject in marks else []
        noted += record["flags"] if record else []
        flagged.append(dataclasses.replace(one, flags=flags.write(noted)))
    # What was trained refers to the config that is there; otherwise ours is the one.
    if not folder.checkpoints.exists():
        runfolder.write_text(folder.config, configs.dump(maker.config))
    cohort.write(folder.cohort, flagged)
    _write_page(maker, flagged, records)
    return flagged


def _write_page(
    maker: preparer.Preparer,
    subjects: Sequence[cohort.Subject],
    records: Mapping[str, Record | None],
) -> None:
    """Writes the page by which the whole cohort is checked."""
    checked = [
        quality_page.Checked(one.subject, one.split, one.flags, maker.picture(one).name, record)
        for one in subjects
        if (record := records[one.subject])
    ]
    page = quality_page.render(maker.folder.root.resolve().name, checked)
    runfolder.write_text(maker.folder.qa / "index.html", page)


def _lines(
    folder: runfolder.RunFolder, subjects: Sequence[cohort.Subject], out: Set[str]
) -> list[str]:
    counts = collections.Counter(one.split for one in subjects)
    shares = ", ".join(f"{counts[split]} {split}" for split in cohort.SPLITS if counts[split])
    flagged = [one.subject for one in subjects if one.flags and one.subject not in out]
    lacking = [split for split in cohort.DRAWN_SPLITS if not counts[split]]
    return [
        f"{folder.cohort}: {len(subjects)} subjects ({shares})",
        f"{folder.volumes}: {sum(one.subject not in out for one in subjects)} prepared",
        f"{folder.qa / 'index.html'}: all of them to look at, the worst first",
        *([f"flagged, look at them: {', '.join(flagged)}"] if flagged else []),
        *(f"no subject in split '{split}': name one in the cohort" for split in lacking),
    ]
