"""The draws of a network by channel masks: one program for all draws, at the cost of the whole one.

For backends that compile every shape: the narrower networks of `thin` would be compiled anew for
each draw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from multires_tf.model import kernels, networks


class Draws:
    """The same as thin.Draws, up to rounding.

    Args:
        nets: the network; its weights are read anew at every call.
    """

    def __init__(self, nets: networks.Networks) -> None:
        maps = ("ct", "log_var")
        self._plain = kernels.compiled(nets.plain, maps)
        self._sampler = nets.sampler and kernels.compiled(nets.sampler, maps)

    def shared(self, inputs: list) -> list:
        """What all draws have in common: the MR windows (B, Z, Y, X, 1) themselves."""
        return inputs

    def outputs(self, shared: list, draw: tuple[int, int] | None) -> dict[str, Any]:
        """One draw's "ct" and, with a variance head, "log_var", (B, Z, Y, X, 1) float32.

        Args:
            shared: what `shared` returns.
            draw: (seed, index); None drops nothing.
        """
        if draw is None or self._sampler is None:
            return self._plain(shared)
        rows = np.array([draw] * len(shared[0]), np.int32)
        return self._sampler([*shared, ops.convert_to_tensor(rows)])
