"""How every command line is entered and left: flags' values, lines to say, one-line complaints."""

from __future__ import annotations

import argparse
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from absl import app, logging
from absl.flags import argparse_flags

from multires_tf.ground import errors, runfolder

_LESS = "do less at a time, or use a machine with more"


class Parser(argparse_flags.ArgumentParser):
    """A parser whose complaint is one line and exit code 2."""

    def __init__(self, **arguments) -> None:
        super().__init__(**{**arguments, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        raise errors.UserError(f"{self.prog}: {message}; see '{self.prog} --help'")


def enter(
    parser: Callable[[], Parser], work: Callable[[argparse.Namespace], Iterable[str]]
) -> None:
    """Runs the command line of this process, and ends it.

    Args:
        parser: makes the parser.
        work: from the flags' values to the lines that it has to say.
    """
    app.run(
        lambda chosen: answer(lambda: work(chosen)),
        flags_parser=lambda argv: parsed(parser(), argv),
    )


def parsed(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """The flags' values; ends the process with code 2 where they cannot be read."""
    try:
        return parser.parse_args(argv[1:])
    except errors.UserError as error:
        sys.exit(_complain(str(error), 2))


def answer(
    work: Callable[[], Iterable[str]],
    *,
    program: str = "",
    task: str = "the experiment",
    folder: pathlib.Path | None = None,
    less_memory: str | None = None,
) -> int:
    """Works, and says what there is to say: lines on stdout, a complaint in one line on stderr.

    Args:
        work: returns its lines.
        program: that complaints begin with.
        task: what has failed where nobody foresaw it.
        folder: the run folder, whose log then gets the traceback.
        less_memory: the remedy where there was not enough memory.

    Returns:
        The exit code: 0; 1 where something outside ended the work, or it is done in part; 2 where
        the user has to mend something.
    """
    logging.set_verbosity(logging.WARNING)
    try:
        for line in work():
            print(line)
    except errors.PartlyDone as partly:
        for line in partly.lines:
            print(line)
        return 1
    except errors.UserError as error:
        return _complain(str(error), 2, program)
    except errors.Interruption as error:
        return _complain(str(error), 1, program)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command continues", 1, program)
    except Exception as error:  # the last resort: users get a line, the log gets the traceback
        exhausted = _is_exhausted(error)
        system = errors.as_system_error(error, task) if exhausted else error
        if isinstance(system, OSError) and system.errno in errors.REMEDIES:
            remedy = errors.REMEDIES[system.errno]
            return _complain(f"{system.filename or task}: {remedy}", 2, program)
        if exhausted:
            return _complain(f"{task}: not enough memory; {less_memory or _LESS}", 2, program)
        line = f"{task} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return _complain(line + _logged(folder), 1, program)
    return 0


def _is_exhausted(error: Exception) -> bool:
    """Whether Python, NumPy or a Keras backend lack memory; by their words, without loading them.

    TensorFlow says the same of a full disk and of too many open files.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    known = {"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"}
    # Of JAX; of torch without a GPU, and on one that others have filled.
    words = ("RESOURCE_EXHAUSTED", "DefaultCPUAllocator: ", "CUDA error: out of memory")
    return bool(names & known) or any(word in str(error) for word in words)


def _complain(line: str, code: int, program: str = "") -> int:
    print(f"{program}: {line}" if program else line, file=sys.stderr)
    return code


def _logged(folder: pathlib.Path | None) -> str:
    """Puts the traceback into the run folder, where there is one; returns words that say so."""
    if folder is None or not folder.is_dir():
        traceback.print_exc()
        return ""
    log = runfolder.RunFolder(folder).failure
    try:
        log.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        traceback.print_exc()
        return ""
    return f"; details in {log}"


def count(text: str) -> int:
    """A whole number from 1 up."""
    return _between(text, 1, 2**31 - 1)


def whole(text: str) -> int:
    """A whole number from 0 up."""
    return _between(text, 0, 2**31 - 1)


def not_negative(text: str) -> float:
    """A number from 0 up."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"needs a number from 0 up, not '{text}'")
    return value


def tile(text: str) -> int | str:
    """An edge in voxels, or "auto"."""
    return text if text == "auto" else count(text)


def memory(text: str) -> float:
    """Bytes from texts such as 8GB or 500MB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(GB|MB)", text)
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"needs a size such as 8GB, not '{text}'")
    return float(found[1]) * {"GB": 1e9, "MB": 1e6}[found[2]]


def _between(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"needs a whole number from {low} to {high}, not '{text}'")
    return int(text)
