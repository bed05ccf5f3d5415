"""One loop for one device, several, and several machines: what they share and who writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from multires_tf.ground import errors

# What collective operations end with when a peer has gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


def workers(strategy: tf.distribute.Strategy) -> int:
    """Number of processes that train together."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return 1
    jobs = resolver.cluster_spec().as_dict()
    return max(1, sum(len(jobs.get(job, ())) for job in ("chief", "worker")))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes; there is always exactly one."""
    if workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_type == "worker" and resolver.task_id == 0


def distributed(
    strategy: tf.distribute.Strategy,
    shares: Callable[[Sequence[int], int], tf.data.Dataset],
) -> Any:
    """Gives every replica its share of each batch; a process makes only what its own replicas get.

    Args:
        strategy: of the training.
        shares: from the numbers of the local replicas, and the number of all, to a dataset of their
            shares of the batch, one after the other, step after step.
    """

    def of_this_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
        total = context.num_replicas_in_sync
        local = total // context.num_input_pipelines
        first = context.input_pipeline_id * local
        return shares(range(first, first + local), total)

    return strategy.distribute_datasets_from_function(of_this_process)


def agree(strategy: tf.distribute.Strategy, step: int) -> None:
    """Makes sure that all processes start from the same step.

    Raises:
        errors.UserError: they do not, so they do not see the same run folder.
    """
    if workers(strategy) == 1:
        return

    @tf.function
    def gathered() -> Any:
        def gather() -> tf.Tensor:
            return tf.distribute.get_replica_context().all_gather(tf.constant([step]), axis=0)

        return strategy.experimental_local_results(strategy.run(gather))[0]

    steps = sorted(set(gathered().numpy().tolist()))
    if len(steps) > 1:
        found = " and ".join(map(str, steps))
        advice = "give all of them one --workdir on a shared file system"
        raise errors.UserError(
            f"--workdir: the workers found checkpoints of steps {found}; {advice}"
        )


@contextlib.contextmanager
def together(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns the loss of another worker into one line.

    Raises:
        errors.Interruption: another worker has gone.
    """
    try:
        yield
    except _LOST as error:
        if workers(strategy) == 1:
            raise
        reason = str(error).strip().partition("\n")[0][:200]
        raise errors.Interruption(
            "another worker has gone, so this one stops too; start all of them again with the same "
            f"command, and the run continues from its last checkpoint ({reason})"
        ) from error
