"""TensorBoard: scalars, pictures, histograms, the graph, the config and hyper-parameters."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from multires_tf.ground import errors

# One cell of a picture: a slice (rows, columns) and the values shown black and white.
Cell = tuple[np.ndarray, float, float]


class Board:
    """Writes event files into one folder, or nothing at all.

    Args:
        folder: of the event files; None where another process writes them.
    """

    def __init__(self, folder: pathlib.Path | None) -> None:
        self._folder = folder
        if folder is None:
            self._writer = tf.summary.create_noop_writer()
            return
        with self._telling():
            self._writer = tf.summary.create_file_writer(str(folder))

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """TensorFlow tells the system's errors in words only: gives them their numbers back."""
        try:
            yield
        except tf.errors.OpError as error:
            raise errors.as_system_error(error, self._folder or "") from None

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        with self._telling():
            with self._writer.as_default(step):
                yield
            self._writer.flush()

    def scalars(self, step: int, values: dict[str, float | None]) -> None:
        """Writes one number a name; absent ones are left out."""
        with self._writing(step):
            for name, value in values.items():
                if value is not None:
                    tf.summary.scalar(name, value)

    def text(self, name: str, content: str) -> None:
        """Writes text as a Markdown code block."""
        indented = "\n".join(f"    {line}" for line in content.splitlines())
        with self._writing(0):
            tf.summary.text(name, indented)

    def picture(self, step: int, name: str, cells: Sequence[Cell], description: str) -> None:
        """Writes slices side by side, grey between their two values.

        Args:
            step: of the training.
            name: of the picture.
            cells: of equal height.
            description: what they are, from left to right.
        """
        grey = [np.pad(_grey(*cell), ((0, 0), (0, 2))) for cell in cells]
        picture = np.concatenate(grey, axis=1)[None, :, :-2, None]
        with self._writing(step):
            tf.summary.image(name, picture, description=description)

    def histograms(self, step: int, arrays: dict[str, Any]) -> None:
        """Writes the distribution of the values of each array; those not finite are left out."""
        with self._writing(step):
            for name, array in arrays.items():
                values = np.asarray(array, dtype=np.float32)
                tf.summary.histogram(name, values[np.isfinite(values)])

    def graph(self, network: Any) -> None:
        """Writes the graph of one forward pass of a network with free edges."""
        specs = [tf.TensorSpec((1, *i.shape[1:]), i.dtype, i.name) for i in network.inputs]
        forward = tf.function(lambda inputs: network(inputs, training=False), jit_compile=False)
        graph = forward.get_concrete_function(specs).graph
        with self._writing(0):
            tf.summary.graph(graph)

    def hyper_parameters(self, values: dict[str, Any], metric: str) -> None:
        """Writes the settings of the run, for comparison with other runs.

        Args:
            values: what the HParams tab shows; all but numbers, truth values and text become text.
            metric: name of the scalar that runs are compared by.
        """
        from tensorboard.plugins.hparams import api

        plain = {k: v if isinstance(v, (bool, int, float)) else str(v) for k, v in values.items()}
        with self._writing(0):
            keys = [api.HParam(key) for key in plain]
            api.hparams_config(hparams=keys, metrics=[api.Metric(metric)])
            api.hparams(plain)

    def close(self) -> None:
        self._writer.close()


def _grey(slice_: np.ndarray, black: float, white: float) -> np.ndarray:
    scaled = (slice_.astype(np.float32) - black) / (white - black)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
