"""An arm of a study as one: what its run says, or its runs of all folds together.

Every subject is tested in one fold, by a network that has not seen it, so that scores of all folds
are scores of one and the same arm.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

from multires_tf.ground import config, errors, runfolder, sections, tables
from multires_tf.joints import assembly, outputs, scored
from multires_tf.measure import reliability, statistics
from multires_tf.studies.folds import label

# Of one arm: a single run, or one for each fold.
ArmRuns = Sequence[runfolder.RunFolder]
Runs = Mapping[str, ArmRuns]


def numbers(folds: ArmRuns) -> dict[str, float]:
    """Of training, means over the folds; of the test subjects, means over all that were scored.

    Raises:
        errors.UserError: a run was not trained, or not scored while another was.
    """
    # One that is not known of a fold is not known of the arm.
    found = {
        key: sum(map(or_nan, values)) / len(folds)
        for key, values in _by_key([_training(run) for run in folds]).items()
    }
    if any(run.scores_json.exists() for run in folds):
        by_subject = list(scores(folds).values())
        for key, values in _by_key(by_subject).items():
            found[key] = statistics.summarise(values).mean
    return found


def _training(run: runfolder.RunFolder) -> dict[str, float | None]:
    rows = tables.numbers(run.need(run.history, "train"), "train", needed=("step", "seconds"))
    last = rows[-1] if rows else {}
    return {
        "val_mae_hu": last.get("best_val_mae_hu"),
        "best_step": last.get("best_step"),
        "training_seconds": sum(row["seconds"] for row in rows),
    }


def _by_key(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row.get(key, math.nan) for row in rows] for key in tables.columns(rows)}


def scores(folds: ArmRuns) -> dict[str, dict[str, float]]:
    """Scores of an arm by subject, of all folds.

    Raises:
        errors.UserError: not evaluated yet or not since, damaged, or a subject scored twice.
    """
    return {subject: own for subject, (_, own) in _scored(folds).items()}


def _scored(folds: ArmRuns) -> dict[str, tuple[runfolder.RunFolder, dict[str, float]]]:
    """For each subject the run that has tested it, and its scores."""
    found: dict[str, tuple[runfolder.RunFolder, dict[str, float]]] = {}
    for run in folds:
        for subject, own in _scores(run).items():
            if subject in found:
                reason = f"subject {subject} is scored twice, in another fold too"
                advice = "bring the folds' cohort.csv back and run them again"
                raise errors.UserError(f"{run.scores_csv}: {reason}; {advice}")
            found[subject] = run, own
    return found


def _scores(run: runfolder.RunFolder) -> dict[str, dict[str, float]]:
    return {
        row["subject"]: {k: or_nan(v) for k, v in row.items() if k not in ("subject", "split")}
        for row in scored.rows(run)
    }


def tested(folds: ArmRuns) -> dict[str, runfolder.RunFolder]:
    """For each scored subject the run that has tested it.

    Raises:
        errors.UserError: as `scores`.
    """
    return {subject: run for subject, (run, _) in _scored(folds).items()}


def median_subject(folds: ArmRuns) -> str:
    """The subject in the middle by MAE; of two, the better."""
    by_mae = sorted((own["mae_hu"], subject) for subject, own in scores(folds).items())
    return by_mae[(len(by_mae) - 1) // 2][1]


def parameters(folds: ArmRuns) -> int | None:
    """Trainable ones, where a run tells; the networks of all folds are of one config."""
    for run in folds:
        if run.provenance.exists():
            return runfolder.read_json(run.provenance, "train").get("trainable_parameters")
    return None


def reliability_rows(folds: ArmRuns) -> list[dict[str, Any]]:
    """The rows of `reliability.csv` of all folds: by subject, maps and region.

    Raises:
        errors.UserError: not evaluated yet or not since, damaged, or a subject in two folds.
    """
    for run in folds:
        scored.refuse_stale(run)
    if len(folds) > 1:
        scores(folds)  # refuses a subject that two folds have tested
    words = ("subject", "maps", "region")
    paths = [run.need(run.reliability_csv, "evaluate") for run in folds]
    return [row for path in paths for row in tables.numbers(path, "evaluate", words=words)]


def tallies(folds: ArmRuns) -> reliability.Tallies:
    """What `evaluate` counted of the uncertainties of all test subjects, of all folds together."""
    found: reliability.Tallies = collections.defaultdict(reliability.Tally)
    for run in folds:
        for place, tally in reliability.read(run.need(run.tallies, "evaluate")).items():
            found[place] += tally
    return found


def refuse_unlike(runs: Runs) -> None:
    """Arms are compared at one budget, on volumes made in one way; the seed may differ.

    Raises:
        errors.UserError: they are not alike; names the file and the key.
    """
    prepared = [key for key in config.PREPARED if key != "seed"]
    every = {label(name, run.root): run for name, own in runs.items() for run in own}
    settings = {name: config.parse(run.need(run.config, "prepare")) for name, run in every.items()}
    first, *others = settings
    for other in others:
        ours, theirs = settings[other], settings[first]
        difference = config.first_difference(ours, theirs, prepared)
        if not difference and ours.train.steps != theirs.train.steps:
            difference = f"train.steps: {theirs.train.steps}, not {ours.train.steps}"
        if difference:
            reason = f"arm {first} has {difference} as in arm {other}"
            raise errors.UserError(f"{every[other].config}: {reason}; run both alike")
    for name, run in every.items():
        _refuse_unfinished(run, settings[name].train)


def _refuse_unfinished(run: runfolder.RunFolder, wanted: sections.Train) -> None:
    """Refuses a run whose training has ended neither at its last step nor by convergence."""
    rows = tables.numbers(run.history, "train", needed=("step",)) if run.history.exists() else []
    if not rows or rows[-1]["step"] >= wanted.steps:
        return
    converged = or_nan(rows[-1].get("loss_change")) < wanted.convergence_change
    if not converged:
        reason = f"training has stopped at step {rows[-1]['step']:.0f} of {wanted.steps}"
        raise errors.UserError(f"{run.history}: {reason}; run 'train' again")


def refuse_unlike_folds(runs: Runs) -> None:
    """The folds of an arm are of one config and predicted alike, or a mean over them is of nothing.

    Raises:
        errors.UserError: they are not; names the file and the key.
    """
    for folds in runs.values():
        first, *others = folds
        for run in others:
            ours, theirs = (config.parse(one.need(one.config, "prepare")) for one in (run, first))
            difference = config.first_difference(ours, theirs)
            if difference:
                reason = f"{first.root.parent.name} has {difference} as in {run.root.parent.name}"
                raise errors.UserError(f"{run.config}: {reason}; run all folds alike")
            mine, other = _predicted(run), _predicted(first)
            key = next((key for key in mine if mine[key] != other.get(key, mine[key])), None)
            if key:
                reason = f"predicted with {key} {mine[key]}, other folds with {other[key]}"
                raise errors.UserError(f"{run.predictions}: {reason}; run 'predict' alike")


def _predicted(run: runfolder.RunFolder) -> dict[str, Any]:
    """How the test subjects of a run were predicted; nothing where they are not yet."""
    if not run.predictions.exists():
        return {}
    folders = map(run.prediction, assembly.subjects(run, "test"))
    folder = next((one for one in folders if outputs.manner(one)), None)
    if folder is None:
        return {}
    calibrated = bool(outputs.read_facts(folder).get("calibration"))
    return {**outputs.manner(folder), "calibration": "yes" if calibrated else "no"}


def or_nan(value: float | None) -> float:
    """A number of a table, where a blank cell is None."""
    return math.nan if value is None else value
