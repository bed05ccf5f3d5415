"""The calibration that lies beside a checkpoint, tied to it by its hash."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from multires_tf.data import checksums
from multires_tf.ground import errors, runfolder
from multires_tf.joints import assembly
from multires_tf.measure import intervals


@dataclasses.dataclass(frozen=True)
class Saved:
    """A calibration as it was saved.

    Attributes:
        values: scale and half-widths.
        made: what it depends on, as `save` was given it.
        checksum: of the file; predictions keep it.
    """

    values: intervals.Calibration
    made: dict[str, Any]
    checksum: str


def save(run: runfolder.RunFolder, values: intervals.Calibration, made: dict[str, Any]) -> None:
    """Writes scale and half-widths.

    Args:
        run: with the checkpoint.
        values: to keep.
        made: what they depend on; holds "checkpoint", `assembly.checkpoint_checksum` of it, and
            "samples", the number of draws.
    """
    runfolder.write_json(run.calibration, {"made": made, **values.as_dict()})


def current(run: runfolder.RunFolder, *, samples: int | None = None) -> Saved | None:
    """Reads the calibration of the run's best checkpoint, None where there is none.

    Args:
        run: with the checkpoint.
        samples: draws of what it is for, where that matters: the total of one draw lacks the
            epistemic part, so that what was fitted to several is none for it, nor the reverse.

    Raises:
        errors.UserError: the file is damaged, or belongs to another checkpoint.
    """
    kept = read(run)
    if kept and samples is not None and (samples == 1) != (kept.made["samples"] == 1):
        return None
    if kept and kept.made["checkpoint"] != assembly.checkpoint_checksum(run):
        reason = "fitted to another checkpoint"
        raise errors.UserError(f"{run.calibration}: {reason}; run 'calibrate' again")
    return kept


def read(run: runfolder.RunFolder) -> Saved | None:
    """The same, of whichever checkpoint.

    Raises:
        errors.UserError: the file is damaged.
    """
    if not run.calibration.exists():
        return None
    try:
        found = json.loads(run.calibration.read_bytes())
        values, made = intervals.Calibration.from_dict(found), dict(found["made"])
        made["checkpoint"], made["samples"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"damaged ({type(error).__name__})"
        raise errors.UserError(f"{run.calibration}: {reason}; run 'calibrate' again") from None
    return Saved(values, made, checksums.of_file(run.calibration))
