"""The picture by which people check a prepared subject: do MR and CT fit, are the masks right?"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from multires_tf.measure import looks

_BODY, _FIELD, _EDGE, _MR_BODY = "#f97316", "#38bdf8", "#facc15", "#4ade80"
_LONGEST_INCHES = 4.0
_CHECK_MM = 40.0
# Contours at the skin and at bone show a shift best.
_EDGES_HU = (-300.0, 250.0)
_CT_HU = (looks.CT.low, looks.CT.high)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A subject's prepared volumes, (z, y, x) each.

    Attributes:
        mr: in [0, 1].
        ct_hu: as it is trained on.
        mr_body: boolean, the body as the MR shows it.
        ct_body: boolean, the body as the CT shows it, inside the field.
        field: boolean, where MR and CT are known; holds `ct_body`.
        before_hu: the CT before it was registered; None if it was not.
    """

    mr: np.ndarray
    ct_hu: np.ndarray
    mr_body: np.ndarray
    ct_body: np.ndarray
    field: np.ndarray
    before_hu: np.ndarray | None = None


def prepared_subject(prepared: Prepared, *, spacing_mm: Sequence[float], title: str) -> bytes:
    """Draws a coronal and an axial slice with masks, edges and checkerboards; a PNG.

    The slices are those with the most body. Each scan has the outline of the body that it shows.
    Edges of the CT lie on the MR, and squares of both alternate: where they fit, contours run on
    from square to square.

    Args:
      prepared: what is drawn.
      spacing_mm: (z, y, x).
      title: the subject.
    """
    body = prepared.ct_body
    y, z = looks.widest_slices(body)
    # Head up: z grows towards the head, pictures grow downwards.
    cuts: list[tuple[Any, tuple[int, int], str]] = [
        (np.s_[::-1, y], (0, 2), f"coronal, y = {y}"),
        (np.s_[z], (1, 2), f"axial, z = {z}"),
    ]
    columns = 4 if prepared.before_hu is None else 6
    extent_mm = np.asarray(body.shape) * np.asarray(spacing_mm)
    heights = [extent_mm[axes[0]] for _, axes, _ in cuts]
    scale = _LONGEST_INCHES / max(*heights, extent_mm[2])
    # Margins of the titles and of the space between panels.
    size = (columns * max(extent_mm[2] * scale + 0.1, 1.7), sum(heights) * scale + 1.0)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9, parse_math=False)
    panels = figure.subplots(2, columns, squeeze=False, height_ratios=heights)
    for row, (cut, axes, name) in zip(panels, cuts, strict=True):
        cut_mm = (spacing_mm[axes[0]], spacing_mm[axes[1]])
        _draw(row, _cut(prepared, cut), cut_mm, name)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _cut(prepared: Prepared, cut: Any) -> Prepared:
    """One slice of everything."""
    return Prepared(
        prepared.mr[cut],
        prepared.ct_hu[cut],
        prepared.mr_body[cut],
        prepared.ct_body[cut],
        prepared.field[cut],
        None if prepared.before_hu is None else prepared.before_hu[cut],
    )


def _draw(
    row: Sequence[Axes], slices: Prepared, spacing_mm: tuple[float, float], name: str
) -> None:
    """One slice: the MR, the CT, then edges and checkerboard of each state of the CT."""
    aspect = spacing_mm[0] / spacing_mm[1]
    _show(row[0], slices.mr, (0.0, 1.0), aspect, f"MR, {name}")
    _outline(row[0], slices.field, _FIELD)
    _outline(row[0], slices.mr_body, _MR_BODY)
    _show(row[1], slices.ct_hu, _CT_HU, aspect, "CT")
    _outline(row[1], slices.field, _FIELD)
    _outline(row[1], slices.ct_body, _BODY)
    fits = [("", slices.ct_hu)]
    if slices.before_hu is not None:
        fits = [(", before", slices.before_hu), (", after", slices.ct_hu)]
    for index, (words, ct_hu) in enumerate(fits):
        edges, both = row[2 + 2 * index : 4 + 2 * index]
        _show(edges, slices.mr, (0.0, 1.0), aspect, f"CT's edges{words}")
        edges.contour(ct_hu, levels=_EDGES_HU, colors=_EDGE, linewidths=0.5)
        board = _checkerboard(slices.mr, ct_hu, spacing_mm)
        _show(both, board, (0.0, 1.0), aspect, f"both{words}")


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
