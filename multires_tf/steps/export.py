"""`export`: the trained network as a SavedModel, compared with itself in a fresh process."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from multires_tf.data import nyul
from multires_tf.ground import config as configs
from multires_tf.ground import runfolder, runtime
from multires_tf.joints import assembly, calibration

# The network's own float32 noise is about 1e-6 of a unit; this is 0.4 HU.
_TOLERANCE_UNIT = 1e-4
# Names of inputs say what they are: all that `saved_model_cli show` has of them.
WINDOW_NAMES = {1: "mr_full_resolution", 2: "mr_half_resolution", 4: "mr_quarter_resolution"}
CONTEXT_NAME = "mr_context"

# What a user of the SavedModel would write: TensorFlow alone, none of our layers.
_FRESH_PROCESS = """
import sys
import numpy as np
import tensorflow as tf
assert not any(name.startswith("multires_tf") for name in sys.modules)
folder, arrays, results = sys.argv[1:]
loaded = tf.saved_model.load(folder)
given = np.load(arrays)
found = {}
for endpoint in set(key.split("/")[0] for key in given):
    inputs = {k.split("/")[1]: tf.constant(given[k]) for k in given if k.startswith(endpoint + "/")}
    outputs = loaded.signatures[endpoint](**inputs)
    found.update({f"{endpoint}/{k}": v.numpy() for k, v in outputs.items()})
