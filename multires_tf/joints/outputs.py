"""The files of one predicted subject: maps in HU, attenuation for PET, DICOM, and their facts.

All that is derived comes from ct.nii.gz as it is written, in whole HU: who has the one can check
the other.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from multires_tf.data import attenuation, checksums, geometry, intensity, resampling
from multires_tf.data.files import dicom_export, images, interfile
from multires_tf.ground import runfolder
from multires_tf.measure import tissues
from multires_tf.model import uncertainty

FACTS = "prediction.json"
_NOISE, _DRAWS, _TOTAL = map(uncertainty.map_name, (*uncertainty.KINDS, uncertainty.TOTAL))
_MAPS = ("ct", _NOISE, _DRAWS, _TOTAL, "mumap", "mumap_sd")
_DICOM = "dicom"
NAMES = {FACTS, *(f"{name}.nii.gz" for name in _MAPS), "mumap.hv", "mumap.v", _DICOM}
# Diagnostic CT's most usual tube voltage, for a DICOM series that no --mumap says another of.
_USUAL_KVP = 120


@dataclasses.dataclass(frozen=True)
class Mumap:
    """An attenuation map.

    Attributes:
        kvp: tube voltage in kV of the CT that the network imitates.
        pet_fwhm_mm: resolution of the PET to which the map is blurred; 0 leaves it.

    Raises:
        UserError: there is no map for this voltage.
    """

    kvp: int
    pet_fwhm_mm: float = 0.0

    def __post_init__(self) -> None:
        attenuation.lines(self.kvp)


@dataclasses.dataclass(frozen=True)
class Extras:
    """What is written besides the maps in HU, and the summary's one threshold.

    Attributes:
        mumap: the attenuation map; None writes none.
        dicom: a CT series beside the MR's.
        uncertain_above_hu: total deviation above which a voxel counts as uncertain.
    """

    mumap: Mumap | None = None
    dicom: bool = False
    uncertain_above_hu: float = 100.0

    @property
    def blurs(self) -> bool:
        """Whether the attenuation map is brought to the resolution of a PET."""
        return self.mumap is not None and self.mumap.pet_fwhm_mm > 0


def write(
    folder: pathlib.Path,
    ct_hu: np.ndarray,
    sd_hu: Mapping[str, np.ndarray],
    grid: geometry.Geometry,
    *,
    extras: Extras,
    mr: pathlib.Path | None,
    series: str | None = None,
    air_hu: float,
    blurred_mu_sd: np.ndarray | None = None,
) -> dict[str, Any]:
    """Writes a subject's images into `folder` and returns what its facts say of them.

    Args:
        folder: there already.
        ct_hu: int16 (z, y, x).
        sd_hu: float32 maps of deviations that the network has, by name; the total one among them.
            They may be made when they are asked for.
        grid: the MR's own.
        extras: what else to write.
        mr: the MR's DICOM folder, where a series is asked for.
        series: number, description or UID of its series, where that folder has several.
        air_hu: fill outside the MR's field.
        blurred_mu_sd: the draws' deviation of the blurred attenuation, where it is blurred and the
            network has draws.
    """
    images.write(ct_hu, folder / "ct.nii.gz", grid=grid)
    masks = {tissue: mask for tissue, mask in tissues.masks(ct_hu).items() if mask.any()}
    found: dict[str, Any] = {"means_by_tissue_hu": {}}
    for name, array in sd_hu.items():  # made one by one
        images.write(array, folder / f"{name}.nii.gz", grid=grid)
        found["means_by_tissue_hu"][name] = means_by_tissue(array, masks)
        if name == _TOTAL:
            found["uncertain"] = uncertain(array, masks, extras.uncertain_above_hu)
        del array
    del masks
    if extras.mumap is not None:
        _write_mumap(folder, ct_hu, grid, extras.mumap)
        if sd_hu:
            sd = _mumap_sd(ct_hu, sd_hu, grid, extras.mumap, blurred_mu_sd)
            images.write(sd, folder / "mumap_sd.nii.gz", grid=grid)
    if extras.dicom:
        if mr is None:
            raise ValueError("a DICOM series needs that of its MR")
        kvp = extras.mumap.kvp if extras.mumap else _USUAL_KVP
        dicom_export.write(
            folder / _DICOM,
            ct_hu,
            grid,
            source=mr,
            series=series,
            kvp=kvp,
            air_hu=round(air_hu),
        )
    return found


def _write_mumap(
    folder: pathlib.Path, ct_hu: np.ndarray, grid: geometry.Geometry, mumap: Mumap
) -> None:
    mu = attenuation.mu_per_cm(ct_hu, mumap.kvp)
    mu = attenuation.smooth(mu, mumap.pet_fwhm_mm, grid.spacing_mm)
    images.write(mu, folder / "mumap.nii.gz", grid=grid)
    upright = geometry.upright(grid)
    along = resampling.resample(geometry.to_image(mu, grid), upright, fill=0.0)
    blur = f", blurred to {mumap.pet_fwhm_mm:g} mm" if mumap.pet_fwhm_mm else ""
    comment = f"linear attenuation at 511 keV in 1/cm, from a CT at {mumap.kvp} kV{blur}"
    interfile.write(folder / "mumap.hv", along, upright, comment=comment)


def blurred_mu(
    ct_unit: np.ndarray,
    *,
    mumap: Mumap,
    spacing_mm: Sequence[float],
    ct_window_hu: tuple[float, float],
) -> np.ndarray:
    """The attenuation map of a tile of one draw, at the resolution of a PET.

    The blur does not see beyond the tile; there its weight in the blended map is small.
    """
    mu = attenuation.mu_per_cm(intensity.unit_to_ct(ct_unit, ct_window_hu), mumap.kvp)
    return attenuation.smooth(mu, mumap.pet_fwhm_mm, spacing_mm)


def _mumap_sd(
    ct_hu: np.ndarray,
    sd_hu: Mapping[str, np.ndarray],
    grid: geometry.Geometry,
    mumap: Mumap,
    blurred_mu_sd: np.ndarray | None,
) -> np.ndarray:
    """Deviation of the attenuation map, per cm.

    Of a blurred map the draws tell their part themselves: each was blurred before they were
    compared. How far neighbours' noise goes together no draw tells, so that part is an upper bound.
    """
    noise_hu = sd_hu.get(_TOTAL if blurred_mu_sd is None else _NOISE)
    parts = [] if blurred_mu_sd is None else [blurred_mu_sd]
    if noise_hu is not None:
        sd = attenuation.sd_per_cm(ct_hu, noise_hu, mumap.kvp)
        parts.append(attenuation.smooth(sd, mumap.pet_fwhm_mm, grid.spacing_mm))
    return functools.reduce(np.hypot, parts)


def means_by_tissue(sd_hu: np.ndarray, masks: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean deviation in HU by tissue of the predicted CT.

    Args:
        sd_hu: (z, y, x).
        masks: boolean (z, y, x), none of them empty, by tissue.
    """
    return {
        tissue: round(float(sd_hu.mean(dtype=np.float64, where=mask)), 2)
        for tissue, mask in masks.items()
    }


