"""`prepare`: a cohort of MR and CT becomes the pyramid stores that training reads."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from multires_tf import config as configs
from multires_tf import errors, runfolder, strict, workers
from multires_tf.data import cohort, geometry, images, preparation, resampling, store
from multires_tf.measure import quality

# What the prepared volumes and the cohort depend on.
_SECTIONS = ("seed", "spacing_mm", "cohort", "intensity")
_INPUTS = ("mr", "ct", "mask")
_ROLES = (*_INPUTS, "mr_body", "ct_body")


def run(
    *,
    workdir: pathlib.Path,
    config: configs.Config,
    data: pathlib.Path,
    series: str | None = None,
    keep_going: bool = False,
    memory: float | None = None,
) -> list[str]:
    """Prepares every subject of a cohort; a run that was cut short is continued.

    All images are read and checked before anything is written.

    Args:
        workdir: run folder to fill.
        config: its sections seed, spacing_mm, cohort and intensity matter here.
        data: cohort folder or table.
        series: number, description or UID of the DICOM series, where a folder has several.
        keep_going: subjects that cannot be used get the split none instead of an error.
        memory: bytes that subjects prepared side by side may take; None: most of what is free.

    Raises:
        errors.PartlyDone: with `keep_going`, subjects were left out.
        errors.UserError: the cohort or one of its images is unusable, or the run folder was
            prepared with another config.
        OSError: the disk is full or the folder cannot be written.
    """
    folder = runfolder.RunFolder(workdir)
    _check_folder(workdir, data)
    _check_config(folder, config)
    faults: dict[str, str] = {}
    subjects = cohort.discover(data, faults=faults if keep_going else None)
    recipe = _recipe(config, series)
    todo = [one for one in subjects if not _is_prepared(folder, one, recipe)]
    side_by_side = functools.partial(
        workers.problems,
        cost_bytes=lambda one: _cost_bytes(one, series),
        budget_bytes=memory or workers.free_bytes(),
        keep_going=keep_going,
    )
    found = side_by_side(todo, lambda one: _load(one, series), words="check")
    problems = {one.subject: words for one, words in found}
    if len(problems) == len(subjects):
        first = next(iter((problems | faults).values()))
        raise errors.UserError(f"{data}: no subject can be used; {first}")
    with runfolder.locked(folder.lock):
        _tidy(folder)
        todo = [one for one in todo if one.subject not in problems]
        found = side_by_side(
            todo, lambda one: _prepare(folder, one, config, series), words="prepare"
        )
        problems |= {one.subject: words for one, words in found}
        subjects = _with_splits(folder, subjects, problems, config)
        # What was trained refers to the config that is there; otherwise ours is the one.
        if not folder.checkpoints.exists():
            runfolder.write_text(folder.config, configs.dump(config))
        cohort.write(folder.cohort, subjects)
    lines = _lines(folder, subjects, len(problems))
    left_out = {**problems, **faults}
    if left_out:
        lines += [f"left out: {name}: {left_out[name]}" for name in sorted(left_out)]
        raise errors.PartlyDone(lines)
    return lines


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


def _cost_bytes(one: cohort.Subject, series: str | None) -> float:
    """Memory that checking or preparing a subject takes, by its headers."""
    try:
        return preparation.memory_bytes(*_headers(one, series))
    except errors.UserError:
        return 0.0  # its turn will tell


def _headers(
    one: cohort.Subject, series: str | None
) -> tuple[geometry.Geometry, geometry.Geometry]:
    """Checks all that headers tell: most mistakes in no time.

    Raises:
        errors.UserError: as `images.check_header`; no CT, fields that do not overlap.
    """
    if one.ct is None:
        raise errors.UserError(f"{one.mr.parent}: subject {one.subject} has no ct; add it")
    mr = images.check_header(one.mr, series=series, modality="MR")
    ct = images.check_header(one.ct, series=series, modality="CT")
    images.check_overlap(mr, ct, mr_path=one.mr, ct_path=one.ct)
    return mr, ct


def _load(one: cohort.Subject, series: str | None) -> dict[str, sitk.Image]:
    """Reads a subject's images and checks all that can be wrong with them.

    Raises:
        errors.UserError: as `images.read`; no CT, a CT not in HU, fields that do not overlap.
    """
    _headers(one, series)
    assert one.ct is not None
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
    """Writes a subject's stores and its picture."""
    loaded = _load(one, series)
    body = preparation.ct_body(loaded["ct"])
    spacing_mm = config.spacing_mm or preparation.canonical_spacing_mm(loaded["ct"])
    air_hu = config.intensity.ct_window_hu[0]
    try:
        mr = preparation.prepare_mr(
            loaded["mr"],
            spacing_mm=spacing_mm,
            percentiles=config.intensity.mr_percentiles,
            zero_is_outside=config.intensity.mr_zero_is_outside,
            correction=config.intensity.mr_bias_field,
            ct_body=body,
        )
        if "mask" in loaded:
            given = geometry.canonical_image(loaded["mask"])
            body = sitk.GetArrayFromImage(given) > 0, geometry.of_image(given)
        ct_hu, mask = preparation.prepare_ct(
            loaded["ct"],
            mr,
            body=body,
            air_hu=air_hu,
            padding=config.intensity.ct_padding,
            metal=config.intensity.ct_metal,
        )
    except errors.UserError as error:
        raise errors.UserError(f"{one.mr}: {error}") from None
    marks = {"inputs": _fingerprint(one), "recipe": _recipe(config, series)}
    attributes = {**mr.attributes(), **marks}
    stores: dict[str, tuple[np.ndarray, float, Literal["mean", "min"]]]
    ct_body = resampling.resample_mask(*body, mr.grid, share=0.5)
    stores = {
        "mr": (mr.unit, 0.0, "mean"),
        "ct": (ct_hu, air_hu, "mean"),
        "mask": (mask, 0, "min"),
        "mr_body": (mr.body.astype(np.uint8), 0, "min"),
        "ct_body": (ct_body.astype(np.uint8), 0, "min"),
    }
    with runfolder.replacing(folder.volumes / one.subject) as temporary:
        for role, (array, fill, reduce) in stores.items():
            path = temporary / folder.volume(one.subject, role).name
            store.write_pyramid(path, array, fill=fill, reduce=reduce, attributes=attributes)
    picture = quality.prepared_subject(
        mr.unit, ct_hu, mask, spacing_mm=mr.grid.spacing_mm, title=one.subject
    )
    with runfolder.replacing(_picture(folder, one)) as path:
        path.write_bytes(picture)


