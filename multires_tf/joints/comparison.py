"""A subject's prediction beside its truth: read, checked and brought onto one grid."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from multires_tf.data import geometry, masks, resampling, store
from multires_tf.data.files import images
from multires_tf.ground import errors, runfolder
from multires_tf.joints import assembly, calibration, outputs
from multires_tf.measure import intervals
from multires_tf.model import uncertainty


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One subject on its prepared grid; arrays are (z, y, x).

    Attributes:
        subject: its name.
        spacing_mm: (z, y, x).
        mr: normalised MR in 0..1.
        ct_hu: true CT.
        pct_hu: predicted CT.
        body: boolean, the voxels that are scored: the CT's body inside the MR's field.
        field: boolean, where the truth is known; holds the body.
        sd_hu: the maps of standard deviations that the network has, by "aleatoric", "epistemic"
            and "total".
        calibration: that the maps are scaled by, or None.
    """

    subject: str
    spacing_mm: tuple[float, float, float]
    mr: np.ndarray
    ct_hu: np.ndarray
    pct_hu: np.ndarray
    body: np.ndarray
    field: np.ndarray
    sd_hu: dict[str, np.ndarray]
    calibration: intervals.Calibration | None


def load(run: runfolder.RunFolder, subject: str) -> Comparison:
    """Reads truth and prediction of one subject.

    Raises:
        errors.UserError: a file is missing, damaged or not on the grid of the subject's MR, the
            prediction was made of other images, or by another checkpoint or calibration, than the
            run has, or the "prediction" is the true CT itself.
    """
    folder = run.prediction(subject)
    path = run.need(folder / "ct.nii.gz", "predict")
    run.need(run.volume(subject, "mr"), "prepare")
    applied = _calibration(run, subject)
    mr, ct, mask = (store.open_pyramid(run.volume(subject, r)) for r in ("mr", "ct", "mask"))
    ct_hu, place = ct.read_all(), mask.read_all()
    body, field = place == masks.BODY, place != masks.OUTSIDE
    if not body.any():
        raise errors.UserError(f"{mask.path}: no body voxel inside the MR's field; check the pair")
    pct_hu = _on_prepared_grid(path, mr)
    # A prediction holds whole HU: anything this close in every voxel is the truth, rounded.
    if np.max(np.abs(pct_hu[body] - ct_hu[body])) <= 0.51:
        raise errors.UserError(
            f"{path}: equal to the true CT in every voxel of the body; "
            "a score of the truth against itself means nothing; run 'predict' again"
        )
    kinds = (*uncertainty.KINDS, uncertainty.TOTAL)
    maps = {kind: folder / f"{uncertainty.map_name(kind)}.nii.gz" for kind in kinds}
    sd_hu = {kind: _on_prepared_grid(p, mr) for kind, p in maps.items() if p.exists()}
    if sd_hu and uncertainty.TOTAL not in sd_hu:
        sd_hu[uncertainty.TOTAL] = np.sqrt(sum(sd**2 for sd in sd_hu.values()))
    return Comparison(
        subject, mr.spacing_mm, mr.read_all(), ct_hu, pct_hu, body, field, sd_hu, applied
    )


def _calibration(run: runfolder.RunFolder, subject: str) -> intervals.Calibration | None:
    """What a prediction was calibrated by, checked to be of what the run has now.

    A run folder without its checkpoint has nothing that a prediction could be older than.
    """
    facts = run.prediction(subject) / outputs.FACTS
    if not facts.exists() and not run.best.exists():
        return None
    found = runfolder.read_json(run.need(facts, "predict"), "predict")
    settings, values = found.get("settings") or {}, found.get("calibration")
    try:
        applied = intervals.Calibration.from_dict(values) if values else None
        of, samples, by = (settings.get(k) for k in ("checkpoint", "samples", "calibration"))
        lacking = outputs.lacking(facts.parent, found)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise errors.UserError(f"{facts}: damaged; run 'predict' again") from None
    reason, made = None, made_of(run, subject)
    if lacking:
        reason = f"{lacking[0]} is not there as it was written"
    elif {"inputs": found.get("inputs"), "recipe": found.get("recipe")} != made:
        reason = "made of other images than are prepared, or otherwise"
        if "recipe" not in found and made and found.get("inputs") == made["inputs"]:
            reason = "of an earlier version, which did not note how the MR was prepared"
    elif run.best.exists():
        kept = calibration.current(run, samples=samples)
        if of != assembly.checkpoint_checksum(run):
            reason = "older than the checkpoint"
        elif by != (kept.checksum if kept else None):
            reason = "older than the calibration"
    if reason:
        raise errors.UserError(f"{facts}: {reason}; run 'predict' again")
    return applied


def made_of(run: runfolder.RunFolder, subject: str) -> dict[str, Any] | None:
    """What a subject was prepared from, see outputs.made_of; None where its volume is away."""
    path = run.volume(subject, "mr")
    return outputs.made_of(store.open_pyramid(path).attributes) if path.exists() else None


def body_voxels(run: runfolder.RunFolder, subject: str) -> tuple[np.ndarray, np.ndarray]:
    """Normalised MR and true CT in HU of a subject's body voxels, 1-D both."""
    mr, ct, mask = (store.open_pyramid(run.volume(subject, r)) for r in ("mr", "ct", "mask"))
    body = mask.read_all() == masks.BODY
    return mr.read_all()[body], ct.read_all()[body]


def _on_prepared_grid(path: pathlib.Path, mr: store.Pyramid) -> np.ndarray:
    """Reads a predicted map, which lies on the grid of the MR as it came, as float32 (z, y, x)."""
    try:
        image = images.read(path, may_be_flat=True)
    except errors.UserError as error:
        reason, _, _ = str(error).partition(";")
        raise errors.UserError(f"{reason}; run 'predict' again") from None
    if not geometry.same_grid(geometry.of_image(image), mr.source):
        raise errors.UserError(f"{path}: not on the grid of the subject's MR; run 'predict' again")
    return resampling.interpolate(image, mr.grid)
