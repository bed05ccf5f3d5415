"""evaluate: scores the test subjects' predictions in HU, and whether their uncertainties hold."""

from __future__ import annotations

import collections
import functools
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from multires_tf.data import attenuation, cohort
from multires_tf.ground import config as configs
from multires_tf.ground import errors, progress, runfolder, tables
from multires_tf.joints import assembly, comparison, scored, trained_on
from multires_tf.measure import baseline, intervals, regions, reliability, scores, statistics
from multires_tf.model import uncertainty

CONTRACT = (
    *("subject", "split", "mae_hu", "mse_hu2", "mae_air_hu", "mae_soft_hu", "mae_bone_hu"),
    *("psnr_db", "ssim", "baseline_mae_hu", "baseline_mae_bone_hu"),
)
SPLIT = "test"
# The maps of a row of `reliability.csv`: as the network gave them, and as `calibrate` scaled them.
RAW, CALIBRATED = "raw", "calibrated"
# Of a subject's reliability over its body, what `scores.csv` has as well.
IN_SCORES = tuple(name for name in reliability.MEASURES if name != "voxels")


def run(*, workdir: pathlib.Path) -> list[str]:
    """Writes `scores.csv` and `.json`, and `reliability.csv`, `.json` and `.npz` of uncertainties.

    Scored are the voxels of the CT's body inside the MR's field, on the prepared grid. The lookup
    table is fitted on the subjects that trained and scored on the same voxels.

    Returns:
        A table for the terminal, and the paths.

    Raises:
        errors.UserError: nothing was prepared or predicted, a prediction cannot be compared, or a
            test subject has trained the network.
    """
    folder = runfolder.RunFolder(workdir)
    subjects = assembly.subjects(folder, SPLIT)
    trained_on.refuse_trained(folder, SPLIT)
    for subject in subjects:
        folder.need(folder.prediction(subject) / "ct.nii.gz", "predict")
    _refuse_truth(folder)
    made = scored.made(folder, subjects)
    table = _lookup_table(folder)
    rows: list[dict[str, Any]] = []
    reliable: list[dict[str, Any]] = []
    tallies: reliability.Tallies = collections.defaultdict(reliability.Tally)
    with progress.bar(subjects, words="evaluate") as bar:
        for subject in bar:
            pair = comparison.load(folder, subject)
            places = regions.masks(pair.ct_hu, pair.body, pair.field, pair.spacing_mm)
            found = _reliability(pair, places, tallies)
            reliable += found
            rows.append({**_row(pair, table, places["contour"]), **_over_body(pair, found)})
    summary = _summary(rows, tables.columns(rows, CONTRACT))
    _write_reliability(folder, reliable, tallies)
    tables.write(folder.scores_csv, rows, CONTRACT)
    runfolder.write_json(folder.scores_json, {**summary, "made": made})
    lines = [*_score_lines(rows, summary), *_reliability_lines(reliable), _worst(rows)]
    return [*lines, f"{folder.scores_csv}", f"{folder.scores_json}"]


def _refuse_truth(folder: runfolder.RunFolder) -> None:
    """A prediction that is a subject's own CT, by whatever link, would score perfectly."""
    for one in cohort.read(folder.cohort):
        path = folder.prediction(one.subject) / "ct.nii.gz"
        if one.ct and one.ct.exists() and path.exists() and path.samefile(one.ct):
            raise errors.UserError(f"{path}: is the true CT itself; delete it, run 'predict' again")


def _lookup_table(folder: runfolder.RunFolder) -> baseline.LookupTable:
    fit = baseline.Fit()
    flagged = configs.parse(folder.config).sampling.use_flagged
    training = assembly.subjects(folder, "train", flagged=flagged)
    with progress.bar(training, words="lookup table") as bar:
        for subject in bar:
            fit.add(*comparison.body_voxels(folder, subject))
    try:
        return fit.table()
    except ValueError as error:
        raise errors.UserError(f"{folder.cohort}: {error}; prepare the cohort again") from error


def _row(
    pair: comparison.Comparison, table: baseline.LookupTable, band: np.ndarray
) -> dict[str, Any]:
    """The scores of one subject, by column."""
    mu_per_cm = functools.partial(attenuation.mu_per_cm, kvp=scores.MU_KVP)
    # The table was fitted inside bodies: around the contour it has nothing to say.
    looked_up = scores.score(table.apply(pair.mr), pair.ct_hu, pair.body, mu_per_cm=mu_per_cm)
    ours = scores.score(pair.pct_hu, pair.ct_hu, pair.body, band=band, mu_per_cm=mu_per_cm)
    return {
        "subject": pair.subject,
        "split": SPLIT,
        **ours,
        **{f"baseline_{key}": value for key, value in looked_up.items()},
        "voxels": int(pair.body.sum()),
    }


