"""MultiRes, written once for every parts bin: the one of training and the one of inference.

A network is two functions of a bin (parts.Parts, thin.ThinParts): `begin`, what all draws have in
common, and `finish`, the rest. Whoever brings another bin gets the same network of other parts.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from multires_tf.model import highres3dnet, layers


@dataclasses.dataclass(frozen=True)
class MultiRes:
    """Branches from coarse to fine, their cascade, and one or two heads.

    Attributes:
        window: training edges (z, y, x), multiples of 16 where there are several scales.
        scales: of the branches, 1 and then doubling.
        everywhere: whether channels are dropped in each residual block too.
        trunk: of each branch.
        fc: widths of a branch's 1x1x1 convolutions before its output.
        head: widths of a head's 1x1x1 convolutions before its output.
        uncertainty: whether a second head gives log variance.
        output_norm: "none" (bias) or "batch" on every output.
        initial_ct: first bias of the CT outputs, unit CT.
        initial_log_var: first bias of the log variance.
    """

    window: tuple[int, int, int]
    scales: tuple[int, ...]
    everywhere: bool
    trunk: highres3dnet.Trunk
    fc: tuple[int, ...]
    head: tuple[int, ...]
    uncertainty: bool
    output_norm: str
    initial_ct: float
    initial_log_var: float

    def begin(self, bin_: Any, inputs: list) -> list[list]:
        """Builds each branch up to its first dropped layer.

        Args:
            bin_: where the parts come from.
            inputs: MR windows, one for each scale.

        Returns:
            For each branch the tensors that all draws have in common.
        """
        return [
            self._begun(bin_, f"branch_{scale}", mr)
            for scale, mr in zip(self.scales, inputs, strict=True)
        ]

    def finish(self, bin_: Any, early: list[list], draw: Any) -> dict[str, Any]:
        """Builds the rest of the branches, the cascade from coarse to fine, the heads.

        Args:
            bin_: where the parts come from.
            early: what `begin` returns.
            draw: what the bin's `drop` takes; None drops nothing.

        Returns:
            "ct", "log_var" where there is a second head, "ct_2" and "ct_4" of the coarse branches.
        """
        return self.join(bin_, self.estimates(bin_, early, draw), draw)

    def estimates(self, bin_: Any, early: list[list], draw: Any) -> list:
        """Builds the rest of the branches: one CT estimate each, finest first; as `finish`."""
        coarse_first = reversed(list(zip(self.scales, early, strict=True)))
        made = [
            self._branch_estimate(bin_, f"branch_{scale}", tensors, draw)
            for scale, tensors in coarse_first
        ]
        return made[::-1]

    def join(self, bin_: Any, estimates: list, draw: Any) -> dict[str, Any]:
        """Builds the cascade and the heads on the branches' estimates; the rest as `finish`."""
        maps = estimates[-1]
        outputs = {}
        for scale, estimate in reversed(list(zip(self.scales, estimates, strict=True))):
            if scale < self.scales[-1]:
                maps = _joined(bin_, f"cascade_{scale}", estimate, maps, self.window)
            if scale > 1:
                outputs[f"ct_{scale}"] = estimate
        outputs["ct"] = self._head(bin_, "ct", maps, self.initial_ct, draw)
        if self.uncertainty:
            outputs["log_var"] = self._head(bin_, "log_var", maps, self.initial_log_var, draw)
        return outputs

    def channels(self, *, slabs: bool) -> tuple[float, float]:
        """Channels of a branch in memory: at its worst moment, and shared by all draws.

        The worst moment is a residual sum of the widest stage: both terms, the sum, and what the
        last convolution has read; or, where 1x1x1 series do not go slab by slab, the widest of
        them before, in and after its norm.
        """
        busy = 4.0 * max(self.trunk.filters)
        if not slabs:
            busy = max(busy, 3.0 * max((*self.fc, *self.head), default=0))
        shared = 2 * self.trunk.filters[0] if self.everywhere else self.fc[-1]
        return busy, shared

    def _begun(self, bin_: Any, name: str, mr: Any) -> list:
        start = highres3dnet.stem(bin_, name, mr, self.trunk)
        if self.everywhere:
            return list(start)
        x = highres3dnet.body(bin_, name, *start, self.trunk, None)
        return [bin_.voxelwise(lambda part: highres3dnet.series(bin_, name, part, self.fc), x)]

    def _branch_estimate(self, bin_: Any, name: str, early: list, draw: Any) -> Any:
        if not self.everywhere:
            return self._estimate(bin_, name, early[0], (), self.initial_ct, draw)
        identity, opened = early
        x = highres3dnet.body(bin_, name, identity, opened, self.trunk, draw)
        return self._estimate(bin_, name, x, self.fc, self.initial_ct, draw)

    def _head(self, bin_: Any, name: str, maps: Any, initial: float, draw: Any) -> Any:
        # The heads read HU: in half precision these would come in steps of 8 and 16.
        return self._estimate(bin_, name, maps, self.head, initial, draw, reads="float32")

    def _estimate(
        self,
        bin_: Any,
        name: str,
        x: Any,
        widths: tuple[int, ...],
        initial: float,
        draw: Any,
        *,
        reads: str | None = None,
    ) -> Any:
        """A 1x1x1 series and its last convolution, behind the series' dropped layer."""

        def estimate(part: Any) -> Any:
            part = highres3dnet.series(bin_, name, part, widths, reads=reads)
            part = bin_.drop(f"{name}.drop", part, draw)
            return bin_.output(f"{name}.out", part, initial=initial, norm=self.output_norm)

        return bin_.voxelwise(estimate, x)


def _joined(bin_: Any, name: str, estimate: Any, coarse: Any, window: tuple) -> Any:
    """A branch's estimate with the coarser maps: twice as fine, half a window cut off each end.

    Most of the margin is cut before interpolating; one coarse voxel stays to interpolate with.
    """
    if any(edge % 4 or edge < 8 for edge in window):
        raise ValueError(f"window edges are multiples of 4 from 8 on, not {tuple(window)}")
    margin = tuple(edge // 4 - 1 for edge in window)
    own = {"dtype": "float32"}
    x = bin_.make(f"{name}.crop", layers.CropMargin, margin=margin, **own)(coarse)
    x = bin_.make(f"{name}.upsample", layers.UpsampleLinear, **own)(x)
    x = bin_.make(f"{name}.trim", layers.CropMargin, margin=(2, 2, 2), **own)(x)
    return bin_.make(f"{name}.concat", keras.layers.Concatenate, **own)([estimate, x])
