"""From config to parts: the one place where config sections become arguments of the wings."""

from __future__ import annotations

import hashlib
import math
import pathlib
from typing import Any

import numpy as np

from multires_tf import config as configs
from multires_tf import errors, runfolder


def networks(config: configs.Config) -> Any:
    """Builds the networks of a config, with the initial weights of its seed."""
    from multires_tf.model import networks as builders

    chosen = config.network
    common: dict[str, Any] = {
        "norm": chosen.norm.kind,
        "groups": chosen.norm.groups,
        "batch_statistics": chosen.norm.statistics,
        "momentum": chosen.norm.momentum,
        "output_norm": chosen.norm.output,
        "initial_ct": _initial_ct(config),
        "seed": config.seed,
    }
    if chosen.kind == "unet":
        unet = chosen.unet
        return builders.unet(
            kernel=unet.kernel,
            base=unet.base,
            levels=unet.levels,
            extra_convs=unet.extra_convs,
            extra_width=unet.extra_width,
            **common,
        )
    branches = chosen.multires
    return builders.multires(
        window=chosen.window,
        scales=branches.scales,
        filters=branches.filters,
        blocks=branches.blocks,
        dilations=branches.dilations,
        fc=branches.fc,
        head=branches.head,
        uncertainty=chosen.uncertainty,
        dropout=chosen.dropout.place,
        keep=chosen.dropout.keep,
        initial_log_var=2 * math.log(chosen.initial_sd_hu / hu_per_unit(config)),
        **common,
    )


def hu_per_unit(config: configs.Config) -> float:
    """HU that one unit of the network's CT output spans."""
    low, high = config.intensity.ct_window_hu
    return high - low


def _initial_ct(config: configs.Config) -> float:
    return (config.network.initial_ct_hu - config.intensity.ct_window_hu[0]) / hu_per_unit(config)


def objective(config: configs.Config, nets: Any) -> Any:
    """Builds the model that training minimises."""
    from multires_tf.model import objective as objectives

    return objectives.build(
        nets,
        variance_term=config.loss.variance_term,
        stabiliser=config.loss.stabiliser,
        beta=config.loss.beta,
        deep_supervision=config.loss.deep_supervision,
    )


def training_windows(
    config: configs.Config, volumes: list[Any], *, start_step: int, steps: int, seed: int
) -> Any:
    """The dataset of training batches from `start_step` on.

    Args:
        volumes: pipeline.Volume of the training subjects.
        start_step: of the first batch.
        steps: the step after the last batch.
        seed: of windows and augmentation.
    """
    from multires_tf.data import pipeline

    sampling = config.sampling
    supervised = config.network.scales if config.loss.deep_supervision else (1,)
    return pipeline.training_windows(
        volumes,
        seed=seed,
        batch=sampling.batch,
        window=config.network.window,
        tile=config.training_tile,
        scales=config.network.scales,
        start_step=start_step,
        steps=steps,
        body_share=sampling.body_share,
        flip_axes=sampling.flip_axes,
        rotation_deg=sampling.rotation_deg,
        scaling=sampling.scaling,
        augment_share=sampling.augment_share,
        ct_window_hu=config.intensity.ct_window_hu,
        supervised_scales=supervised,
    )


def windows_of(config: configs.Config, volumes: list[Any], step: int) -> str:
    """Names the windows that a step of training saw: subjects and first voxels."""
    dataset = training_windows(config, volumes, start_step=step, steps=step + 1, seed=config.seed)
    element = next(iter(dataset))
    places = zip(element["subject"], element["start"], strict=True)
    return ", ".join(f"{volumes[int(i)].subject} at {np.asarray(s).tolist()}" for i, s in places)


def subjects(run: runfolder.RunFolder, split: str, *, flagged: bool = True) -> list[str]:
    """Names of the subjects of one split, in the cohort's order; at least one.

    Args:
        run: the run folder.
        split: train, validation or test.
        flagged: those that the cohort flags as well.

    Raises:
        errors.UserError: nothing was prepared, or the split has no subject.
    """
    from multires_tf.data import cohort

    found = cohort.read(run.need(run.cohort, "prepare"))
    names = [one.subject for one in found if one.split == split and (flagged or not one.flags)]
    if not names and any(one.split == split for one in found):
        advice = "look at them in qa, then set sampling.use_flagged or mend the pairs"
        raise errors.UserError(f"{run.cohort}: all subjects in '{split}' are flagged; {advice}")
    if not names:
        raise errors.UserError(f"{run.cohort}: no subject in split '{split}'; name one there")
    return names


def training_volumes(run: runfolder.RunFolder, split: str, *, flagged: bool = True) -> list[Any]:
    """The prepared volumes of one split, in the cohort's order.

    Args: as for `subjects`.

    Raises:
        errors.UserError: as `subjects`.
    """
    from multires_tf.data import pipeline

    return [
        pipeline.Volume(name, *(run.volume(name, role) for role in ("mr", "ct", "mask")))
        for name in subjects(run, split, flagged=flagged)
    ]


def spacing_mm(volumes: list[Any]) -> list[float]:
    """The grid (z, y, x) that a network knows: the median over its training subjects."""
    spacings = [volume.pyramids["mr"].spacing_mm for volume in volumes]
    return np.median(np.array(spacings), axis=0).tolist()


def mr_statistics(volumes: list[Any]) -> list[dict[str, float]]:
    """What anatomy.statistics said of the training subjects; none if an old version prepared."""
    found = [volume.pyramids["mr"].attributes.get("mr_statistics") for volume in volumes]
    return [one for one in found if one is not None]


def trained_networks(run: runfolder.RunFolder) -> tuple[configs.Config, Any, dict[str, Any]]:
    """Loads the best checkpoint of a run: its config, networks and position.

    Raises:
        errors.UserError: there is no checkpoint yet, or it is damaged.
    """
    from multires_tf.learn import checkpoints

    config = configs.parse(run.need(run.config, "prepare"))
    nets = networks(config)
    position = checkpoints.load(run.need(best(run), "train"), nets.plain.variables)
    return config, nets, position


def best(run: runfolder.RunFolder) -> pathlib.Path:
    """The checkpoint with the lowest validation error."""
    return run.checkpoints / "best.npz"


def fingerprint(run: runfolder.RunFolder) -> str:
    """Tells the best checkpoint from any other; predictions and calibrations keep it."""
    return hashlib.sha256(best(run).read_bytes()).hexdigest()[:16]


def last(run: runfolder.RunFolder) -> pathlib.Path:
    """The checkpoint from which training continues."""
    return run.checkpoints / "last.npz"


def tiling(config: configs.Config, tile: tuple[int, int, int] | None = None) -> Any:
    """How whole volumes are cut for the network of a config.

    Args:
        tile: edges that take the place of the config's.
    """
    from multires_tf import synthesis

    return synthesis.Tiling(
        tile=tile or config.predict.tile,
        overlap=config.predict.overlap,
        window=config.network.window,
        scales=config.network.scales,
        multiple=config.network.multiple,
    )
