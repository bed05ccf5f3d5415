"""`prepare`: a cohort of MR and CT becomes the pyramid stores that training reads."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
import tqdm

from multires_tf import config as configs
from multires_tf import errors, progress, runfolder, strict
from multires_tf.data import cohort, images, preparation, store
from multires_tf.measure import quality, quality_page

# What the prepared volumes and the cohort depend on.
_SECTIONS = ("seed", "spacing_mm", "register", "cohort", "intensity")
_ROLES = ("mr", "ct", "mask")


def run(
    *,
    workdir: pathlib.Path,
    config: configs.Config,
    data: pathlib.Path,
    series: str | None = None,
    keep_going: bool = False,
) -> list[str]:
    """Prepares every subject of a cohort; a run that was cut short is continued.

    All images are read and checked before anything is written.

    Args:
        workdir: run folder to fill.
        config: its sections seed, spacing_mm, register, cohort and intensity matter here.
        data: cohort folder or table.
        series: UID or description of the DICOM series, where a folder has several.
        keep_going: subjects that cannot be used get the split none instead of an error.

    Raises:
        errors.UserError: the cohort or one of its images is unusable, or the run folder was
            prepared with another config.
        OSError: the disk is full or the folder cannot be written.
    """
    folder = runfolder.RunFolder(workdir)
    _check_folder(workdir, data)
    _check_config(folder, config)
    subjects = cohort.discover(data)
    recipe = _recipe(config, series)
    todo = [one for one in subjects if not _is_prepared(folder, one, recipe)]
    bar = progress.bar(total=len(todo), words="check")
    problems = _each(todo, lambda one: _load(one, series), bar=bar, keep_going=keep_going)
    if len(problems) == len(subjects):
        raise errors.UserError(f"{data}: no subject can be used; {next(iter(problems.values()))}")
    with runfolder.locked(folder.lock):
        _tidy(folder)
        todo = [one for one in todo if one.subject not in problems]
        bar = progress.bar(total=len(todo), words="prepare")
        problems |= _each(
            todo,
            lambda one: _prepare(folder, one, config, series),
            bar=bar,
            keep_going=keep_going,
        )
        subjects = _with_splits(folder, subjects, problems, config)
        subjects = [_with_flags(folder, one) for one in subjects]
        # What was trained refers to the config that is there; otherwise ours is the one.
        if not folder.checkpoints.exists():
            runfolder.write_text(folder.config, configs.dump(config))
        cohort.write(folder.cohort, subjects)
        _write_page(folder, subjects)
    return _lines(folder, subjects, problems)


def _check_folder(workdir: pathlib.Path, data: pathlib.Path) -> None:
    existing = next((part for part in (workdir, *workdir.parents) if part.exists()), workdir)
    if existing.exists() and not existing.is_dir():
        raise errors.UserError(f"{existing}: a file, not a folder; choose another --workdir")
    # Both have a cohort.csv, and ours would take the place of theirs.
    if data.exists() and workdir.resolve() == (data if data.is_dir() else data.parent).resolve():
        raise errors.UserError(f"{workdir}: holds the cohort itself; choose another --workdir")


def _check_config(folder: runfolder.RunFolder, config: configs.Config) -> None:
    """Refuses a folder whose volumes or splits were made with other values."""
    if not folder.config.exists():
        return
    difference = configs.first_difference(config, configs.parse(folder.config), _SECTIONS)
    if difference:
        advice = "use the same config, or another --workdir"
        raise errors.UserError(f"{folder.config}: was prepared with {difference}; {advice}")


def _tidy(folder: runfolder.RunFolder) -> None:
    """Removes what a killed process left under temporary names."""
    for place in (folder.volumes, folder.qa):
        for left in runfolder.leftovers(place):
            runfolder.remove(left)


def _with_splits(
    folder: runfolder.RunFolder,
    subjects: Sequence[cohort.Subject],
    problems: dict[str, str],
    config: configs.Config,
) -> list[cohort.Subject]:
    """Gives every subject its split: its own, else what was drawn for it before, else drawn now."""
    earlier = cohort.read(folder.cohort) if folder.cohort.exists() else []
    before = {one.subject: one.split for one in earlier if one.split in cohort.DRAWN_SPLITS}
    placed = []
    for one in subjects:
        split = "none" if one.subject in problems else one.split or before.get(one.subject, "")
        placed.append(dataclasses.replace(one, split=split))
    return cohort.draw_splits(placed, config.cohort.split, config.seed)


def _with_flags(folder: runfolder.RunFolder, one: cohort.Subject) -> cohort.Subject:
    """Adds what the registration wants a person to look at."""
    record = _record(folder, one)
    return dataclasses.replace(one, flags="; ".join(record["flags"])) if record else one


def _record(folder: runfolder.RunFolder, one: cohort.Subject) -> dict[str, Any] | None:
    path = folder.registration(one.subject)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _write_page(folder: runfolder.RunFolder, subjects: Sequence[cohort.Subject]) -> None:
    """Writes the page by which the whole cohort is checked."""
    checked = [
        quality_page.Checked(one.subject, one.split, one.flags, _picture(folder, one).name, record)
        for one in subjects
        if (record := _record(folder, one))
    ]
    page = quality_page.render(folder.root.resolve().name, checked)
    runfolder.write_text(folder.qa / "index.html", page)


def _each(
    subjects: Sequence[cohort.Subject],
    action: Callable[[cohort.Subject], object],
    *,
    bar: tqdm.tqdm,
    keep_going: bool,
) -> dict[str, str]:
    """Calls `action` on each subject; returns {subject: what is wrong with it}."""
    problems = {}
    with bar:
        for one in subjects:
            try:
                action(one)
            except errors.UserError as error:
                if not keep_going:
                    raise
                problems[one.subject] = str(error)
            bar.update()
    return problems


def _load(one: cohort.Subject, series: str | None) -> dict[str, sitk.Image]:
    """Reads a subject's images and checks all that can be wrong with them.

    Raises:
        errors.UserError: as `images.read`; no CT, a CT not in HU, fields that do not overlap.
    """
    if one.ct is None:
        raise errors.UserError(f"{one.mr.parent}: subject {one.subject} has no ct; add it")
    # Headers first: they tell most mistakes in no time.
    mr = images.check_header(one.mr, series=series, modality="MR")
    ct = images.check_header(one.ct, series=series, modality="CT")
    images.check_overlap(mr, ct, mr_path=one.mr, ct_path=one.ct)
    loaded = {
        "mr": images.read(one.mr, series=series, modality="MR"),
        "ct": images.read(one.ct, series=series, modality="CT"),
    }
    images.check_ct_hu(loaded["ct"], one.ct)
    if one.mask is not None:
        loaded["mask"] = images.read(one.mask)
    return loaded


def _prepare(
    folder: runfolder.RunFolder, one: cohort.Subject, config: configs.Config, series: str | None
) -> None:
    """Writes a subject's three stores, its registration and its picture."""
    loaded = _load(one, series)
    spacing_mm = config.spacing_mm or preparation.canonical_spacing_mm(loaded["ct"])
    air_hu = config.intensity.ct_window_hu[0]
    zero_is_outside = config.intensity.mr_zero_is_outside
    try:
        ct = preparation.ct_in_its_own_frame(
            loaded["ct"],
            body=loaded.get("mask"),
            padding=config.intensity.ct_padding,
            metal=config.intensity.ct_metal,
        )
        with progress.bar(words=f"register {one.subject}", unit="step") as bar:
            registered_ct, registered = preparation.register(
                loaded["mr"],
                ct,
                kind=config.register,
                zero_is_outside=zero_is_outside,
                tick=bar.update,
            )
        mr = preparation.prepare_mr(
            loaded["mr"],
            spacing_mm=spacing_mm,
            percentiles=config.intensity.mr_percentiles,
            zero_is_outside=zero_is_outside,
            correction=config.intensity.mr_bias_field,
            ct=registered_ct,
        )
        ct_hu, mask = preparation.prepare_ct(registered_ct, mr, air_hu=air_hu)
        before_hu = None
        if registered.transform is not None:
            before_hu, _ = preparation.prepare_ct(ct, mr, air_hu=air_hu)
    except errors.UserError as error:
        raise errors.UserError(f"{one.mr}: {error}") from None
    marks = {"inputs": _fingerprint(one), "recipe": _recipe(config, series)}
    attributes = {**mr.attributes(), **marks}
    stores: dict[str, tuple[np.ndarray, float, Literal["mean", "min"]]]
    stores = {"mr": (mr.unit, 0.0, "mean"), "ct": (ct_hu, air_hu, "mean"), "mask": (mask, 0, "min")}
    with runfolder.replacing(folder.volumes / one.subject) as temporary:
        for role, (array, fill, reduce) in stores.items():
            path = temporary / folder.volume(one.subject, role).name
            store.write_pyramid(path, array, fill=fill, reduce=reduce, attributes=attributes)
        registered.save(temporary)
    picture = quality.prepared_subject(
        mr.unit,
        ct_hu,
        mask,
        spacing_mm=mr.grid.spacing_mm,
        title=one.subject,
        before_hu=before_hu,
    )
    with runfolder.replacing(_picture(folder, one)) as path:
        path.write_bytes(picture)


