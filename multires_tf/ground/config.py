"""The config: its sections, read strictly from YAML, and kept in a run folder.

A config is `configs/base.yaml`, then an experiment's short difference, then overlays, then
`--set a.b=value`. Only steps and the joints above the wings read it; wings take plain arguments.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import yaml

from multires_tf.ground import errors, migration, sections, strict

# Keys that prepared volumes and splits depend on.
PREPARED = ("seed", "spacing_mm", "register", "cohort", "intensity")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that shapes a run; no path, host or device (those are flags)."""

    schema: int
    seed: int
    spacing_mm: tuple[float, float, float] | None
    register: Literal["none", "rigid", "deformable"]
    cohort: sections.Cohort
    intensity: sections.Intensity
    network: sections.Network
    loss: sections.Loss
    sampling: sections.Sampling
    train: sections.Train
    predict: sections.Predict

    def __post_init__(self) -> None:
        known = f"this version reads schema {migration.SCHEMA} and earlier ones"
        sections.law(self.schema == migration.SCHEMA, "schema", known)
        sections.law(0 <= self.seed < 2**31, "seed", f"needs 0 to {2**31 - 1}")
        positive = min(self.spacing_mm or (1,)) > 0
        sections.law(positive, "spacing_mm", "needs millimetres > 0, or null")
        branches = self.network.multires.scales if self.network.kind == "multires" else ()
        there = set(self.train.recompute) <= set(branches)
        sections.law(there, "train.recompute", f"the network has the branches {list(branches)}")
        self.network.check_edges("sampling.tile", self.training_tile)
        self.network.check_edges("predict.tile", self.predict.tile)

    @property
    def training_tile(self) -> sections.Triple:
        """Output voxels (z, y, x) of one training window."""
        return self.sampling.tile or self.network.window


def load(
    path: pathlib.Path, overlays: Sequence[pathlib.Path] = (), sets: Sequence[str] = ()
) -> Config:
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
    config: Config = strict.build(Config, merged, "")
    _check_new(config.train)
    return config


def _check_new(train: sections.Train) -> None:
    """Laws for new runs alone: runs that were trained against them stay readable, and predict."""
    within = train.report_every <= train.convergence_window or not train.convergence_change
    sections.law(within, "train.report_every", "needs at most train.convergence_window steps")
    sections.law(train.adam_epsilon > 0, "train.adam_epsilon", "needs a number > 0")
    share = 0 <= train.convergence_change < 1
    advice = "needs a share >= 0 and < 1; 0 switches it off"
    sections.law(share, "train.convergence_change", advice)


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


def need_prepared(
    path: pathlib.Path,
    config: Config,
    keys: Sequence[str] = (),
    *,
    place: str = "--workdir",
    trained: bool = True,
) -> None:
    """Refuses a config other than the one that a run folder was prepared with.

    Args:
        path: of the resolved config in the folder.
        config: that is asked for.
        keys: compares only these top-level keys, if any are given.
        place: the flag that names the folder.
        trained: whether something depends on all of the folder's config, not on `PREPARED` alone.

    Raises:
        errors.UserError: a key differs; or as `parse`.
    """
    theirs = parse(path)
    if difference := first_difference(config, theirs, keys):
        advice = f"use the same config, or another {place}"
        if not trained and not first_difference(config, theirs, PREPARED):
            advice = "run 'prepare' with this config (volumes are kept), or use the same one"
        raise errors.UserError(f"{path}: was prepared with {difference}; {advice}")


def first_difference(ours: Config, theirs: Config, keys: Sequence[str] = ()) -> str | None:
    """Names the first key on which two configs differ, as `key: a, not b`; None if equal.

    Args:
        keys: compares only these top-level keys, if any are given.
    """
    pairs = zip(strict.leaves(strict.plain(ours)), strict.leaves(strict.plain(theirs)), strict=True)
    for (key, mine), (_, other) in pairs:
        if mine != other and (not keys or key.split(".")[0] in keys):
            return f"{key}: {other}, not {mine}"
    return None
