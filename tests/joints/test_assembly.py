"""From configs to parts: every experiment under every overlay, down to the shapes of a step."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from multires_tf.data import windows
from multires_tf.ground import config
from multires_tf.joints import assembly

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
EXPERIMENTS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "base")
OVERLAYS = sorted(path.stem for path in (CONFIGS / "overlays").glob("*.yaml"))


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_has_an_objective_that_takes_its_training_windows(experiment, overlay):
    loaded = config.load(CONFIGS / f"{experiment}.yaml", [CONFIGS / "overlays" / f"{overlay}.yaml"])
    nets = assembly.networks(loaded)
    objective = assembly.objective(loaded, nets)
    boxes = windows.branch_windows(
        (0, 0, 0),
        loaded.training_tile,
        window=loaded.network.window,
        scales=loaded.network.scales,
    )
    batch = {"draw": np.zeros((1, 2), np.int32)}
    for scale, box in boxes.items():
        names = (f"{role}_{scale}" for role in ("mr", "ct", "weight"))
        batch |= {name: np.full((1, *box.size, 1), 0.5, np.float32) for name in names}
    parts = objective([batch[tensor.name] for tensor in objective.inputs])
    assert np.isfinite(float(parts["loss"]))
    assert ("deep" in parts) == (loaded.loss.deep_supervision > 0 and len(nets.scales) > 1)
