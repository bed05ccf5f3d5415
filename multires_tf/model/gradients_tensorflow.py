"""Gradients of our own: where profiles find them, and how they compute anew what was not kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def named(gradient: Callable) -> Callable:
    """Puts a gradient's operations under the layer's name, where profiles look for them."""
    scope = tf.get_current_name_scope()

    def in_scope(*upstream: Any) -> Any:
        with tf.name_scope(f"gradient/{scope}"):
            return gradient(*upstream)

    return in_scope


def anew(tensors: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """Tensors to compute from once more, as soon as others are there: the gradients from above.

    Computed from the tensors themselves, the graph's optimiser would keep the first results.
    """
    with tf.control_dependencies(list(after)):
        return [tf.identity(tensor) for tensor in tensors]
