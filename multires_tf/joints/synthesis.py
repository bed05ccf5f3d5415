"""A whole volume predicted: tiles planned, networks applied, draws accumulated, seams blended."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from multires_tf.data import (
    blending,
    intensity,
    on_demand,
    pipeline,
    resampling,
    store,
    tiles,
    windows,
)
from multires_tf.ground import progress
from multires_tf.model import uncertainty

Compute = Callable[..., dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How volumes are cut into tiles; edges in voxels (z, y, x).

    Attributes:
        tile: output voxels of a tile.
        overlap: share of a tile that neighbours blend, 0 <= overlap < 1; where the tile is larger
            than the window, that share of the window.
        window: the training window, which fixes the context around a tile.
        scales: of the branches.
        multiple: what every tile edge divides by.
    """

    tile: tuple[int, int, int]
    overlap: float
    window: tuple[int, int, int]
    scales: tuple[int, ...]
    multiple: int

    def fitted(self, shape: Sequence[int]) -> Tiling:
        """The same with tiles no larger than a small volume needs."""
        z, y, x = (
            min(t, -(-n // self.multiple) * self.multiple) if t > 1 else t
            for t, n in zip(self.tile, shape, strict=True)
        )
        return dataclasses.replace(self, tile=(z, y, x))

    def starts(self, shape: Sequence[int]) -> list[tuple[int, int, int]]:
        """First voxels (z, y, x) of the tiles that cover a volume."""
        shared = [self._shared(edge, axis) for axis, edge in enumerate(self.tile)]
        return windows.plan_tiles(shape, self.tile, shared, multiple=max(self.scales))

    def along(self, length: int, edge: int, axis: int) -> int:
        """How many tiles of an edge cover one axis."""
        shared = self._shared(edge, axis)
        return len(windows.tile_starts(length, edge, shared, multiple=max(self.scales)))

    def _shared(self, edge: int, axis: int) -> float:
        """Voxels that neighbours blend: of a large tile as many as of one of the window's size.

        Its seam is as soft then, and the cost of a voxel does not grow with the volume.
        """
        return self.overlap * min(edge, self.window[axis])

    def windows(self) -> dict[int, tuple[int, int, int]]:
        """Scale -> voxels (z, y, x) that its branch reads for one tile."""
        law = {"window": self.window, "scales": self.scales}
        boxes = windows.branch_windows((0, 0, 0), self.tile, **law)
        return {scale: box.size for scale, box in boxes.items()}

    def branch_voxels(self) -> dict[int, int]:
        """The same as a number of voxels: nearly all of the work."""
        return {scale: math.prod(size) for scale, size in self.windows().items()}


def predict_volume(
    volume: Any,
    compute: Compute,
    tiling: Tiling,
    *,
    kept: tiles.Folder | None = None,
    label: str = "",
    quiet: bool = False,
) -> Mapping[str, np.ndarray]:
    """Predicts every voxel of a volume.

    Args:
        volume: store.Pyramid of the MR (in [0, 1]).
        compute: from the branches' windows, (1, Z, Y, X, 1) each, to maps (Z, Y, X) of a tile.
        tiling: how to cut; small volumes get smaller tiles.
        kept: where tiles are kept on disk; those that are there are not computed again. None blends
            them in memory at once.
        label: of the progress bar.
        quiet: no progress bar; there is one on terminals only anyhow.

    Returns:
        Name -> float32 map (z, y, x) of the volume's shape; of kept tiles each is blended when it
        is asked for, so that there need not be room for all.
    """
    plan = tiling.fitted(volume.shape)
    starts = plan.starts(volume.shape)
    canvas: blending.Canvas | None = None
    for start in progress.bar(starts, words=label, unit="tile", quiet=quiet):
        if kept is not None and start in kept:
            continue
        mr = pipeline.read_windows(volume, start, plan.tile, window=plan.window, scales=plan.scales)
        maps = compute([mr[f"mr_{scale}"][None, ..., None] for scale in plan.scales])
        if kept is not None:
            kept.write(start, maps)
            continue
        if canvas is None:
            canvas = blending.Canvas(volume.shape, tuple(maps), tile=plan.tile, starts=starts)
        canvas.add(start, maps)
    if kept is not None:
        return tiles.blended(volume.shape, tile=plan.tile, starts=starts, kept=kept)
    if canvas is None:
        raise ValueError(f"a volume of shape {tuple(volume.shape)} has no tile")
    return {name: canvas.result(name) for name in maps}


def mean_network(nets: Any) -> Compute:
    """One pass with no channel dropped: the map "ct" in unit CT."""
    from multires_tf.model import kernels

    forward = kernels.compiled(nets.plain, ["ct"])
    return lambda inputs: _maps(forward(inputs))


def monte_carlo(
    nets: Any,
    *,
    samples: int,
    seed: int,
    stabiliser: float = 0.0,
    derived: Callable[..., np.ndarray] | None = None,
) -> Compute:
    """Draws: the mean and the variances over `samples` sub-networks, in unit CT.

    What precedes the first dropped channel is computed once a tile. The same (seed, draw) keeps the
    same channels in every tile. A network without dropout gives one pass and no epistemic map, one
    without a variance head no aleatoric map.

    Args:
        nets: networks.Networks; their weights are read anew for every tile.
        samples: number of draws.
        seed: of the draws.
        stabiliser: of the likelihood (losses.GaussianNLL), in unit variance.
        derived: makes another map (Z, Y, X) of each draw's CT, where the draws' variance of that
            map is wanted and does not follow from the CT's own: a blurred one, for instance. It
            takes the keywords that the function returned here is called with.

    Returns:
        Function to the maps "ct", "aleatoric" and "epistemic" (variances) that the network has, and
        "derived" (a variance) where the network has draws.
    """
    import keras

    from multires_tf.model import masked, thin

    # Run op by op, as TensorFlow can, tensors go as soon as they are used, and no draw needs a
    # graph of its own.
    by_op = keras.backend.backend() == "tensorflow"
    network = thin.Draws(nets) if by_op else masked.Draws(nets)
    chosen = [(seed, index) for index in range(samples)] if nets.sampler else [None]

    def compute(inputs: list[np.ndarray], **facts: Any) -> dict[str, np.ndarray]:
        draws, others = uncertainty.Accumulator(), uncertainty.Accumulator()
        shared = network.shared([keras.ops.convert_to_tensor(i) for i in inputs])
        for draw in chosen:
            maps = _maps(network.outputs(shared, draw), stabiliser)
            draws.add(**maps)
            if derived is not None:
                others.add(derived(maps["ct"], **facts))
        variance = others.estimate().epistemic_variance if derived is not None else None
        present = _present(draws.estimate())
        return present if variance is None else {**present, "derived": variance}

    return compute


def _maps(outputs: dict[str, Any], stabiliser: float = 0.0) -> dict[str, np.ndarray]:
    import keras

    maps = {n: keras.ops.convert_to_numpy(batch)[0, ..., 0] for n, batch in outputs.items()}
    if stabiliser > 0 and "log_var" in maps:
        maps["log_var"] = np.logaddexp(maps["log_var"], np.float32(math.log(stabiliser)))
    return maps


def _present(estimate: Any) -> dict[str, np.ndarray]:
    maps = {
        "ct": estimate.ct,
        "aleatoric": estimate.aleatoric_variance,
        "epistemic": estimate.epistemic_variance,
    }
    return {name: array for name, array in maps.items() if array is not None}


def in_hu(maps: Mapping[str, np.ndarray], ct_window_hu: tuple[float, float]) -> on_demand.Maps:
    """Turns maps in unit CT into HU: "ct" and "<kind>_sd_hu" of the kinds there are."""

    def make(name: str) -> np.ndarray:
        if name == "ct":
            return intensity.unit_to_ct(maps["ct"], ct_window_hu)
        return uncertainty.sd_hu(maps[kinds[name]], ct_window_hu)

    kinds = {uncertainty.map_name(kind): kind for kind in uncertainty.KINDS if kind in maps}
    return on_demand.Maps(["ct", *kinds], make)


def delivered(
    unit: Mapping[str, np.ndarray],
    volume: store.Pyramid,
    ct_window_hu: tuple[float, float],
    *,
    scaled: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, on_demand.Maps]:
    """Maps as they are written: on the grid of the MR as it came, the CT in whole HU.

    Args:
        unit: maps of `predict_volume`, unit CT.
        volume: the prepared MR.
        ct_window_hu: what the CT is clipped to, like the truth of the training.
        scaled: what calibration makes of a map of deviations; None where it was not run.

    Returns:
        The CT, int16 (z, y, x), and float32 maps in HU: "aleatoric_sd_hu" and "epistemic_sd_hu", as
        far as the network has them, and "total_sd_hu", where it has one of them.

    Raises:
        RuntimeError: the CT is not finite.
    """
    maps, grids = in_hu(unit, ct_window_hu), (volume.grid, volume.source)
    ct_hu = resampling.restore(maps["ct"], *grids, fill=ct_window_hu[0])
    # A sum is finite where all of its voxels are, and needs no second map.
    if not np.isfinite(ct_hu.sum(dtype=np.float64)):
        raise RuntimeError("the network's CT is not finite; train again in float32")
    np.clip(ct_hu, *ct_window_hu, out=ct_hu)
    whole_hu = np.rint(ct_hu, out=ct_hu).astype(np.int16)
    parts = [name for name in maps if name != "ct"]
    total_name = uncertainty.map_name(uncertainty.TOTAL)

    def own(name: str) -> np.ndarray:
        return maps[name] if scaled is None else scaled(maps[name])

    def make(name: str) -> np.ndarray:
        if name != total_name:
            return resampling.restore(own(name), *grids, fill=0.0)
        first, *others = parts
        total = make(first)
        for other in others:
            np.hypot(total, make(other), out=total)
        return total

    return whole_hu, on_demand.Maps([*parts, total_name] if parts else [], make)
