"""What a network was trained on, kept with its checkpoints: a run goes on with nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from multires_tf.data import checksums, pipeline
from multires_tf.ground import errors, runfolder
from multires_tf.joints import assembly
from multires_tf.learn import checkpoints


def facts(
    run: runfolder.RunFolder,
    training: Sequence[pipeline.Volume],
    held_out: Sequence[pipeline.Volume],
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """What is kept of the volumes of a run.

    Args:
        run: its folder.
        training: in their order, which windows are drawn by.
        held_out: of the validation.
        known: what was kept when the run began; empty at its start.

    Returns:
        "subjects" and "stores", by which a continued run is checked, "spacing_mm" (z, y, x), the
        grid that the network knows: the median over its training subjects, and "mr_statistics",
        what anatomy.statistics said of each of them.

    Raises:
        errors.UserError: a volume, a split or its order has changed since the run began.
    """
    stores = {
        f"{volume.subject}/{role}": run.volume(volume.subject, role)
        for volume in (*training, *held_out)
        for role in volume.pyramids
    }
    subjects = {
        "training": [volume.subject for volume in training],
        "validation": [volume.subject for volume in held_out],
    }
    if known.get("subjects", subjects) != subjects:
        reason = "subjects have changed their split or their order since the run began"
        advice = "bring the old table back, or begin a new run in another --workdir"
        raise errors.UserError(f"{run.cohort}: {reason}; {advice}")
    stamped = checksums.stamped(stores, known.get("stores", {}))
    if "stores" in known:
        checksums.check(stores, stamped, known["stores"])
    prepared = [volume.pyramids["mr"] for volume in training]
    statistics = [one.attributes.get("mr_statistics") for one in prepared]
    return {
        "stores": stamped,
        "subjects": subjects,
        "spacing_mm": np.median([one.spacing_mm for one in prepared], axis=0).tolist(),
        "mr_statistics": [one for one in statistics if one is not None],
    }


def refuse_trained(run: runfolder.RunFolder, split: str) -> None:
    """Refuses a split with a subject that has trained the network, or a test that chose it.

    Raises:
        errors.UserError: it has one, or the checkpoint is damaged.
    """
    last = run.last
    if not last.exists():
        return
    subjects = checkpoints.position(last).get("subjects", {})
    seen = [*subjects.get("training", ())]
    if split == "test":
        seen += subjects.get("validation", ())
    found = [one for one in assembly.subjects(run, split) if one in seen]
    if found:
        reason = f"{found[0]} in split '{split}' was used to train or to choose this network"
        advice = "bring its old split back, or begin a new run in another --workdir"
        raise errors.UserError(f"{run.cohort}: {reason}; {advice}")
