"""From config to parts: where its sections become arguments of networks, training and prediction.

For images `intake` and `preparer` do the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from multires_tf.ground import config as configs
from multires_tf.ground import errors, progress, runfolder


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
        recompute=config.train.recompute,
    )


def optimiser(config: configs.Config, *, clips: bool = False) -> Any:
    """The optimiser of a config, not built yet.

    Args:
        clips: whether it clips the gradient itself; learn.step does so before it.
    """
    from multires_tf.learn import optimiser

    settings = config.train
    return optimiser.adam(
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        steps=settings.steps,
        beta2=settings.adam_beta2,
        epsilon=settings.adam_epsilon,
        scaled=settings.precision == "mixed_float16",
        clip=settings.gradient_clip if clips else 0.0,
    )


def record(run: runfolder.RunFolder, config: configs.Config, *, chief: bool) -> Any:
    """What a run writes, at the start of the run."""
    from multires_tf.learn import history
    from multires_tf.learn import record as records

    settings = config.train
    return records.Record(
        chief=chief,
        history=history.History(settings.convergence_window, settings.steps),
        table=run.history,
        best=run.best,
        last=run.last,
        events=run.tensorboard,
    )


def window_rules(config: configs.Config, *, seed: int) -> Any:
    """How training draws and makes its windows: a pipeline.WindowRules."""
    from multires_tf.data import pipeline

    sampling = config.sampling
    return pipeline.WindowRules(
        seed=seed,
        batch=sampling.batch,
        window=config.network.window,
        tile=config.training_tile,
        scales=config.network.scales,
        supervised_scales=config.network.scales if config.loss.deep_supervision else (1,),
        body_share=sampling.body_share,
        flip_axes=sampling.flip_axes,
        rotation_deg=sampling.rotation_deg,
        scaling=sampling.scaling,
        augment_share=sampling.augment_share,
        ct_window_hu=config.intensity.ct_window_hu,
    )


def training_windows(config: configs.Config, volumes: list[Any], *, seed: int, **which: Any) -> Any:
    """The dataset of what the objective is fed, and of where it comes from.

    Args:
        volumes: pipeline.Volume of the training subjects.
        seed: of windows, augmentation and channel masks.
        which: steps and shares, as pipeline.training_windows takes them.
    """
    import tensorflow as tf

    from multires_tf.data import pipeline

    dataset = pipeline.training_windows(volumes, window_rules(config, seed=seed), **which)

    def with_draw(element: dict[str, Any]) -> dict[str, Any]:
        index = tf.cast(element["step"], tf.int32) * config.sampling.batch + element["index"]
        return {**element, "draw": tf.stack([tf.fill(tf.shape(index), seed), index], axis=1)}

    return dataset.map(with_draw)


def window_names(batch: dict[str, Any], volumes: list[Any], places: Sequence[int]) -> str:
    """Names some windows of a batch of `training_windows`: subjects and first voxels (z, y, x)."""
    names = [volumes[int(index)].subject for index in batch["subject"]]
    return ", ".join(f"{names[p]} at {np.asarray(batch['start'][p]).tolist()}" for p in places)


def subjects(run: runfolder.RunFolder, split: str, *, flagged: bool = True) -> list[str]:
    """Names of the subjects of one split, in the cohort's order; at least one.

    Args:
        run: the run folder.
        split: train, validation or test.
        flagged: those that the cohort flags as well.

    Raises:
        errors.UserError: nothing was prepared, or the split has no subject.
    """
    found = _in_split(run, split)
    names = [one.subject for one in found if flagged or not one.flags]
    if not names and found:
        advice = "look at them in qa, then set sampling.use_flagged or mend the pairs"
        raise errors.UserError(f"{run.cohort}: all subjects in '{split}' are flagged; {advice}")
    if not names:
        raise errors.UserError(f"{run.cohort}: no subject in split '{split}'; name one there")
    return names


def flagged(run: runfolder.RunFolder, split: str) -> list[str]:
    """Names of the subjects of one split that the cohort flags."""
    return [one.subject for one in _in_split(run, split) if one.flags]


def tell_flagged(run: runfolder.RunFolder, split: str, use: str) -> None:
    """Says which flagged subjects of a split are used all the same, and what to."""
    if names := flagged(run, split):
        progress.say(f"{', '.join(names)}: flagged, but still used to {use}; check them in qa")


def _in_split(run: runfolder.RunFolder, split: str) -> list[Any]:
    from multires_tf.data import cohort

    return [one for one in cohort.read(run.need(run.cohort, "prepare")) if one.split == split]


def volumes(run: runfolder.RunFolder, split: str, *, flagged: bool = True) -> list[Any]:
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


def trained_networks(run: runfolder.RunFolder) -> tuple[configs.Config, Any, dict[str, Any]]:
    """Loads the best checkpoint of a run: its config, networks and position.

    Raises:
        errors.UserError: there is no checkpoint yet, or it is damaged.
    """
    from multires_tf.learn import checkpoints

    config = configs.parse(run.need(run.config, "prepare"))
    nets = networks(config)
    position = checkpoints.load(run.need(run.best, "train"), nets.plain.variables)
    return config, nets, position


def checkpoint_checksum(run: runfolder.RunFolder) -> str:
    """Tells the best checkpoint from any other; predictions and calibrations keep it."""
    from multires_tf.data import checksums

    return checksums.of_file(run.best)


def monte_carlo(config: configs.Config, nets: Any, *, samples: int, seed: int, **more: Any) -> Any:
    """What turns windows into maps: synthesis.monte_carlo with the config's likelihood.

    Args:
        more: further arguments, as there.
    """
    from multires_tf.joints import synthesis

    return synthesis.monte_carlo(
        nets, samples=samples, seed=seed, stabiliser=config.loss.stabiliser, **more
    )


def tiling(config: configs.Config, tile: tuple[int, int, int] | None = None) -> Any:
    """How whole volumes are cut for the network of a config.

    Args:
        tile: edges that take the place of the config's.
    """
    from multires_tf.joints import synthesis

    return synthesis.Tiling(
        tile=tile or config.predict.tile,
        overlap=config.predict.overlap,
        window=config.network.window,
        scales=config.network.scales,
        multiple=config.network.multiple,
    )
