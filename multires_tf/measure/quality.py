"""The picture by which people check a prepared subject: do MR and CT fit, are the masks right?"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BODY, _FIELD, _EDGE, _MR_BODY = "#f97316", "#38bdf8", "#facc15", "#4ade80"
_LONGEST_INCHES = 4.0
_CHECK_MM = 40.0
# Contours at the skin and at bone show a shift best.
_EDGES_HU = (-300.0, 250.0)
_CT_HU = (-1000.0, 1000.0)


def prepared_subject(
    mr: np.ndarray,
    ct_hu: np.ndarray,
    mask: np.ndarray,
    *,
    mr_body: np.ndarray,
    spacing_mm: Sequence[float],
    title: str,
    before_hu: np.ndarray | None = None,
) -> bytes:
    """Draws a coronal and an axial slice with masks, edges and checkerboards; a PNG.

    The slices are those with the most body. The MR has the outline of the body that it shows
    itself, the CT that of the mask. Edges of the CT lie on the MR, and squares of both alternate:
    where they fit, contours run on from square to square.

    Args:
      mr: (z, y, x) in [0, 1].
      ct_hu: same shape, as it is trained on.
      mask: same shape; 0 outside the field, 1 in it, 2 in the body.
      mr_body: bool, same shape; the body as the MR shows it.
      spacing_mm: (z, y, x).
      title: the subject.
      before_hu: the CT before it was registered, or None if it was not.
    """
    body = mask == 2
    y = int(np.argmax(body.sum(axis=(0, 2))))
    z = int(np.argmax(body.sum(axis=(1, 2))))
    # Head up: z grows towards the head, pictures grow downwards.
    cuts: list[tuple[Any, tuple[int, int], str]] = [
        (np.s_[::-1, y], (0, 2), f"coronal, y = {y}"),
        (np.s_[z], (1, 2), f"axial, z = {z}"),
    ]
    fits = [("", ct_hu)] if before_hu is None else [(", before", before_hu), (", after", ct_hu)]
    columns = 2 + 2 * len(fits)
    extent_mm = np.asarray(mask.shape) * np.asarray(spacing_mm)
    heights = [extent_mm[axes[0]] for _, axes, _ in cuts]
    scale = _LONGEST_INCHES / max(*heights, extent_mm[2])
    # Margins of the titles and of the space between panels.
    size = (columns * max(extent_mm[2] * scale + 0.1, 1.7), sum(heights) * scale + 1.0)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9, parse_math=False)
    panels = figure.subplots(2, columns, squeeze=False, height_ratios=heights)
    for row, (cut, axes, name) in zip(panels, cuts, strict=True):
        aspect = spacing_mm[axes[0]] / spacing_mm[axes[1]]
        mm = (spacing_mm[axes[0]], spacing_mm[axes[1]])
        _show(row[0], mr[cut], (0.0, 1.0), aspect, f"MR, {name}")
        _outline(row[0], mask[cut] > 0, _FIELD)
        _outline(row[0], mr_body[cut], _MR_BODY)
        _show(row[1], ct_hu[cut], _CT_HU, aspect, "CT")
        _outline(row[1], mask[cut] > 0, _FIELD)
        _outline(row[1], mask[cut] == 2, _BODY)
        for (edges, both), (words, image) in zip(row[2:].reshape(2, -1).T, fits, strict=True):
            _show(edges, mr[cut], (0.0, 1.0), aspect, f"CT's edges{words}")
            edges.contour(image[cut], levels=_EDGES_HU, colors=_EDGE, linewidths=0.5)
            board = _checkerboard(mr[cut], image[cut], mm)
            _show(both, board, (0.0, 1.0), aspect, f"both{words}")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _checkerboard(mr: np.ndarray, ct_hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Squares of the MR and of the CT in turn, grey from 0 to 1."""
    low, high = _CT_HU
    ct = (ct_hu - low) / (high - low)
    rows, columns = (
        (np.arange(length) * mm // _CHECK_MM).astype(int)
        for length, mm in zip(mr.shape, spacing_mm, strict=True)
    )
    return np.where((rows[:, None] + columns[None]) % 2 == 0, mr, ct)


def _show(
    axes: Axes, image: np.ndarray, limits: tuple[float, float], aspect: float, title: str
) -> None:
    axes.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], aspect=aspect)
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def _outline(axes: Axes, region: np.ndarray, colour: str) -> None:
    if region.any() and not region.all():
        axes.contour(region, levels=[0.5], colors=colour, linewidths=0.7)
