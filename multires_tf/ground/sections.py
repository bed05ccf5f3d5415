"""The sections of a config, and the laws that their values keep.

Frozen dataclasses without defaults: configs/base.yaml names every key, its unit and its source.
Edges are voxels (z, y, x).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from multires_tf.ground import errors

Triple = tuple[int, int, int]


def law(holds: bool, key: str, sentence: str) -> None:
    """Raises UserError with the key and what it needs, unless the law holds."""
    if not holds:
        raise errors.UserError(f"{key}: {sentence}")


@dataclasses.dataclass(frozen=True)
class Cohort:
    split: Triple

    def __post_init__(self) -> None:
        law(min(self.split) >= 0 and self.split[0] > 0, "cohort.split", "needs train > 0")


@dataclasses.dataclass(frozen=True)
class Intensity:
    mr_percentiles: tuple[float, float]
    mr_zero_is_outside: bool
    mr_bias_field: Literal["n4", "none"]
    mr_landmarks: Literal["none", "nyul"]
    ct_window_hu: tuple[float, float]
    ct_padding: Literal["air", "keep"]
    ct_metal: Literal["air", "keep"]

    def __post_init__(self) -> None:
        low, high = self.mr_percentiles
        law(0 <= low < high <= 100, "intensity.mr_percentiles", "needs 0 <= low < high <= 100")
        low, high = self.ct_window_hu
        law(low < high, "intensity.ct_window_hu", "needs low < high")


@dataclasses.dataclass(frozen=True)
class Norm:
    kind: Literal["batch", "renorm", "group", "instance", "none"]
    groups: int
    momentum: float
    statistics: Literal["moving", "local"]
    output: Literal["none", "batch"]

    def __post_init__(self) -> None:
        law(self.groups >= 1, "network.norm.groups", "needs at least 1")
        law(0 <= self.momentum < 1, "network.norm.momentum", "needs 0 <= momentum < 1")


@dataclasses.dataclass(frozen=True)
class Dropout:
    place: Literal["none", "late", "everywhere"]
    keep: float

    def __post_init__(self) -> None:
        law(0 < self.keep <= 1, "network.dropout.keep", "needs 0 < keep <= 1")


@dataclasses.dataclass(frozen=True)
class MultiRes:
    scales: tuple[int, ...]
    filters: tuple[int, ...]
    dilations: tuple[int, ...]
    blocks: int
    fc: tuple[int, ...]
    head: tuple[int, ...]

    def __post_init__(self) -> None:
        doubling = tuple(2**i for i in range(len(self.scales)))
        law(
            self.scales == doubling and len(self.scales) in (1, 2, 3),
            "network.multires.scales",
            "needs [1], [1, 2] or [1, 2, 4]",
        )
        same = len(self.filters) == len(self.dilations)
        law(same, "network.multires.dilations", "needs one dilation a stage of filters")
        powers = all(d in (1, 2, 4) for d in self.dilations)
        law(powers, "network.multires.dilations", "needs 1, 2 or 4 for each stage")
        law(self.blocks >= 1, "network.multires.blocks", "needs at least 1")
        for key in ("filters", "fc", "head"):
            wide = min(getattr(self, key), default=0) >= 1
            law(wide, f"network.multires.{key}", "needs widths of at least 1")


@dataclasses.dataclass(frozen=True)
class UNet:
    kernel: Triple
    base: int
    levels: int
    extra_convs: int
    extra_width: int

    def __post_init__(self) -> None:
        odd = all(k in (1, 3) for k in self.kernel)
        law(odd, "network.unet.kernel", "needs 1 or 3 on every axis")
        for key in ("base", "levels", "extra_width"):
            law(getattr(self, key) >= 1, f"network.unet.{key}", "needs at least 1")
        law(self.extra_convs >= 0, "network.unet.extra_convs", "needs a number >= 0")


@dataclasses.dataclass(frozen=True)
class Network:
    kind: Literal["multires", "unet"]
    window: Triple
    uncertainty: bool
    initial_ct_hu: float
    initial_sd_hu: float
    norm: Norm
    dropout: Dropout
    multires: MultiRes
    unet: UNet

    def __post_init__(self) -> None:
        self.check_edges("network.window", self.window)
        law(self.initial_sd_hu > 0, "network.initial_sd_hu", "needs HU > 0")
        only = self.kind == "multires" or not self.uncertainty
        law(only, "network.uncertainty", "only the multires network has a variance head")
        plain = self.kind == "multires" or self.dropout.place == "none"
        law(plain, "network.dropout.place", "the U-Nets have no dropout; set it to none")

    @property
    def multiple(self) -> int:
        """What every window and tile edge must divide by, so that all branches stay on the grid."""
        # The coarsest branch sees a quarter, in multiples of HighRes3DNet's largest dilation, 4.
        return 16 if self.kind == "multires" else 2 ** (self.unet.levels - 1)

    def check_edges(self, key: str, edges: Triple) -> None:
        """Raises UserError unless windows or tiles of these edges (z, y, x) fit the network."""
        for edge, kernel in zip(edges, self.unet.kernel, strict=True):
            flat = self.kind == "unet" and kernel == 1
            fits = edge > 0 and (flat or edge % self.multiple == 0)
            law(fits, key, f"needs multiples of {self.multiple}, not {edge}")

    def draws(self, samples: int) -> int:
        """How many of so many draws differ: one alone where no channel is dropped."""
        return samples if self.dropout.place != "none" else 1

    @property
    def scales(self) -> tuple[int, ...]:
        return self.multires.scales if self.kind == "multires" else (1,)


@dataclasses.dataclass(frozen=True)
class Loss:
    variance_term: Literal["half", "full"]
    stabiliser: float
    beta: float
    deep_supervision: float

    def __post_init__(self) -> None:
        law(self.stabiliser >= 0, "loss.stabiliser", "needs a variance >= 0")
        law(0 <= self.beta <= 1, "loss.beta", "needs 0 <= beta <= 1")
        law(self.deep_supervision >= 0, "loss.deep_supervision", "needs a weight >= 0")


@dataclasses.dataclass(frozen=True)
class Sampling:
    batch: int
    tile: Triple | None
    use_flagged: bool
    body_share: float
    augment_share: float
    flip_axes: tuple[Literal["x", "y", "z"], ...]
    rotation_deg: float
    scaling: float

    def __post_init__(self) -> None:
        law(self.batch >= 1, "sampling.batch", "needs at least 1")
        law(0 <= self.body_share <= 1, "sampling.body_share", "needs a share in 0..1")
        law(0 <= self.augment_share <= 1, "sampling.augment_share", "needs a share in 0..1")
        law(0 <= self.scaling < 1, "sampling.scaling", "needs 0 <= scaling < 1")


@dataclasses.dataclass(frozen=True)
class Train:
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"]
    recompute: tuple[int, ...]
    steps: int
    learning_rate: float
    schedule: Literal["constant", "cosine"]
    adam_beta2: float
    adam_epsilon: float
    gradient_clip: float
    report_every: int
    validate_every: int
    statistics_windows: int
    convergence_window: int
    convergence_change: float

    def __post_init__(self) -> None:
        law(self.steps >= 1, "train.steps", "needs at least 1")
        law(self.learning_rate > 0, "train.learning_rate", "needs a rate > 0")
        law(self.gradient_clip >= 0, "train.gradient_clip", "needs a norm >= 0; 0 switches it off")
        windows = self.statistics_windows >= 0
        law(windows, "train.statistics_windows", "needs a number >= 0; 0 for none")
        law(0 <= self.adam_beta2 < 1, "train.adam_beta2", "needs 0 <= beta2 < 1")
        law(self.convergence_window >= 1, "train.convergence_window", "needs at least 1")
        law(self.report_every >= 1, "train.report_every", "needs at least 1")
        law(self.validate_every >= 1, "train.validate_every", "needs at least 1")


@dataclasses.dataclass(frozen=True)
class Predict:
    tile: Triple
    overlap: float

    def __post_init__(self) -> None:
        law(0 <= self.overlap < 1, "predict.overlap", "needs a share >= 0 and < 1")
