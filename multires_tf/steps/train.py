"""`train`: from prepared volumes to checkpoints, history and TensorBoard; continues by itself."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tqdm

from multires_tf.data import pipeline
from multires_tf.ground import config as configs
from multires_tf.ground import errors, progress, runfolder, runtime, strict
from multires_tf.joints import assembly, trained_on, validation

# Re-estimation reads windows of its own, apart from those that training sees.
_STATISTICS_SEED = 1_000_003
# Also between validations: a kill costs minutes, not what lies between two of them.
_SAVE_SECONDS = 300.0
_SKIPPED_AT_MOST = 50  # steps in a row; loss scaling halves its factor at each


def run(
    *,
    workdir: pathlib.Path,
    config: configs.Config,
    devices: str = "auto",
    profile: bool = False,
    dry_run: bool = False,
) -> list[str]:
    """Trains the network of `config` on the prepared cohort in `workdir`.

    Args:
        workdir: run folder that `prepare` filled; where several machines train, on a file system
            that they share.
        config: must be the one that the folder was prepared with.
        devices: see runtime.strategy.
        profile: records some steps for TensorBoard's profile tab.
        dry_run: builds everything and trains one step, but keeps nothing.

    Raises:
        errors.UserError: nothing prepared, another config, volumes changed since the run began,
            another process at work, devices that are not there, a loss that is not finite.
        errors.Interruption: another machine has gone.
    """
    folder = runfolder.RunFolder(workdir)
    prepared = folder.need(folder.config, "prepare")
    configs.need_prepared(prepared, config, trained=folder.checkpoints.exists())
    runtime.need_tensorflow("train")
    runtime.start(seed=config.seed, precision=config.train.precision)
    from multires_tf.learn import replicas

    strategy = runtime.strategy(devices)
    chief = replicas.is_chief(strategy)
    lock = runfolder.locked(folder.lock) if chief else contextlib.nullcontext()
    with lock, replicas.together(strategy):
        try:
            session = _Session.build(folder, config, strategy)
            return session.try_one_step() if dry_run else session.train(profile)
        except Exception as error:
            # A store that is damaged where it was not read before comes out of tf.data.
            told = pipeline.complaint(error)
            if told is None:
                raise
            raise told from None


@dataclasses.dataclass
class _Session:
    """One process' part of a run: the built model, the data, and the record of the run."""

    folder: runfolder.RunFolder
    config: configs.Config
    strategy: Any
    nets: Any
    objective: Any
    optimiser: Any
    training: list[Any]
    held_out: list[Any]
    record: Any

    @classmethod
    def build(cls, folder: runfolder.RunFolder, config: configs.Config, strategy: Any) -> _Session:
        from multires_tf.learn import replicas

        count = strategy.num_replicas_in_sync
        if config.sampling.batch % count:
            law = f"{config.sampling.batch} windows do not divide over {count} devices"
            advice = f"name fewer --devices (such as cpu or gpu:0), or set a multiple of {count}"
            raise errors.UserError(f"sampling.batch: {law}; {advice}")
        flagged = config.sampling.use_flagged
        training = assembly.volumes(folder, "train", flagged=flagged)
        held_out = assembly.volumes(folder, "validation")
        with strategy.scope():
            nets = assembly.networks(config)
            objective = assembly.objective(config, nets)
            optimiser = assembly.optimiser(config)
            optimiser.build(objective.trainable_variables)
        record = assembly.record(folder, config, chief=replicas.is_chief(strategy))
        session = cls(
            folder, config, strategy, nets, objective, optimiser, training, held_out, record
        )
        record.restore(session.variables, validate_every=config.train.validate_every)
        if record.chief:
            record.facts |= trained_on.facts(folder, training, held_out, record.facts)
        replicas.agree(strategy, record.step)
        return session

    @property
    def variables(self) -> list[Any]:
        """Everything that a step changes; the network's come first, so that it can load alone."""
        return [*self.nets.plain.variables, *self.optimiser.variables]

    @functools.cached_property
    def step_function(self) -> Any:
        from multires_tf.learn import step

        clip = self.config.train.gradient_clip
        return step.build(self.objective, self.optimiser, self.strategy, clip=clip)

    def try_one_step(self) -> list[str]:
        from multires_tf.learn import loop

        first, last = self.record.step, self.record.step + 1
        done = self.steps(
            self.step_function,
            self.batches(first, last),
            last=last,
            watch=loop.Watch({"loss": 0}),
            after_step=lambda: None,
        )
        return [f"dry run: one step took {done.seconds:.1f} s, loss {done.means['loss']:.4f}"]

    def train(self, profile: bool) -> list[str]:
        """Runs until the last step or until convergence, checkpointing on the way."""
        from multires_tf.learn import profiling

        record = self.record
        record.write_lost_history()
        if record.finished:
            record.need_best()
            return [record.summary("was already finished")]
        if record.chief:
            self.write_provenance()
            assembly.tell_flagged(self.folder, "validation", "choose the best checkpoint")
            progress.say(f"training on {', '.join(runtime.devices_of(self.strategy))}")
        board = record.open_board(
            config=configs.dump(self.config),
            settings=dict(strict.leaves(strict.plain(self.config))),
            network=self.nets.plain,
        )
        bar = tqdm.tqdm(
            total=self.config.train.steps,
            initial=record.step,
            desc="train",
            unit="step",
            smoothing=0.05,
            disable=not record.chief,
        )
        chosen: Any = contextlib.nullcontext(self.step_function)
        if profile and record.chief:
            chosen = profiling.profiled(self.step_function, self.folder.tensorboard)
        with bar, chosen as function:
            self.advance(function, board, bar)
        board.close()
        record.need_best()
        return [record.summary("finished")]

    def advance(self, function: Any, board: Any, bar: Any) -> None:
        """Trains from stop to stop until the record is finished."""
        from multires_tf.learn import loop

        settings = self.config.train
        batches = self.batches(self.record.step, settings.steps)
        skipped = _SKIPPED_AT_MOST if settings.precision == "mixed_float16" else 0
        watch = loop.Watch({"loss": 0, "gradient_norm": skipped})
        while not self.record.finished:
            stop = self.next_stop()
            done = self.steps(function, batches, last=stop, watch=watch, after_step=bar.update)
            self.record.step = stop
            self.report(done, board, bar)

    def steps(self, function: Any, batches: Any, *, last: int, **watching: Any) -> Any:
        """Trains from the record's step to `last`; arguments as those of loop.advance.

        Raises:
            errors.UserError: a loss or gradient is not finite; names the windows.
        """
        from multires_tf.learn import loop

        try:
            return loop.advance(function, batches, first=self.record.step, last=last, **watching)
        except loop.NotFinite as error:
            raise errors.UserError(self.blame(error)) from None

    def next_stop(self) -> int:
        """The next step at which a row is written."""
        settings, step = self.config.train, self.record.step
        ends = [(step // n + 1) * n for n in (settings.report_every, settings.validate_every)]
        return min(*ends, settings.steps)

    def report(self, done: Any, board: Any, bar: Any) -> None:
        """Validates where it is due, writes the row, the checkpoint and the events."""
        settings, record = self.config.train, self.record
        validating = record.step % settings.validate_every == 0 or record.step == settings.steps
        scores = self.validate(board, done.gradients) if validating else {}
        rate = float(np.asarray(self.optimiser.learning_rate))
        shown = record.add(done, scores=scores, learning_rate=rate)
        converged = validating and record.history.converged(settings.convergence_change)
        record.finished = record.step >= settings.steps or converged
        if validating or record.age() > _SAVE_SECONDS:
            record.save(self.nets.plain.variables, self.variables)
        board.scalars(record.step, shown)
        beside = {"loss": f"{done.means['loss']:.4f}"}
        if record.history.best()[0]:
            beside["best_val_mae_hu"] = f"{record.history.best()[1]:.1f}"
        bar.set_postfix(beside)

    def batches(self, start: int, stop: int, seed: int | None = None) -> Any:
        """Iterator over the batches of some steps, each replica its share."""
        from multires_tf.learn import replicas

        names = [tensor.name for tensor in self.objective.inputs]

        def shares(local: Sequence[int], count: int) -> Any:
            dataset = assembly.training_windows(
                self.config,
                self.training,
                start_step=start,
                stop_step=stop,
                seed=self.config.seed if seed is None else seed,
                shares=local,
                of=count,
            )
            return dataset.map(lambda element: {name: element[name] for name in names})

        return iter(replicas.distributed(self.strategy, shares))

    @functools.cached_property
    def validator(self) -> Callable[[], validation.Validation]:
        return validation.validator(self.config, self.nets, self.held_out)

    def validate(self, board: Any, gradients: Sequence[Any]) -> dict[str, float]:
        """Scores of the validation subjects in HU; shows the first of them, and the weights."""
        self.estimate_statistics()
        if not self.record.chief:
            return {}
        found = self.validator()
        for name, slices in found.pictures.items():
            cells, legend = validation.cells(slices), validation.legend(slices)
            board.picture(self.record.step, f"validation/{name}", cells, legend)
        weights = self.objective.trainable_variables
        named = {f"weights/{v.path}": v for v in weights}
        named |= {f"gradients/{v.path}": g for v, g in zip(weights, gradients, strict=True)}
        board.histograms(self.record.step, named)
        return found.scores

    @functools.cached_property
    def statistics_estimator(self) -> Callable[[Any], None] | None:
        from multires_tf.learn import step

        return step.statistics_estimator(self.objective, self.strategy)

    def estimate_statistics(self) -> None:
        """Replaces batch norm's moving statistics by those over many training windows."""
        count = -(-self.config.train.statistics_windows // self.config.sampling.batch)
        if count and self.statistics_estimator:
            self.statistics_estimator(self.batches(0, count, self.config.seed ^ _STATISTICS_SEED))

    def write_provenance(self) -> None:
        facts = runtime.provenance(
            self.config.seed,
            weights=self.nets.plain.trainable_variables,
            replicas=self.strategy.num_replicas_in_sync,
            devices=runtime.devices_of(self.strategy),
        )
        continued = self.record.step > 0
        runtime.write_provenance(self.folder.provenance, facts, continued=continued)

    def blame(self, error: Any) -> str:
        """Names the windows of a step that went wrong: those that do so alone, else all."""
        from multires_tf.learn import step

        first, seed = error.step, self.config.seed
        dataset = assembly.training_windows(
            self.config, self.training, start_step=first, stop_step=first + 1, seed=seed
        )
        batch = next(iter(dataset))
        places = step.culprits(self.objective, batch) or range(self.config.sampling.batch)
        names = assembly.window_names(batch, self.training, places)
        kept = "the last checkpoint is kept" if self.record.last.exists() else "nothing was saved"
        advice = "look at these windows, or lower train.learning_rate"
        return f"{error}, by {names} (z, y, x); {kept}; {advice}"
