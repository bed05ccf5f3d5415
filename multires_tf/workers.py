"""Jobs side by side, as many as the cores and a memory budget allow.

Threads do: SimpleITK, NumPy, SciPy and the store's writer let go of the interpreter while they
work.
"""

from __future__ import annotations

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from multires_tf import errors, progress

Job = TypeVar("Job")


def run(
    jobs: Sequence[Job],
    action: Callable[[Job], object],
    *,
    cost_bytes: Callable[[Job], float],
    budget_bytes: float,
) -> Iterator[tuple[Job, Exception | None]]:
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
) -> list[tuple[Job, str]]:
    """Runs jobs under a progress bar; returns those with a mistake of the user's, and which.

    Args:
        cost_bytes, budget_bytes: as in `run`.
        keep_going: otherwise the first mistake ends it all.
        words: for the bar.

    Raises:
        Exception: whatever a job has raised, mistakes of the user's only without `keep_going`.
    """
    found = []
    work = run(jobs, action, cost_bytes=cost_bytes, budget_bytes=budget_bytes)
    for job, error in progress.bar(work, words=words, total=len(jobs)):
        if isinstance(error, errors.UserError) and keep_going:
            found.append((job, str(error)))
        elif error is not None:
            raise error
    return found
