"""The exceptions that are no failure: the user can mend this; some of it could be done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


class _OneLine(Exception):
    """Says what it has to say on one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class UserError(_OneLine):
    """A mistake in what the user gave; the message names the file or key and the remedy.

    The command line prints the message on one line of stderr and exits with code 2.
    """


class Interruption(_OneLine):
    """Something outside ended the work: nothing is lost, and the same command continues it.

    The command line prints the message on one line of stderr and exits with code 1.
    """


class PartlyDone(Exception):
    """What was asked for is done, but for what the user agreed to leave out.

    The command line prints the lines, which say what was left out, and exits with code 1.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[-1])
        self.lines = lines


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turns what the system forbids while the user's files are read into a mistake of the user's.

    Args:
      path: named where the system names none.

    Raises:
      UserError: a file or folder may not be read.
    """
    try:
        yield
    except PermissionError as error:
        name = error.filename or os.fspath(path)
        raise UserError(f"{name}: may not be read; change its permissions") from None
