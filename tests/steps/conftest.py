"""A prepared and predicted run folder whose every score is known beforehand; pairs to prepare."""

import dataclasses
import json
import pathlib

import numpy as np
import pairs
import pytest
import SimpleITK as sitk

from multires_tf.data import geometry, store
from multires_tf.ground import config, runfolder

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
SHAPE = (8, 9, 10)
GRID = geometry.Geometry(
    size=SHAPE,
    spacing_mm=(3.0, 2.0, 2.0),
    origin_mm=(-10.0, 5.0, 100.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
# Soft tissue is 0 HU in the training subjects and 20 HU in the others; bone 500 and 400 HU.
COHORT = {"p1": "train", "p2": "train", "p3": "validation", "p4": "test", "p<5>": "test"}
TISSUE_HU = {"train": (0.0, 500.0), "validation": (20.0, 400.0), "test": (20.0, 400.0)}


@dataclasses.dataclass(frozen=True)
class KnownRun:
    """Predictions of the test subjects: CT + 10 HU in soft tissue and CT - 30 HU in bone."""

    folder: runfolder.RunFolder

    @property
    def ct_hu(self) -> np.ndarray:
        """True CT of each test subject."""
        return _anatomy("test")[1]

    def predict(self, subject: str, pct_hu: np.ndarray, **sd_hu: float) -> None:
        """Writes a prediction on the grid of the MR, and maps of constant deviations."""
        self.write(subject, "ct.nii.gz", np.rint(pct_hu).astype(np.int16))
        for name, value in sd_hu.items():
            array = np.full(pct_hu.shape, value, np.float32)
            self.write(subject, f"{name}_sd_hu.nii.gz", array)

    def write(self, subject: str, name: str, array: np.ndarray) -> None:
        folder = self.folder.prediction(subject)
        folder.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(geometry.to_image(array, GRID), str(folder / name))


def _anatomy(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MR, CT and mask: soft tissue with a plate of bone; what is outside the body is absurd."""
    soft_hu, bone_hu = TISSUE_HU[split]
    mr = np.full(SHAPE, 0.25, np.float32)
    ct_hu = np.full(SHAPE, soft_hu, np.float32)
    mr[:, 4], ct_hu[:, 4] = 0.75, bone_hu
    mask = np.full(SHAPE, 2, np.uint8)
    mask[0], mask[-1] = 0, 1
    ct_hu[mask < 2] = 3000.0
    return mr, ct_hu, mask


def _build(root: pathlib.Path) -> KnownRun:
    run = KnownRun(runfolder.RunFolder(root / "some_run"))
    attributes = {**GRID.as_dict(), "source": GRID.as_dict()}
    del attributes["size"]
    for subject, split in COHORT.items():
        mr, ct_hu, mask = _anatomy(split)
        for role, array, fill in (("mr", mr, 0.0), ("ct", ct_hu, -1024.0), ("mask", mask, 0.0)):
            path, reduce = run.folder.volume(subject, role), "min" if role == "mask" else "mean"
            store.write_pyramid(path, array, fill=fill, attributes=attributes, reduce=reduce)
        if split == "test":
            run.predict(subject, ct_hu + np.where(ct_hu == 400.0, -30.0, 10.0))
    lines = [
        "subject,mr,ct,mask,split",
        *(f"{s},{s}/mr.nii,{s}/ct.nii,,{split}" for s, split in COHORT.items()),
    ]
    run.folder.cohort.write_text("\n".join(lines) + "\n")
    settings = config.load(CONFIGS / "multires_unc.yaml")
    run.folder.config.write_text(config.dump(settings))
    run.folder.history.write_text("step,loss,val_mae_hu,seconds\n10,2.5,,1\n20,1.25,80.5,2\n")
    run.folder.provenance.write_text(json.dumps({"started": "2026-01-02T03:04:05+00:00"}))
    return run


@pytest.fixture
def known_run(tmp_path) -> KnownRun:
    """A fresh one, to be changed."""
    return _build(tmp_path)


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory) -> KnownRun:
    """One for all tests of a module, to be left as it is."""
    return _build(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def data(tmp_path) -> pathlib.Path:
    """A cohort of four pairs."""
    for number in range(4):
        pairs.write_subject(tmp_path / "data" / f"{number:03d}", number)
    return tmp_path / "data"
