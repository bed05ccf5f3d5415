"""What a study shows of its finished arms: a table, Figures 2 and 3, and whether to trust them.

Each takes the arms' run folders by name and a folder, writes its files there, and returns the lines
to print. Subjects, slices and windows are the same for all arms.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from multires_tf import comparison, config, errors, progress, runfolder, tables
from multires_tf.measure import arms, figures, reliability, statistics, study_page

Runs = Mapping[str, runfolder.RunFolder]


def summary(columns: Sequence[str]) -> Callable[[Runs, pathlib.Path], list[str]]:
    """The exhibit that has a row of numbers for each arm, in `summary.md`.

    Args:
        columns: scores of `evaluate`, means over the test subjects; val_mae_hu, the best
            validation MAE in HU; best_step, its step; training_seconds.
    """

    def exhibit(runs: Runs, folder: pathlib.Path) -> list[str]:
        lines = _head(("arm", *columns))
        for name, run in runs.items():
            found = _numbers(run)
            lines.append(_line([name, *(_cell(found.get(column)) for column in columns)]))
        runfolder.write_text(folder / "summary.md", "\n".join(lines) + "\n")
        return lines

    return exhibit


def _numbers(run: runfolder.RunFolder) -> dict[str, float | None]:
    """Of training, and of the test subjects if they were scored."""
    rows = tables.numbers(run.need(run.history, "train"), "train")
    last = rows[-1] if rows else {}
    found = {
        "val_mae_hu": last.get("best_val_mae_hu"),
        "best_step": last.get("best_step"),
        "training_seconds": sum(row["seconds"] for row in rows),
    }
    if run.scores_json.exists():
        comparison.refuse_stale_scores(run)
        found |= runfolder.read_json(run.scores_json, "evaluate")["mean"]
    return found


def _cell(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    digits = 0 if value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def table1(runs: Runs, folder: pathlib.Path) -> list[str]:
    """Table 1: `table1.md`, `table1.csv` (an arm a row) and `table1_pairs.csv` (paired tests).

    Raises:
        errors.UserError: an arm was not scored, or not on the same subjects, or one twice, or the
            arms were prepared or trained for a different time.
    """
    _check_alike(runs)
    found = [arms.ScoredArm(name, _parameters(run), _scores(run)) for name, run in runs.items()]
    try:
        text = arms.markdown(found)
    except ValueError as error:
        raise errors.UserError(f"{folder}: {error}; run 'evaluate' for both arms again") from None
    tables.write(folder / "table1.csv", arms.rows(found))
    tables.write(folder / "table1_pairs.csv", arms.pair_rows(found))
    runfolder.write_text(folder / "table1.md", text + "\n")
    return [*text.splitlines(), "", str(folder / "table1.md")]


def figure2(runs: Runs, folder: pathlib.Path) -> list[str]:
    """Figure 2: MR, CT, every arm's pCT and below it its residual, in `figure2.png`.

    Shown is the test subject whose MAE is the median of the last arm's.
    """
    subject = _median_subject(list(runs.values())[-1])
    pairs = {name: comparison.load(run, subject) for name, run in runs.items()}
    first = next(iter(pairs.values()))
    top = [(figures.MR, first.mr), (figures.CT, first.ct_hu)]
    below: list[tuple[figures.Look, np.ndarray] | None] = [None, None]
    for name, pair in pairs.items():
        if not np.array_equal(pair.ct_hu, first.ct_hu):
            raise errors.UserError(
                f"arm {name}: prepared subject {subject} otherwise; prepare again"
            )
        top.append((dataclasses.replace(figures.PCT, title=name), pair.pct_hu))
        error_hu = np.where(pair.body, pair.pct_hu - pair.ct_hu, np.nan)
        below.append((figures.ERROR, error_hu))
    return _picture(folder / "figure2.png", [top, below], first)


def figure3(runs: Runs, folder: pathlib.Path) -> list[str]:
    """Figure 3, of the last arm: `figure3.png` (joint histograms) and `figure3_maps.png`.

    Raises:
        errors.UserError: that arm's network has not both uncertainties.
    """
    name, run = list(runs.items())[-1]
    histograms = {part: reliability.JointHistogram() for part in ("epistemic", "aleatoric")}
    for subject in progress.bar(list(_scores(run)), words="figure 3"):
        pair = comparison.load(run, subject)
        for part, histogram in histograms.items():
            if part not in pair.sd_hu:
                raise errors.UserError(f"arm {name}: no {part} map; give an arm with uncertainty")
            histogram.add(pair.sd_hu[part][pair.body], (pair.pct_hu - pair.ct_hu)[pair.body])
    path = folder / "figure3.png"
    _write(path, figures.uncertainty_against_error(list(histograms.items())))
    pair = comparison.load(run, _median_subject(run))
    shown = (
        (figures.ABSOLUTE_ERROR, np.abs(pair.pct_hu - pair.ct_hu)),
        (figures.EPISTEMIC, pair.sd_hu["epistemic"]),
        (figures.ALEATORIC, pair.sd_hu["aleatoric"]),
    )
    inside = [(look, np.where(pair.body, volume, np.nan)) for look, volume in shown]
    return [str(path), *_picture(folder / "figure3_maps.png", [inside], pair)]


def trust(runs: Runs, folder: pathlib.Path) -> list[str]:
    """Do the 90 % intervals cover 90 %? Before and after calibration, by region, for every arm.

    Writes `trust.csv` and `trust.md`: share of the voxels of all test subjects inside, with the
    95 % interval of a bootstrap over subjects, and the other measures over all their voxels.
    """
    rows = [row for name, run in runs.items() for row in _trust(name, run)]
    tables.write(folder / "trust.csv", rows)
    heads = ("arm", "maps", "region", "interval", "inside 90 %", "bootstrap", "ZMS", "ENCE", "AUSE")
    lines = _head(heads)
    for row in rows:
        inside, low, high = (_percent(row[key]) for key in ("inside", "low", "high"))
        measures = [_short(row.get(key)) for key in ("zms", "ence", "ause")]
        words = [str(row[key]) for key in ("arm", "maps", "region", "interval")]
        lines.append(_line([*words, inside, f"{low} to {high}", *measures]))
    runfolder.write_text(folder / "trust.md", "\n".join(lines) + "\n")
    return [*lines, "", str(folder / "trust.md")]


# The intervals of a row of reliability.csv: column of their coverage, and a name for people.
_INTERVALS = {
    "coverage_90": "Gaussian",
    "conformal_sd_90": "conformal, in sd",
    "conformal_hu_90": "conformal, in HU",
}


def _trust(name: str, run: runfolder.RunFolder) -> list[dict[str, Any]]:
    comparison.refuse_stale_scores(run)
    path = run.need(run.reliability_csv, "evaluate")
    table = tables.numbers(path, "evaluate", words=("subject", "maps", "region"))
    path = run.reliability_json
    pooled = runfolder.read_json(path, "evaluate") if path.exists() else {}
    found = []
    for maps, region in dict.fromkeys((row["maps"], row["region"]) for row in table):
        own = [row for row in table if (row["maps"], row["region"]) == (maps, region)]
        measures = pooled.get(maps, {}).get(region, {}).get("measures", {})
        for column, interval in _INTERVALS.items():
            shares = [_or_nan(row.get(column)) for row in own]
            if not np.isfinite(shares).any():
                continue
            voxels = [_or_nan(row["voxels"]) for row in own]
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
    "trust.md": "Whether the uncertainties hold",
}


def page(_: Runs, folder: pathlib.Path) -> list[str]:
    """The study's page, `index.html`: all exhibits that lie in its folder."""
    paths = {folder / name: title for name, title in _FILES.items() if (folder / name).exists()}
    sections = [
        study_page.Section(
            title, path.read_bytes() if path.suffix == ".png" else path.read_text("utf-8")
        )
        for path, title in paths.items()
    ]
    found = sorted(folder.glob("*/report/index.html"))
    reports = {path.parts[-3]: path.relative_to(folder).as_posix() for path in found}
    text = study_page.render(folder.resolve().name, sections, reports)
    runfolder.write_text(folder / "index.html", text)
    return [str(folder / "index.html")]


