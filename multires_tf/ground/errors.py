"""The exceptions that are no failure: the user can mend this; some of it could be done."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

_AGAIN = "what was there before is kept; free some space and run the same command again"
_ASK = "no permission to read or write here; choose another place or ask its owner"
_FEWER = "too many open files; raise the limit (ulimit -n) and run the same command again"
# What the user can mend of what the system forbids, and how.
REMEDIES = {
    errno.ENOSPC: f"the disk is full; {_AGAIN}",
    errno.EDQUOT: f"the disk quota is used up; {_AGAIN}",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: _ASK,
    errno.EPERM: _ASK,
    errno.EEXIST: "a file lies where a folder should be; move it away",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another folder",
    errno.EFBIG: f"the file grew beyond the allowed size; {_AGAIN}",
    errno.EMFILE: _FEWER,
    errno.ENFILE: _FEWER,
}


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


def as_system_error(error: Exception, path: str | os.PathLike) -> Exception:
    """Gives an error its number back that a library tells in the system's words only.

    Args:
        error: of TensorFlow or TensorStore.
        path: at which it came.

    Returns:
        The OSError, or `error` where it is none that the user can mend.
    """
    for number in REMEDIES:
        if os.strerror(number) in str(error):
            return OSError(number, os.strerror(number), os.fspath(path))
    return error
