"""`export`: the trained network as a SavedModel, compared with itself in a fresh process."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from multires_tf import assembly, runfolder, runtime
from multires_tf import config as configs

# The network's own float32 noise is about 1e-6 of a unit; this is 0.4 HU.
_TOLERANCE_UNIT = 1e-4

# What a user of the SavedModel would write: TensorFlow alone, none of our layers.
_FRESH_PROCESS = """
import json, sys
import numpy as np
import tensorflow as tf
assert not any(name.startswith("multires_tf") for name in sys.modules)
folder, arrays, results = sys.argv[1:]
loaded = tf.saved_model.load(folder)
inputs = {k: tf.constant(v) for k, v in np.load(arrays).items()}
draw = inputs.pop("draw", None)
found = {f"serve_{k}": v.numpy() for k, v in loaded.serve(list(inputs.values())).items()}
if draw is not None:
    sampled = loaded.sample([*inputs.values(), draw])
    found.update({f"sample_{k}": v.numpy() for k, v in sampled.items()})
np.savez(results, **found)
"""


def run(*, workdir: pathlib.Path) -> list[str]:
    """Writes W/saved_model with the endpoints `serve` and `sample`.

    `serve` takes the list of MR windows (mr_1, mr_2, mr_4; float32 (B, Z, Y, X, 1) in [0, 1]) and
    gives "ct_hu" and, with a variance head, "sd_hu". `sample` takes besides, last in the list,
    "draw": int32 (B, 2), (seed, draw index), and gives the same of one draw. Batch and edges are
    free, within the laws of the windows.

    Raises:
        errors.UserError: nothing trained yet.
        RuntimeError: the exported model does not give the network's numbers; nothing is left.
    """
    folder = runfolder.RunFolder(workdir)
    folder.need(assembly.best(folder), "train")
    runtime.quiet()
    import keras

    config, nets, position = assembly.trained_networks(folder)
    serve, sample = (_in_hu(model, config) for model in (nets.plain, nets.sampler))
    archive = keras.export.ExportArchive()
    archive.track(serve)
    archive.add_endpoint("serve", serve.call, input_signature=[_signature(serve)])
    if sample is not None:
        archive.track(sample)
        archive.add_endpoint("sample", sample.call, input_signature=[_signature(sample)])
    with runfolder.replacing(folder.saved_model) as beside:
        archive.write_out(str(beside), verbose=False)
        difference = _compare(beside, serve, sample, config)
        facts = {
            "step": position["step"],
            "spacing_mm": position["spacing_mm"],
            "ct_window_hu": config.intensity.ct_window_hu,
            "mr_percentiles": config.intensity.mr_percentiles,
            "scales": config.network.scales,
            "window": config.network.window,
            "largest_difference_hu": difference,
        }
        (beside / "multires_tf.json").write_text(json.dumps(facts, indent=1) + "\n")
    return [
        f"a fresh process with TensorFlow alone agrees to {difference:.2g} HU",
        f"SavedModel: {folder.saved_model}",
    ]


def _in_hu(model: Any, config: configs.Config) -> Any:
    """The same model with outputs in HU."""
    import keras

    if model is None:
        return None
    low, _ = config.intensity.ct_window_hu
    span = assembly.hu_per_unit(config)
    inputs = list(model.inputs)
    outputs = model(inputs, training=False)
    in_hu = {"ct_hu": low + span * outputs["ct"]}
    if "log_var" in outputs:
        variance = keras.ops.exp(outputs["log_var"]) + config.loss.stabiliser
        in_hu["sd_hu"] = span * keras.ops.sqrt(variance)
    return keras.Model(inputs, in_hu, name=f"{model.name}_hu")


def _signature(model: Any) -> list[Any]:
    import tensorflow as tf

    return [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs]


def _compare(folder: pathlib.Path, serve: Any, sample: Any, config: configs.Config) -> float:
    """Largest difference in HU between the network here and the export in a fresh process."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        t.name: rng.random((1, *config.network.window, 1), dtype=np.float32) for t in serve.inputs
    }
    expected = {f"serve_{k}": np.asarray(v) for k, v in serve(list(arrays.values())).items()}
    if sample is not None:
        arrays["draw"] = np.array([[7, 3]], np.int32)
        found = sample(list(arrays.values()))
        expected.update({f"sample_{k}": np.asarray(v) for k, v in found.items()})
    with tempfile.TemporaryDirectory() as scratch:
        given, results = (str(pathlib.Path(scratch) / f"{n}.npz") for n in ("in", "out"))
        np.savez(given, **arrays)
        command = [sys.executable, "-c", _FRESH_PROCESS, str(folder.resolve()), given, results]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the SavedModel does not load: {done.stderr.strip()[-300:]}")
        with np.load(results) as seen:
            difference = max(float(np.abs(seen[k] - v).max()) for k, v in expected.items())
    if difference > _TOLERANCE_UNIT * assembly.hu_per_unit(config):
        raise RuntimeError(f"the SavedModel differs from the network by {difference:.3g} HU")
    return difference
