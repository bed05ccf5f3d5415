"""How a run takes in an MR, by its config: the same for a cohort and for a new patient."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk

from multires_tf.data import nyul, preparation, scans
from multires_tf.ground import config as configs
from multires_tf.ground import errors, runfolder

# Raised whenever the same images and config would be prepared otherwise.
METHOD = 6


def recipe(run: runfolder.RunFolder) -> dict[str, Any]:
    """What a prepared MR of a run depends on besides its image and the config."""
    path = run.landmarks
    landmarks = path.read_text(encoding="utf-8") if path.exists() else None
    return {"method": METHOD, "landmarks": landmarks}


def mr(config: configs.Config, image: sitk.Image) -> scans.Mr:
    """Finds the body in an MR as it came; raises as `scans.mr_in_its_own_frame`."""
    zero_is_outside = config.intensity.mr_zero_is_outside
    return scans.mr_in_its_own_frame(image, zero_is_outside=zero_is_outside)


def prepared(
    run: runfolder.RunFolder,
    config: configs.Config,
    found: scans.Mr,
    *,
    spacing_mm: Sequence[float],
    ct: scans.Ct | None = None,
) -> preparation.PreparedMr:
    """Prepares what `mr` returned; arguments and errors as those of `preparation.prepare_mr`."""
    return preparation.prepare_mr(
        found,
        spacing_mm=spacing_mm,
        percentiles=config.intensity.mr_percentiles,
        correction=config.intensity.mr_bias_field,
        landmarks=nyul.of_run(run.landmarks, config.intensity.mr_landmarks),
        ct=ct,
    )


def percentiles(config: configs.Config, image: sitk.Image, path: pathlib.Path) -> np.ndarray:
    """Returns the percentiles that the landmarks of a cohort are made of.

    Raises:
        errors.UserError: names `path`; as `preparation.mr_percentiles`.
    """
    try:
        return preparation.mr_percentiles(
            mr(config, image), correction=config.intensity.mr_bias_field
        )
    except errors.UserError as error:
        raise errors.UserError(f"{path}: {error}") from None
