"""TensorBoard: scalars, the config as text, and slices of a validation subject."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf


class Board:
    """Writes event files into one folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, step: int, values: dict[str, float | None]) -> None:
        """Writes one number a name; absent ones are left out."""
        with self._writer.as_default(step):
            for name, value in values.items():
                if value is not None:
                    tf.summary.scalar(name, value)
        self._writer.flush()

    def text(self, name: str, content: str) -> None:
        """Writes text as a Markdown code block."""
        indented = "\n".join(f"    {line}" for line in content.splitlines())
        with self._writer.as_default(0):
            tf.summary.text(name, indented)

    def slices(self, step: int, name: str, rows: list[list[tuple[np.ndarray, float, float]]]):
        """Writes pictures side by side, grey between two values.

        Args:
            rows: of (slice (z, x) or (y, x), black, white); the slices of a row share a height.
        """
        grey = [np.concatenate([_grey(*cell) for cell in row], axis=1) for row in rows]
        width = max(row.shape[1] for row in grey)
        padded = [np.pad(row, ((0, 2), (0, width - row.shape[1]))) for row in grey]
        picture = np.concatenate(padded, axis=0)[None, ..., None]
        with self._writer.as_default(step):
            tf.summary.image(name, picture)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _grey(slice_: np.ndarray, black: float, white: float) -> np.ndarray:
    scaled = (slice_.astype(np.float32) - black) / (white - black)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
