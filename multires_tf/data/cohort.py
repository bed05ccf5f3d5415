"""Cohorts: which subjects there are, where their images lie and which split each belongs to.

A cohort is a folder with `<subject>/{mr,ct}.<nii.gz|nii|mha|nrrd>` or `<subject>/{mr,ct}/` (a DICOM
series), or a table `cohort.csv` with the columns `subject,mr,ct[,mask][,split]` and paths relative
to it. A folder that holds a `cohort.csv` is what the table says. Where there is no mr, the stations
`mr_station<k>.*` in the subject's folder are; that folder then stands for the MR.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from multires_tf.data.files import images
from multires_tf.ground import errors, tables

DRAWN_SPLITS = ("train", "validation", "test")
SPLITS = (*DRAWN_SPLITS, "none")
COLUMNS = ("subject", "mr", "ct", "mask", "split", "flags")
TABLE = "cohort.csv"


@dataclasses.dataclass(frozen=True)
class Subject:
    """A patient's images.

    Attributes:
      subject: its name, a string even if it looks like a number.
      mr: file, DICOM folder or folder with stations.
      ct: file or DICOM folder, or None where only an MR is known.
      mask: body mask to use instead of the CT's own, or None.
      split: train, validation, test or none; "" where it is not drawn yet.
      flags: why a person should look at it before it is trained on; "" if nothing is known.
    """

    subject: str
    mr: Path
    ct: Path | None
    mask: Path | None
    split: str
    flags: str = ""

    def __str__(self) -> str:
        return self.subject

    def absolute(self) -> Subject:
        """The same for a process in another folder."""
        places = {role: getattr(self, role) for role in ("mr", "ct", "mask")}
        found = {role: path and path.absolute() for role, path in places.items()}
        return dataclasses.replace(self, **found)


def discover(path: Path, *, faults: dict[str, str] | None = None) -> list[Subject]:
    """Reads a cohort folder or table; splits that are not given stay "".

    Args:
      path: the folder or the table.
      faults: gets {subject: what is wrong with its folder} instead of an error, where given.

    Raises:
      UserError: no cohort, two files for one role, no MR, an MR of two subjects, or a table that
        contradicts itself.
    """
    path = Path(path)
    _need_utf8(path)
    if path.is_dir():
        return read(path / TABLE) if (path / TABLE).is_file() else _discover_folder(path, faults)
    if path.is_file() and path.suffix.lower() == ".csv":
        return read(path)
    if path.exists():
        raise errors.UserError(f"{path}: not a cohort; give a cohort folder or a cohort.csv")
    raise errors.UserError(f"{path}: no such cohort; correct the path")


def _need_utf8(path: Path) -> None:
    """Refuses a name that SimpleITK ends the process by, and no table can hold."""
    name = os.fspath(path.absolute())
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise errors.UserError(f"{shown}: its name is not UTF-8; rename it") from None


def is_cohort(folder: Path) -> bool:
    """Tells whether a folder holds a table, or a subject's folder with an MR."""
    if (folder / TABLE).is_file():
        return True
    subjects = (entry for entry in folder.iterdir() if entry.is_dir())
    return any(_candidate(entry, "mr") or images.stations_in(entry) for entry in subjects)


def _discover_folder(folder: Path, faults: dict[str, str] | None) -> list[Subject]:
    subjects: dict[Path, Subject] = {}  # by MR: links may lead two of them to one
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir() or entry.name.startswith("."):
            continue
        try:
            with errors.reading(entry):
                mr, ct = _pair(entry)
            if mr is not None:
                _check_name(entry.name, str(folder))
                _check_mr(Subject(entry.name, mr, ct, None, ""), subjects, folder)
        except errors.UserError as error:
            if faults is None:
                raise
            faults[entry.name] = str(error)
    if not subjects and not faults:
        raise errors.UserError(
            f"{folder}: no <subject>/mr.nii.gz (or .nii, .mha, .nrrd, or a folder mr) in it;"
            " give a cohort folder or a cohort.csv"
        )
    return list(subjects.values())


def _pair(folder: Path) -> tuple[Path | None, Path | None]:
    mr, ct = _candidate(folder, "mr"), _candidate(folder, "ct")
    if mr is None and images.stations_in(folder):
        mr = folder
    if mr is None and ct is not None:
        raise errors.UserError(f"{folder}: a ct but no mr; add the MR or move it away")
    return mr, ct


def _candidate(folder: Path, role: str) -> Path | None:
    names = [role, *(role + suffix for suffix in images.SUFFIXES)]
    found = [entry for entry in sorted(folder.iterdir()) if entry.name.lower() in names]
    found = [entry for entry in found if entry.is_dir() == (entry.name.lower() == role)]
    if len(found) > 1:
        listed = " and ".join(entry.name for entry in found)
        raise errors.UserError(f"{folder}: {listed} are two candidates for {role}; keep one")
    return found[0] if found else None


