"""Jobs side by side, as many as the cores and a memory budget allow, or on a cluster.

Here threads do: SimpleITK, NumPy, SciPy and the store's writer let go of the interpreter while they
work.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import os
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from multires_tf import cluster, errors, progress

Job = TypeVar("Job")


def run(
    jobs: Sequence[Job],
    action: Callable[[Job], object],
    *,
    cost_bytes: Callable[[Job], float],
    budget_bytes: float,
) -> Generator[tuple[Job, Exception | None], None, None]:
    """Calls `action` on each job and yields each, with its error if it had one, as it ends.

    A job begins when a core is free and its cost fits beside those that run; one that is larger
    than the whole budget runs alone. Whoever stops listening stops the rest from beginning.

    Args:
        cost_bytes: memory that a job takes.
        budget_bytes: that all running jobs may take together.
    """
    waiting = collections.deque(jobs)
    running: dict[concurrent.futures.Future, tuple[Job, float]] = {}
    cores = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        while waiting or running:
            used = sum(cost for _, cost in running.values())
            while waiting and len(running) < cores:
                job = waiting[0]
                cost = cost_bytes(job)
                if running and used + cost > budget_bytes:
                    break
                waiting.popleft()
                running[pool.submit(action, job)] = (job, cost)
                used += cost
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                job, _ = running.pop(future)
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield job, error


def problems(
    jobs: Sequence[Job],
    action: Callable[[Job], object],
    *,
    cost_bytes: Callable[[Job], float],
    budget_bytes: float,
    keep_going: bool,
    words: str,
    scheduler: str | None = None,
) -> list[tuple[Job, str]]:
    """Runs jobs under a progress bar; returns those with a mistake of the user's, and which.

    Args:
        cost_bytes, budget_bytes: as in `run`; a cluster's workers do one job at a time.
        keep_going: otherwise the first mistake ends it all.
        words: for the bar.
        scheduler: address of a Dask scheduler that gets the jobs, which with the action must be
            picklable.

    Raises:
        Exception: whatever a job has raised, mistakes of the user's only without `keep_going`.
    """
    work: Generator
    if scheduler is not None:
        mistake = functools.partial(_mistake, action)
        work = cluster.each(mistake, jobs, address=scheduler, words=words)
        found = work
    else:
        work = run(jobs, action, cost_bytes=cost_bytes, budget_bytes=budget_bytes)
        bar = progress.bar(work, words=words, total=len(jobs))
        found = ((job, _of_the_user(error)) for job, error in bar)
    mistakes = []
    with contextlib.closing(work):  # here and now: a later thread could not join itself
        for job, told in found:
            if told is not None and not keep_going:
                raise errors.UserError(told)
            if told is not None:
                mistakes.append((job, told))
    return mistakes


def _mistake(action: Callable[[Job], object], job: Job) -> str | None:
    """A job on a cluster's worker: only words come back, not what the action returns."""
    try:
        action(job)
    except errors.UserError as error:
        return str(error)
    return None


def _of_the_user(error: Exception | None) -> str | None:
    if error is not None and not isinstance(error, errors.UserError):
        raise error
    return None if error is None else str(error)
