"""report: one self-contained HTML page about a run, from the files of its folder alone."""

from __future__ import annotations

import csv
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from multires_tf import comparison, config, errors, progress, runfolder
from multires_tf.measure import figures, page, reliability

# Each picture is about half a megabyte: a page stays openable.
MOST_PICTURES = 12
LOOKS = {
    "aleatoric": figures.ALEATORIC,
    "epistemic": figures.EPISTEMIC,
    "total": figures.TOTAL,
}


def run(*, workdir: pathlib.Path) -> list[str]:
    """Writes `report/index.html`.

    Returns:
        The page's path.

    Raises:
        errors.UserError: the run was not evaluated yet, or a file of it is damaged.
    """
    folder = runfolder.RunFolder(workdir)
    settings = config.parse(folder.need(folder.config, "prepare"))
    rows = _scores(folder.need(folder.scores_csv, "evaluate"))
    summary = _json(folder.need(folder.scores_json, "evaluate"))
    provenance = _json(folder.provenance) if folder.provenance.exists() else {}
    rows.sort(key=lambda row: -row["mae_hu"])
    pictures, histograms = _pictures(folder, rows)
    shown = figures.uncertainty_against_error(histograms) if histograms else None
    report = page.Report(
        name=workdir.resolve().name,
        network=_network(settings, provenance),
        date=str(provenance.get("started", ""))[:10],
        rows=rows,
        summary=summary,
        training_curve=_curve(folder.history) if folder.history.exists() else None,
        caption=_caption(len(pictures), len(rows)),
        pictures=pictures,
        uncertainty=shown,
        draws=_draws(folder, rows) if "epistemic" in dict(histograms) else None,
        provenance=_provenance(settings, provenance),
        config=config.dump(settings),
    )
    runfolder.write_text(folder.report, page.render(report))
    return [str(folder.report)]


def _scores(path: pathlib.Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return [{key: _value(key, text) for key, text in row.items()} for row in rows]
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"{path}: damaged table; run 'evaluate' again") from error


def _value(key: str, text: str) -> str | float | None:
    if key in ("subject", "split"):
        return text
    return float(text) if text else None


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise errors.UserError(f"{path}: not JSON; delete it and run its verb again") from error


def _pictures(
    folder: runfolder.RunFolder, rows: Sequence[dict[str, Any]]
) -> tuple[list[page.Picture], list[tuple[str, reliability.JointHistogram]]]:
    """Panels of the worst subjects, and all subjects' histograms of sd and error."""
    pictures: list[page.Picture] = []
    histograms: dict[str, reliability.JointHistogram] = {}
    for row in progress.bar(rows, words="report"):
        pair = comparison.load(folder, row["subject"])
        error_hu = pair.pct_hu - pair.ct_hu
        for name, sd_hu in _uncertainties(pair).items():
            histogram = histograms.setdefault(name, reliability.JointHistogram())
            histogram.add(sd_hu[pair.body], error_hu[pair.body])
        if len(pictures) < MOST_PICTURES:
            pictures.append(page.Picture(pair.subject, _remark(row), _panels(pair, error_hu)))
    return pictures, list(histograms.items())


def _uncertainties(pair: comparison.Comparison) -> dict[str, np.ndarray]:
    """The maps worth showing: the total only if it is more than its one part."""
    parts = {name: pair.sd_hu[name] for name in comparison.PARTS if name in pair.sd_hu}
    return {**parts, "total": pair.sd_hu["total"]} if len(parts) != 1 and pair.sd_hu else parts


def _panels(pair: comparison.Comparison, error_hu: np.ndarray) -> bytes:
    shown = [(figures.MR, pair.mr), (figures.CT, pair.ct_hu), (figures.PCT, pair.pct_hu)]
    scored = {figures.ERROR: error_hu}
    scored.update({LOOKS[k]: sd for k, sd in _uncertainties(pair).items() if k != "total"})
    shown += [(look, np.where(pair.body, image, np.nan)) for look, image in scored.items()]
    return figures.panels(
        [shown],
        spacing_mm=pair.spacing_mm,
        slices=figures.central_slices(pair.ct_hu, pair.body),
    )


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
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ([float(row[k] or math.nan) for row in rows] for k in ("step", "loss", "val_mae_hu"))
    return figures.training_curve(*columns)


def _draws(folder: runfolder.RunFolder, rows: Sequence[dict[str, Any]]) -> int | None:
    path = folder.prediction(rows[0]["subject"]) / "prediction.json"
    return _json(path).get("samples") if path.exists() else None


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
    keys = ("command", "commit", "started", "python", "system")
    facts += [(key, str(provenance[key])) for key in keys if provenance.get(key)]
    packages = provenance.get("packages") or {}
    if packages:
        words = (f"{name} {version}" for name, version in packages.items() if version)
        facts.append(("packages", ", ".join(words)))
    return facts
