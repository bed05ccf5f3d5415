"""What an MR scanner makes of the body: T1-weighted spoiled gradient echoes."""

from __future__ import annotations

import dataclasses

import numpy as np

from multires_tf.data.phantom import fields, tissues


@dataclasses.dataclass(frozen=True)
class Sequence:
    """A spoiled gradient echo: field strength, repetition and echo time, flip angle."""

    field_tesla: float
    tr_ms: float
    te_ms: float
    flip_deg: float


def spoiled_gradient_echo(
    density: np.ndarray,
    t1_ms: np.ndarray,
    t2_star_ms: np.ndarray,
    sequence: Sequence,
) -> np.ndarray:
    """Returns the steady-state signal, as a share of the full magnetisation of water.

    S = PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE / T2*), E1 = exp(-TR / T1).
    """
    flip = np.deg2rad(sequence.flip_deg)
    recovery = np.exp(-sequence.tr_ms / np.asarray(t1_ms, float))
    decay = np.exp(-sequence.te_ms / np.asarray(t2_star_ms, float))
    return density * np.sin(flip) * (1 - recovery) / (1 - np.cos(flip) * recovery) * decay


def draw_sequence(rng: np.random.Generator) -> Sequence:
    """Draws a whole-body T1 protocol: 1.5 T or 3 T, one breath-hold's TR."""
    return Sequence(
        field_tesla=float(rng.choice([1.5, 3.0])),
        tr_ms=float(rng.uniform(5.0, 6.5)),
        te_ms=float(rng.uniform(2.1, 2.5)),
        flip_deg=float(rng.uniform(11, 15)),
    )


def tissue_signals(sequence: Sequence) -> np.ndarray:
    """Returns the signal of every tissue, float32, in the order of `tissues.NAMES`."""
    table = tissues.TISSUES.values()
    strong = sequence.field_tesla > 2
    signal = spoiled_gradient_echo(
        np.array([t.density for t in table]),
        np.array([t.t1_ms[int(strong)] for t in table]),
        np.array([t.t2_star_ms for t in table]),
        sequence,
    )
    return signal.astype(np.float32)


def bias_field(
    rng: np.random.Generator, axes_mm: list[np.ndarray], strength: float = 0.12
) -> np.ndarray:
    """Returns a smooth positive gain around 1, features of about 300 mm, log sd `strength`."""
    return np.exp(strength * fields.smooth_noise(rng, axes_mm, (300.0, 200.0, 200.0)))


def rician(rng: np.random.Generator, clean: np.ndarray, sd: np.ndarray | float) -> np.ndarray:
    """Returns the magnitude of `clean` with Gaussian noise of `sd` in both channels, float32."""
    real = clean + sd * rng.standard_normal(clean.shape, np.float32)
    imaginary = sd * rng.standard_normal(clean.shape, np.float32)
    return np.hypot(real, imaginary).astype(np.float32)


def station_slices(
    count: int, spacing_mm: float, stations: int = 4, overlap_mm: float = 60.0
) -> list[slice]:
    """Returns the slices along z of each station, from the head down, neighbours overlapping.

    Args:
        count: slices of the whole volume.
        overlap_mm: how much two neighbours share, at least two slices.
    """
    overlap = max(2, round(overlap_mm / spacing_mm))
    length = -(-(count + (stations - 1) * overlap) // stations)
    starts = [round(k * (count - length) / (stations - 1)) for k in range(stations)]
    return [slice(start, start + length) for start in reversed(starts)]
