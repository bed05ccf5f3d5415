"""What a study shows of its finished arms: a table, Figures 2 and 3, the coverage of intervals.

Each takes the arms' run folders by name (of an arm one, or one for each fold) and a folder, writes
its files there, and returns the lines to print. Subjects, slices and windows are the same for all
arms.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from multires_tf.ground import errors, progress, runfolder, tables
from multires_tf.joints import comparison, scored
from multires_tf.measure import arm_table, figures, looks, reliability, statistics, study_page
from multires_tf.model import uncertainty
from multires_tf.studies import folds, pooling
from multires_tf.studies.pooling import Runs


def summary(columns: Sequence[str]) -> Callable[[Runs, pathlib.Path], list[str]]:
    """The exhibit that has a row of numbers for each arm, in `summary.md`.

    Args:
        columns: scores of `evaluate`, means over the test subjects; val_mae_hu, the best
            validation MAE in HU; best_step, its step; training_seconds. The last three are means
            over the folds, if there are any.
    """

    def exhibit(runs: Runs, folder: pathlib.Path) -> list[str]:
        rows = []
        for name, own in runs.items():
            found = pooling.numbers(own)
            rows.append([name, *(_cell(found.get(column)) for column in columns)])
        lines = tables.markdown(("arm", *columns), rows)
        runfolder.write_text(folder / "summary.md", "\n".join(lines) + "\n")
        _note(runs, folder, "summary.md")
        return lines

    return exhibit


def _cell(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    digits = 0 if value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def table1(runs: Runs, folder: pathlib.Path) -> list[str]:
    """Table 1: `table1.md`, `table1.csv` (an arm a row) and `table1_pairs.csv` (paired tests).

    With folds it is over the test subjects of all of them.

    Raises:
        errors.UserError: an arm was not scored, or not on the same subjects, or one twice, or the
            arms were prepared or trained for a different time.
    """
    pooling.refuse_unlike(runs)
    found = [
        arm_table.ScoredArm(name, pooling.parameters(own), pooling.scores(own))
        for name, own in runs.items()
    ]
    try:
        text = arm_table.markdown(found)
    except ValueError as error:
        raise errors.UserError(f"{folder}: {error}; run 'evaluate' for both arms again") from None
    text = "\n".join([text, *_on_folds(runs, "which p ignores")])
    tables.write(folder / "table1.csv", arm_table.rows(found))
    tables.write(folder / "table1_pairs.csv", arm_table.pair_rows(found))
    runfolder.write_text(folder / "table1.md", text + "\n")
    _note(runs, folder, "table1.md")
    return [*text.splitlines(), "", str(folder / "table1.md")]


def _on_folds(runs: Runs, ignored: str) -> list[str]:
    """A line, after a blank one, where subjects were tested in folds."""
    count = len(next(iter(runs.values())))
    sentence = f"Tested in {count} folds: subjects of one fold share a network, {ignored}."
    return ["", sentence] if count > 1 else []


def figure2(runs: Runs, folder: pathlib.Path) -> list[str]:
    """Figure 2: MR, CT, every arm's pCT and below it its residual, in `figure2.png`.

    Shown is the test subject whose MAE is the median of the last arm's, by the networks of the fold
    that tests it.
    """
    last = list(runs.values())[-1]
    subject = pooling.median_subject(last)
    fold = last.index(pooling.tested(last)[subject])
    pairs = {name: comparison.load(own[fold], subject) for name, own in runs.items()}
    first = next(iter(pairs.values()))
    top = [(looks.MR, first.mr), (looks.CT, first.ct_hu)]
    below: list[tuple[looks.Look, np.ndarray] | None] = [None, None]
    for name, pair in pairs.items():
        if not np.array_equal(pair.ct_hu, first.ct_hu):
            raise errors.UserError(
                f"arm {name}: prepared subject {subject} otherwise; prepare again"
            )
        top.append((dataclasses.replace(looks.PCT, title=name), pair.pct_hu))
        error_hu = np.where(pair.body, pair.pct_hu - pair.ct_hu, np.nan)
        below.append((looks.ERROR, error_hu))
    lines = _picture(folder / "figure2.png", [top, below], first)
    _note(runs, folder, "figure2.png")
    return lines


def figure3(runs: Runs, folder: pathlib.Path) -> list[str]:
    """Figure 3, of the last arm: `figure3.png` (joint histograms) and `figure3_maps.png`.

    Raises:
        errors.UserError: that arm's network has not both uncertainties.
    """
    name, own = list(runs.items())[-1]
    testing = pooling.tested(own)
    histograms = {kind: reliability.JointHistogram() for kind in reversed(uncertainty.KINDS)}
    for subject in progress.bar(list(testing), words="figure 3"):
        pair = comparison.load(testing[subject], subject)
        for kind, histogram in histograms.items():
            if kind not in pair.sd_hu:
                raise errors.UserError(f"arm {name}: no {kind} map; give an arm with uncertainty")
            histogram.add(pair.sd_hu[kind][pair.body], (pair.pct_hu - pair.ct_hu)[pair.body])
    path = folder / "figure3.png"
    _write(path, figures.uncertainty_against_error(list(histograms.items())))
    subject = pooling.median_subject(own)
    pair = comparison.load(testing[subject], subject)
    shown = (
        (looks.ABSOLUTE_ERROR, np.abs(pair.pct_hu - pair.ct_hu)),
        *((looks.OF_KIND[kind], pair.sd_hu[kind]) for kind in histograms),
    )
    inside = [(look, np.where(pair.body, volume, np.nan)) for look, volume in shown]
    lines = [str(path), *_picture(folder / "figure3_maps.png", [inside], pair)]
    _note({name: own}, folder, "figure3.png", "figure3_maps.png")
    return lines


def coverage(runs: Runs, folder: pathlib.Path) -> list[str]:
    """Do the 90 % intervals cover 90 %? Before and after calibration, by region, for every arm.

    Writes `coverage.csv` and `coverage.md`: share of the voxels of all test subjects inside, with
    the 95 % interval of a bootstrap over subjects, and the other measures over all their voxels.
    """
    rows = [row for name, own in runs.items() for row in _coverage(name, own)]
    tables.write(folder / "coverage.csv", rows)
    heads = ("arm", "maps", "region", "interval", "inside 90 %", "bootstrap", "ZMS", "ENCE", "AUSE")
    cells = []
    for row in rows:
        inside, low, high = (_percent(row[key]) for key in ("inside", "low", "high"))
        measures = [_short(row.get(key)) for key in ("zms", "ence", "ause")]
        words = [str(row[key]) for key in ("arm", "maps", "region", "interval")]
        cells.append([*words, inside, f"{low} to {high}", *measures])
    lines = tables.markdown(heads, cells) + _on_folds(runs, "which the bootstrap ignores")
    runfolder.write_text(folder / "coverage.md", "\n".join(lines) + "\n")
    _note(runs, folder, "coverage.md")
    return [*lines, "", str(folder / "coverage.md")]


# The intervals of a row of reliability.csv: column of their coverage, and a name for people.
_INTERVALS = {
    "coverage_90": "Gaussian",
    "conformal_sd_90": "conformal, in sd",
    "conformal_hu_90": "conformal, in HU",
}


def _coverage(name: str, own: pooling.ArmRuns) -> list[dict[str, Any]]:
    table, tallies = pooling.reliability_rows(own), pooling.tallies(own)
    found = []
    for maps, region in dict.fromkeys((row["maps"], row["region"]) for row in table):
        rows = [row for row in table if (row["maps"], row["region"]) == (maps, region)]
        tally = tallies.get((maps, region))
        measures = tally.measures() if tally and tally.voxels else {}
        for column, interval in _INTERVALS.items():
            shares = [pooling.or_nan(row.get(column)) for row in rows]
            if not np.isfinite(shares).any():
                continue
            voxels = [pooling.or_nan(row["voxels"]) for row in rows]
            inside, low, high = statistics.share_over_subjects(shares, voxels)
            row: dict[str, Any] = {
                "arm": name,
                "maps": maps,
                "region": region,
                "interval": interval,
            }
            row |= {"inside": inside, "low": low, "high": high}
            found.append(row | (measures if column == "coverage_90" else {}))
    return found


# What the exhibits of a study leave in its folder, in the order of its page.
_FILES = {
    "summary.md": "Arms",
    "table1.md": "Table 1",
    "figure2.png": "Figure 2: where the arms err",
    "figure3.png": "Figure 3: error against uncertainty",
    "figure3_maps.png": "Figure 3: the maps",
    "coverage.md": "Whether the uncertainties hold",
}


# Of which scores they are: {file: {run folder: its mark}}.
_NOTES = "exhibits.json"


def _note(runs: Runs, folder: pathlib.Path, *files: str) -> None:
    """Writes down what exhibits were made of; other processes may show others at the same time."""
    places = [run.root for own in runs.values() for run in own]
    mark = {os.path.relpath(place, folder): _mark(place) for place in places}
    with runfolder.locked(folder / f".{_NOTES}.lock", wait=True):
        runfolder.write_json(folder / _NOTES, _notes(folder) | dict.fromkeys(files, mark))


def _notes(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / _NOTES
    return runfolder.read_json(path, "--show") if path.exists() else {}


def _mark(place: pathlib.Path) -> list[str | None] | None:
    """What a run is now; None where its scores are not of what it has."""
    run = runfolder.RunFolder(place)
    try:
        if run.scores_json.exists():
            scored.refuse_stale(run)
    except errors.UserError:
        return None
    return scored.mark(run)


def _old(folder: pathlib.Path) -> list[str]:
    """The exhibits in a study's folder that do not show its runs as they are now."""
    notes = {name: known for name, known in _notes(folder).items() if isinstance(known, dict)}
    now = {place: _mark(folder / place) for place in set().union(*notes.values())}
    current = [
        name
        for name, known in notes.items()
        if known and all(mark and now[place] == mark for place, mark in known.items())
    ]
    return [name for name in _FILES if (folder / name).exists() and name not in current]


