"""The config: frozen dataclasses without defaults, read strictly from YAML.

A config is `configs/base.yaml`, then an experiment's short difference, then overlays, then
`--set a.b=value`. Only steps and the joints above the wings read it; wings take plain arguments.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import yaml

from multires_tf import errors, migration, strict

Triple = tuple[int, int, int]


def _law(holds: bool, key: str, sentence: str) -> None:
    if not holds:
        raise errors.UserError(f"{key}: {sentence}")


@dataclasses.dataclass(frozen=True)
class Cohort:
    split: Triple

    def __post_init__(self) -> None:
        _law(min(self.split) >= 0 and self.split[0] > 0, "cohort.split", "needs train > 0")


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
        _law(0 <= low < high <= 100, "intensity.mr_percentiles", "needs 0 <= low < high <= 100")
        low, high = self.ct_window_hu
        _law(low < high, "intensity.ct_window_hu", "needs low < high")


@dataclasses.dataclass(frozen=True)
class Norm:
    kind: Literal["batch", "renorm", "group", "instance", "none"]
    groups: int
    momentum: float
    statistics: Literal["moving", "local"]
    output: Literal["none", "batch"]

    def __post_init__(self) -> None:
        _law(self.groups >= 1, "network.norm.groups", "needs at least 1")
        _law(0 <= self.momentum < 1, "network.norm.momentum", "needs 0 <= momentum < 1")


@dataclasses.dataclass(frozen=True)
class Dropout:
    place: Literal["none", "late", "everywhere"]
    keep: float

    def __post_init__(self) -> None:
        _law(0 < self.keep <= 1, "network.dropout.keep", "needs 0 < keep <= 1")


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
        _law(
            self.scales == doubling and len(self.scales) in (1, 2, 3),
            "network.multires.scales",
            "needs [1], [1, 2] or [1, 2, 4]",
        )
        same = len(self.filters) == len(self.dilations)
        _law(same, "network.multires.dilations", "needs one dilation a stage of filters")
        powers = all(d in (1, 2, 4) for d in self.dilations)
        _law(powers, "network.multires.dilations", "needs 1, 2 or 4 for each stage")
        _law(self.blocks >= 1, "network.multires.blocks", "needs at least 1")
        for key in ("filters", "fc", "head"):
            wide = min(getattr(self, key), default=0) >= 1
            _law(wide, f"network.multires.{key}", "needs widths of at least 1")


@dataclasses.dataclass(frozen=True)
class UNet:
    kernel: Triple
    base: int
    levels: int
    extra_convs: int
    extra_width: int

    def __post_init__(self) -> None:
        odd = all(k in (1, 3) for k in self.kernel)
        _law(odd, "network.unet.kernel", "needs 1 or 3 on every axis")
        for key in ("base", "levels", "extra_width"):
            _law(getattr(self, key) >= 1, f"network.unet.{key}", "needs at least 1")
        _law(self.extra_convs >= 0, "network.unet.extra_convs", "needs a number >= 0")


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
        _law(self.initial_sd_hu > 0, "network.initial_sd_hu", "needs HU > 0")
        only = self.kind == "multires" or not self.uncertainty
        _law(only, "network.uncertainty", "only the multires network has a variance head")
        plain = self.kind == "multires" or self.dropout.place == "none"
        _law(plain, "network.dropout.place", "the U-Nets have no dropout; set it to none")

    @property
    def multiple(self) -> int:
        """What every window and tile edge must divide by, so that all branches stay on the grid."""
        return 16 if self.kind == "multires" else 2 ** (self.unet.levels - 1)

    def check_edges(self, key: str, edges: Triple) -> None:
        """Raises UserError unless windows or tiles of these edges (z, y, x) fit the network."""
        for edge, kernel in zip(edges, self.unet.kernel, strict=True):
            flat = self.kind == "unet" and kernel == 1
            fits = edge > 0 and (flat or edge % self.multiple == 0)
            _law(fits, key, f"needs multiples of {self.multiple}, not {edge}")

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
        _law(self.stabiliser >= 0, "loss.stabiliser", "needs a variance >= 0")
        _law(0 <= self.beta <= 1, "loss.beta", "needs 0 <= beta <= 1")
        _law(self.deep_supervision >= 0, "loss.deep_supervision", "needs a weight >= 0")


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
        _law(self.batch >= 1, "sampling.batch", "needs at least 1")
        _law(0 <= self.body_share <= 1, "sampling.body_share", "needs a share in 0..1")
        _law(0 <= self.augment_share <= 1, "sampling.augment_share", "needs a share in 0..1")
        _law(0 <= self.scaling < 1, "sampling.scaling", "needs 0 <= scaling < 1")


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
        _law(self.steps >= 1, "train.steps", "needs at least 1")
        _law(self.learning_rate > 0, "train.learning_rate", "needs a rate > 0")
        _law(self.gradient_clip >= 0, "train.gradient_clip", "needs a norm >= 0; 0 switches it off")
        windows = self.statistics_windows >= 0
        _law(windows, "train.statistics_windows", "needs a number >= 0; 0 for none")
        _law(0 <= self.adam_beta2 < 1, "train.adam_beta2", "needs 0 <= beta2 < 1")
        _law(self.report_every >= 1, "train.report_every", "needs at least 1")
        within = self.report_every <= self.convergence_window
        _law(within, "train.report_every", "needs at most train.convergence_window steps")
        _law(self.validate_every >= 1, "train.validate_every", "needs at least 1")


@dataclasses.dataclass(frozen=True)
class Predict:
    tile: Triple
    overlap: float

    def __post_init__(self) -> None:
        _law(0 <= self.overlap < 1, "predict.overlap", "needs a share in 0..1 of the tile")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that shapes a run; no path, host or device (those are flags)."""

    schema: int
    seed: int
    spacing_mm: tuple[float, float, float] | None
    register: Literal["none", "rigid", "deformable"]
    cohort: Cohort
    intensity: Intensity
    network: Network
    loss: Loss
    sampling: Sampling
    train: Train
    predict: Predict

    def __post_init__(self) -> None:
        known = f"this version reads schema {migration.SCHEMA} and earlier ones"
        _law(self.schema == migration.SCHEMA, "schema", known)
        _law(0 <= self.seed < 2**31, "seed", f"needs 0 to {2**31 - 1}")
        _law(min(self.spacing_mm or (1,)) > 0, "spacing_mm", "needs millimetres > 0, or null")
        branches = self.network.multires.scales if self.network.kind == "multires" else ()
        there = set(self.train.recompute) <= set(branches)
        _law(there, "train.recompute", f"the network has the branches {list(branches)}")
        self.network.check_edges("sampling.tile", self.training_tile)
        self.network.check_edges("predict.tile", self.predict.tile)

    @property
    def training_tile(self) -> Triple:
        """Output voxels (z, y, x) of one training window."""
        return self.sampling.tile or self.network.window


