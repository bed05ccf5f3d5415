"""Resolved configs of earlier versions, brought up to this one: no release orphans a trained run.

Whoever adds, renames or takes away a key raises SCHEMA by one and adds the step from the number
before: what the key was, in effect, when there was none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SCHEMA = 2


def migrated(content: dict[str, Any]) -> dict[str, Any]:
    """A resolved config as this version would have written it; of this or a later one as it is.

    Args:
        content: of a run folder's config.yaml; sections that are missing are left to its reader.
    """
    number = content.get("schema")
    while type(number) is int and number in _STEPS:
        content = _STEPS[number]({**content, "schema": number + 1})
        number += 1
    return content


def _from_1(content: dict[str, Any]) -> dict[str, Any]:
    """Nothing was recomputed."""
    if not isinstance(content.get("train"), dict):
        return content
    return {**content, "train": {"recompute": [], **content["train"]}}


_STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
