"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import dataclasses
import html
import importlib.resources
import math
import string
from collections.abc import Mapping, Sequence

from multires_tf.measure import scores, statistics, tissues

Summary = Mapping[str, Mapping[str, float | None]]
Row = Mapping[str, float | str | None]

TISSUES = ("body", *tissues.NAMES)


@dataclasses.dataclass(frozen=True)
class Picture:
    """One subject's panels: its name, a remark, and a PNG."""

    subject: str
    remark: str
    png: bytes


@dataclasses.dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes:
        name: of the run.
        network: one sentence.
        date: of the training, or empty.
        rows: `scores.csv`, one mapping a subject; None for an empty cell.
        summary: the content of `scores.json`.
        training_curve: PNG, or None.
        caption: what the pictures show.
        pictures: of the test subjects, in the order to show.
        viewer: the slice viewer's part of the page, or empty.
        uncertainty: PNG of uncertainty against error, or None if the network has no uncertainty.
        calibration: PNG of coverage and sparsification, or None likewise.
        draws: number of Monte-Carlo draws, or None where there were none.
        provenance: label and value of what made the run.
        config: the resolved config as text.
    """

    name: str
    network: str
    date: str
    rows: Sequence[Row]
    summary: Summary
    training_curve: bytes | None
    caption: str
    pictures: Sequence[Picture]
    viewer: str
    uncertainty: bytes | None
    calibration: bytes | None
    draws: int | None
    provenance: Sequence[tuple[str, str]]
    config: str


def render(report: Report) -> str:
    """Returns the page: pictures and scripts embedded, no outside resource."""
    n = len(report.rows)
    words = [report.network, f"{n} test subject{'s' * (n != 1)}", report.date]
    rows = sorted(report.rows, key=lambda row: -_number(row["mae_hu"]))
    return string.Template(resource("page.html")).substitute(
        style=resource("page.css"),
        name=html.escape(report.name),
        subtitle=html.escape(" · ".join(word for word in words if word)),
        figures=_key_figures(report.summary),
        scores=_score_table(report.summary),
        comparison=_comparison(rows),
        subjects=_subject_table(rows),
        training=_training(report.training_curve),
        caption=html.escape(report.caption),
        viewer=report.viewer,
        panels="\n".join(_picture(picture) for picture in report.pictures),
        uncertainty=_uncertainty(report),
        provenance=_facts(report.provenance),
        config=html.escape(report.config),
    )


def resource(name: str) -> str:
    """A template, style or script that lies beside this module."""
    return importlib.resources.files("multires_tf.measure").joinpath(name).read_text("utf-8")


def _number(value: float | str | None) -> float:
    return value if isinstance(value, (int, float)) else math.nan


def _key_figures(summary: Summary) -> str:
    keys = ("mae_hu", "mae_bone_hu", "bone_found")
    metrics = {metric.key: metric for metric in scores.METRICS}
    boxes = []
    for key in keys:
        metric, rival = metrics[key], f"baseline_{key}"
        value, table = (metric.text(summary["mean"].get(k)) for k in (key, rival))
        ratio = statistics.ratio(summary, key, rival) if metric.lower_is_better else None
        versus = f"lookup table: {table} {metric.unit}" + (f" · ratio {ratio:.2f}" if ratio else "")
        boxes.append(
            f"<div><dt>{html.escape(metric.label)}</dt>"
            f"<dd>{value} <small>{metric.unit}</small></dd>"
            f'<dd class="versus">{versus}</dd></div>'
        )
    return f'<dl class="figures">{"".join(boxes)}</dl>'


def _score_table(summary: Summary) -> str:
    rows = []
    for metric in scores.METRICS:
        rival = f"baseline_{metric.key}"
        ours, table = (statistics.plus_minus(metric.text, summary, k) for k in (metric.key, rival))
        ratio = statistics.ratio(summary, metric.key, rival) if metric.lower_is_better else None
        label = html.escape(metric.label) + (f" [{metric.unit}]" if metric.unit else "")
        cells = f"<td>{ours}</td><td>{table}</td>{_ratio_cell(ratio)}"
        rows.append(f"<tr><th>{label}</th>{cells}</tr>")
    head = "<th></th><th>synthetic CT</th><th>lookup table</th><th>ratio</th>"
    return _table(head, rows)


def _ratio_cell(ratio: float | None) -> str:
    if ratio is None:
        return "<td></td>"
    return f'<td class="{"better" if ratio < 1 else "worse"}">{ratio:.2f}</td>'


def _comparison(rows: Sequence[Row]) -> str:
    """One sentence on whether the difference to the lookup table could be chance."""
    ours, table = ([_number(row[k]) for row in rows] for k in ("mae_hu", "baseline_mae_hu"))
    test = statistics.compare(ours, table)
    sign = "lower" if test.mean_difference < 0 else "higher"
    words = f"Mean MAE {abs(test.mean_difference):.1f} HU {sign} than the lookup table’s"
    if math.isfinite(test.t_p):
        words += (
            f"; over {test.n} subjects, paired t-test p = {_p(test.t_p)}, "
            f"Wilcoxon p = {_p(test.wilcoxon_p)}"
        )
    return f'<p class="quiet">{words}. Mean ± sample sd over subjects.</p>'


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _subject_table(rows: Sequence[Row]) -> str:
    groups = "".join(f'<th colspan="2">{tissue}</th>' for tissue in TISSUES)
    first = f'<th></th>{groups}<th colspan="2">bone at 200 HU</th><th></th><th></th>'
    second = "<th>pCT</th><th>table</th>" * len(TISSUES)
    last = "<th>found</th><th>Dice</th><th>SSIM</th><th>voxels</th>"
    head = f'{first}</tr><tr class="sub"><th>subject</th>{second}{last}'
    metrics = {metric.key: metric for metric in scores.METRICS}
    lines = []
    for row in rows:
        cells = [f"<th>{html.escape(str(row['subject']))}</th>"]
        for tissue in TISSUES:
            key = "mae_hu" if tissue == "body" else f"mae_{tissue}_hu"
            ours, table = _number(row[key]), _number(row.get(f"baseline_{key}"))
            cells.append(f"<td>{metrics[key].text(ours)}</td>")
            cells.append(f'<td class="quiet">{metrics[key].text(table)}</td>')
        found = metrics["bone_found"].text(_number(row.get("bone_found")))
        cells.append(f"<td>{found}{' %' if found != '–' else ''}</td>")
        cells += [f"<td>{metrics[k].text(_number(row.get(k)))}</td>" for k in ("bone_dice", "ssim")]
        cells.append(f"<td>{_thousands(row.get('voxels'))}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return _table(head, lines)


def _thousands(value: float | str | None) -> str:
    return f"{value:,.0f}".replace(",", " ") if isinstance(value, (int, float)) else "–"


def _table(head: str, rows: Sequence[str]) -> str:
    body = "\n".join(rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _training(png: bytes | None) -> str:
    return f"<h2>Training</h2>\n{image(png, 'training curve')}" if png else ""


def _picture(picture: Picture) -> str:
    subject = html.escape(picture.subject)
    title = f"<h3>{subject} <span>{html.escape(picture.remark)}</span></h3>"
    return f"{title}\n{image(picture.png, f'panels of {subject}')}"


def image(png: bytes, words: str) -> str:
    """A picture in the page itself; `words` say what it shows, as HTML has it."""
    encoded = base64.b64encode(png).decode("ascii")
    return f'<img alt="{words}" src="data:image/png;base64,{encoded}">'


def _uncertainty(report: Report) -> str:
    if report.uncertainty is None:
        return ""
    mean = report.summary["mean"]
    parts = ["<h2>Can the uncertainties be trusted?</h2>", _READING]
    if report.draws is not None and report.draws > 1:
        of_variance = math.sqrt(2 / (report.draws - 1))
        parts.append(
            f"<p>The epistemic sd comes from N = {report.draws} draws, so its own relative "
            f"standard error is about √(1/(2(N−1))) = {50 * of_variance:.0f} % in every voxel "
            f"({100 * of_variance:.0f} % for the variance).</p>"
        )
    zms, coverage = mean.get("zms"), mean.get("coverage_90")
    if zms is not None and coverage is not None:
        parts.append(
            f"<p>Here the mean of (error / total sd)² is <strong>{zms:.2f}</strong> "
            "(1 is right; larger: the sd is too small), and "
            f"<strong>{100 * coverage:.1f} %</strong> of the voxels lie inside "
            "their 90 % interval (90 % is right).</p>"
        )
    parts.append(image(report.uncertainty, "uncertainty against error"))
    if report.calibration is not None:
        parts += [_CALIBRATION, image(report.calibration, "calibration and sparsification")]
    return "\n".join(parts)


_READING = """\
<p>The <em>aleatoric</em> sd is what the MR cannot tell, however much it was trained on: noise,
the voxels between tissues, gas that moved between the scans. The <em>epistemic</em> sd is what
this network does not know: the spread of the mean CT over Monte-Carlo draws, large where a
patient is unlike the training subjects. Their squares add up to the <em>total</em>. Below, each
column of pixels holds the voxels of one predicted sd; the orange line is their mean absolute
error, which should rise with the sd. Dashed: where it would lie if errors were Gaussian with
exactly the predicted total sd.</p>"""

_CALIBRATION = """\
<p>A Gaussian interval of the total sd should hold as many errors as its name says: on the
diagonal it does; below it the sd is too small, above it too large. To the right, what remains of
the MAE when the most uncertain voxels are taken away: the closer to the oracle, which takes away
the largest errors, the better the sd finds them. All voxels of the test subjects together.</p>"""


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    pairs = (
        f"<dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd>" for label, value in facts
    )
    return f'<dl class="facts">{"".join(pairs)}</dl>'
