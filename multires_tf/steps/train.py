"""`train`: from prepared volumes to checkpoints, history and TensorBoard; continues by itself."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import pathlib
import time
from typing import Any

import numpy as np
import tqdm

from multires_tf import assembly, errors, runfolder, runtime, synthesis, validation
from multires_tf import config as configs
from multires_tf.data import pipeline

# Re-estimation reads windows of its own, apart from those that training sees.
_STATISTICS_SEED = 1_000_003
# Between validations, too, so that a kill costs minutes.
_SAVE_SECONDS = 300.0


def run(
    *,
    workdir: pathlib.Path,
    config: configs.Config,
    devices: str = "auto",
    dry_run: bool = False,
) -> list[str]:
    """Trains the network of `config` on the prepared cohort in `workdir`.

    Args:
        workdir: run folder that `prepare` filled.
        config: must be the one that the folder was prepared with.
        devices: see runtime.strategy.
        dry_run: builds everything and trains one step, but keeps nothing.

    Raises:
        errors.UserError: nothing prepared, another config, another process at work, a loss that is
            not finite.
    """
    folder = runfolder.RunFolder(workdir)
    prepared = configs.parse(folder.need(folder.config, "prepare"))
    difference = configs.first_difference(config, prepared)
    if difference:
        advice = "use the same config, or another --workdir"
        raise errors.UserError(f"{folder.config}: was prepared with {difference}; {advice}")
    with runfolder.locked(folder.lock):
        runtime.start(seed=config.seed, precision=config.train.precision)
        session = _Session.build(folder, config, devices)
        try:
            return session.try_one_step() if dry_run else session.train()
        except Exception as error:
            # A store that is damaged where it was not read before comes out of tf.data.
            told = pipeline.complaint(error)
            if told is None:
                raise
            raise told from None


@dataclasses.dataclass
class _Session:
    """One process' part of a run: the built model, its position and where it writes."""

    folder: runfolder.RunFolder
    config: configs.Config
    strategy: Any
    nets: Any
    objective: Any
    adam: Any
    training: list[Any]
    validation: list[Any]
    history: Any
    finished: bool = False
    step: int = 0
    saved: float = dataclasses.field(default_factory=time.monotonic)

    @classmethod
    def build(cls, folder: runfolder.RunFolder, config: configs.Config, devices: str) -> _Session:
        from multires_tf.learn import history, step

        strategy = runtime.strategy(devices)
        replicas = strategy.num_replicas_in_sync
        if config.sampling.batch % replicas:
            law = f"{config.sampling.batch} windows do not divide over {replicas} devices"
            raise errors.UserError(f"sampling.batch: {law}; set a multiple of {replicas}")
        settings = config.train
        with strategy.scope():
            nets = assembly.networks(config)
            objective = assembly.objective(config, nets)
            adam = step.optimiser(
                learning_rate=settings.learning_rate,
                schedule=settings.schedule,
                steps=settings.steps,
                beta2=settings.adam_beta2,
                epsilon=settings.adam_epsilon,
                clip=settings.gradient_clip,
                scaled=settings.precision == "mixed_float16",
            )
            adam.build(objective.trainable_variables)
        session = cls(
            folder,
            config,
            strategy,
            nets,
            objective,
            adam,
            assembly.training_volumes(folder, "train", flagged=config.sampling.use_flagged),
            assembly.training_volumes(folder, "validation"),
            history.History(),
        )
        session.restore()
        return session

    @property
    def variables(self) -> list[Any]:
        """Everything that a step changes; the network's come first, so that it can load alone."""
        return [*self.nets.plain.variables, *self.adam.variables]

    def restore(self) -> None:
        """Takes up the last checkpoint, if there is one."""
        from multires_tf.learn import checkpoints

        path = assembly.last(self.folder)
        if path.exists():
            position = checkpoints.load(path, self.variables)
            self.step, self.finished = position["step"], position["finished"]
            self.history.rows = position["history"]

    def try_one_step(self) -> list[str]:
        from multires_tf.learn import loop, step

        function = step.build(self.objective, self.adam, self.strategy)
        done = loop.advance(
            function,
            self.batches(self.step, self.step + 1),
            first=self.step,
            last=self.step + 1,
            watched=("loss",),
            after_step=lambda: None,
        )
        return [f"dry run: one step took {done.seconds:.1f} s, loss {done.means['loss']:.4f}"]

    def train(self) -> list[str]:
        """Runs until the last step or until convergence, checkpointing on the way."""
        from multires_tf.learn import board, loop, step

        if self.finished:
            return [self.summary("was already finished")]
        settings = self.config.train
        self.write_provenance()
        events = board.Board(self.folder.tensorboard)
        events.text("config", configs.dump(self.config))
        function = step.build(self.objective, self.adam, self.strategy)
        batches = self.batches(self.step, settings.steps)
        watched = ("loss",) if settings.precision == "mixed_float16" else ("loss", "gradient_norm")
        with tqdm.tqdm(
            total=settings.steps, initial=self.step, desc="train", unit="step", smoothing=0.05
        ) as bar:
            while not self.finished:
                stop = self.next_stop()
                try:
                    done = loop.advance(
                        function,
                        batches,
                        first=self.step,
                        last=stop,
                        watched=watched,
                        after_step=bar.update,
                    )
                except loop.NotFinite as error:
                    raise errors.UserError(self.blame(error)) from None
                self.step = stop
                self.report(done, events, bar)
        events.close()
        return [self.summary("finished")]

    def next_stop(self) -> int:
        """The next step at which a row is written."""
        settings = self.config.train
        ends = [(self.step // n + 1) * n for n in (settings.report_every, settings.validate_every)]
        return min(*ends, settings.steps)

    def report(self, done: Any, events: Any, bar: Any) -> None:
        """Validates where it is due, writes the row, the checkpoint and the events."""
        settings = self.config.train
        validating = self.step % settings.validate_every == 0 or self.step == settings.steps
        mae_hu = self.validate(events) if validating else None
        rate = float(np.asarray(self.adam.learning_rate))
        self.history.add(
            step=self.step,
            loss=done.means["loss"],
            val_mae_hu=mae_hu,
            learning_rate=rate,
            seconds=round(done.seconds, 3),
            waiting_share=round(done.waiting_share, 4),
        )
        window, change = settings.convergence_window, settings.convergence_change
        converged = validating and self.history.converged(window, change)
        self.finished = self.step >= settings.steps or converged
        if validating or time.monotonic() - self.saved > _SAVE_SECONDS:
            self.save()
        numbers = {f"train/{name}": value for name, value in done.means.items()}
        numbers |= {"validation/mae_hu": mae_hu, "train/learning_rate": rate}
        numbers |= {"time/waiting_share": done.waiting_share}
        events.scalars(self.step, numbers)
        shown = {"loss": f"{done.means['loss']:.4f}"}
        if self.history.best()[0]:
            shown["best_val_mae_hu"] = f"{self.history.best()[1]:.1f}"
        bar.set_postfix(shown)

    def save(self) -> None:
        """Writes best.npz if this is the best so far, history.csv and, to close the step, last.npz.

        Whatever a kill leaves unwritten is written again from the last.npz before.
        """
        from multires_tf.learn import checkpoints

        position = {
            "step": self.step,
            "finished": self.finished,
            "history": self.history.rows,
            "spacing_mm": assembly.spacing_mm(self.training),
            "mr_statistics": assembly.mr_statistics(self.training),
        }
        if self.history.best()[0] == self.step:
            checkpoints.save(assembly.best(self.folder), self.nets.plain.variables, position)
        self.history.write(self.folder.history)
        checkpoints.save(assembly.last(self.folder), self.variables, position)
        self.saved = time.monotonic()

    def batches(self, start: int, stop: int, seed: int | None = None) -> Any:
        """Iterator over the batches of some steps, with the draw of each window."""
        import tensorflow as tf

        seed = self.config.seed if seed is None else seed
        dataset = assembly.training_windows(
            self.config, self.training, start_step=start, steps=stop, seed=seed
        )
        names = [tensor.name for tensor in self.objective.inputs]
        batch = self.config.sampling.batch

        def with_draw(element: dict[str, Any]) -> dict[str, Any]:
            index = tf.cast(element["step"], tf.int32) * batch + tf.range(batch)
            element["draw"] = tf.stack([tf.fill([batch], seed), index], axis=1)
            return {name: element[name] for name in names}

        dataset = dataset.map(with_draw)
        return iter(self.strategy.experimental_distribute_dataset(dataset))

    @functools.cached_property
    def mean_network(self) -> synthesis.Compute:
        """The network without dropout, traced once for all validations."""
        return synthesis.mean_network(self.nets)

    def validate(self, events: Any) -> float:
        """MAE in HU of the validation subjects; shows the first of them."""
        self.estimate_statistics()
        found = validation.validate(self.config, self.mean_network, self.validation)
        events.slices(self.step, "validation/mr_ct_pct_error", [found.slices])
        return found.mae_hu

    def estimate_statistics(self) -> None:
        """Replaces batch norm's moving statistics by those over many training windows."""
        from multires_tf.learn import step

        count = -(-self.config.train.statistics_windows // self.config.sampling.batch)
        seed = self.config.seed ^ _STATISTICS_SEED
        if count:
            step.estimate_statistics(self.objective, self.batches(0, count, seed), self.strategy)

    def write_provenance(self) -> None:
        facts = runtime.provenance(self.config.seed)
        weights = self.nets.plain.trainable_variables
        facts["trainable_parameters"] = sum(math.prod(v.shape) for v in weights)
        facts["replicas"] = self.strategy.num_replicas_in_sync
        if self.step and self.folder.provenance.exists():
            began = json.loads(self.folder.provenance.read_text(encoding="utf-8"))
            facts = {**began, "continued": [*began.get("continued", []), facts]}
        runfolder.write_text(self.folder.provenance, json.dumps(facts, indent=1) + "\n")

    def blame(self, error: Any) -> str:
        """Names the windows of a step that went wrong."""
        culprits = assembly.windows_of(self.config, self.training, error.step)
        advice = "look at these windows, or lower train.learning_rate"
        return f"{error}; it saw {culprits} (z, y, x); the last checkpoint is kept; {advice}"

    def summary(self, how: str) -> str:
        step, best_hu = self.history.best()
        share = self.history.waiting_share()
        return (
            f"training {how} at step {self.step}: best validation MAE {best_hu:.1f} HU at step "
            f"{step}; waited for data {100 * share:.1f} % of the time"
        )
