"""Validation while training: whole volumes predicted without dropout and scored in HU."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from multires_tf import assembly, synthesis
from multires_tf import config as configs
from multires_tf.data import intensity, preparation


@dataclasses.dataclass(frozen=True)
class Validation:
    """What validation found.

    Attributes:
        mae_hu: mean over the subjects of the MAE over the body.
        slices: MR, CT, synthetic CT and absolute error of the first subject, each with the values
            to be shown black and white: the coronal slice (z, x) with the most body, head up.
    """

    mae_hu: float
    slices: list[tuple[np.ndarray, float, float]]


def validate(
    config: configs.Config, compute: synthesis.Compute, volumes: Sequence[Any]
) -> Validation:
    """Predicts and scores subjects.

    Args:
        config: of the run.
        compute: of a tile, as synthesis.mean_network gives it.
        volumes: pipeline.Volume of the validation subjects, at least one.
    """
    errors_hu: list[float] = []
    slices: list[tuple[np.ndarray, float, float]] = []
    tiling, window_hu = assembly.tiling(config), config.intensity.ct_window_hu
    for volume in volumes:
        stores = volume.pyramids
        unit = synthesis.predict_volume(stores["mr"], compute, tiling, label="validate")["ct"]
        pct_hu = intensity.unit_to_ct(unit, window_hu)
        ct_hu, body = stores["ct"].read_all(), stores["mask"].read_all() == preparation.BODY
        error_hu = np.abs(pct_hu - ct_hu)
        errors_hu.append(float(error_hu[body].mean(dtype=np.float64)))
        if not slices:
            y = int(np.argmax(body.sum(axis=(0, 2))))
            mr = stores["mr"].read_all()
            shown = ((mr, 0, 1), (ct_hu, -1000, 1000), (pct_hu, -1000, 1000), (error_hu, 0, 500))
            slices = [(array[::-1, y], black, white) for array, black, white in shown]
    return Validation(float(np.mean(errors_hu)), slices)
