"""The picture by which people check a prepared subject: do MR and CT fit, is the mask right?"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BODY, _FIELD = "#f97316", "#38bdf8"
_LONGEST_INCHES = 5.0


def prepared_subject(
    mr: np.ndarray,
    ct_hu: np.ndarray,
    mask: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    title: str,
) -> bytes:
    """Draws a coronal and an axial slice of MR and CT with the mask's outlines; a PNG.

    The slices are those with the most body. The CT's body is outlined on both images, so that a
    shift between them shows; a second line runs where the field ends.

    Args:
      mr: (z, y, x) in [0, 1].
      ct_hu: same shape.
      mask: same shape; 0 outside the field, 1 in it, 2 in the body.
      spacing_mm: (z, y, x).
      title: the subject.
    """
    body = mask == 2
    y = int(np.argmax(body.sum(axis=(0, 2))))
    z = int(np.argmax(body.sum(axis=(1, 2))))
    # Head up: z grows towards the head, pictures grow downwards.
    cuts: list[tuple[Any, tuple[int, int], str]] = [
        (np.s_[::-1, y], (0, 2), f"coronal, y = {y}"),
        (np.s_[z], (1, 2), f"axial, z = {z}"),
    ]
    extent_mm = np.asarray(mask.shape) * np.asarray(spacing_mm)
    heights = [extent_mm[axes[0]] for _, axes, _ in cuts]
    scale = _LONGEST_INCHES / max(*heights, extent_mm[2])
    # Margins of the titles and of the space between panels.
    size = (2 * extent_mm[2] * scale + 0.3, sum(heights) * scale + 1.0)
    figure = Figure(figsize=(max(size[0], 3.5), size[1]), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title}: body of the CT (orange), end of the field (blue)", fontsize=8)
    panels = figure.subplots(2, 2, squeeze=False, height_ratios=heights)
    for row, (cut, axes, name) in zip(panels, cuts, strict=True):
        aspect = spacing_mm[axes[0]] / spacing_mm[axes[1]]
        _panel(row[0], mr[cut], mask[cut], limits=(0.0, 1.0), aspect=aspect)
        _panel(row[1], ct_hu[cut], mask[cut], limits=(-1000.0, 1000.0), aspect=aspect)
        row[0].set_title(f"MR, {name}", fontsize=8)
        row[1].set_title("CT, −1000 to 1000 HU", fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _panel(
    axes: Axes, image: np.ndarray, mask: np.ndarray, *, limits: tuple[float, float], aspect: float
) -> None:
    axes.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], aspect=aspect)
    for region, colour in ((mask == 2, _BODY), (mask > 0, _FIELD)):
        if region.any() and not region.all():
            axes.contour(region, levels=[0.5], colors=colour, linewidths=0.7)
    axes.set_axis_off()
