"""Do the two uncertainties mean what they say, where the truth is known?

Question: is the aleatoric map as large as the noise that phantoms are made with, and does the
epistemic map rise where a subject holds what no training subject had: a metal implant in the hip (a
hole in the MR with a bright rim), a lung that was taken out (what is there looks like muscle)?
Source: ours; Kendall and Gal 2017 for what the two should mean.
Command: python -m experiments.uncertainty_phantom --data runs/phantom --root runs/uncertainty
Cost: one laptop training (about 12 minutes on 2 cores) and six predictions of 20 draws.
Expected: by the aims, aleatoric over noise in soft tissue 0.8 to 1.25 and epistemic at the implant
and the lost lung at least 1.5 times that of the same voxels without them; seen with the laptop
network: 2.8 to 2.9, 0.7 to 0.9 and 0.5.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from multires_tf import door
from multires_tf.data import cohort, geometry
from multires_tf.data.files import images
from multires_tf.ground import errors, runfolder, tables
from multires_tf.joints import assembly
from multires_tf.steps import predict
from multires_tf.studies import folds, study

ARMS = [study.Arm("multires_unc", "multires_unc", ("laptop",), ("register=none",))]
VERBS = ("prepare", "train")
KINDS = ("normal", "implant", "no_lung")
SOFT = ("fat", "muscle", "blood", "heart muscle", "liver", "spleen", "kidney", "gland", "bowel")
# A voxel and its neighbours are of one tissue: at borders half a voxel decides, not the noise.
BORDER_VOXELS = 1
IMPLANT_RADIUS_MM = 25.0
RIM_MM = 6.0


class Phantom:
    """One subject's MR and the truth behind it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.image = sitk.ReadImage(str(folder / "mr.nii.gz"))
        self.grid = geometry.of_image(self.image)
        self.mr = sitk.GetArrayFromImage(self.image)
        truth = folder / "truth"
        self.tissues = sitk.GetArrayFromImage(sitk.ReadImage(str(truth / "tissues.nii.gz")))
        self.noise_hu = sitk.GetArrayFromImage(sitk.ReadImage(str(truth / "ct_noise_sd_hu.nii.gz")))
        self.labels = json.loads((truth / "labels.json").read_text(encoding="utf-8"))

    def of(self, *names: str) -> np.ndarray:
        """Where these tissues are."""
        return np.isin(self.tissues, [self.labels[name] for name in names])

    def from_implant_mm(self) -> np.ndarray:
        """Distance from the middle of an implant: in the hip's bone, on the side of large x."""
        bone = self.of("cortical bone", "fatty spongy bone", "fatty marrow")
        bladder = ndimage.center_of_mass(self.of("urine or bile"))
        height, middle = round(bladder[0]), self.tissues.shape[2] // 2
        y, x = ndimage.center_of_mass(bone[height, :, middle:])
        centre = (height, y, x + middle)
        axes = np.ogrid[tuple(slice(0, n) for n in self.tissues.shape)]
        square_mm2 = sum(
            ((axis - c) * mm) ** 2
            for axis, c, mm in zip(axes, centre, self.grid.spacing_mm, strict=True)
        )
        return np.sqrt(square_mm2)

    def left_lung(self) -> np.ndarray:
        """The lung on the side of large x, without its outermost voxels."""
        lung = ndimage.binary_erosion(self.of("lung"))
        lung[:, :, : lung.shape[2] // 2] = False
        return lung

    def changed(self, kind: str) -> np.ndarray:
        """The MR of one kind."""
        rng = np.random.default_rng(0)
        mr = self.mr.astype(np.float32)
        muscle = float(np.median(self.mr[self.of("muscle")]))
        noise = np.abs(rng.normal(0, 0.02 * muscle, mr.shape))
        if kind == "implant":
            distance_mm = self.from_implant_mm()
            rim = (distance_mm >= IMPLANT_RADIUS_MM) & (distance_mm < IMPLANT_RADIUS_MM + RIM_MM)
            mr[rim] *= 2.5
            hole = distance_mm < IMPLANT_RADIUS_MM
            mr[hole] = noise[hole]
        if kind == "no_lung":
            lung = ndimage.binary_dilation(self.left_lung()) & self.of("lung")
            mr[lung] = (muscle + noise)[lung]
        return np.rint(np.clip(mr, 0, 32767)).astype(np.int16)

    def regions(self) -> dict[str, np.ndarray]:
        """Where the changes are, in every kind alike."""
        return {
            "implant": self.from_implant_mm() < IMPLANT_RADIUS_MM + RIM_MM,
            "no_lung": self.left_lung(),
        }

    def soft(self) -> np.ndarray:
        """Soft tissue off every border."""
        found = np.zeros(self.tissues.shape, bool)
        for name in SOFT:
            found |= ndimage.binary_erosion(self.of(name), iterations=BORDER_VOXELS)
        return found


def measure(data: pathlib.Path, places: Sequence[pathlib.Path], samples: int) -> list[str]:
    """Predicts the test subjects as they are and changed, and returns a Markdown table.

    Args:
        data: cohort of phantoms, a folder or a table in it.
        places: the folder that holds the run folder, or those of all folds.
        samples: draws of each prediction.

    Raises:
        errors.UserError: a prediction fails.
    """
    phantoms = _phantoms(data)
    runs = [runfolder.RunFolder(place / ARMS[0].name) for place in places]
    tested = [(run, name) for run in runs for name in assembly.subjects(run, "test")]
    heads = ("subject", "what", "epistemic, HU", "as in the normal subject", "ratio")
    rows, ratios = [], []
    for run, name in tested:
        phantom = Phantom(phantoms / name)
        maps = {kind: _predicted(phantom, name, kind, run.root, samples) for kind in KINDS}
        ratios.append((name, _ratio(phantom, maps["normal"]["aleatoric"])))
        for kind in KINDS[1:]:
            region = phantom.regions()[kind]
            there, before = (_rms(maps[k]["epistemic"][region]) for k in (kind, "normal"))
            cells = (there, before, there / before)
            rows.append([name, kind, *(f"{cell:.2f}" for cell in cells)])
    said = [
        f"{name}: aleatoric over CT noise in soft tissue, median of {voxels} voxels: {ratio:.2f}"
        for name, (ratio, voxels) in ratios
    ]
    return [*tables.markdown(heads, rows), "", *said]


def _phantoms(data: pathlib.Path) -> pathlib.Path:
    """The folder of the phantoms of a cohort.

    Raises:
        errors.UserError: no cohort, or not one of phantoms.
    """
    folder = data if data.is_dir() else data.parent
    needed = ("mr", "truth/labels.json", "truth/tissues", "truth/ct_noise_sd_hu")
    for one in cohort.discover(data):
        for name in needed:
            path = folder / one.subject / (name if "." in name else f"{name}.nii.gz")
            if not path.is_file():
                advice = "give a cohort that 'phantom' has made, without --stations"
                raise errors.UserError(f"{path}: not there, but is compared with; {advice}")
    return folder


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))


