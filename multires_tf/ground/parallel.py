"""Items side by side, as many as the cores and a memory budget allow, or on a cluster.

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

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(
    action: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    cost_bytes: Callable[[Item], float],
    budget_bytes: float,
) -> Generator[tuple[Item, Result], None, None]:
    """Calls `action` on each item and yields (item, what it returned) as they end.

    An item begins when a core is free and its cost fits beside those that run; one that is larger
    than the whole budget runs alone. Whoever stops listening stops the rest from beginning.

    Args:
        cost_bytes: memory that an item takes.
        budget_bytes: that all running items may take together.

    Raises:
        Exception: what the action raised; items that have not begun are dropped then.
    """
    waiting = collections.deque(items)
    running: dict[concurrent.futures.Future, tuple[Item, float]] = {}
    cores = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        while waiting or running:
            used = sum(cost for _, cost in running.values())
            while waiting and len(running) < cores:
                item = waiting[0]
                cost = cost_bytes(item)
                if running and used + cost > budget_bytes:
                    break
                waiting.popleft()
                running[pool.submit(action, item)] = (item, cost)
                used += cost
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                item, _ = running.pop(future)
                yield item, future.result()


def problems(
    action: Callable[[Item], object],
    items: Sequence[Item],
    *,
    cost_bytes: Callable[[Item], float],
    budget_bytes: float,
    keep_going: bool,
    words: str,
    scheduler: str | None = None,
) -> list[tuple[Item, str]]:
    """Calls `action` on each item under a progress bar.

    Args:
        cost_bytes, budget_bytes: as in `run`; a cluster's workers do one item at a time.
        keep_going: otherwise the first mistake ends it all.
        words: for the bar.
        scheduler: address of a Dask scheduler that gets the items, which with the action must be
            picklable.

    Returns:
        The items with a mistake of the user's, and which.

    Raises:
        Exception: whatever the action has raised, mistakes of the user's only without `keep_going`.
    """
    mistake = functools.partial(_mistake, action)
    if scheduler is None:
        work = run(mistake, items, cost_bytes=cost_bytes, budget_bytes=budget_bytes)
        results: Iterable = progress.bar(work, words=words, total=len(items))
    else:
        work = results = cluster.each(mistake, items, scheduler=scheduler, words=words)
    found = []
    with contextlib.closing(work):  # here and now: a later thread could not join itself
        for item, told in results:
            if told is not None and not keep_going:
                raise errors.UserError(told)
            if told is not None:
                found.append((item, told))
    return found


def _mistake(action: Callable[[Item], object], item: Item) -> str | None:
    """Acts on an item; returns words alone, which are all that has to come back from a cluster."""
    try:
        action(item)
    except errors.UserError as error:
        return str(error)
    return None
