"""A predictor whose network gives the MR back, without TensorFlow, and images for it."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from multires_tf.data import geometry
from multires_tf.data.files import images
from multires_tf.ground import config as configs
from multires_tf.joints import outputs
from multires_tf.joints import predictor as predictors
from multires_tf.steps import predict

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
GRID = geometry.Geometry(
    size=(10, 24, 26),
    spacing_mm=(4.0, 3.0, 3.0),
    origin_mm=(-30.0, -40.0, 100.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
SETTINGS = predictors.Settings(
    samples=1, seed=0, tile=(32, 32, 32), overlap=0.25, checkpoint="c0ffee"
)


def voxels(*, seed=0):
    """An upright cylinder of 400 in noise."""
    _, y, x = np.ogrid[:10, :24, :26]
    body = (y - 11.5) ** 2 + (x - 12.5) ** 2 < 9**2
    noise = np.random.default_rng(seed).integers(1, 20, GRID.size)
    return (np.where(body, 400, 0) + noise).astype(np.int16)


def write_mr(path, *, seed=0, grid=GRID):
    images.write(voxels(seed=seed), path, grid=grid)
    return path


def predictor(compute):
    """A predictor of MultiRes_unc's config with another network."""
    sets = ("network.window=[32, 32, 32]", "predict.tile=[32, 32, 32]")
    config = configs.load(CONFIGS / "multires_unc.yaml", sets=sets)
    return predictors.Predictor(
        pathlib.Path(), config, compute, SETTINGS, outputs.Extras(), GRID.spacing_mm, None
    )


def echo(calls):
    """The MR is the CT, with an aleatoric sd of 0.01; every call of the network is noted down."""

    def compute(inputs):
        calls.append(len(inputs))
        return {"ct": inputs[0][0, ..., 0], "aleatoric": np.full_like(inputs[0][0, ..., 0], 1e-4)}

    return predictor(compute)


def run(predictor, image, out, **extras):
    if extras:
        predictor = dataclasses.replace(predictor, extras=outputs.Extras(**extras))
    predict._predict_all(predictor, list(predict._new_subjects(image, out)), None)
    return out
