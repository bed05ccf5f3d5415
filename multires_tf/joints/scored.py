"""The scores of a run, and whether they are of what the run has now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multires_tf.data import checksums
from multires_tf.ground import errors, runfolder, tables
from multires_tf.joints import assembly, calibration, comparison, outputs


def made(run: runfolder.RunFolder, subjects: Sequence[str]) -> dict[str, Any]:
    """What scores of these subjects' predictions depend on; `evaluate` keeps it with them.

    Returns:
        The checksums of checkpoint and calibration, of each subject's prediction.json, and of
        what it was prepared from.

    Raises:
        errors.UserError: the subjects were not predicted alike.
    """
    marks: dict[str, str | None] = {}
    first: dict[str, Any] = {}
    for subject in subjects:
        facts = run.prediction(subject) / outputs.FACTS
        marks[subject] = checksums.of_file(facts) if facts.exists() else None
        own = outputs.manner(facts.parent)
        first = first or own
        for key in first:
            if first[key] != own.get(key):
                reason = f"predicted with {key} {own.get(key)}, others with {first[key]}"
                raise errors.UserError(f"{facts}: {reason}; run 'predict' again")
    best, kept = run.best.exists(), calibration.read(run)
    return {
        "checkpoint": assembly.checkpoint_checksum(run) if best else None,
        "calibration": kept.checksum if kept else None,
        "predictions": marks,
        "prepared": {subject: comparison.made_of(run, subject) for subject in subjects},
    }


def rows(run: runfolder.RunFolder) -> list[dict[str, Any]]:
    """The scores by subject: "subject" and "split" are text, all else numbers, or None.

    Raises:
        errors.UserError: as `refuse_stale`; damaged, or a subject is lacking or scored twice.
    """
    evaluated = refuse_stale(run)
    path = run.need(run.scores_csv, "evaluate")
    found = tables.numbers(path, "evaluate", words=("subject", "split"), needed=("mae_hu",))
    subjects = [row["subject"] for row in found]
    if not subjects:
        raise errors.UserError(f"{path}: no subject in it; run 'evaluate' again")
    twice = next((one for one in subjects if subjects.count(one) > 1), None)
    if twice is not None:
        raise errors.UserError(f"{path}: subject {twice} is scored twice; run 'evaluate' again")
    odd = evaluated ^ set(subjects)
    if odd:
        reason = f"subject {min(odd)} is lacking, or was not scored"
        raise errors.UserError(f"{path}: {reason}; run 'evaluate' again")
    return found


def refuse_stale(run: runfolder.RunFolder) -> set[str]:
    """Refuses scores of other predictions, subjects or another checkpoint than the run has now.

    Returns:
        The subjects that were scored.

    Raises:
        errors.UserError: they are, or there are none.
    """
    path = run.need(run.scores_json, "evaluate")
    known = runfolder.read_json(path, "evaluate").get("made")
    known = known if isinstance(known, dict) else {}
    now = made(run, list(known.get("predictions") or ()))
    for subject, found in now["prepared"].items():
        if found is None:  # a copy of a run without its volumes is of the same ones
            now["prepared"][subject] = (known.get("prepared") or {}).get(subject)
    if known != now:
        raise errors.UserError(f"{path}: older than the predictions; run 'evaluate' again")
    if run.cohort.exists() and (odd := {*now["predictions"]} ^ {*assembly.subjects(run, "test")}):
        reason = f"{min(odd)} has another split in {run.cohort.name} since"
        raise errors.UserError(f"{path}: {reason}; run 'predict' and 'evaluate' again")
    return {*now["predictions"]}


def mark(run: runfolder.RunFolder) -> list[str | None]:
    """Stands for all that can be shown of a run: other scores, or another training, change it."""
    files = (run.scores_json, run.reliability_csv, run.history)
    return [checksums.of_file(path) if path.exists() else None for path in files]
