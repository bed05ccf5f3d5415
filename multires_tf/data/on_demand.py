"""Maps that are made when they are asked for: of a whole body each has half a gigabyte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np


class Maps(Mapping[str, np.ndarray]):
    """Name -> array, made anew each time; whether a name is there costs nothing."""

    def __init__(self, names: Sequence[str], make: Callable[[str], np.ndarray]) -> None:
        """Keeps the names, in their order, and what makes the array of one."""
        self._names, self._make = tuple(names), make

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
