"""A map is made when it is asked for, and not before."""

from __future__ import annotations

import numpy as np
import pytest

from multires_tf.data import on_demand


def test_what_is_asked_for_is_made_and_no_more():
    made = []

    def make(name):
        made.append(name)
        return np.full(2, len(made))

    maps = on_demand.Maps(["b", "a"], make)
    assert list(maps) == ["b", "a"] and len(maps) == 2
    assert "a" in maps and "c" not in maps and maps.get("c") is None
    assert made == []
    assert maps["a"].tolist() == [1, 1] and maps["a"].tolist() == [2, 2]
    assert [name for name, _ in maps.items()] == ["b", "a"] and made == ["a", "a", "b", "a"]
    with pytest.raises(KeyError):
        maps["c"]
