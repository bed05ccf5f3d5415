"""Whether a forward pass repeats one that was done already: then it gathers no statistics."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_repeating = contextvars.ContextVar("repeating", default=False)


@contextlib.contextmanager
def repeated() -> Iterator[None]:
    """What is called within repeats."""
    token = _repeating.set(True)
    try:
        yield
    finally:
        _repeating.reset(token)


def is_running() -> bool:
    """Whether the caller repeats."""
    return _repeating.get()