def _ratio(phantom: Phantom, aleatoric_hu: np.ndarray) -> tuple[float, int]:
    soft = phantom.soft()
    return float(np.median(aleatoric_hu[soft] / phantom.noise_hu[soft])), int(soft.sum())


def _predicted(
    phantom: Phantom,
    name: str,
    kind: str,
    run: pathlib.Path,
    samples: int,
) -> dict[str, np.ndarray]:
    root = run.parent
    source = root / "changed" / name / f"{kind}.nii.gz"
    # Always: what lies there may be of an earlier cohort. The same image is not predicted again.
    images.write(phantom.changed(kind), source, grid=phantom.grid)
    target = root / "maps" / name / kind
    predict.run(workdir=run, input=source, output=target, samples=samples)
    return {
        part: sitk.GetArrayFromImage(sitk.ReadImage(str(target / f"{part}_sd_hu.nii.gz")))
        for part in ("aleatoric", "epistemic")
    }


def main() -> None:
    """The command line."""

    def parser() -> door.Parser:
        parser = door.Parser()
        parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("runs/phantom"))
        parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path("runs/uncertainty"))
        text = "test every phantom once, in one of K folds of a cohort that names no splits"
        parser.add_argument("--folds", type=int, metavar="K", help=text)
        text = "draws of each prediction"
        parser.add_argument("--samples", type=door.count, default=20, help=text)
        return parser

    def experiment(chosen: argparse.Namespace) -> list[str]:
        if chosen.samples < 2:
            raise errors.UserError("--samples: 2 or more; one draw has no epistemic map")
        _phantoms(chosen.data)
        cut = None if chosen.folds is None else study.folds_of(ARMS, chosen.folds)
        study.run(ARMS, data=chosen.data, root=chosen.root, verbs=VERBS, cut=cut)
        places = folds.need(chosen.root, chosen.folds)
        return measure(chosen.data, places, chosen.samples)

    door.enter(parser, experiment)


if __name__ == "__main__":
    main()
