"""A training run under any Keras backend: a plain loop, which leaves what `train` leaves.

The verb `train` is TensorFlow's: tf.data, TensorBoard, several devices, a run that goes on after a
kill. Here is only what a network needs to be trained where TensorFlow is missing: the last weights
are the run's, without validation, convergence or statistics of batch norm that are estimated anew,
and all that a branch computes is kept for its gradient.
"""

from __future__ import annotations

import collections
import concurrent.futures
import math
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from multires_tf.ground import config as configs
from multires_tf.ground import errors, progress, runfolder, runtime
from multires_tf.joints import assembly, trained_on


def run(folder: runfolder.RunFolder, config: configs.Config) -> None:
    """Trains the network of a prepared run to its last step, unless that was done.

    Args:
        folder: that `prepare` filled.
        config: must be the one that it was prepared with.

    Raises:
        errors.UserError: it is not; another process is at work; the loss is not finite.
    """
    configs.need_prepared(folder.need(folder.config, "prepare"), config, place="--root")
    with runfolder.locked(folder.lock):
        if not folder.last.exists():
            _train(folder, config)


def _train(folder: runfolder.RunFolder, config: configs.Config) -> None:
    runtime.start(seed=config.seed, precision=config.train.precision)
    from experiments.throughput import machine
    from multires_tf.learn import checkpoints, history

    nets = assembly.networks(config)
    objective = assembly.objective(config, nets)
    optimiser = assembly.optimiser(config, clips=True)
    objective.compile(optimiser, jit_compile=machine.compiled())
    volumes = assembly.volumes(folder, "train", flagged=config.sampling.use_flagged)
    facts = trained_on.facts(folder, volumes, assembly.volumes(folder, "validation"), {})
    weights, devices = nets.plain.trainable_weights, [machine.device()]
    made_by = runtime.provenance(config.seed, weights=weights, replicas=1, devices=devices)
    runtime.write_provenance(folder.provenance, made_by, continued=False)
    record = history.History(config.train.convergence_window, config.train.steps)
    for row in _rows(config, objective, volumes):
        record.add(**row)
        record.write(folder.history)
        progress.say(f"{folder.root.name}: step {row['step']}, loss {row['loss']:.4f}")
        if not math.isfinite(row["loss"]):
            reason = f"loss not finite by step {row['step']}"
            advice = "lower train.learning_rate, or set train.precision=float32"
            raise errors.UserError(f"{folder.root}: {reason}; {advice}")
    position = {"step": config.train.steps, "finished": True, "history": record.rows, **facts}
    checkpoints.save(folder.best, nets.plain.variables, checkpoints.without_names(position))
    checkpoints.save(folder.last, [*nets.plain.variables, *optimiser.variables], position)


def _rows(config: configs.Config, objective: Any, volumes: list[Any]) -> Iterator[dict[str, Any]]:
    """Trains, and yields a row of the history for each interval of reporting."""
    every = config.train.report_every
    losses: list[float] = []
    waited, begun = 0.0, time.perf_counter()
    batches = _batches(config, [tensor.name for tensor in objective.inputs], volumes)
    for step in range(1, config.train.steps + 1):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        losses.append(float(objective.train_on_batch(batch, return_dict=True)["loss"]))
        if step % every == 0 or step == config.train.steps:
            seconds = time.perf_counter() - begun
            yield {
                "step": step,
                "loss": float(np.mean(losses)),
                "seconds": round(seconds, 3),
                "waiting_share": round(waited / seconds, 4),
            }
            losses, waited, begun = [], 0.0, time.perf_counter()


def _batches(
    config: configs.Config, names: Sequence[str], volumes: list[Any]
) -> Iterator[dict[str, np.ndarray]]:
    """What the objective is fed in each step, made some steps ahead on all cores."""
    from multires_tf.data import pipeline

    rules = assembly.window_rules(config, seed=config.seed)

    def make(step: int) -> dict[str, np.ndarray]:
        places = range(rules.batch)
        made = [pipeline.training_window(volumes, rules, step=step, index=i)[0] for i in places]
        arrays = {key: np.stack([one[key] for one in made])[..., None] for key in rules.keys}
        draws = [(rules.seed, step * rules.batch + i) for i in places]
        return {name: arrays.get(name, np.array(draws, np.int32)) for name in names}

    workers = os.cpu_count() or 1
    ahead: collections.deque = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for step in range(config.train.steps):
            ahead.append(pool.submit(make, step))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
