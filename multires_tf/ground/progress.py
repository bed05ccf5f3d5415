"""Progress bars of everything but training, which shows its own in logs as well."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import tqdm


def bar(
    items: Iterable[Any] | None = None,
    *,
    words: str,
    unit: str = "subject",
    total: int | None = None,
    quiet: bool = False,
) -> tqdm.tqdm:
    """A bar on terminals only, and wiped off them: a complaint stays the one line of stderr.

    Args:
        items: to go through; None where the caller counts up to `total`.
        words: what is being done.
        unit: of the items.
        total: number of items, where they do not know it.
        quiet: no bar on terminals either.
    """
    return tqdm.tqdm(
        items, desc=words, unit=unit, total=total, leave=False, disable=True if quiet else None
    )


def say(line: str) -> None:
    """Prints a line at once, to standard output, above any bar."""
    tqdm.tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()
