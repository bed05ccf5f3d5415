"""A cohort of MR/CT pairs, made by the tests: a cylinder of soft tissue around a rod of bone."""

from __future__ import annotations

import pathlib

import numpy as np

from multires_tf.data import geometry
from multires_tf.data.files import images
from multires_tf.ground import config as configs

REPOSITORY = pathlib.Path(__file__).parents[2]
CONFIG = REPOSITORY / "configs" / "multires_unc.yaml"
GRID = geometry.Geometry(
    size=(10, 24, 26),
    spacing_mm=(4.0, 3.0, 3.0),
    origin_mm=(-30.0, -40.0, 100.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
Z, Y, X = np.ogrid[:10, :24, :26]
BODY = np.broadcast_to((Y - 11.5) ** 2 + (X - 12.5) ** 2 < 9**2, GRID.size)
BONE = np.broadcast_to((Y - 11.5) ** 2 + (X - 12.5) ** 2 < 2**2, GRID.size)
CT_HU = np.where(BONE, 700, np.where(BODY, 40, -1000)).astype(np.int16)


def config(*sets):
    """The base experiment; these pairs are in one frame."""
    return configs.load(CONFIG, [], ["register=none", *sets])


def write_subject(folder, number):
    """Noise alone tells one subject from the next."""
    noise = np.random.default_rng(number).integers(1, 20, GRID.size)
    mr = np.where(BONE, 50, np.where(BODY, 400, 0)) + noise
    images.write(mr.astype(np.int16), folder / "mr.nii.gz", grid=GRID)
    images.write(CT_HU, folder / "ct.nii.gz", grid=GRID)


def files(folder):
    """Names of all files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