def page(_: Runs, folder: pathlib.Path) -> list[str]:
    """The study's page, `index.html`: all exhibits in its folder that are of its runs as they are.

    Returns:
        Its path, and the exhibits that are left out: their runs were trained or scored again.
    """
    old = _old(folder)
    sections = []
    for path in (folder / name for name in _FILES if name not in old):
        if not path.exists():
            continue
        content = path.read_bytes() if path.suffix == ".png" else path.read_text("utf-8")
        sections.append(study_page.Section(_FILES[path.name], content))
    places = [folder, *folds.found(folder)]
    found = [path for place in places for path in sorted(place.glob("*/report/index.html"))]
    paths_there = [path.relative_to(folder) for path in found]
    reports = {path.parents[1].as_posix(): path.as_posix() for path in paths_there}
    text = study_page.render(folder.resolve().name, sections, reports)
    runfolder.write_text(folder / "index.html", text)
    reason = "older than its runs, or of unknown ones: left out of the page; make it again"
    return [str(folder / "index.html"), *(f"{folder / name}: {reason}" for name in old)]


def _picture(
    path: pathlib.Path, rows: Sequence[Sequence[Any]], pair: comparison.Comparison
) -> list[str]:
    slices = looks.central_slices(pair.ct_hu, pair.body)
    _write(path, figures.panels(rows, spacing_mm=pair.spacing_mm, slices=slices))
    return [f"{path}: subject {pair.subject}"]


def _write(path: pathlib.Path, png: bytes) -> None:
    with runfolder.replacing(path) as beside:
        beside.write_bytes(png)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
