"""Pictures for people: panels of one subject, training curve, uncertainty against error.

Every function returns the bytes of a PNG. Figures are made with matplotlib's objects, without its
global state. Volumes are (z, y, x) on a canonical grid: x towards the patient's left, y towards the
back, z towards the head. They are shown head up, the patient's left on the right.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import patheffects, ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from multires_tf.measure import looks, reliability

PAGE_WIDTH_INCHES = 11.4
INK, FAINT, ACCENT, SECOND = "#1f2933", "#9aa5b1", "#c2410c", "#1d4e89"
STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
}


def panels(
    rows: Sequence[Sequence[tuple[looks.Look, np.ndarray] | None]],
    *,
    spacing_mm: Sequence[float],
    slices: tuple[int, int],
) -> bytes:
    """Draws images in rows and columns: a coronal slice above an axial one, and a colour bar.

    Args:
        rows: of images; an image is how to show it, and the volume (z, y, x). All volumes have one
            shape; nan is left blank, and so is None.
        spacing_mm: (z, y, x).
        slices: coronal index on y and axial index on z.
    """
    columns = max(map(len, rows))
    size = next(image[1].shape for image in rows[0] if image is not None)
    extent_mm = np.array(size) * spacing_mm
    heights = np.array([extent_mm[0], extent_mm[1]]) / extent_mm[2]
    gap, top, bottom = 0.08, 0.28, 0.60
    # As large as a page is wide, a row low enough for one screen.
    column = min(PAGE_WIDTH_INCHES / columns - gap, 2.7, max(1.2, 7.4 / heights.sum()))
    row_height = float(heights.sum() * column) + gap + top + bottom
    with matplotlib.rc_context(STYLE):
        figure = _figure(columns * (column + gap) - gap, len(rows) * row_height)
        for j, row in enumerate(rows):
            low = (len(rows) - 1 - j) * row_height + bottom
            for i, image in enumerate(row):
                if image is None:
                    continue
                look, volume = image
                left, first = i * (column + gap), i == 0 or row[i - 1] is None
                axial = _axes(figure, left, low, column, heights[1] * column)
                raised = low + heights[1] * column + gap
                coronal = _axes(figure, left, raised, column, heights[0] * column)
                shown = _show(coronal, volume[::-1, slices[0], :], look)
                _show(axial, volume[slices[1]], look)
                coronal.set_title(look.title, fontsize=10.0, pad=6.0)
                bar = _axes(figure, left + 0.12, low - 0.20, column - 0.24, 0.09)
                _colour_bar(figure, bar, shown, look)
                if first:
                    _sides(coronal)
                    _sides(axial)
        return _png(figure)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Adds axes at a place given in inches."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def _show(axes: Axes, image: np.ndarray, look: looks.Look):
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#f1f3f5")
    for spine in axes.spines.values():
        spine.set_visible(False)
    window: dict[str, Any] = {"vmin": look.low, "vmax": look.high, "cmap": look.colours}
    return axes.imshow(
        np.asarray(image, np.float32), aspect="auto", interpolation="nearest", **window
    )


def _sides(axes: Axes) -> None:
    for x, letter in ((0.03, "R"), (0.97, "L")):
        side = "left" if letter == "R" else "right"
        place: dict[str, Any] = {
            "transform": axes.transAxes,
            "va": "top",
            "ha": side,
            "fontsize": 7.5,
        }
        text = axes.text(x, 0.97, letter, color="white", **place)
        text.set_path_effects([patheffects.withStroke(linewidth=1.6, foreground=INK)])


def _colour_bar(figure: Figure, axes: Axes, shown, look: looks.Look) -> None:
    bar = figure.colorbar(shown, cax=axes, orientation="horizontal", extend=look.extend)
    bar.set_ticks([look.low, (look.low + look.high) / 2, look.high])
    digits = 1 if look.high <= 1 else 0
    bar.ax.xaxis.set_major_formatter(lambda value, _: f"{value:.{digits}f}".replace("-", "−"))
    bar.ax.tick_params(labelsize=7.0, length=2.0, pad=2.0, color=FAINT)
    bar.outline.set_linewidth(0.4)
    bar.outline.set_edgecolor(FAINT)
    bar.set_label(look.unit, fontsize=7.5, labelpad=1.0)


def training_curve(
    steps: Sequence[float], loss: Sequence[float], val_mae_hu: Sequence[float]
) -> bytes:
    """Draws the training loss and the whole-volume validation MAE over the optimiser's steps.

    Args:
        steps: step numbers.
        loss: training loss at those steps; nan where it was not recorded.
        val_mae_hu: mean absolute error in HU over the validation subjects; nan likewise.
    """
    with matplotlib.rc_context(STYLE):
        figure = _figure(PAGE_WIDTH_INCHES, 3.1)
        left, right = figure.subplots(1, 2)
        _curve(left, steps, loss, colour=SECOND)
        left.set_title("training loss", loc="left", fontsize=10.0)
        _curve(right, steps, val_mae_hu, colour=ACCENT)
        right.set_title("validation MAE on whole volumes (HU)", loc="left", fontsize=10.0)
        _mark_best(right, np.asarray(steps, float), np.asarray(val_mae_hu, float))
        figure.subplots_adjust(left=0.045, right=0.99, top=0.89, bottom=0.16, wspace=0.12)
        return _png(figure)


def _curve(axes: Axes, steps: Sequence[float], values: Sequence[float], *, colour: str) -> None:
    x, y = np.asarray(steps, float), np.asarray(values, float)
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    marks: dict[str, Any] = {"marker": "o", "markersize": 3.0} if x.size <= 40 else {}
    axes.plot(x, y, color=colour, linewidth=1.4, **marks)
    if y.size and y.min() > 0 and y.max() > 20 * y.min():
        axes.set_yscale("log")
    elif y.size and y.max() - y.min() > 10 * (span := np.quantile(y, 0.98) - y.min()) > 0:
        axes.set_ylim(y.min() - 0.1 * span, y.min() + 1.2 * span)  # a spike would hide the rest
        axes.set_title(f"highest {y.max():.3g}", loc="right", fontsize=8.0, color="#616e7c")
    axes.set_xlabel("step")
    axes.set_xlim(0, 1.02 * max(steps, default=1.0))
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))


def _mark_best(axes: Axes, steps: np.ndarray, values: np.ndarray) -> None:
    if not np.isfinite(values).any():
        return
    best = int(np.nanargmin(values))
    axes.plot(steps[best], values[best], "o", color=INK, markersize=4.5)
    words = f"● best {values[best]:.1f} at step {steps[best]:.0f}"
    axes.set_title(words, loc="right", fontsize=9.0)


def uncertainty_against_error(
    histograms: Sequence[tuple[str, reliability.JointHistogram]],
) -> bytes:
    """Draws joint histograms of predicted sd and absolute error, and the mean error at each sd.

    After Fig. 3 of the paper. Where the title is "total", the mean error that a calibrated Gaussian
    of that sd would have, sqrt(2/pi) sd, is drawn too; the parts alone are not meant to reach it.

    Args:
        histograms: a title ("aleatoric", "epistemic", "total") and the counts of its voxels.
    """
    with matplotlib.rc_context(STYLE):
        figure = _figure(min(PAGE_WIDTH_INCHES, 3.6 * len(histograms) + 1.4), 3.4)
        panels = figure.subplots(1, len(histograms), sharey=True, squeeze=False)[0]
        top = max(math.log10(h.counts.max() + 1) for _, h in histograms)
        for axes, (title, histogram) in zip(panels, histograms, strict=True):
            shown = _histogram(axes, histogram, top)
            axes.set_title(title, loc="left", fontsize=10.0)
            axes.set_xlabel(f"predicted {title} sd (HU)")
            if title == "total":
                sd = histogram.sd_edges_hu
                gauss: dict[str, Any] = {"color": INK, "linewidth": 1.0, "linestyle": (0, (4, 3))}
                axes.plot(sd, math.sqrt(2 / math.pi) * sd, label="calibrated Gaussian", **gauss)
            axes.legend(loc="upper right", frameon=False, fontsize=7.5)
        panels[0].set_ylabel("|pCT − CT| (HU)")
        width = figure.get_size_inches()[0]
        edges: dict[str, Any] = {"left": 0.62 / width, "right": 1 - 0.78 / width}
        figure.subplots_adjust(**edges, top=0.90, bottom=0.15, wspace=0.08)
        bar = figure.colorbar(shown, cax=_axes(figure, width - 0.68, 0.51, 0.13, 2.55))
        bar.set_label("log₁₀ voxels", fontsize=8.0)
        bar.outline.set_visible(False)
        return _png(figure)


def _histogram(axes: Axes, histogram: reliability.JointHistogram, top: float):
    counts = histogram.counts.T.astype(float)
    logs = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan)
    edges = (histogram.sd_edges_hu, histogram.error_edges_hu)
    shown = axes.pcolormesh(*edges, logs, cmap="Blues", vmin=-0.5, vmax=top, rasterized=True)
    centres = (edges[0][:-1] + edges[0][1:]) / 2
    mean = histogram.mean_error_hu()
    axes.plot(centres, mean, color=ACCENT, linewidth=1.6, label="mean |error|")
    return shown


def calibration(pooled: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Draws the coverage of Gaussian intervals by region, and the sparsification of the body.

    Args:
        pooled: the content of `reliability.json`: by state of the maps ("raw", "calibrated") and
            by region.
    """
    with matplotlib.rc_context(STYLE):
        figure = _figure(3.7 * (len(pooled) + 1), 3.5)
        *panels, right = figure.subplots(1, len(pooled) + 1)
        for axes, (state, by_region) in zip(panels, pooled.items(), strict=True):
            axes.plot((0, 1), (0, 1), color=FAINT, linewidth=1.0, linestyle=(0, (4, 3)))
            for region, found in by_region.items():
                curve = found["reliability"]
                axes.plot(curve["nominal"], curve["observed"], linewidth=1.4, label=region)
            axes.set_title(f"coverage, {state}", loc="left", fontsize=10.0)
            axes.set(xlabel="expected share", ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
            axes.legend(loc="upper left", frameon=False, fontsize=7.5)
        *_, last = pooled.values()
        curve = last["body"]["sparsification"]
        right.plot(curve["removed"], curve["mae_by_sd_hu"], color=ACCENT, label="by total sd")
        right.plot(curve["removed"], curve["mae_oracle_hu"], color=SECOND, label="oracle")
        right.set_title("sparsification, body", loc="left", fontsize=10.0)
        right.set(xlabel="share taken away", ylabel="MAE of the rest (HU)", xlim=(0, 1))
        right.set_ylim(bottom=0)
        right.legend(loc="lower left", frameon=False, fontsize=7.5)
        figure.tight_layout(pad=0.6)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
