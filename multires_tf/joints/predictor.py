"""A trained network and one subject: from its MR as it came to all of its files."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from multires_tf.data import checksums, resampling, store, tiles
from multires_tf.data.files import images
from multires_tf.ground import config as configs
from multires_tf.ground import errors, progress, runfolder, runtime
from multires_tf.joints import assembly, calibration, intake, outputs, planning, synthesis
from multires_tf.measure import intervals, novelty


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a prediction depends on besides the network and the image; kept in prediction.json."""

    samples: int
    seed: int
    tile: tuple[int, int, int] | Literal["auto"]
    overlap: float
    checkpoint: str
    calibration: str | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """A subject to predict.

    Attributes:
        name: of the subject.
        mr: its image, or folder with a DICOM series, as it came.
        target: folder of its maps.
        prepared: its store in the run folder; None where it has to be prepared first.
        series: number, description or UID of the DICOM series, where the MR's folder has several.
    """

    name: str
    mr: pathlib.Path
    target: pathlib.Path
    prepared: pathlib.Path | None = None
    series: str | None = dataclasses.field(default=None, repr=False)

    def __str__(self) -> str:
        return self.name

    def absolute(self) -> Request:
        """The same for a process in another folder."""
        return dataclasses.replace(
            self,
            mr=self.mr.absolute(),
            target=self.target.absolute(),
            prepared=self.prepared and self.prepared.absolute(),
        )


