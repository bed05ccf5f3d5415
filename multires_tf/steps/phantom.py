"""The verb `phantom`: writes a cohort of simulated whole-body pairs with the truth behind them."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from multires_tf.data import cohort, geometry, splits
from multires_tf.data.files import images
from multires_tf.data.phantom import subject, tissues
from multires_tf.ground import errors, parallel, progress, runfolder, runtime, tables

SHARES = (22, 5, 5)  # training, validation, test
# Raised whenever the same parameters would give other files.
VERSION = 1
# Memory of one at its peak: measured 120 bytes a voxel, of a tall and stout one.
_BYTES_AT_1_MM = 4e10


def run(
    *,
    out: Path,
    subjects: int,
    seed: int,
    spacing_mm: float = 5.0,
    stations: bool = False,
) -> list[str]:
    """Makes a cohort of phantoms, or leaves the one that is there if it is the same.

    Args:
        out: the cohort's folder; gets `cohort.csv`, `phantom.json` and for each subject a folder
            with `mr.nii.gz` (or `mr_station<k>.nii.gz`), `ct.nii.gz` and `truth/`.
        subjects: how many.
        seed: of the cohort; subject i is the same in every cohort of this seed and spacing.
        spacing_mm: edge of the cubic voxels.
        stations: four MR stations from the head down instead of one volume.

    Returns:
        Lines for the terminal.

    Raises:
        errors.UserError: a parameter is out of range, or the folder holds something else.
    """
    _check(subjects, seed, spacing_mm)
    out = Path(out)
    made = {"subjects": subjects, "seed": seed, "spacing_mm": spacing_mm, "stations": stations}
    made["version"] = VERSION
    note = out / "phantom.json"
    _check_folder(out, note, made)
    names = [f"phantom{index:03d}" for index in range(subjects)]
    done = note.exists() and (out / cohort.TABLE).exists()
    missing = [i for i, name in enumerate(names) if not (out / name).is_dir()]
    if done and not missing:
        return [f"{out / cohort.TABLE}: {subjects} phantoms, already there"]
    runfolder.write_json(note, made)
    _make(out, names, missing, seed=seed, spacing_mm=spacing_mm, stations=stations)
    _write_table(out / cohort.TABLE, names, seed=seed, stations=stations)
    return [f"{out / cohort.TABLE}: {subjects} phantoms of seed {seed} at {spacing_mm:g} mm"]


def _check(subjects: int, seed: int, spacing_mm: float) -> None:
    if not 1 <= subjects <= 1000:
        raise errors.UserError(f"--subjects: {subjects} is out of range; give 1 to 1000")
    if seed < 0:
        raise errors.UserError(f"--seed: {seed} is negative; give 0 or more")
    if not 1.0 <= spacing_mm <= 20.0:
        raise errors.UserError(f"--spacing_mm: {spacing_mm:g} is out of range; give 1 to 20")


def _check_folder(out: Path, note: Path, made: dict) -> None:
    """Refuses a folder that holds anything but this very cohort."""
    if out.exists() and not out.is_dir():
        raise errors.UserError(f"{out}: is a file; give a folder")
    if not note.exists():
        if out.is_dir() and any(out.iterdir()):
            raise errors.UserError(
                f"{out}: holds files but no phantom cohort; give an empty folder"
            )
        return
    try:
        there = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        raise errors.UserError(f"{note}: is not JSON; remove {out} and run again") from None
    differing = [key for key in made if not isinstance(there, dict) or there.get(key) != made[key]]
    if differing:
        key = differing[0]
        found = there.get(key) if isinstance(there, dict) else None
        raise errors.UserError(
            f"{out}: holds phantoms with {key} {found}, not {made[key]}; "
            "remove it or give another --out"
        )


def _make(
    out: Path,
    names: list[str],
    missing: list[int],
    *,
    seed: int,
    spacing_mm: float,
    stations: bool,
) -> None:
    """Simulates the missing subjects, as many at a time as cores and memory allow."""
    write = functools.partial(
        _write_subject, out, seed=seed, spacing_mm=spacing_mm, stations=stations
    )
    numbered = [(names[i], i) for i in missing]
    cost_bytes = _BYTES_AT_1_MM / spacing_mm**3
    work = parallel.run(
        write, numbered, cost_bytes=lambda _: cost_bytes, budget_bytes=runtime.free_bytes()
    )
    for _ in progress.bar(work, words="phantoms", total=len(numbered)):
        pass


def _write_subject(
    out: Path, numbered: tuple[str, int], *, seed: int, spacing_mm: float, stations: bool
) -> None:
    name, index = numbered
    made = subject.simulate(seed, index, spacing_mm=spacing_mm, stations=stations)
    with runfolder.replacing(out / name) as folder:
        truth = folder / "truth"
        truth.mkdir(parents=True)
        for role, array in made.images.items():
            public = role == "ct" or (role == "mr" and not stations)
            _write(array, (folder if public else truth) / f"{role}.nii.gz", made)
        for number, (first, array) in enumerate(made.stations, start=1):
            _write(array, folder / f"mr_station{number}.nii.gz", made, first)
        labels = {name: index for index, name in enumerate(tissues.NAMES)}
        runfolder.write_json(truth / "labels.json", labels)
        runfolder.write_json(truth / "subject.json", made.facts)


def _write(array: np.ndarray, path: Path, made: subject.Subject, first: int = 0) -> None:
    x, y, z = made.origin_mm
    grid = geometry.Geometry(
        size=array.shape,
        spacing_mm=(made.spacing_mm,) * 3,
        origin_mm=(x, y, z + first * made.spacing_mm),
        direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )
    images.write(array, path, grid=grid)


def _write_table(path: Path, names: list[str], *, seed: int, stations: bool) -> None:
    """Writes cohort.csv; with stations the column mr stays empty: they have to be fused first."""
    pairs = [cohort.Subject(name, Path(name, "mr.nii.gz"), None, None, "") for name in names]
    rows = [
        {
            "subject": one.subject,
            "mr": "" if stations else one.mr.as_posix(),
            "ct": f"{one.subject}/ct.nii.gz",
            "split": one.split,
        }
        for one in splits.draw(pairs, SHARES, seed)
    ]
    tables.write(path, rows)
