"""The one exception that means: the user can mend this."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the user gave; the message names the file or key and the remedy.

    The command line prints the message on one line of stderr and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Interruption(Exception):
    """Something outside ended the work: nothing is lost, and the same command continues it.

    The command line prints the message on one line of stderr and exits with code 1.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
