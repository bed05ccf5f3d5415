"""`predict`: synthetic CT and its uncertainties on the grid of each MR as it came."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Literal

from multires_tf.data import cohort, preparation
from multires_tf.data.files import dicom, dicom_export, images
from multires_tf.ground import cluster, errors, runfolder
from multires_tf.ground import config as configs
from multires_tf.joints import assembly, calibration, outputs
from multires_tf.joints import predictor as predictors


def run(
    *,
    workdir: pathlib.Path,
    input: pathlib.Path | None = None,
    output: pathlib.Path | None = None,
    series: str | None = None,
    samples: int = 20,
    tile: int | Literal["auto"] | None = None,
    memory: float | None = None,
    seed: int = 0,
    mumap: int | None = None,
    pet_fwhm_mm: float = 0.0,
    as_dicom: bool = False,
    uncertain_above_hu: float = 100.0,
    scheduler: str | None = None,
) -> list[str]:
    """Predicts the test subjects of the run, or the images of `input`.

    Leaves, per subject, ct.nii.gz (int16 HU, mean of the draws), those of aleatoric_sd_hu,
    epistemic_sd_hu and total_sd_hu (.nii.gz) that the network has, and prediction.json.

    Args:
        workdir: run folder with a trained network.
        input: an image, a folder with one DICOM series, or a cohort; needs `output`.
        output: folder for the maps of `input`: a folder a subject inside it for a cohort.
        series: number, description or UID of a DICOM series, where a folder of `input` has several.
        samples: Monte-Carlo draws; a network without dropout makes one pass.
        tile: edge of a tile in voxels, in place of the config's; auto takes for each volume the
            cheapest tile that fits into `memory`, and says so.
        memory: bytes that the process may take; makes auto the tile where none is given. None is
            most of what this machine has free.
        seed: of the draws.
        mumap: tube voltage in kV; leaves mumap.nii.gz, mumap_sd.nii.gz and mumap.hv/.v as well.
        pet_fwhm_mm: blurs the attenuation map to the resolution of a PET.
        as_dicom: leaves the CT as a DICOM series as well; the MR must be one.
        uncertain_above_hu: total deviation above which the summary calls a voxel uncertain.
        scheduler: address of a Dask scheduler that hands the subjects to its workers.

    Raises:
        errors.UserError: nothing trained, unusable input, a tile that does not fit the network, a
            calibration of another checkpoint.
    """
    if (input is None) != (output is None):
        raise errors.UserError("--input and --output: give both, or none for the test subjects")
    if pet_fwhm_mm and mumap is None:
        raise errors.UserError("--pet_fwhm_mm: blurs the attenuation map; give --mumap as well")
    if memory is not None and tile is None:
        tile = "auto"
    # "." has no name that files could lie beside, and a link cannot be replaced by a folder.
    output = output.resolve() if output else None
    attenuation = None if mumap is None else outputs.Mumap(mumap, pet_fwhm_mm)
    extras = outputs.Extras(attenuation, as_dicom, uncertain_above_hu)
    folder = runfolder.RunFolder(workdir)
    config = configs.parse(folder.need(folder.config, "prepare"))
    folder.need(folder.best, "train")
    samples = config.network.draws(samples)
    kept = calibration.current(folder, samples=samples)
    settings = predictors.Settings(
        samples=samples,
        seed=seed,
        tile=tile if tile == "auto" else _edges(config, tile),
        overlap=config.predict.overlap,
        checkpoint=assembly.checkpoint_checksum(folder),
        calibration=kept.checksum if kept else None,
    )
    predictor = predictors.load(workdir.absolute(), settings, extras, memory)
    if input is None or output is None:
        requests = _test_subjects(folder, series)
        said = [f"{folder.predictions}: {len(requests)} subjects"]
    else:
        requests = list(_new_subjects(input, output, series))
        said = [f"{request.target}: {request.name}" for request in requests]
    _predict_all(predictor, requests, scheduler, memory)
    if folder.calibration.exists() and kept is None:
        advice = f"to scale these maps as well, run 'calibrate --samples {samples}' before"
        said.append(f"not calibrated: {folder.calibration} is of another number of draws; {advice}")
    warnings = [outputs.warning(outputs.read_facts(request.target)) for request in requests]
    return [*said, *(line for line in warnings if line)]


def _edges(config: configs.Config, tile: int | None) -> tuple[int, int, int]:
    if tile is None:
        return config.predict.tile
    z, y, x = (1 if edge == 1 else tile for edge in config.predict.tile)
    config.network.check_edges("--tile", (z, y, x))
    return z, y, x


def _test_subjects(folder: runfolder.RunFolder, series: str | None) -> list[predictors.Request]:
    names = set(assembly.subjects(folder, "test"))
    chosen = [one for one in cohort.read(folder.cohort) if one.subject in names]
    return [_test_subject(folder, one, series) for one in chosen]


def _test_subject(
    folder: runfolder.RunFolder, one: cohort.Subject, series: str | None
) -> predictors.Request:
    prepared = folder.need(folder.volume(one.subject, "mr"), "prepare")
    return predictors.Request(one.subject, one.mr, folder.prediction(one.subject), prepared, series)


def _new_subjects(
    source: pathlib.Path, output: pathlib.Path, series: str | None = None
) -> Iterator[predictors.Request]:
    """Yields the subjects of an image, a DICOM folder or a cohort."""
    if _is_one_subject(source):
        yield predictors.Request(_name(source), source, output, series=series)
        return
    for one in cohort.discover(source):
        yield predictors.Request(one.subject, one.mr, output / one.subject, series=series)


def _name(source: pathlib.Path) -> str:
    """A subject's name: its folder's, or its file's without the suffix; dots are part of it."""
    name = os.path.basename(os.path.abspath(source))  # "." has none of its own
    if source.is_dir():
        return name
    suffix = next((end for end in images.SUFFIXES if name.lower().endswith(end)), "")
    return name[: len(name) - len(suffix)]