def _check_alike(runs: Runs) -> None:
    """Arms are compared at one budget, on volumes made in one way; the seed may differ."""
    prepared = [key for key in config.PREPARED if key != "seed"]
    settings = {name: config.parse(run.need(run.config, "prepare")) for name, run in runs.items()}
    first, *others = settings
    for other in others:
        ours, theirs = settings[other], settings[first]
        difference = config.first_difference(ours, theirs, prepared)
        if not difference and ours.train.steps != theirs.train.steps:
            difference = f"train.steps: {theirs.train.steps}, not {ours.train.steps}"
        if difference:
            reason = f"arm {first} has {difference} as in arm {other}"
            raise errors.UserError(f"{runs[other].config}: {reason}; run both alike")


def _scores(run: runfolder.RunFolder) -> dict[str, dict[str, float]]:
    """Scores by subject.

    Raises:
        errors.UserError: not evaluated yet or not since, damaged, or a subject scored twice.
    """
    comparison.refuse_stale_scores(run)
    path = run.need(run.scores_csv, "evaluate")
    found: dict[str, dict[str, float]] = {}
    for row in tables.numbers(path, "evaluate", words=("subject", "split")):
        subject = row["subject"]
        if subject in found:
            raise errors.UserError(
                f"{path}: subject {subject} is scored twice; run 'evaluate' again"
            )
        found[subject] = {k: _or_nan(v) for k, v in row.items() if k not in ("subject", "split")}
    if not found:
        raise errors.UserError(f"{path}: no subject in it; run 'evaluate' again")
    return found


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _parameters(run: runfolder.RunFolder) -> int | None:
    if not run.provenance.exists():
        return None
    return runfolder.read_json(run.provenance, "train").get("trainable_parameters")


def _median_subject(run: runfolder.RunFolder) -> str:
    """The subject in the middle by MAE; of two, the better."""
    by_mae = sorted((scores["mae_hu"], subject) for subject, scores in _scores(run).items())
    return by_mae[(len(by_mae) - 1) // 2][1]


def _picture(
    path: pathlib.Path, rows: Sequence[Sequence[Any]], pair: comparison.Comparison
) -> list[str]:
    slices = figures.central_slices(pair.ct_hu, pair.body)
    _write(path, figures.panels(rows, spacing_mm=pair.spacing_mm, slices=slices))
    return [f"{path}: subject {pair.subject}"]


def _write(path: pathlib.Path, png: bytes) -> None:
    with runfolder.replacing(path) as beside:
        beside.write_bytes(png)


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|---" * len(cells) + "|"]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
