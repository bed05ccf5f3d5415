"""evaluate: scores the test subjects' predictions in HU, beside the best lookup table."""

from __future__ import annotations

import csv
import io
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from multires_tf import assembly, comparison, errors, progress, runfolder
from multires_tf.measure import baseline, calibration, scores, statistics

CONTRACT = (
    *("subject", "split", "mae_hu", "mse_hu2", "mae_air_hu", "mae_soft_hu", "mae_bone_hu"),
    *("psnr_db", "ssim", "baseline_mae_hu", "baseline_mae_bone_hu"),
)
SPLIT = "test"


def run(*, workdir: pathlib.Path) -> list[str]:
    """Writes `scores.csv` and `scores.json`.

    Scored are the voxels of the CT's body inside the MR's field, on the prepared grid. The lookup
    table is fitted on the training subjects and scored on the same voxels.

    Returns:
        A table for the terminal, and the two paths.

    Raises:
        errors.UserError: nothing was prepared or predicted, or a prediction cannot be compared.
    """
    folder = runfolder.RunFolder(workdir)
    subjects = assembly.subjects(folder, SPLIT)
    for subject in subjects:
        folder.need(folder.prediction(subject) / "ct.nii.gz", "predict")
    table = _lookup_table(folder)
    with progress.bar(subjects, words="evaluate") as bar:
        rows = [_row(comparison.load(folder, subject), table) for subject in bar]
    columns = _columns(rows)
    summary = _summary(rows, columns)
    runfolder.write_text(folder.scores_csv, _csv_text(rows, columns))
    text = json.dumps(summary, indent=1, allow_nan=False)
    runfolder.write_text(folder.scores_json, text + "\n")
    return [*_lines(rows, summary), f"{folder.scores_csv}", f"{folder.scores_json}"]


def _lookup_table(folder: runfolder.RunFolder) -> baseline.LookupTable:
    fit = baseline.Fit()
    training = assembly.subjects(folder, "train")
    with progress.bar(training, words="lookup table") as bar:
        for subject in bar:
            fit.add(*comparison.body_voxels(folder, subject))
    try:
        return fit.table()
    except ValueError as error:
        raise errors.UserError(f"{folder.cohort}: {error}; prepare the cohort again") from error


def _row(pair: comparison.Comparison, table: baseline.LookupTable) -> dict[str, Any]:
    """Everything measured on one subject, by column."""
    body = pair.body
    looked_up = scores.score(table.apply(pair.mr), pair.ct_hu, body)
    row = {
        "subject": pair.subject,
        "split": SPLIT,
        **scores.score(pair.pct_hu, pair.ct_hu, body),
        **{f"baseline_{key}": value for key, value in looked_up.items()},
        "voxels": int(body.sum()),
    }
    if pair.sd_hu:
        error_hu = pair.pct_hu[body] - pair.ct_hu[body]
        row.update(calibration.calibration(error_hu, pair.sd_hu["total"][body]))
        means = {
            f"mean_{name}_sd_hu": sd[body].mean(dtype=np.float64) for name, sd in pair.sd_hu.items()
        }
        row.update({key: float(mean) for key, mean in means.items()})
    return row


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    found = dict.fromkeys(key for row in rows for key in row)
    return [*CONTRACT, *(key for key in found if key not in CONTRACT)]


def _summary(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{"mean": ..., "sd": ..., "n": ...} over the test subjects; null where undefined."""
    summary: dict[str, dict[str, Any]] = {"mean": {}, "sd": {}, "n": {}}
    for key in columns[2:]:
        found = statistics.summarise([row.get(key, math.nan) for row in rows])
        summary["mean"][key] = found.mean if math.isfinite(found.mean) else None
        summary["sd"][key] = found.sd if math.isfinite(found.sd) else None
        summary["n"][key] = found.n
    return summary


def _csv_text(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(row.get(key)) for key in columns})
    return stream.getvalue()


def _cell(value: Any) -> Any:
    """Full precision; an empty cell where there is no number."""
    if isinstance(value, float):
        return repr(value) if np.isfinite(value) else ""
    return value


def _lines(rows: Sequence[dict[str, Any]], summary: dict[str, dict[str, Any]]) -> list[str]:
    """The score table as aligned text."""
    n = len(rows)
    title = f"{n} test subject{'s' if n > 1 else ''}, body inside the MR's field, mean ± sd"
    cells = [["", "synthetic CT", "lookup table", "ratio"]]
    for metric in scores.METRICS:
        unit = f" [{metric.unit}]" if metric.unit else ""
        pair = (metric.key, f"baseline_{metric.key}")
        shown = (statistics.plus_minus(metric.text, summary, key) for key in pair)
        ratio = statistics.ratio(summary, *pair) if metric.lower_is_better else None
        cells.append([metric.label + unit, *shown, "" if ratio is None else f"{ratio:.2f}"])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    table = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in cells
    ]
    worst = max(rows, key=lambda row: row["mae_hu"])
    lines = [title, "", *table, ""]
    if summary["mean"].get("zms") is not None:
        zms, coverage = (summary["mean"][key] for key in ("zms", "coverage_90"))
        lines.append(
            f"Total sd: mean squared z {zms:.2f} (1 is right), "
            f"{100 * coverage:.1f} % of the voxels inside the 90 % interval."
        )
    return [*lines, f"Worst subject: {worst['subject']}, MAE {worst['mae_hu']:.1f} HU."]