def _is_one_subject(source: pathlib.Path) -> bool:
    """Whether it is an image, stations, or a folder whose DICOM series may lie deeper in it."""
    if not source.is_dir():
        return source.is_file() and source.suffix.lower() != ".csv"
    if dicom.is_series_folder(source) or images.stations_in(source):
        return True
    below = (entry for entry in source.rglob("*") if entry.is_dir())
    return not cohort.is_cohort(source) and any(map(dicom.is_series_folder, below))


def _predict_all(
    predictor: predictors.Predictor,
    requests: Sequence[predictors.Request],
    scheduler: str | None,
    memory: float | None = None,
) -> None:
    """Predicts the subjects that are not done, here or on a cluster.

    All that can be wrong with an input is found before anything is written.
    """
    for request in requests:
        _check_target(request.target)
    left = [request for request in requests if not predictor.is_done(request)]
    for request in left:
        _check_input(request, predictor)
    do = predictor.predict
    if scheduler is not None:
        left = [request.absolute() for request in left]
        do = functools.partial(
            _predict, predictor.root, predictor.settings, predictor.extras, memory
        )
    for _ in cluster.each(do, left, scheduler=scheduler, words="predict"):
        pass
    for request in requests:
        runfolder.clear_unfinished(request.target)


def _check_input(request: predictors.Request, predictor: predictors.Predictor) -> None:
    """Refuses an MR that cannot be predicted; a function, so that the image goes before it is."""
    if predictor.extras.dicom:
        dicom_export.check(request.mr, series=request.series)
    if request.prepared is None:
        image = images.read(request.mr, series=request.series, modality="MR")
        preparation.check_spacing(image, predictor.spacing_mm, request.mr)


def _predict(
    root: pathlib.Path,
    settings: predictors.Settings,
    extras: outputs.Extras,
    memory: float | None,
    request: predictors.Request,
) -> None:
    """A request on a cluster's worker; what another worker has finished meanwhile is left."""
    predictor = predictors.load(root, settings, extras, memory)
    if not predictor.is_done(request):
        predictor.predict(request)


def _check_target(target: pathlib.Path) -> None:
    """Refuses a folder that is not ours to replace or to make: new, empty and our own ones are."""
    # The folder is made beside its place and then renamed: it is its parent that is written to.
    above = next((part for part in target.absolute().parents if part.exists()), target)
    if (target.exists() and not target.is_dir()) or not above.is_dir():
        file = target if target.exists() else above
        raise errors.UserError(f"{file}: is a file; give --output a folder")
    if not os.access(above, os.W_OK):
        raise errors.UserError(
            f"{above}: no permission to write here; give --output another folder"
        )
    if os.path.ismount(target):
        raise errors.UserError(
            f"{target}: a mounted folder cannot be replaced whole; give --output a folder in it"
        )
    if not target.exists():
        return
    found = {entry.name for entry in target.iterdir()}
    if found and (outputs.FACTS not in found or found - outputs.NAMES):
        raise errors.UserError(
            f"{target}: holds other files than a prediction; move them away,"
            " or give --output a new folder"
        )
