"""The calibration that lies beside a checkpoint, tied to it by its hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from multires_tf import assembly, errors, runfolder
from multires_tf.measure import intervals


@dataclasses.dataclass(frozen=True)
class Kept:
    """A calibration as it was saved.

    Attributes:
        values: scale and half-widths.
        made: what it depends on, as `save` was given it.
        fingerprint: of the file; predictions keep it.
    """

    values: intervals.Calibration
    made: dict[str, Any]
    fingerprint: str


def path(run: runfolder.RunFolder) -> pathlib.Path:
    """Its place in a run folder."""
    return run.checkpoints / "calibration.json"


def save(run: runfolder.RunFolder, values: intervals.Calibration, made: dict[str, Any]) -> None:
    """Writes scale and half-widths.

    Args:
        run: with the checkpoint.
        values: to keep.
        made: what they depend on; holds "checkpoint", as `assembly.fingerprint` gives it.
    """
    text = json.dumps({"made": made, **values.as_dict()}, indent=1, allow_nan=False)
    runfolder.write_text(path(run), text + "\n")


def load(run: runfolder.RunFolder) -> Kept | None:
    """Reads the calibration of the run's best checkpoint, None where there is none.

    Raises:
        errors.UserError: the file is damaged, or belongs to another checkpoint.
    """
    kept = read(run)
    if kept and kept.made["checkpoint"] != assembly.fingerprint(run):
        raise errors.UserError(f"{path(run)}: fitted to another checkpoint; run 'calibrate' again")
    return kept


def read(run: runfolder.RunFolder) -> Kept | None:
    """The same, of whichever checkpoint.

    Raises:
        errors.UserError: the file is damaged.
    """
    if not path(run).exists():
        return None
    content = path(run).read_bytes()
    try:
        found = json.loads(content)
        values, made = intervals.Calibration.from_dict(found), dict(found["made"])
        made["checkpoint"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"damaged ({type(error).__name__})"
        raise errors.UserError(f"{path(run)}: {reason}; run 'calibrate' again") from None
    return Kept(values, made, hashlib.sha256(content).hexdigest()[:16])
