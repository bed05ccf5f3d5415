"""Tables: as CSV in full precision, an empty cell where there is no number; as Markdown to read."""

from __future__ import annotations

import csv
import io
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multires_tf.ground import errors, runfolder


def columns(rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> list[str]:
    """The columns of rows that need not all have the same: `first`, then as they come."""
    found = dict.fromkeys(key for row in rows for key in row)
    return [*first, *(key for key in found if key not in first)]


def write(path: pathlib.Path, rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> None:
    """Writes rows whole, or not at all.

    Args:
        path: of the table.
        rows: by column.
        first: columns that come first, whether or not a row has them.
    """
    stream = io.StringIO()
    names = columns(rows, first)
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(row.get(name)) for name in names})
    runfolder.write_text(path, stream.getvalue())


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, from the text of its cells."""
    return [_line(heads), "|---" * len(heads) + "|", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def read(path: pathlib.Path) -> list[dict[str, str]]:
    """Reads the rows of a table, as text by column."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def numbers(
    path: pathlib.Path, verb: str, *, words: Sequence[str] = (), needed: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Reads the rows of a table that a verb has written: numbers, and None in empty cells.

    Args:
        path: of the table.
        verb: that makes it anew.
        words: columns that hold text.
        needed: columns that hold a number in every row.

    Raises:
        errors.UserError: a cell is no number, or one that is needed is missing.
    """
    found = []
    try:
        for row in read(path):
            text = {key: row.pop(key) for key in words}
            found.append({**text, **{k: float(v) if v else None for k, v in row.items()}})
            if None in (found[-1][key] for key in needed):
                raise ValueError(needed)
    except (KeyError, TypeError, ValueError):
        raise errors.UserError(f"{path}: damaged table; run '{verb}' again") from None
    return found


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else ""
    return value
