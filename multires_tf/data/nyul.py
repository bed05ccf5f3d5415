"""One MR scale for a cohort: landmarks of the histogram (Nyul et al., IEEE TMI 19:143, 2000).

Files and numbers are as NiftyNet has them, so that landmarks go from one to the other: a line a
modality, its name and 13 numbers from 0 to 100. Other than there, percentiles are those of the body
alone: a larger field of view must not move them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from multires_tf.ground import errors, runfolder

PERCENTS = (1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99)
# The quartiles between deciles are in the file, but do not bend the scale.
USED = (0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12)
_NAME = "mr"
TOP = 100.0


def percentiles(values: np.ndarray) -> np.ndarray:
    """Returns the 13 percentiles of an MR's intensities inside the body."""
    return np.percentile(values, PERCENTS)


def landmarks(cohort: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean of the subjects' percentiles, each mapped linearly to 0 to 100."""
    scaled = [(one - one[0]) * (TOP / (one[-1] - one[0])) for one in cohort]
    return np.mean(scaled, axis=0)


def standardised(mr: np.ndarray, own: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """Maps intensities so that a subject's percentiles come to lie on the landmarks; float32.

    Between them it is linear; beyond the first and the last it goes on as beside them. Percentiles
    that are equal get the slope 0.

    Args:
      mr: any shape.
      own: the subject's 13 percentiles.
      standard: the 13 landmarks.
    """
    x, y = own[list(USED)], standard[list(USED)]
    widths = np.diff(x)
    slopes = np.divide(np.diff(y), widths, out=np.zeros_like(widths), where=widths > 0)
    piece = np.clip(np.searchsorted(x, mr, side="right") - 1, 0, len(slopes) - 1)
    return (y[piece] + (mr - x[piece]) * slopes[piece]).astype(np.float32)


def of_run(path: Path, kind: Literal["none", "nyul"]) -> np.ndarray | None:
    """Returns the landmarks in a run's file where its config asks for them, else None."""
    return read(path) if kind == "nyul" else None


def write(path: Path, standard: np.ndarray) -> None:
    """Writes the landmarks to a file that is complete or absent."""
    numbers = " ".join(repr(float(value)) for value in standard)
    runfolder.write_text(path, f"{_NAME} {numbers}\n")


def read(path: Path) -> np.ndarray:
    """Reads the landmarks of the MR: the line named mr, or the only one.

    Raises:
      UserError: no such line, or not 13 numbers that rise.
    """
    try:
        words = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        lines = {one[0]: np.array(one[1:], float) for one in words if len(one) > 1}
    except FileNotFoundError:
        raise errors.UserError(f"{path}: not there; run 'prepare' first") from None
    except (UnicodeDecodeError, ValueError):
        lines = {}
    only = next(iter(lines.values())) if len(lines) == 1 else np.zeros(0)
    standard = lines.get(_NAME, only)
    if len(standard) != len(PERCENTS) or np.diff(standard).min() < 0:
        raise errors.UserError(
            f"{path}: no line of '{_NAME}' and {len(PERCENTS)} rising numbers;"
            " remove it, and prepare makes one"
        )
    return standard