def _picture(folder: runfolder.RunFolder, one: cohort.Subject) -> pathlib.Path:
    return folder.qa / f"{one.subject}.png"


def _is_prepared(folder: runfolder.RunFolder, one: cohort.Subject, recipe: dict[str, Any]) -> bool:
    """Tells whether the stores are complete and made like this from the images as they are now."""
    paths = [folder.volume(one.subject, role) for role in _ROLES]
    if not _picture(folder, one).exists() or not all(map(store.is_complete, paths)):
        return False
    attributes = store.open_pyramid(paths[0]).attributes
    made = (attributes.get("inputs"), attributes.get("recipe"))
    return made == (_fingerprint(one), recipe)


def _recipe(config: configs.Config, series: str | None) -> dict[str, Any]:
    """What the stores depend on besides the images, as JSON keeps it."""
    return {
        # A UID of the patient's has no place in a store; its digest tells a change as well.
        "series": series and hashlib.sha256(series.encode()).hexdigest(),
        "spacing_mm": strict.plain(config.spacing_mm),
        "intensity": strict.plain(config.intensity),
    }


def _fingerprint(one: cohort.Subject) -> dict[str, str]:
    """Checksums of the input files: another image is another preparation."""
    marks = {}
    for role in _INPUTS:
        path = getattr(one, role)
        if path is None or not path.exists():
            continue
        marks[role] = images.fingerprint(path)
    return marks


def _lines(
    folder: runfolder.RunFolder, subjects: Sequence[cohort.Subject], without: int
) -> list[str]:
    counts = collections.Counter(one.split for one in subjects)
    shares = ", ".join(f"{counts[split]} {split}" for split in cohort.SPLITS if counts[split])
    lacking = [split for split in cohort.DRAWN_SPLITS if not counts[split]]
    return [
        f"{folder.cohort}: {len(subjects)} subjects ({shares})",
        f"{folder.volumes}: {len(subjects) - without} prepared",
        f"{folder.qa}: a picture of each",
        *(f"no subject in split '{split}': name one in the cohort" for split in lacking),
    ]