def _picture(folder: runfolder.RunFolder, one: cohort.Subject) -> pathlib.Path:
    return folder.qa / f"{one.subject}.png"


def _is_prepared(folder: runfolder.RunFolder, one: cohort.Subject, recipe: dict[str, Any]) -> bool:
    """Tells whether the stores are complete and made like this from the images as they are now."""
    paths = [folder.volume(one.subject, role) for role in _ROLES]
    if (
        not folder.registration(one.subject).exists()
        or not _picture(folder, one).exists()
        or not all(map(store.is_complete, paths))
    ):
        return False
    attributes = store.open_pyramid(paths[0]).attributes
    made = (attributes.get("inputs"), attributes.get("recipe"))
    return made == (_fingerprint(one), recipe)


def _recipe(config: configs.Config, series: str | None) -> dict[str, Any]:
    """What the stores depend on besides the images, as JSON keeps it."""
    return {
        "series": series,
        "spacing_mm": strict.plain(config.spacing_mm),
        "register": config.register,
        "intensity": strict.plain(config.intensity),
    }


def _fingerprint(one: cohort.Subject) -> dict[str, str]:
    """Checksums of the input files: another image is another preparation."""
    marks = {}
    for role in _ROLES:
        path = getattr(one, role)
        if path is None or not path.exists():
            continue
        marks[role] = images.fingerprint(path)
    return marks


def _lines(
    folder: runfolder.RunFolder, subjects: Sequence[cohort.Subject], problems: dict[str, str]
) -> list[str]:
    counts = collections.Counter(one.split for one in subjects)
    shares = ", ".join(f"{counts[split]} {split}" for split in cohort.SPLITS if counts[split])
    prepared = len(subjects) - len(problems)
    flagged = [one.subject for one in subjects if one.flags]
    lacking = [split for split in cohort.DRAWN_SPLITS if not counts[split]]
    return [
        *(f"left out: {name}: {problem}" for name, problem in problems.items()),
        f"{folder.cohort}: {len(subjects)} subjects ({shares})",
        f"{folder.volumes}: {prepared} prepared",
        f"{folder.qa / 'index.html'}: all of them to look at, the worst first",
        *([f"flagged, look at them: {', '.join(flagged)}"] if flagged else []),
        *(f"no subject in split '{split}': name one in the cohort" for split in lacking),
    ]