def load(path: pathlib.Path, overlays: Sequence[pathlib.Path] = (), sets: Sequence[str] = ()):
    """Reads `base.yaml` beside `path`, then `path`, overlays and `key=value` settings over it.

    Raises:
        errors.UserError: a file is missing or not YAML; a key is unknown, missing or mistyped.
    """
    base = path.parent / "base.yaml"
    if path.is_file() and not base.is_file():
        raise errors.UserError(f"{path}: no base.yaml beside it; put it into the folder configs/")
    merged: dict[str, Any] = {}
    content = strict.read(path)
    for file in [base, *([] if path.name == base.name else [path]), *overlays]:
        strict.merge(merged, content if file == path else strict.read(file), source=str(file))
    for setting in sets:
        strict.merge(merged, strict.setting(setting), source=f"--set {setting}")
    return strict.build(Config, merged, "")


def parse(path: pathlib.Path) -> Config:
    """Reads a resolved config, as a run folder keeps it, of this version or an earlier one.

    Raises:
        errors.UserError: it was cut short or changed; names the file and the key.
    """
    content = migration.migrated(strict.read(path))
    try:
        return strict.build(Config, content, "")
    except errors.UserError as error:
        raise errors.UserError(f"{path}: {error}; bring an intact copy of this file") from None


def dump(config: Config) -> str:
    """The resolved config as YAML text; `parse` reads it back to an equal config."""
    return yaml.safe_dump(strict.plain(config), sort_keys=False, default_flow_style=None)


def first_difference(ours: Config, theirs: Config, sections: Sequence[str] = ()) -> str | None:
    """Names the first key on which two configs differ, as `key: a, not b`; None if equal.

    Args:
        sections: compares only these top-level keys, if any are given.
    """
    pairs = zip(strict.leaves(strict.plain(ours)), strict.leaves(strict.plain(theirs)), strict=True)
    for (key, mine), (_, other) in pairs:
        if mine != other and (not sections or key.split(".")[0] in sections):
            return f"{key}: {other}, not {mine}"
    return None