def _with_stations(name: str, ct: Path | None, table: Path, line: int) -> Path:
    """Returns the folder with the stations of a subject whose line names no mr."""
    folders = [*([ct.parent] if ct else []), table.parent / name]
    for folder in folders:
        if images.stations_in(folder):
            return folder
    raise errors.UserError(
        f"{table}, line {line}: subject {name} has no mr, and {folders[0]} no mr_station1; name one"
    )


def read(path: Path) -> list[Subject]:
    """Reads a `cohort.csv`.

    Raises:
      UserError: a column or value is missing or unknown, a subject appears twice or in two splits,
        or two subjects share an MR.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip() for name in rows.fieldnames or []]
            rows.fieldnames = columns
            _check_columns(columns, path)
            subjects = [_subject(row, path, rows.line_num) for row in rows]
    except FileNotFoundError:
        raise errors.UserError(f"{path}: no such cohort; correct the path") from None
    except (UnicodeDecodeError, csv.Error):
        raise errors.UserError(f"{path}: not a table; save it as comma-separated UTF-8") from None
    if not subjects:
        raise errors.UserError(f"{path}: no subject in it; add a line for each")
    _check_unique(subjects, path)
    return subjects


def _check_columns(columns: list[str], path: Path) -> None:
    for name in ("subject", "mr", "ct"):
        if name not in columns:
            raise errors.UserError(f"{path}: no column '{name}'; begin with subject,mr,ct,split")
    for name in columns:
        near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.7)
        if name not in COLUMNS and near and near[0] not in columns:
            raise errors.UserError(f"{path}: unknown column '{name}'; did you mean '{near[0]}'?")
    if len(set(columns)) < len(columns):
        raise errors.UserError(f"{path}: a column appears twice; keep one")


def _subject(row: dict[str, str | None], path: Path, line: int) -> Subject:
    value = {name: (row.get(name) or "").strip() for name in COLUMNS}
    name, split = value["subject"], value["split"]
    _check_name(name, f"{path}, line {line}")
    if split and split not in SPLITS:
        raise errors.UserError(
            f"{path}, line {line}: split '{split}' of {name}; use {', '.join(SPLITS)}"
        )
    ct, mask = (path.parent / value[role] if value[role] else None for role in ("ct", "mask"))
    mr = path.parent / value["mr"] if value["mr"] else _with_stations(name, ct, path, line)
    return Subject(name, mr, ct, mask, split, value["flags"])


def _check_name(name: str, where: str) -> None:
    """Refuses what could not be written into the table and read back, or name a folder."""
    odd = not name.isprintable() or len(os.fsencode(name)) > 100 or "/" in name or "\\" in name
    if not name or odd or name[0] == "." or name != name.strip():
        shown = name.encode("ascii", "backslashreplace").decode() if odd else name
        advice = "use letters and digits"
        raise errors.UserError(f"{where}: subject '{shown}' cannot name a folder; {advice}")


def _check_unique(subjects: Sequence[Subject], path: Path) -> None:
    by_name: dict[str, Subject] = {}
    by_mr: dict[Path, Subject] = {}
    for one in subjects:
        other = by_name.setdefault(one.subject, one)
        if other is not one and other.split != one.split:
            raise errors.UserError(
                f"{path}: subject {one.subject} is in two splits,"
                f" '{other.split}' and '{one.split}'; keep one line"
            )
        if other is not one:
            raise errors.UserError(f"{path}: subject {one.subject} appears twice; keep one line")
        _check_mr(one, by_mr, path)


def _check_mr(one: Subject, by_mr: dict[Path, Subject], path: Path) -> None:
    """Enters a subject under its MR, or refuses it if another is there."""
    # One folder may hold a DICOM series of each.
    same = one.ct is not None and one.ct.resolve() == one.mr.resolve()
    if same and (not one.mr.is_dir() or images.stations_in(one.mr)):
        raise errors.UserError(f"{path}: subject {one.subject} has one file as mr and ct; name two")
    twin = by_mr.setdefault(one.mr.resolve(), one)
    if twin is not one:
        raise errors.UserError(
            f"{path}: subjects {twin.subject} and {one.subject} have the same mr; keep one"
        )


def write(path: Path, subjects: Sequence[Subject]) -> None:
    """Writes a `cohort.csv` whose paths are relative to it; the file is complete or absent."""
    folder = Path(path).parent
    rows = [
        {
            "subject": one.subject,
            **{role: _relative(getattr(one, role), folder) for role in ("mr", "ct", "mask")},
            "split": one.split,
            "flags": one.flags,
        }
        for one in subjects
    ]
    tables.write(Path(path), rows, COLUMNS)


def _relative(file: Path | None, folder: Path) -> str:
    if file is None:
        return ""
    # Of a link itself: what it leads to may lack a suffix.
    place = file.parent.resolve() / file.name
    return Path(os.path.relpath(place, folder.resolve())).as_posix()
