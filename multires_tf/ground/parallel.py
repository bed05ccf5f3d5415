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
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

from multires_tf.ground import cluster, errors, progress

Job = TypeVar("Job")
Result = TypeVar("Result")


def run(
    jobs: Sequence[Job],
    action: Callable[[Job], Result],
    *,
    cost_bytes: Callable[[Job], float],
    budget_bytes: float,
) -> Generator[tuple[Job, Result], None, None]:
    """Calls `action` on each job and yields (job, what it returned) as they end.

    A job begins when a core is free and its cost fits beside those that run; one that is larger
    than the whole budget runs alone. Whoever stops listening stops the rest from beginning.

    Args:
        cost_bytes: memory that a job takes.
        budget_bytes: that all running jobs may take together.

    Raises:
        Exception: what a job raised; jobs that have not begun are dropped then.
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
                yield job, future.result()


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
    mistake = functools.partial(_mistake, action)
    if scheduler is None:
        work = run(jobs, mistake, cost_bytes=cost_bytes, budget_bytes=budget_bytes)
        results: Iterable = progress.bar(work, words=words, total=len(jobs))
    else:
        work = results = cluster.each(mistake, jobs, address=scheduler, words=words)
    found = []
    with contextlib.closing(work):  # here and now: a later thread could not join itself
        for job, told in results:
            if told is not None and not keep_going:
                raise errors.UserError(told)
            if told is not None:
                found.append((job, told))
    return found


def _mistake(action: Callable[[Job], object], job: Job) -> str | None:
    """Does a job and returns words alone, which are all that has to come back from a cluster."""
    try:
        action(job)
    except errors.UserError as error:
        return str(error)
    return None