def _over_body(pair: comparison.Comparison, reliable: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Reliability over the body, after calibration where there was one, and the maps' means."""
    if not pair.sd_hu:
        return {}
    body = [row for row in reliable if row["region"] == "body"][-1]
    means = {
        f"mean_{k}_sd_hu": sd[pair.body].mean(dtype=np.float64) for k, sd in pair.sd_hu.items()
    }
    return {key: body[key] for key in IN_SCORES} | {key: float(mean) for key, mean in means.items()}


def _reliability(
    pair: comparison.Comparison, places: dict[str, np.ndarray], tallies: reliability.Tallies
) -> list[dict[str, Any]]:
    """Measures one subject by state and region, and adds its voxels to all subjects' tallies."""
    rows = []
    total, applied = pair.sd_hu.get(uncertainty.TOTAL), pair.calibration
    for state in (RAW, CALIBRATED) if applied else (RAW,):
        for region, mask in places.items():
            row: dict[str, Any] = {"subject": pair.subject, "maps": state, "region": region}
            pct_hu, ct_hu = pair.pct_hu[mask], pair.ct_hu[mask]
            sd_hu = None if total is None else total[mask]
            if sd_hu is not None:
                scale = applied.scale if applied and state == RAW else None
                tally = reliability.Tally()
                tally.add(pct_hu - ct_hu, sd_hu / scale if scale else sd_hu)
                tallies[state, region] += tally
                row.update(tally.measures())
            if applied and state == CALIBRATED and pct_hu.size:
                row["voxels"] = pct_hu.size
                row.update(intervals.coverages(applied, pct_hu, ct_hu, sd_hu))
            if len(row) > 3:  # more than its names: neither map nor half-widths measure nothing
                rows.append(row)
    return rows


def _write_reliability(
    folder: runfolder.RunFolder, rows: Sequence[dict[str, Any]], tallies: reliability.Tallies
) -> None:
    """Writes the table, and measures and curves over all subjects; removes what has become void."""
    if rows:
        tables.write(folder.reliability_csv, rows, ("subject", "maps", "region", "voxels"))
        reliability.write(folder.tallies, tallies)
    else:
        runfolder.remove(folder.reliability_csv)
        runfolder.remove(folder.tallies)
    if not tallies:
        runfolder.remove(folder.reliability_json)
        return
    pooled: dict[str, dict[str, Any]] = {}
    for (state, region), tally in tallies.items():
        nominal, observed = tally.curve()
        by_sd_hu, oracle_hu = tally.sparsification() if tally.voxels else ((), ())
        pooled.setdefault(state, {})[region] = {
            "measures": {key: _finite(value) for key, value in tally.measures().items()},
            "reliability": {"nominal": [*nominal], "observed": [*observed]},
            "sparsification": {
                "removed": [*reliability.REMOVED],
                "mae_by_sd_hu": [*by_sd_hu],
                "mae_oracle_hu": [*oracle_hu],
            },
        }
    runfolder.write_json(folder.reliability_json, pooled)


def _summary(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{"mean": ..., "sd": ..., "n": ...} over the test subjects; null where undefined."""
    summary: dict[str, dict[str, Any]] = {"mean": {}, "sd": {}, "n": {}}
    for key in columns[2:]:
        found = statistics.summarise([row.get(key, math.nan) for row in rows])
        summary["mean"][key], summary["sd"][key] = _finite(found.mean), _finite(found.sd)
        summary["n"][key] = found.n
    return summary


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _score_lines(rows: Sequence[dict[str, Any]], summary: dict[str, dict[str, Any]]) -> list[str]:
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
    return [title, "", *table, ""]


def _reliability_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How far the total sd over the body can be believed, before and after calibration."""
    lines = []
    for state, words in ((RAW, "Total sd"), (CALIBRATED, "Calibrated total sd")):
        own = [r for r in rows if (r["maps"], r["region"]) == (state, "body") and "zms" in r]
        if own:
            zms, inside = (np.mean([row[key] for row in own]) for key in ("zms", "coverage_90"))
            lines.append(
                f"{words}: mean squared z {zms:.2f} (1 is right), "
                f"{100 * inside:.1f} % of the voxels inside the 90 % interval."
            )
    return lines


def _worst(rows: Sequence[dict[str, Any]]) -> str:
    worst = max(rows, key=lambda row: row["mae_hu"])
    return f"Worst subject: {worst['subject']}, MAE {worst['mae_hu']:.1f} HU."
