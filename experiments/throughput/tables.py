"""Rows of numbers as a Markdown table, and the circumstances in which they were measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
from typing import Any

from multires_tf.ground import tables

PACKAGES = ("tensorflow", "keras", "jax", "torch", "monai", "numpy", "tensorstore")


def markdown(rows: list[dict[str, Any]]) -> str:
    """One row a dictionary; numbers with three digits that count."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = ([_cell(row.get(name)) for name in columns] for row in rows)
    return "\n".join(tables.markdown(columns, cells))


def circumstances() -> dict[str, Any]:
    """Date, cores, processor and versions; nothing that names a person, a host or a folder."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"model name\s*: (.+)", file.read())
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
