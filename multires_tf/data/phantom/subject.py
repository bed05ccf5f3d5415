"""One subject: body, anatomy, both scans and the truth behind them."""

from __future__ import annotations

import dataclasses

import numpy as np

from multires_tf.data.phantom import (
    abdomen,
    body,
    canvas,
    chest,
    ct,
    fields,
    mr,
    outline,
    pelvis,
    ribcage,
    skull,
    spine,
    tissues,
)

NOISE_SHARE = 0.02  # MR noise as a share of fat's signal
FULL_SCALE = 1000.0  # about what fat is stored as


@dataclasses.dataclass(frozen=True)
class Subject:
    """What `simulate` returns.

    Attributes:
        images: name -> array (z, y, x) on the grid: ct, mr, and the truth (labels, noise, …).
        stations: MR stations from the head down: (first slice, array); empty without stations.
        origin_mm: of voxel (0, 0, 0) in the scanner's frame (x, y, z).
        spacing_mm: edge of the voxels.
        facts: what was drawn, for people to read.
    """

    images: dict[str, np.ndarray]
    stations: list[tuple[int, np.ndarray]]
    origin_mm: tuple[float, float, float]
    spacing_mm: float
    facts: dict


def simulate(seed: int, index: int, *, spacing_mm: float = 5.0, stations: bool = False) -> Subject:
    """Simulates one subject: a pure function of its arguments.

    Args:
        seed: of the cohort.
        index: of the subject in it.
        spacing_mm: edge of the cubic voxels.
        stations: also acquire the MR in four overlapping stations of different gain.
    """
    person = body.draw_body(seed, index)
    values = body.stream(seed, index, "values")
    hu = tissues.mean_hu(values)
    sequence = mr.draw_sequence(values)
    signal = mr.tissue_signals(sequence)
    gain = FULL_SCALE * float(values.uniform(0.7, 1.4)) / float(signal[tissues.INDEX["fat"]])
    page = _canvas(seed, index, person, spacing_mm, hu, signal * gain)
    skin = _paint(page, person, seed, index)
    axes = page.grid.axes_mm()
    clean_hu = np.clip(page.scans["ct"], -1024, 3071)
    noise = body.stream(seed, index, "ct")
    sd_hu = _rounded(ct.noise_sd(clean_hu, spacing_mm), 32)
    images = {
        "ct": ct.acquire(noise, clean_hu, sd_hu),
        "ct_clean_hu": clean_hu,
        "ct_noise_sd_hu": sd_hu,
        "tissues": page.label,
        "body_mask": (skin <= 0).astype(np.uint8),
        "gas_ct": (page.gas["ct"] * 255 + 0.5).astype(np.uint8),
        "gas_mr": (page.gas["mr"] * 255 + 0.5).astype(np.uint8),
    }
    coil = body.stream(seed, index, "mr")
    images["bias"] = _rounded(mr.bias_field(coil, axes), 1024)
    images["mr_clean"] = np.maximum(page.scans["mr"], 0) * images["bias"]
    sd = NOISE_SHARE * float(signal[tissues.INDEX["fat"]]) * gain
    images["mr_noise_sd"] = np.full(page.grid.shape, sd, np.float32)
    images["mr"] = _stored(mr.rician(coil, images["mr_clean"], sd))
    parts, gains = [], []
    if stations:
        for piece in mr.station_slices(page.grid.shape[0], spacing_mm):
            gains.append(float(coil.uniform(0.6, 1.5)))
            own = mr.bias_field(coil, [axes[0][piece], *axes[1:]], 0.06)
            part = mr.rician(coil, images["mr_clean"][piece] * own, sd) * gains[-1]
            parts.append((piece.start, _stored(part)))
    place = body.stream(seed, index, "place").uniform((-30, -40, -200), (30, 40, 200))
    first = page.grid.first_mm
    x, y, z = (round(float(p + f), 2) for p, f in zip(place, reversed(first), strict=True))
    facts = dataclasses.asdict(person) | {
        "bmi": person.bmi,
        "sequence": dataclasses.asdict(sequence),
        "mr_gain": gain,
        "mr_noise_sd": sd,
        "station_gains": gains,
    }
    return Subject(images, parts, (x, y, z), spacing_mm, facts)


def _rounded(values: np.ndarray, steps: int) -> np.ndarray:
    """Rounds to 1 / steps: smooth maps compress well, and the file holds exactly what was used."""
    return np.rint(values * steps) / np.float32(steps)


def _stored(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 32767)).astype(np.int16)


def _grid(person: body.Body, spacing_mm: float) -> canvas.Grid:
    """Returns a tight field of view: head to a hand's breadth above or below the knee."""
    unit = person.unit_mm
    arm = outline.arm_points(person)
    half = unit * float(max(arm[:, 0] + 46 * person.limb + 0.45 * person.fat)) + 14
    front = unit * (118 + person.belly + 1.3 * person.fat + 34 * person.breast) + 14
    back = unit * (outline.TABLE + 0.3 * person.fat) + 14
    low, high = unit * person.knee, unit * 1752 + 14
    lows, highs = (low, -front, -half), (high, back, half)
    depth, rows, columns = (
        int(np.ceil((b - a) / spacing_mm)) for a, b in zip(lows, highs, strict=True)
    )
    z, y, x = (a + spacing_mm / 2 for a in lows)
    return canvas.Grid((z, y, x), (depth, rows, columns), spacing_mm)


def _canvas(seed, index, person, spacing_mm, hu, signal) -> canvas.Canvas:
    grid = _grid(person, spacing_mm)
    axes = grid.axes_mm()
    shape = body.stream(seed, index, "warp")
    warp = [(4.0 * fields.smooth_noise(shape, axes, 160.0) / person.unit_mm) for _ in range(3)]
    texture = body.stream(seed, index, "texture")
    rows = list(tissues.TISSUES.values())
    spread = {
        "ct": np.array([t.texture_sd_hu for t in rows], np.float32),
        "mr": np.array([t.texture_mr for t in rows], np.float32) * signal,
    }
    noise = {
        scan: 0.6 * fields.smooth_noise(texture, axes, 7.0)
        + 0.8 * fields.smooth_noise(texture, axes, 22.0)
        for scan in ("ct", "mr")
    }
    values = {"ct": hu, "mr": signal}
    return canvas.Canvas(grid, person.unit_mm, warp, values, spread, noise)


def _paint(page: canvas.Canvas, person: body.Body, seed: int, index: int) -> np.ndarray:
    """Paints everything from the outside in; returns the distance to the skin."""
    texture = body.stream(seed, index, "folds")
    axes = page.grid.axes_mm()
    septa = fields.smooth_noise(texture, axes, (120.0, 22.0, 22.0))
    folds = fields.smooth_noise(texture, axes, 13.0)
    shape = body.stream(seed, index, "organs")
    chain = spine.vertebrae(float(shape.normal(0, 4)))
    skin = outline.draw_outline(page, person, septa)
    above = chest.diaphragm(page, person, float(shape.normal(0, 4)))
    abdomen.draw_abdomen(page, person, above, shape)
    chest.draw_chest(page, person, above, shape)
    bowel = body.stream(seed, index, "bowel")
    abdomen.draw_bowel(page, person, above, bowel)
    spine.draw_spine(page, person, chain)
    ribcage.draw_cage(page, person, chain)
    pelvis.draw_pelvis(page, person)
    pelvis.draw_legs(page, person)
    pelvis.draw_arms(page, person)
    skull.draw_head(page, person, folds, shape)
    return skin