np.savez(results, **found)
"""


def run(*, workdir: pathlib.Path, precision: str = "float32") -> list[str]:
    """Writes W/saved_model.

    Its endpoints take MR in [0, 1], float32 (B, Z, Y, X, 1), and give "ct_hu" and, with a variance
    head, "sd_hu". Batch and edges are free, within the laws of the windows.

    - `serve`: the windows of all branches; no channel is dropped.
    - `sample`: the same and "seed" and "draw", int32 (B,): one draw; of networks with dropout.
    - `serve_context`: "mr_context", all that the coarsest branch sees at full resolution (the
      paper's 320 voxels a side); gives what is left in the middle (80 voxels a side).

    Args:
        workdir: run folder with a trained network.
        precision: of the network's arithmetic, float32 or mixed_bfloat16.

    Raises:
        errors.UserError: nothing trained yet.
        RuntimeError: the exported model does not give the network's numbers; nothing is left.
    """
    folder = runfolder.RunFolder(workdir)
    folder.need(folder.best, "train")
    config = configs.parse(folder.need(folder.config, "prepare"))
    runtime.need_tensorflow("export")
    runtime.start(seed=config.seed, precision=precision)
    import tensorflow as tf

    from multires_tf.model import calls

    config, nets, position = assembly.trained_networks(folder)
    kept = calibration.current(folder)
    endpoints = _endpoints(nets, config)
    module = tf.Module()
    # Its weights alone: a Keras model would be traced and saved a second time.
    module.weights = [variable.value for variable in nets.plain.variables]
    with calls.portable.holds():
        signatures = {
            name: tf.function(call, jit_compile=False, autograph=False).get_concrete_function(**own)
            for name, (call, own) in endpoints.items()
        }
    signatures["serving_default"] = signatures["serve"]
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with runfolder.replacing(folder.saved_model) as beside:
        tf.saved_model.save(module, str(beside), signatures=signatures, options=options)
        difference = _compare(beside, endpoints, config)
        facts = {
            "step": position["step"],
            "spacing_mm": position["spacing_mm"],
            "ct_window_hu": config.intensity.ct_window_hu,
            **_scaling(folder, config),
            "calibration_scale": kept.values.scale if kept else None,
            "scales": config.network.scales,
            "window": config.network.window,
            "precision": precision,
            "largest_difference_hu": difference,
        }
        runfolder.write_json(beside / "multires_tf.json", facts)
    return [
        f"a fresh process with TensorFlow alone agrees to {difference:.2g} HU",
        f"SavedModel: {folder.saved_model}",
    ]


def _scaling(folder: runfolder.RunFolder, config: configs.Config) -> dict[str, Any]:
    """What brings an MR to [0, 1]: percentiles inside its body, or those and the landmarks."""
    settings = config.intensity
    scaling: dict[str, Any] = {"mr_bias_field": settings.mr_bias_field}
    landmarks = nyul.of_run(folder.landmarks, settings.mr_landmarks)
    if landmarks is None:
        return scaling | {"mr_percentiles": settings.mr_percentiles}
    becomes = {f"{nyul.PERCENTS[i]}": float(landmarks[i] / nyul.TOP) for i in nyul.USED}
    return scaling | {"mr_landmarks": becomes}


def _endpoints(nets: Any, config: configs.Config) -> dict[str, tuple[Callable, dict[str, Any]]]:
    """Name -> function of keywords, and their specifications."""
    import tensorflow as tf

    scales, window = config.network.scales, config.network.window
    names = [WINDOW_NAMES[scale] for scale in scales]
    windows = {name: _mr_spec(name) for name in names}

    def serve(**inputs: Any) -> dict[str, Any]:
        return _in_hu(nets.plain([inputs[name] for name in names], training=False), config)

    def sample(**inputs: Any) -> dict[str, Any]:
        draw = tf.stack([inputs["seed"], inputs["draw"]], axis=1)
        mr = [inputs[name] for name in names]
        return _in_hu(nets.sampler([*mr, draw], training=False), config)

    def serve_context(mr_context: Any) -> dict[str, Any]:
        pyramid = _pyramid(mr_context, scales, window)
        return _in_hu(nets.plain(pyramid, training=False), config)

    found: dict[str, tuple[Callable, dict[str, Any]]] = {"serve": (serve, windows)}
    if config.network.kind == "multires":
        found["serve_context"] = (serve_context, {CONTEXT_NAME: _mr_spec(CONTEXT_NAME)})
    if nets.sampler is not None:
        chosen = {key: tf.TensorSpec((None,), tf.int32, name=key) for key in ("seed", "draw")}
        found["sample"] = (sample, {**windows, **chosen})
    return found


def _mr_spec(name: str) -> Any:
    import tensorflow as tf

    return tf.TensorSpec((None, None, None, None, 1), tf.float32, name=name)


def _pyramid(context: Any, scales: tuple[int, ...], window: tuple[int, int, int]) -> list[Any]:
    """The branches' windows from a context: averaged by 2 again and again, cut in the middle.

    Of a context C the tile is T = C - (S - 1) w, with w the training window and S the coarsest
    scale; the branch at s sees T / s + w (1 - 1 / s) voxels (data/windows.py).
    """
    import tensorflow as tf

    level, found, edges = context, [], tf.shape(context)[1:4]
    tile = edges - (max(scales) - 1) * tf.constant(window)
    for scale in scales:
        if scale > 1:
            level = tf.nn.avg_pool3d(level, 2, 2, "VALID")
        size = tile // scale + (tf.constant(window) * (scale - 1)) // scale
        start = (edges // scale - size) // 2
        begin, extent = (
            tf.concat([[end], part, [end]], 0) for part, end in ((start, 0), (size, -1))
        )
        cut = tf.slice(level, begin, extent)
        cut.set_shape((None, None, None, None, 1))
        found.append(cut)
    return found


def _in_hu(outputs: dict[str, Any], config: configs.Config) -> dict[str, Any]:
    """A network's outputs in HU."""
    import keras

    from multires_tf.model import losses

    low, _ = config.intensity.ct_window_hu
    span = assembly.hu_per_unit(config)
    found = {"ct_hu": low + span * outputs["ct"]}
    if "log_var" in outputs:
        log_var = losses.stabilised(outputs["log_var"], config.loss.stabiliser)
        found["sd_hu"] = span * keras.ops.exp(log_var / 2)
    return found


def _compare(
    folder: pathlib.Path,
    endpoints: dict[str, tuple[Callable, dict[str, Any]]],
    config: configs.Config,
) -> float:
    """Largest difference in HU between the network here and the export in a fresh process."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    for endpoint, (call, specifications) in endpoints.items():
        inputs = {name: _example(name, config, rng) for name in specifications}
        arrays.update({f"{endpoint}/{name}": array for name, array in inputs.items()})
        outputs = call(**{name: tf.constant(array) for name, array in inputs.items()})
        expected.update({f"{endpoint}/{k}": np.asarray(v) for k, v in outputs.items()})
    with tempfile.TemporaryDirectory() as scratch:
        given, results = (str(pathlib.Path(scratch) / f"{n}.npz") for n in ("in", "out"))
        np.savez(given, **arrays)
        command = [sys.executable, "-c", _FRESH_PROCESS, str(folder.resolve()), given, results]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the SavedModel does not load: {done.stderr.strip()[-300:]}")
        with np.load(results) as seen:
            # NumPy's maximum, and the comparison this way around: what is not a number is no match.
            difference = float(np.max([np.abs(seen[k] - v).max() for k, v in expected.items()]))
    if not difference <= _TOLERANCE_UNIT * assembly.hu_per_unit(config):
        raise RuntimeError(f"the SavedModel differs from the network by {difference:.3g} HU")
    return difference


def _example(name: str, config: configs.Config, rng: np.random.Generator) -> np.ndarray:
    """An input of one training window."""
    if name in ("seed", "draw"):
        return np.array([{"seed": 7, "draw": 3}[name]], np.int32)
    factor = max(config.network.scales) if name == CONTEXT_NAME else 1
    edges = [factor * edge for edge in config.network.window]
    return rng.random((1, *edges, 1), dtype=np.float32)
