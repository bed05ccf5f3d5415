"""`calibrate`: makes the uncertainties mean what they say, on subjects that trained nothing."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from multires_tf.data import geometry, masks, resampling, store
from multires_tf.ground import config as configs
from multires_tf.ground import errors, progress, runfolder, runtime
from multires_tf.joints import assembly, calibration, outputs, synthesis, trained_on
from multires_tf.measure import intervals
from multires_tf.model import uncertainty

SPLIT = "validation"


def run(*, workdir: pathlib.Path, samples: int = 20, seed: int = 0) -> list[str]:
    """Predicts the validation subjects and fits a scale and half-widths to their errors.

    Leaves `checkpoints/calibration.json`, tied to the best checkpoint; `predict` applies it. What
    was fitted to this very checkpoint with these very draws is left as it is.

    Args:
        workdir: run folder with a trained network.
        samples: Monte-Carlo draws; a network without dropout makes one pass.
        seed: of the draws.

    Raises:
        errors.UserError: nothing trained, or no validation subject that trained nothing.
    """
    folder = runfolder.RunFolder(workdir)
    config = configs.parse(folder.need(folder.config, "prepare"))
    folder.need(folder.best, "train")
    trained_on.refuse_trained(folder, SPLIT)
    volumes = assembly.volumes(folder, SPLIT)
    assembly.tell_flagged(folder, SPLIT, "fit the calibration")
    samples = config.network.draws(samples)
    made = {
        "checkpoint": assembly.checkpoint_checksum(folder),
        "samples": samples,
        "seed": seed,
        "subjects": len(volumes),
        "classes": list(intervals.CLASSES),
        "prepared": [outputs.made_of(volume.pyramids["mr"].attributes) for volume in volumes],
    }
    if not _is_done(folder, made):
        runtime.start(seed=config.seed, precision=config.train.precision)
        calibration.save(folder, _fit(folder, volumes, samples=samples, seed=seed), made)
    return [*_lines(calibration.current(folder)), str(folder.calibration)]


def _is_done(folder: runfolder.RunFolder, made: dict[str, Any]) -> bool:
    try:
        kept = calibration.read(folder)
    except errors.UserError:
        return False
    return kept is not None and kept.made == made


def _fit(
    folder: runfolder.RunFolder, volumes: list[Any], *, samples: int, seed: int
) -> intervals.Calibration:
    config, nets, _ = assembly.trained_networks(folder)
    compute = assembly.monte_carlo(config, nets, samples=samples, seed=seed)
    tiling, fit = assembly.tiling(config), intervals.Fit()
    total_name = uncertainty.map_name(uncertainty.TOTAL)
    for volume in progress.bar(volumes, words="calibrate"):
        stores = volume.pyramids
        unit = synthesis.predict_volume(stores["mr"], compute, tiling, label=volume.subject)
        # What `predict` delivers and `evaluate` scores, not what the network says.
        pct_hu, sd_hu = synthesis.delivered(unit, stores["mr"], config.intensity.ct_window_hu)
        body, total = stores["mask"].read_all() == masks.BODY, sd_hu.get(total_name)
        fit.add(
            _on_prepared_grid(pct_hu, stores["mr"])[body],
            stores["ct"].read_all()[body],
            None if total is None else _on_prepared_grid(total, stores["mr"])[body],
        )
    try:
        return fit.calibration()
    except ValueError as error:
        raise errors.UserError(
            f"{folder.cohort}: {error}; look at the validation subjects"
        ) from None


def _on_prepared_grid(array: np.ndarray, mr: store.Pyramid) -> np.ndarray:
    return resampling.interpolate(geometry.to_image(array, mr.source), mr.grid)


def _lines(kept: calibration.Saved | None) -> list[str]:
    if kept is None:
        return []
    scale, widths = kept.values.scale, kept.values.half_widths_hu
    lines = [] if scale is None else [f"Standard deviations are multiplied by {scale:.3f}."]
    if kept.values.boundary_sd_hu is not None:
        boundary = f"{kept.values.boundary_sd_hu:.0f} HU"
        lines.append(
            f"A voxel counts as uncertain where its total deviation is then above {boundary}."
        )
    known = ((group.replace("_", " "), found) for group, found in widths.items() if "90" in found)
    shown = (f"{group} ±{found['90']:.0f} HU" for group, found in known)
    return [*lines, f"90 % intervals by predicted tissue: {', '.join(shown)}."]
