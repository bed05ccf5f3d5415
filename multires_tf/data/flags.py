"""Flags of a subject in `cohort.csv`: what people, the registration and `prepare` have noted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from multires_tf.data import registration

_BETWEEN = "; "
# Of a subject that only --keep_going has put into the split none, and what its split was before:
# once mended it goes there again, or is drawn if it was in none yet.
_LEFT_OUT = re.compile(r"left out by prepare(?: \(was (?P<split>\w+)\))?")


def read(text: str) -> list[str]:
    """The flags of a cell."""
    return [flag for flag in text.split(_BETWEEN) if flag]


def write(flags: Sequence[str]) -> str:
    """A cell of flags, each of them once."""
    return _BETWEEN.join(dict.fromkeys(flags))


def left_out(split: str) -> str:
    """The flag of a subject that is left out; `split` is what it was in, "" for none yet."""
    return "left out by prepare" + (f" (was {split})" if split else "")


def split_before(text: str) -> str | None:
    """The split of a subject before it was left out, "" if it had none yet; None if it was not."""
    found = next((match for flag in read(text) if (match := _LEFT_OUT.fullmatch(flag))), None)
    return found and (found["split"] or "")


def by_people(text: str) -> list[str]:
    """The flags of a cell without those of an earlier `prepare`."""
    return [
        flag
        for flag in read(text)
        if registration.REFUSED not in flag and not _LEFT_OUT.fullmatch(flag)
    ]