def uncertain(
    total_hu: np.ndarray, masks: Mapping[str, np.ndarray], above_hu: float
) -> dict[str, Any]:
    """Where the total deviation is large.

    Args:
        total_hu: (z, y, x).
        masks: boolean (z, y, x), none of them empty, by tissue.
        above_hu: what counts as large.

    Returns:
        above_hu, and the share of voxels above it: share_by_tissue, and share, over soft tissue and
        bone together (air is mostly around the patient).
    """
    above = total_hu > above_hu
    voxels = {tissue: int(np.count_nonzero(mask)) for tissue, mask in masks.items()}
    high = {tissue: int(np.count_nonzero(above & mask)) for tissue, mask in masks.items()}
    solid = [tissue for tissue in masks if tissue != "air"]
    share = sum(high[t] for t in solid) / sum(voxels[t] for t in solid) if solid else None
    return {
        "above_hu": above_hu,
        "share": None if share is None else round(share, 4),
        "share_by_tissue": {tissue: round(high[tissue] / voxels[tissue], 4) for tissue in masks},
    }


def made_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What facts say of the prepared MR: checksums of its images, and one of how it was prepared.

    Args:
        attributes: of its store, or those that it would have.
    """
    recipe = attributes.get("recipe")
    text = None if recipe is None else json.dumps(recipe, sort_keys=True)
    return {"inputs": attributes.get("inputs"), "recipe": text and checksums.of_text(text)[:16]}


def write_facts(folder: pathlib.Path, facts: dict[str, Any]) -> None:
    """Writes prediction.json, which closes a prediction: the facts, and the files' sizes."""
    runfolder.write_json(folder / FACTS, {**facts, "bytes": _sizes(folder)})


def is_whole(folder: pathlib.Path) -> bool:
    """Whether all files that the facts of a prediction name are there, as long as they were."""
    sizes = read_facts(folder).get("bytes")
    return sizes is not None and sizes == _sizes(folder)


def lacking(folder: pathlib.Path, facts: Mapping[str, Any]) -> list[str]:
    """The files that the facts of a prediction name, and that are not there as they were written.

    Raises:
        AttributeError: the facts are damaged.
    """
    there = _sizes(folder)
    return [name for name, size in (facts.get("bytes") or {}).items() if there.get(name) != size]


def _sizes(folder: pathlib.Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FACTS)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def read_facts(folder: pathlib.Path) -> dict[str, Any]:
    """What prediction.json says; nothing where there is none, or one that is damaged."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def manner(folder: pathlib.Path) -> dict[str, Any]:
    """What predictions that are compared have to be alike in; nothing where facts do not tell."""
    found = read_facts(folder).get("settings")
    if not isinstance(found, dict):
        return {}
    return {key: found.get(key) for key in ("samples", "seed", "tile", "overlap")}


def warning(facts: dict[str, Any]) -> str | None:
    """The line that says of a subject that it is unlike the training subjects, if it is."""
    novelty = facts.get("novelty")
    if not novelty or not novelty["high"]:
        return None
    far = ", ".join(f"{name} {by:+.1f} sd" for name, by in list(novelty["unusual"].items())[:3])
    return (
        f"warning: {facts['subject']} is unlike the training subjects (score"
        f" {novelty['score']:.1f}, usual below {novelty['limit']:.1f}{': ' if far else ''}{far});"
        " look at its maps before using them"
    )
