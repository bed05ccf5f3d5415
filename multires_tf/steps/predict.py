"""`predict`: synthetic CT and its uncertainties on the grid of each MR as it came."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from multires_tf import assembly, errors, planning, progress, runfolder, runtime, synthesis
from multires_tf import config as configs
from multires_tf.data import cohort, dicom, images, intensity, preparation, resampling, store, tiles

UNCERTAINTIES = ("aleatoric_sd_hu", "epistemic_sd_hu")
_FACTS = "prediction.json"
_MAPS = ("ct", *UNCERTAINTIES, "total_sd_hu")


@dataclasses.dataclass(frozen=True)
class _Settings:
    """What a prediction depends on besides the network and the image; kept in prediction.json."""

    samples: int
    seed: int
    tile: tuple[int, int, int] | Literal["auto"]
    overlap: float
    checkpoint: str


def run(
    *,
    workdir: pathlib.Path,
    input: pathlib.Path | None = None,
    output: pathlib.Path | None = None,
    samples: int = 20,
    tile: int | Literal["auto"] | None = None,
    memory: float | None = None,
    seed: int = 0,
) -> list[str]:
    """Predicts the test subjects of the run, or the images of `input`.

    Leaves, per subject, ct.nii.gz (int16 HU, mean of the draws), those of aleatoric_sd_hu,
    epistemic_sd_hu and total_sd_hu (.nii.gz) that the network has, and prediction.json.

    Args:
        workdir: run folder with a trained network.
        input: an image, a folder with one DICOM series, or a cohort; needs `output`.
        output: folder for the maps of `input`: a folder a subject inside it for a cohort.
        samples: Monte-Carlo draws; a network without dropout makes one pass.
        tile: edge of a tile in voxels, in place of the config's; auto takes for each volume the
            cheapest tile that fits into `memory`, and says so.
        memory: bytes that the process may take; None is most of what this machine has free.
        seed: of the draws.

    Raises:
        errors.UserError: nothing trained, unusable input, a tile that does not fit the network.
    """
    if (input is None) != (output is None):
        raise errors.UserError("--input and --output: give both, or none for the test subjects")
    folder = runfolder.RunFolder(workdir)
    config = configs.parse(folder.need(folder.config, "prepare"))
    folder.need(assembly.best(folder), "train")
    edges: Any = tile if tile == "auto" else _edges(config, tile)
    runtime.start(seed=config.seed, precision=config.train.precision)
    config, nets, position = assembly.trained_networks(folder)
    settings = _Settings(
        samples=samples if nets.sampler else 1,
        seed=seed,
        tile=edges,
        overlap=config.predict.overlap,
        checkpoint=hashlib.sha256(assembly.best(folder).read_bytes()).hexdigest()[:16],
    )
    compute = synthesis.monte_carlo(
        nets, samples=settings.samples, seed=seed, stabiliser=config.loss.stabiliser
    )
    predictor = _Predictor(config, compute, settings)
    if edges == "auto":
        budget = memory or runtime.memory_bytes()
        planner = planning.planner(assembly.tiling(config), nets, memory_bytes=budget)
        predictor = dataclasses.replace(predictor, planner=planner)
    if input is None or output is None:
        return predictor.test_subjects(folder)
    return predictor.images(input, output, position["spacing_mm"])


def _edges(config: configs.Config, tile: int | None) -> tuple[int, int, int]:
    if tile is None:
        return config.predict.tile
    z, y, x = (1 if edge == 1 else tile for edge in config.predict.tile)
    config.network.check_edges("--tile", (z, y, x))
    return z, y, x


@dataclasses.dataclass(frozen=True)
class _Predictor:
    config: configs.Config
    compute: synthesis.Compute
    settings: _Settings
    planner: planning.Planner | None = None

    def test_subjects(self, folder: runfolder.RunFolder) -> list[str]:
        """Predicts from the prepared stores; subjects that are done are left as they are."""
        names = assembly.subjects(folder, "test")
        for name in progress.bar(names, words="predict"):
            volume = store.open_pyramid(folder.need(folder.volume(name, "mr"), "prepare"))
            if not self.is_done(folder.prediction(name), volume.attributes.get("inputs")):
                with runfolder.unfinished(folder.prediction(name)) as work:
                    self.predict(volume, folder.prediction(name), name, work)
        return [f"{folder.predictions}: {len(names)} subjects"]

    def images(
        self, source: pathlib.Path, output: pathlib.Path, spacing_mm: list[float]
    ) -> list[str]:
        """Predicts new images at the spacing that the network was trained on."""
        todo = list(_new_subjects(source, output))
        for _, _, target in todo:
            _check_target(target)
        left = [one for one in todo if not self.is_done(one[2], {"mr": images.fingerprint(one[1])})]
        for _, path, _ in left:  # all that can be wrong with an image, before anything is written
            preparation.check_spacing(images.read(path), spacing_mm, path)
        for name, path, target in progress.bar(left, words="predict"):
            with runfolder.unfinished(target) as work:
                self.predict(self._prepared(path, work, spacing_mm), target, name, work)
        return [f"{target}: {name}" for name, _, target in todo]

    def _prepared(
        self, path: pathlib.Path, scratch: pathlib.Path, spacing_mm: list[float]
    ) -> store.Pyramid:
        """The pyramid of one new MR, in a folder that goes when it is predicted."""
        kept, inputs = scratch / "mr.ome.zarr", {"mr": images.fingerprint(path)}
        if store.is_complete(kept):
            volume = store.open_pyramid(kept)
            if volume.attributes.get("inputs") == inputs:
                return volume
        image = images.read(path)
        try:
            mr = preparation.prepare_mr(
                image,
                spacing_mm=spacing_mm,
                percentiles=self.config.intensity.mr_percentiles,
                zero_is_outside=self.config.intensity.mr_zero_is_outside,
            )
        except errors.UserError as error:
            raise errors.UserError(f"{path}: {error}") from None
        attributes = {**mr.attributes(), "inputs": inputs}
        del image
        store.write_pyramid(kept, mr.unit, fill=0.0, attributes=attributes)
        return store.open_pyramid(kept)

    def is_done(self, target: pathlib.Path, inputs: dict[str, list[int]] | None) -> bool:
        """Whether `target` holds this very prediction already, of these very images."""
        try:
            facts = json.loads((target / _FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        made = (facts.get("settings"), facts.get("inputs"))
        return made == (_jsonable(self.settings), inputs)

    def predict(
        self, volume: store.Pyramid, target: pathlib.Path, name: str, work: pathlib.Path
    ) -> None:
        """Writes the maps of one subject, all of them or none.

        Tiles are kept in `work` until then: a prediction that was killed computes those that are
        missing.
        """
        began = time.perf_counter()
        tiling = self._tiling(volume, name)
        kept = tiles.Kept(work / "tiles", self._fingerprint(volume, tiling))
        unit = synthesis.predict_volume(volume, self.compute, tiling, kept=kept, label=name)
        maps = synthesis.in_hu(unit, self.config.intensity.ct_window_hu)
        # One map at a time: of a whole body each has half a gigabyte.
        restored = {
            key: resampling.restore(maps[key], volume.grid, volume.source, fill=self._fill(key))
            for key in maps
            if key != "total_sd_hu"
        }
        self._write(volume, target, name, restored, began)

    def _write(
        self,
        volume: store.Pyramid,
        target: pathlib.Path,
        name: str,
        restored: dict[str, np.ndarray],
        began: float,
    ) -> None:
        source = volume.source
        parts = [restored[key] for key in UNCERTAINTIES if key in restored]
        if parts:
            restored["total_sd_hu"] = functools.reduce(np.hypot, parts)
        ct_hu = self._valid(restored.pop("ct"))
        with runfolder.replacing(target) as beside:
            beside.mkdir(parents=True)
            images.write(np.rint(ct_hu).astype(np.int16), beside / "ct.nii.gz", grid=source)
            for key, array in restored.items():
                images.write(array, beside / f"{key}.nii.gz", grid=source)
            facts = {
                "subject": name,
                "samples": self.settings.samples,
                "settings": _jsonable(self.settings),
                "inputs": volume.attributes.get("inputs"),
                "network": self.config.network.kind,
                "prepared_spacing_mm": list(volume.spacing_mm),
                "mr_intensity_range": [volume.attributes["mr_low"], volume.attributes["mr_high"]],
                "seconds": round(time.perf_counter() - began, 1),
                "means_by_tissue_hu": _means_by_tissue(ct_hu, restored),
            }
            text = json.dumps(facts, indent=1) + "\n"
            (beside / _FACTS).write_text(text, encoding="utf-8")

    def _tiling(self, volume: store.Pyramid, name: str) -> synthesis.Tiling:
        edges = self.settings.tile
        if self.planner is None or edges != "auto":
            return assembly.tiling(self.config, None if edges == "auto" else edges)
        voxels = math.prod(volume.source.size)
        plan = self.planner.plan(volume.shape, source=voxels)
        progress.say(f"{name}: {self.planner.sentence(plan, draws=self.settings.samples)}")
        return plan.tiling

    def _fingerprint(self, volume: store.Pyramid, tiling: synthesis.Tiling) -> dict[str, Any]:
        """All that the tiles of a volume depend on."""
        return {
            "settings": _jsonable(self.settings),
            "tiling": dataclasses.asdict(tiling.fitted(volume.shape)),
            "inputs": volume.attributes.get("inputs"),
            "recipe": volume.attributes.get("recipe"),
            "grid": volume.grid.as_dict(),
            "precision": self.config.train.precision,
        }

    def _valid(self, ct_hu: np.ndarray) -> np.ndarray:
        """Within the HU window, like the truth of the training; int16 would wrap what is beyond."""
        if not np.isfinite(ct_hu).all():
            raise RuntimeError("the network's CT is not finite; train again in float32")
        return intensity.clip_hu(ct_hu, self.config.intensity.ct_window_hu)

    def _fill(self, key: str) -> float:
        return self.config.intensity.ct_window_hu[0] if key == "ct" else 0.0


def _new_subjects(
    source: pathlib.Path, output: pathlib.Path
) -> Iterator[tuple[str, pathlib.Path, pathlib.Path]]:
    """Yields (name, image, folder for its maps) of an image, a DICOM folder or a cohort."""
    is_series = source.is_dir() and dicom.is_series_folder(source)
    if is_series or (source.is_file() and source.suffix.lower() != ".csv"):
        yield source.name.split(".")[0], source, output
        return
    for one in cohort.discover(source):
        yield one.subject, one.mr, output / one.subject


def _check_target(target: pathlib.Path) -> None:
    """Refuses a folder that is not ours to replace or to make: new, empty and our own ones are."""
    above = next(part for part in (target, *target.absolute().parents) if part.exists())
    if not above.is_dir():
        raise errors.UserError(f"{above}: is a file; give --output a folder")
    if not os.access(above, os.W_OK):
        raise errors.UserError(
            f"{above}: no permission to write here; give --output another folder"
        )
    if not target.exists():
        return
    found = {entry.name for entry in target.iterdir()}
    ours = {_FACTS, *(f"{name}.nii.gz" for name in _MAPS)}
    if found and (_FACTS not in found or found - ours):
        raise errors.UserError(
            f"{target}: holds other files than a prediction; give --output a new folder"
        )


def _jsonable(settings: _Settings) -> dict[str, Any]:
    tile = settings.tile if settings.tile == "auto" else list(settings.tile)
    return {**dataclasses.asdict(settings), "tile": tile}


def _means_by_tissue(
    ct_hu: np.ndarray, maps_hu: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Mean of each uncertainty over the voxels of each predicted tissue."""
    from multires_tf.measure import tissues

    return {
        key: {
            tissue: round(float(array[mask].mean(dtype=np.float64)), 2)
            for tissue, mask in tissues.masks(ct_hu).items()
            if mask.any()
        }
        for key, array in maps_hu.items()
    }
