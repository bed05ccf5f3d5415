"""The process of one contestant: builds a network on random tensors, then obeys words on stdin.

Words are "step", "forward" and "describe"; the answer is one line of JSON on stdout.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.throughput import roofline

ITEMSIZES = {"float32": 4, "bfloat16": 2}
# Edge of the square matrix and length of the tensor by which ceilings are measured.
_SIZES = {"cpu": (2048, 1 << 26), "accelerator": (8192, 1 << 29)}


@dataclasses.dataclass(frozen=True)
class Built:
    """A network ready to run.

    Attributes:
        step, forward: run it, to the end.
        kernels: shapes of its convolutions, (z, y, x, channels in, channels out).
        device: name of what it runs on.
        ceilings: measures those of the device.
        peak_gib: memory at the peak so far.
    """

    step: Callable[[], Any]
    forward: Callable[[], Any]
    kernels: list[tuple[int, ...]]
    device: str
    ceilings: Callable[[], roofline.Ceilings]
    peak_gib: Callable[[], float]


def _ours(who: str, precision: str, edge: int) -> Built:
    """Our branch in the running Keras backend."""
    import keras

    from experiments.throughput import machine
    from multires_tf.joints import synthesis
    from multires_tf.model import networks

    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    nets = networks.multires(
        window=(edge,) * 3,
        scales=(1,),
        fc=(80,) if who == "ours_short" else (80, 80, 80),
        head=(),
        uncertainty=False,
        norm="batch",
    )
    net = nets.plain
    trained = keras.Model(net.inputs, net.output["ct"])
    trained.compile(
        keras.optimizers.Adam(1e-3), "mean_squared_error", jit_compile=machine.compiled()
    )
    infer = synthesis.monte_carlo(nets, samples=1, seed=0)  # as `predict` does
    arrays = [_random(edge) for _ in range(2)]
    x, y = map(keras.ops.convert_to_tensor, arrays)
    shapes = (tuple(weight.shape) for weight in net.trainable_weights)
    return Built(
        lambda: trained.train_on_batch(x, y),
        lambda: infer(arrays[:1]),
        [shape for shape in shapes if len(shape) == 5],
        machine.device(),
        lambda: _keras_ceilings(precision, machine.device()),
        machine.peak_gib,
    )


def _keras_ceilings(precision: str, device: str) -> roofline.Ceilings:
    import keras

    if keras.backend.backend() == "torch":
        _as_convolutions_do()
    edge, length = _sizes(device)
    return roofline.measured(
        lambda x: keras.ops.matmul(x, x),
        lambda x: -x,
        lambda x: keras.ops.convert_to_numpy(x[..., :1]),
        square=keras.random.normal((edge, edge), dtype=precision, seed=0),
        long=keras.random.normal((length,), dtype=precision, seed=0),
        itemsize=ITEMSIZES[precision],
    )


def _as_convolutions_do() -> None:
    """Lets torch's products of matrices round float32 on a GPU as its convolutions do."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = True


def _monai(precision: str, layout: str, compiled: bool, edge: int) -> Built:
    """The peer: MONAI's HighResNet, which ends in norm and activation."""
    import torch
    from monai.networks.nets import HighResNet

    from experiments.throughput import machine

    place = "cuda" if torch.cuda.is_available() else "cpu"
    form = torch.channels_last_3d if layout == "channels_last_3d" else torch.contiguous_format
    net = HighResNet(spatial_dims=3, in_channels=1, out_channels=1)
    net = net.to(place, memory_format=form)
    run = torch.compile(net) if compiled else net
    tensors = (torch.from_numpy(_random(edge)).permute(0, 4, 1, 2, 3) for _ in range(2))
    x, y = (tensor.to(place).contiguous(memory_format=form) for tensor in tensors)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    half = {"device_type": place, "dtype": torch.bfloat16, "enabled": precision == "bfloat16"}

    def settle(_: Any = None) -> None:
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

    def ceilings() -> roofline.Ceilings:
        _as_convolutions_do()
        edge, length = _sizes(place)
        kind = {"device": place, "dtype": getattr(torch, precision)}
        return roofline.measured(
            lambda x: x @ x,
            torch.neg,
            settle,
            square=torch.randn(edge, edge, **kind),
            long=torch.randn(length, **kind),
            itemsize=ITEMSIZES[precision],
        )

    def peak_gib() -> float:
        if place == "cuda":
            return torch.cuda.max_memory_allocated() / 1024**3
        return machine.process_peak_gib()

    name = torch.cuda.get_device_name() if place == "cuda" else place
    shapes = (tuple(p.shape) for p in net.parameters())
    kernels = [(*s[2:], s[1], s[0]) for s in shapes if len(s) == 5]
    return Built(step, forward, kernels, name, ceilings, peak_gib)


def _sizes(device: str) -> tuple[int, int]:
    return _SIZES["cpu" if device == "cpu" else "accelerator"]


def _random(edge: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, edge, edge, edge, 1)).astype(np.float32)


def main(specification: dict[str, Any]) -> None:
    """Builds the contestant and answers words until stdin ends."""
    who, edge, precision = (specification[key] for key in ("who", "edge", "precision"))
    if who == "monai":
        built = _monai(precision, specification["layout"], specification["compiled"], edge)
    else:
        built = _ours(who, precision, edge)
    for word in sys.stdin:
        if word.strip() == "describe":
            answer = {
                "device": built.device,
                "peak_gib": built.peak_gib(),
                "kernels": built.kernels,
                "ceilings": dataclasses.asdict(built.ceilings()),
            }
        else:
            begun = time.perf_counter()
            {"step": built.step, "forward": built.forward}[word.strip()]()
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
