"""report: one self-contained HTML page about a run, from the files of its folder alone."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from multires_tf.ground import config, errors, progress, runfolder, tables
from multires_tf.joints import comparison, outputs, scored
from multires_tf.measure import figures, looks, page, reliability, viewer
from multires_tf.model import uncertainty

# Each picture is about half a megabyte: a page stays openable.
MOST_PICTURES = 12
LOOKS = {
    "mr": looks.MR,
    "ct": looks.CT,
    "pct": looks.PCT,
    "error": looks.ERROR,
    **looks.OF_KIND,
}
# Those that can be laid over an image; the total is shown no other way.
OVERLAYS = (*uncertainty.KINDS, uncertainty.TOTAL)
Images = dict[str, np.ndarray]
Histograms = dict[str, reliability.JointHistogram]


def run(*, workdir: pathlib.Path) -> list[str]:
    """Writes `report/index.html`.

    Returns:
        The page's path.

    Raises:
        errors.UserError: the run was not evaluated yet, or a file of it is damaged.
    """
    folder = runfolder.RunFolder(workdir)
    settings = config.parse(folder.need(folder.config, "prepare"))
    rows = scored.rows(folder)
    summary = runfolder.read_json(folder.need(folder.scores_json, "evaluate"), "evaluate")
    made = folder.provenance
    provenance = runfolder.read_json(made, "train") if made.exists() else {}
    rows.sort(key=lambda row: -row["mae_hu"])
    pictures, shown, histograms = _shown(folder, rows)
    report = page.Report(
        name=workdir.resolve().name,
        network=_network(settings, provenance),
        date=str(provenance.get("started", ""))[:10],
        rows=rows,
        summary=summary,
        training_curve=_curve(folder.history) if folder.history.exists() else None,
        caption=_caption(len(pictures), len(rows)),
        pictures=pictures,
        viewer=_viewer(shown),
        uncertainty=_uncertainty(histograms),
        calibration=_calibration(folder) if histograms else None,
        draws=_draws(folder, rows) if "epistemic" in histograms else None,
        provenance=_provenance(settings, provenance),
        config=config.dump(settings),
    )
    runfolder.write_text(folder.report, page.render(report))
    return [str(folder.report)]


def _shown(
    folder: runfolder.RunFolder, rows: Sequence[dict[str, Any]]
) -> tuple[list[page.Picture], list[viewer.Subject], Histograms]:
    """Panels and volumes of the worst subjects, and all subjects' histograms of sd and error."""
    pictures: list[page.Picture] = []
    shown: list[viewer.Subject] = []
    histograms: Histograms = {}
    for row in progress.bar(rows, words="report"):
        pair = comparison.load(folder, row["subject"])
        images = _images(pair)
        for name in (name for name in OVERLAYS if name in images):
            histogram = histograms.setdefault(name, reliability.JointHistogram())
            histogram.add(images[name][pair.body], images["error"][pair.body])
        if len(pictures) < MOST_PICTURES:
            pictures.append(page.Picture(pair.subject, _remark(row), _panels(pair, images)))
            shown.append(_viewed(pair, images, row, of=min(len(rows), MOST_PICTURES)))
    return pictures, shown, histograms


def _images(pair: comparison.Comparison) -> Images:
    """All to be shown, by key of `LOOKS`; nan where it is not scored.

    The total only if it is more than its one part.
    """
    error_hu = pair.pct_hu - pair.ct_hu
    scored = {"error": error_hu, **{k: pair.sd_hu[k] for k in OVERLAYS if k in pair.sd_hu}}
    if sum(name in scored for name in uncertainty.KINDS) == 1:
        del scored["total"]
    inside = {name: np.where(pair.body, image, np.nan) for name, image in scored.items()}
    return {"mr": pair.mr, "ct": pair.ct_hu, "pct": pair.pct_hu, **inside}


def _panels(pair: comparison.Comparison, images: Images) -> bytes:
    return figures.panels(
        [[(LOOKS[key], image) for key, image in images.items() if key != "total"]],
        spacing_mm=pair.spacing_mm,
        slices=looks.central_slices(pair.ct_hu, pair.body),
    )


def _viewed(
    pair: comparison.Comparison, images: Images, row: dict[str, Any], *, of: int
) -> viewer.Subject:
    return viewer.subject(
        pair.subject,
        _remark(row),
        {key: (LOOKS[key], image) for key, image in images.items()},
        body=pair.body,
        spacing_mm=pair.spacing_mm,
        most_voxels=min(viewer.MOST_VOXELS_A_SUBJECT, viewer.MOST_VOXELS / of),
    )


def _viewer(shown: Sequence[viewer.Subject]) -> str:
    keys = list(shown[0].volumes)
    overlays = [key for key in OVERLAYS if key in keys]
    views = [key for key in keys if key != "total"]
    return viewer.render(shown, LOOKS, views=views, overlays=overlays)


def _uncertainty(histograms: Histograms) -> bytes | None:
    return figures.uncertainty_against_error(list(histograms.items())) if histograms else None


def _calibration(folder: runfolder.RunFolder) -> bytes | None:
    path = folder.reliability_json
    try:
        return figures.calibration(runfolder.read_json(path, "evaluate")) if path.exists() else None
    except (KeyError, TypeError, ValueError):
        raise errors.UserError(f"{path}: damaged; run 'evaluate' again") from None


def _remark(row: dict[str, Any]) -> str:
    bone = row["mae_bone_hu"]
    words = f"MAE {row['mae_hu']:.1f} HU"
    return words if bone is None else f"{words}, in bone {bone:.1f} HU"


def _caption(shown: int, scored: int) -> str:
    which = f"The {shown} worst of {scored} subjects. " if shown < scored else ""
    return (
        f"{which}Above the coronal slice, below the axial slice with the most true bone; head up, "
        "the patient’s right (R) on the left. The windows are the same for every subject and run. "
        "Error and uncertainties are shown where they are scored: red is too dense, blue not dense "
        "enough."
    )


def _curve(path: pathlib.Path) -> bytes:
    rows = tables.numbers(path, "train")
    keys = ("step", "loss", "val_mae_hu")
    columns = ([math.nan if row[key] is None else row[key] for row in rows] for key in keys)
    return figures.training_curve(*columns)


def _draws(folder: runfolder.RunFolder, rows: Sequence[dict[str, Any]]) -> int | None:
    path = folder.prediction(rows[0]["subject"]) / outputs.FACTS
    return runfolder.read_json(path, "predict").get("samples") if path.exists() else None


def _network(settings: config.Config, provenance: dict[str, Any]) -> str:
    network = settings.network
    if network.kind == "unet":
        words = f"{'2-D' if network.unet.kernel[0] == 1 else '3-D'} U-Net"
    else:
        scales = ", ".join(map(str, network.scales))
        words = f"multi-resolution network at scales {scales}"
        words += " with uncertainty" * network.uncertainty
    parameters = provenance.get("trainable_parameters")
    return words + (f", {parameters / 1e6:.2f}M parameters" if parameters else "")


def _provenance(settings: config.Config, provenance: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [("seed", str(settings.seed))]
    keys = ("commit", "started", "python", "system")
    facts += [(key, str(provenance[key])) for key in keys if provenance.get(key)]
    packages = provenance.get("packages") or {}
    if packages:
        words = (f"{name} {version}" for name, version in packages.items() if version)
        facts.append(("packages", ", ".join(words)))
    return facts