@functools.lru_cache(maxsize=1)
def load(
    root: pathlib.Path, settings: Settings, extras: outputs.Extras, memory_bytes: float | None
) -> Predictor:
    """The network of a run, ready; a worker of a cluster loads it once for all its subjects.

    Args:
        root: the run folder.
        settings: of the prediction.
        extras: that are written.
        memory_bytes: that a process may take where the tile is chosen; None: most of what is free.
    """
    folder = runfolder.RunFolder(root)
    config = configs.parse(folder.config)
    runtime.start(seed=config.seed, precision=config.train.precision)
    config, nets, position = assembly.trained_networks(folder)
    derived = None
    if extras.mumap and extras.blurs:
        derived = functools.partial(
            outputs.blurred_mu,
            mumap=extras.mumap,
            ct_window_hu=config.intensity.ct_window_hu,
        )
    compute = assembly.monte_carlo(
        config, nets, samples=settings.samples, seed=settings.seed, derived=derived
    )
    training = position.get("mr_statistics", [])
    reference = novelty.Reference(training) if len(training) >= novelty.FEWEST else None
    planner = None
    if settings.tile == "auto":
        runtime.need_tensorflow("--tile auto (or --memory)")  # whose memory it knows
        budget = memory_bytes or runtime.memory_bytes()
        planner = planning.planner(
            assembly.tiling(config), nets, memory_bytes=budget, blurred=extras.blurs
        )
    kept = calibration.current(folder, samples=settings.samples)
    return Predictor(
        root,
        config,
        compute,
        settings,
        extras,
        position["spacing_mm"],
        reference,
        kept.values if kept else None,
        planner,
    )


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained network and what is to be made with it.

    Attributes:
        root: the run folder.
        config: that it was trained with.
        compute: what the network makes of a tile, draws and all.
        settings: what a prediction depends on besides network and image.
        extras: what is written beside the maps.
        spacing_mm: (z, y, x) on which the network was trained.
        reference: the training subjects' statistics; None where the run does not know them.
        calibration: of the deviations; None where `calibrate` was not run.
        planner: chooses the tile; None where it is given.
    """

    root: pathlib.Path
    config: configs.Config
    compute: synthesis.Compute
    settings: Settings
    extras: outputs.Extras
    spacing_mm: Sequence[float]
    reference: novelty.Reference | None
    calibration: intervals.Calibration | None = None
    planner: planning.Planner | None = None

    def is_done(self, request: Request) -> bool:
        """Whether a request's folder holds this very prediction whole, of these very images."""
        if not (request.prepared or request.mr).exists():
            return False
        prepared = (
            store.open_pyramid(request.prepared).attributes
            if request.prepared
            else self._new(request)
        )
        wanted = {
            "settings": _jsonable(self.settings),
            "extras": _jsonable(self.extras),
            "series": checksums.of_series(request.series),
            **outputs.made_of(prepared),
        }
        facts = outputs.read_facts(request.target)
        made = {name: facts.get(name) for name in wanted}
        return wanted == made and outputs.is_whole(request.target)

    def _new(self, request: Request) -> dict[str, Any]:
        """What the prepared MR of a new subject depends on: its image, and how it is prepared."""
        recipe = intake.recipe(runfolder.RunFolder(self.root))
        recipe |= {
            "series": checksums.of_series(request.series),
            "checkpoint": self.settings.checkpoint,
        }
        return {"inputs": {"mr": checksums.of_image(request.mr)}, "recipe": recipe}

    def predict(self, request: Request) -> None:
        """Writes the files of one subject, all of them or none.

        Tiles are kept beside the target until then: a prediction that was killed computes those
        that are missing.
        """
        with runfolder.unfinished(request.target) as work:
            prepared = request.prepared
            volume = store.open_pyramid(prepared) if prepared else self._prepared(request, work)
            self._write(volume, request, work)

    def _prepared(self, request: Request, work: pathlib.Path) -> store.Pyramid:
        """The pyramid of one new MR, in a folder that goes when it is predicted."""
        kept = work / "mr.ome.zarr"
        made = self._new(request)
        if store.is_complete(kept):
            volume = store.open_pyramid(kept)
            if made == {name: volume.attributes.get(name) for name in made}:
                return volume
        image = images.read(request.mr, series=request.series, modality="MR")
        folder = runfolder.RunFolder(self.root)
        try:
            mr = intake.prepared(
                folder,
                self.config,
                intake.mr(self.config, image),
                spacing_mm=self.spacing_mm,
            )
        except errors.UserError as error:
            raise errors.UserError(f"{request.mr}: {error}") from None
        del image
        store.write_pyramid(kept, mr.unit, fill=0.0, attributes={**mr.attributes(), **made})
        return store.open_pyramid(kept)

    def _write(self, volume: store.Pyramid, request: Request, work: pathlib.Path) -> None:
        began = time.perf_counter()
        places = work / "tiles"
        tiling = self._tiling(volume, request.name, earlier=tiles.earlier(places))
        kept = tiles.Folder(places, self._made_of(volume, tiling))
        compute = self.compute
        if self.extras.blurs:
            # Each draw is blurred on the subject's own grid, which may be no training subject's.
            compute = functools.partial(compute, spacing_mm=volume.spacing_mm)
        unit = synthesis.predict_volume(volume, compute, tiling, kept=kept, label=request.name)
        window_hu = self.config.intensity.ct_window_hu
        scaled = self.calibration.scaled if self.calibration else None
        ct_hu, sd_hu = synthesis.delivered(unit, volume, window_hu, scaled=scaled)
        blurred_mu_sd = None
        if "derived" in unit:
            mu_sd = np.sqrt(np.maximum(unit["derived"], 0))
            mu_sd = mu_sd if scaled is None else scaled(mu_sd)
            blurred_mu_sd = resampling.restore(mu_sd, volume.grid, volume.source, fill=0.0)
        with runfolder.replacing(request.target) as beside:
            beside.mkdir(parents=True)
            found = outputs.write(
                beside,
                ct_hu,
                sd_hu,
                volume.source,
                extras=self.extras,
                mr=request.mr,
                series=request.series,
                air_hu=window_hu[0],
                blurred_mu_sd=blurred_mu_sd,
            )
            facts = {
                "subject": request.name,
                "samples": self.settings.samples,
                "settings": _jsonable(self.settings),
                "extras": _jsonable(self.extras),
                **outputs.made_of(volume.attributes),
                "series": checksums.of_series(request.series),
                "tile": list(tiling.fitted(volume.shape).tile),
                "network": self.config.network.kind,
                "prepared_spacing_mm": list(volume.spacing_mm),
                "mr_intensity_range": [volume.attributes["mr_low"], volume.attributes["mr_high"]],
                "seconds": round(time.perf_counter() - began, 1),
                "calibration": self.calibration.as_dict() if self.calibration else None,
                **found,
                "novelty": self._novelty(volume),
            }
            outputs.write_facts(beside, facts)

    def _tiling(
        self, volume: store.Pyramid, name: str, *, earlier: Mapping[str, Any]
    ) -> synthesis.Tiling:
        """The tiles of a volume; those that a killed process has begun, if they still fit."""
        edges = self.settings.tile
        if self.planner is None:
            return assembly.tiling(self.config, None if edges == "auto" else edges)
        plan = self.planner.plan(
            volume.shape,
            source=math.prod(volume.source.size),
            first=earlier.get("tiling", {}).get("tile"),
        )
        progress.say(f"{name}: {self.planner.sentence(plan, draws=self.settings.samples)}")
        return plan.tiling

    def _made_of(self, volume: store.Pyramid, tiling: synthesis.Tiling) -> dict[str, Any]:
        """All that the tiles of a volume depend on."""
        return {
            "settings": _jsonable(self.settings),
            "blurred": _jsonable(self.extras)["mumap"],
            "tiling": dataclasses.asdict(tiling.fitted(volume.shape)),
            "inputs": volume.attributes.get("inputs"),
            "recipe": volume.attributes.get("recipe"),
            "grid": volume.grid.as_dict(),
            "precision": self.config.train.precision,
        }

    def _novelty(self, volume: store.Pyramid) -> dict[str, Any] | None:
        statistics = volume.attributes.get("mr_statistics")
        if self.reference is None or statistics is None:
            return None
        found = self.reference.novelty(statistics)
        return {
            "score": round(found.score, 2),
            "limit": round(found.limit, 2),
            "high": found.is_high,
            "unusual": found.unusual,
        }


def _jsonable(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON gives them back."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))
