"""How the network is being called, where Keras hands layers no argument that says so."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator


class Manner:
    """What is true of all calls made within `with manner.holds():`, and false of others.

    Args:
        name: for debuggers.
    """

    def __init__(self, name: str) -> None:
        self._held = contextvars.ContextVar(name, default=False)

    @contextlib.contextmanager
    def holds(self) -> Iterator[None]:
        """The calls made within are of this manner."""
        token = self._held.set(True)
        try:
            yield
        finally:
            self._held.reset(token)

    def __bool__(self) -> bool:
        return self._held.get()


# The pass repeats one that was done already: it gathers no statistics.
repeating = Manner("repeating")
# The graph that is traced may leave this process: nothing in it asks for a compiler.
portable = Manner("portable")
