"""The run folder: its file names, and writing that is complete or absent."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterator
from typing import Any

from multires_tf.ground import errors


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Names of everything that the verbs leave behind under one root."""

    root: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        return self.root / "config.yaml"

    @property
    def cohort(self) -> pathlib.Path:
        return self.root / "cohort.csv"

    @property
    def volumes(self) -> pathlib.Path:
        return self.root / "volumes"

    @property
    def qa(self) -> pathlib.Path:
        return self.root / "qa"

    @property
    def landmarks(self) -> pathlib.Path:
        return self.root / "landmarks.txt"

    @property
    def landmarks_made(self) -> pathlib.Path:
        """What the landmarks were made of, where `prepare` has made them."""
        return self.root / "landmarks.json"

    @property
    def checkpoints(self) -> pathlib.Path:
        return self.root / "checkpoints"

    @property
    def best(self) -> pathlib.Path:
        """The checkpoint with the lowest validation error, which predicts."""
        return self.checkpoints / "best.npz"

    @property
    def last(self) -> pathlib.Path:
        """The checkpoint from which training continues."""
        return self.checkpoints / "last.npz"

    @property
    def calibration(self) -> pathlib.Path:
        return self.checkpoints / "calibration.json"

    @property
    def trained(self) -> tuple[pathlib.Path, ...]:
        """What makes a run trained; its predictions and scores are not among it."""
        made = (self.config, self.cohort, self.volumes)
        return (*made, self.checkpoints, self.history, self.provenance)

    @property
    def tensorboard(self) -> pathlib.Path:
        return self.root / "tensorboard"

    @property
    def history(self) -> pathlib.Path:
        return self.root / "history.csv"

    @property
    def provenance(self) -> pathlib.Path:
        return self.root / "provenance.json"

    @property
    def predictions(self) -> pathlib.Path:
        return self.root / "predictions"

    @property
    def scores_csv(self) -> pathlib.Path:
        return self.root / "scores.csv"

    @property
    def scores_json(self) -> pathlib.Path:
        return self.root / "scores.json"

    @property
    def reliability_csv(self) -> pathlib.Path:
        return self.root / "reliability.csv"

    @property
    def reliability_json(self) -> pathlib.Path:
        return self.root / "reliability.json"

    @property
    def tallies(self) -> pathlib.Path:
        return self.root / "reliability.npz"

    @property
    def report(self) -> pathlib.Path:
        return self.root / "report" / "index.html"

    @property
    def saved_model(self) -> pathlib.Path:
        return self.root / "saved_model"

    @property
    def failure(self) -> pathlib.Path:
        return self.root / "failure.log"

    @property
    def lock(self) -> pathlib.Path:
        return self.root / "train.lock"

    def volume(self, subject: str, role: str) -> pathlib.Path:
        """Store of one prepared volume; `role` is mr, ct, mask, mr_body or ct_body."""
        return self.volumes / subject / f"{role}.ome.zarr"

    def registration(self, subject: str) -> pathlib.Path:
        """What came of a subject's registration, also where it was only measured."""
        return self.volumes / subject / "registration.json"

    def prediction(self, subject: str) -> pathlib.Path:
        return self.predictions / subject

    def need(self, path: pathlib.Path, verb: str) -> pathlib.Path:
        """Returns `path`, or raises UserError that names the verb which makes it."""
        if not path.exists():
            raise errors.UserError(f"{path}: not there yet; run '{verb}' first")
        return path


def read_json(path: pathlib.Path, verb: str) -> dict[str, Any]:
    """Returns the object that a file of a run holds.

    Raises:
        errors.UserError: it is damaged; names the verb which makes it anew.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise errors.UserError(f"{path}: damaged; run '{verb}' again after deleting it")
    return found


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`, renamed to `path` only if the block succeeds.

    Works for a file and for a folder. The temporary name keeps the suffixes, since writers such as
    SimpleITK choose the format by them. An interrupted write leaves `path` as it was; what a killed
    one left behind goes when the next succeeds.

    Raises:
        OSError: as it was raised in the block; it names `path` where it named no file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path)
    try:
        try:
            yield beside
        except OSError as error:
            error.filename = error.filename or str(path)  # writes fail without saying where
            raise
        if path.is_dir() and not path.is_symlink():
            retired = _beside(path)
            path.rename(retired)
            try:
                beside.rename(path)
            except OSError:
                retired.rename(path)
                raise
            shutil.rmtree(retired)
        else:
            os.replace(beside, path)
        for left in leftovers(path.parent):
            if left.name.split(".", 2)[2] == path.name:
                remove(left)
    finally:
        remove(beside)


@contextlib.contextmanager
def unfinished(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a folder beside `path` for the parts of what is to become `path`.

    It goes when the block succeeds, or refuses what the user gave. What a killed process leaves
    there, the next one finds.

    Raises:
        errors.UserError: another process works on the same path.
    """
    parts = path.with_name(f".{path.name}.unfinished")
    with locked(parts / "lock"):
        try:
            yield parts
        except errors.UserError:
            remove(parts)
            raise
        remove(parts)


def clear_unfinished(path: pathlib.Path) -> None:
    """Removes the parts of what is finished: their process was killed between the two."""
    if path.with_name(f".{path.name}.unfinished").exists():
        with unfinished(path):
            pass


def _beside(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")


def leftovers(folder: pathlib.Path) -> list[pathlib.Path]:
    """What killed processes have left in a folder under the temporary names of `replacing`."""
    return [entry for entry in folder.glob(".*") if re.match(r"\.[0-9a-f]{8}\.", entry.name)]


def remove(path: pathlib.Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a small text file whole, or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes strict JSON, which knows no NaN, whole or not at all; `read_json` reads it."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


@contextlib.contextmanager
def locked(path: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock file `path`; the system lets go of it even when the process is killed.

    Raises:
        errors.UserError: another process holds it, and it is not to be waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            reason = "another process works in this folder; wait for it, or use another --workdir"
            raise errors.UserError(f"{path.parent}: {reason}") from None
        yield
