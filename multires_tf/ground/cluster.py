"""One item after the other, here or on an existing Dask cluster: what steps and studies share.

The cluster sees the same folders as this process, and its workers have this package installed. What
is done for an item is written whole or not at all, and left alone where it is done, so that an item
which a dying worker cut short can simply be given to another.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from multires_tf.ground import errors, progress

Item = TypeVar("Item")
_CONNECT_SECONDS = 20
# A worker may have several threads, but a subject is worth all the memory and cores that it has.
_ALONE = threading.Lock()


def each(
    action: Callable[[Item], Any], items: Sequence[Item], *, scheduler: str | None, words: str
) -> Generator[tuple[Item, Any], None, None]:
    """Calls `action` on each item and yields (item, what it returned) as they are finished.

    Args:
        action: on one item; with a scheduler it, the item and the result must be picklable.
        items: without doubles.
        scheduler: address of Dask's, such as tcp://host:8786; None works through the items here.
        words: what is being done, for the progress bar.

    Raises:
        errors.UserError: Dask is not installed, or no scheduler answers.
        RuntimeError: workers died of an item again and again.
        Exception: what the action raised; items that have not begun are dropped then.
    """
    if scheduler is None:
        for item in progress.bar(items, words=words):
            yield item, action(item)
        return
    with _client(scheduler) as client, progress.bar(total=len(items), words=words) as bar:
        for item, result in _finished(client, action, items):
            yield item, result
            bar.update()


def _client(scheduler: str) -> Any:
    try:
        import distributed
    except ImportError:
        raise errors.UserError(
            "--cluster: Dask is not installed; run 'pip install -c constraints.txt -e .[cluster]'"
        ) from None
    try:
        return distributed.Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError):
        raise errors.UserError(
            f"--cluster {scheduler}: no scheduler answers there; start one with 'dask scheduler'"
            " or correct the address"
        ) from None


def _finished(
    client: Any, action: Callable[[Item], Any], items: Sequence[Item]
) -> Iterator[tuple[Item, Any]]:
    import distributed

    alone = functools.partial(_alone, action)
    futures = {client.submit(alone, item, pure=False): item for item in items}
    try:
        for future in distributed.as_completed(futures, loop=client.loop):
            try:
                result = future.result()
            except distributed.scheduler.KilledWorker:
                raise RuntimeError(
                    f"Dask workers kept dying of {futures[future]}; give them more memory"
                ) from None
            # Dask does over what is still wanted when the worker that holds it dies.
            item = futures.pop(future)
            future.release()
            yield item, result
    finally:
        client.cancel(list(futures))


def _alone(action: Callable[[Item], Any], item: Item) -> Any:
    with _ALONE:
        return action(item)
