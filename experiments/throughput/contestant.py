"""The process of one contestant: builds a network on random tensors, then obeys words on stdin.

Words are "step", "forward" and "describe"; the answer is one line of JSON on stdout.
"""

from __future__ import annotations

import ctypes
import json
import math
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

GIB_PER_KIB = 1 / 1024**2


def _ours(who: str, precision: str, edge: int) -> tuple[Callable, Callable, list[tuple], str]:
    """Our branch in the running Keras backend."""
    import keras

    from experiments.throughput import training
    from multires_tf.model import networks

    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    net = networks.multires(
        window=(edge,) * 3,
        scales=(1,),
        fc=(80,) if who == "ours_short" else (80, 80, 80),
        head=(),
        uncertainty=False,
        norm="batch",
    ).plain
    trained = keras.Model(net.inputs, net.output["ct"])
    trained.compile(
        keras.optimizers.Adam(1e-3), "mean_squared_error", jit_compile=training.compiled()
    )
    x, y = (keras.ops.convert_to_tensor(_random(edge)) for _ in range(2))
    return (
        lambda: trained.train_on_batch(x, y),
        lambda: trained.predict_on_batch(x),
        [tuple(w.shape) for w in net.trainable_weights],
        training.device(),
    )


def _monai(
    precision: str, layout: str, compiled: bool, edge: int
) -> tuple[Callable, Callable, list[tuple], str]:
    """The peer: MONAI's HighResNet, which ends in norm and activation."""
    import torch
    from monai.networks.nets import HighResNet

    place = "cuda" if torch.cuda.is_available() else "cpu"
    form = torch.channels_last_3d if layout == "channels_last_3d" else torch.contiguous_format
    net = HighResNet(spatial_dims=3, in_channels=1, out_channels=1)
    net = net.to(place, memory_format=form)
    run = torch.compile(net) if compiled else net
    tensors = (torch.from_numpy(_random(edge)).permute(0, 4, 1, 2, 3) for _ in range(2))
    x, y = (tensor.to(place).contiguous(memory_format=form) for tensor in tensors)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    half = {"device_type": place, "dtype": torch.bfloat16, "enabled": precision == "bfloat16"}

    def settle() -> None:
        if place == "cuda":
            torch.cuda.synchronize()

    def step() -> None:
        net.train()
        adam.zero_grad(set_to_none=True)
        with torch.autocast(**half):
            out = run(x)
        (out.float() - y).square().mean().backward()
        adam.step()
        settle()

    def forward() -> None:
        net.eval()
        with torch.inference_mode(), torch.autocast(**half):
            run(x)
        settle()

    name = torch.cuda.get_device_name() if place == "cuda" else place
    return step, forward, [tuple(p.shape) for p in net.parameters()], name


def _random(edge: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, edge, edge, edge, 1)).astype(np.float32)


def forward_tflop(shapes: list[tuple], voxels: int) -> float:
    """Products and sums of the convolutions, done directly, which all see the whole window."""
    kernels = sum(math.prod(shape) for shape in shapes if len(shape) == 5)
    return 2 * voxels * kernels / 1e12


def main(specification: dict[str, Any]) -> None:
    """Builds the contestant and answers words until stdin ends."""
    who, edge, precision = (specification[key] for key in ("who", "edge", "precision"))
    if who == "monai":
        built = _monai(precision, specification["layout"], specification["compiled"], edge)
    else:
        built = _ours(who, precision, edge)
    step, forward, shapes, device = built
    for word in sys.stdin:
        if word.strip() == "describe":
            answer = {
                "device": device,
                "forward_tflop": forward_tflop(shapes, edge**3),
                "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * GIB_PER_KIB,
            }
        else:
            begun = time.perf_counter()
            {"step": step, "forward": forward}[word.strip()]()
            answer = {"seconds": time.perf_counter() - begun}
        _give_back_memory()
        print(json.dumps(answer), flush=True)


def _give_back_memory() -> None:
    """What a step has let go of belongs to whoever has the next turn."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
