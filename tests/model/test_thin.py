"""The network of inference: equal to the masked one, and what it does not compute."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from multires_tf.model import networks, thin

SHAPES = [(1, n, n, n, 1) for n in (32, 24, 20)]  # a tile of 32 around windows of 16


def _settled(nets, seed=0):
    """Gives every weight, statistics and slopes included, a value of its own."""
    rng = np.random.default_rng(seed)
    for variable in nets.plain.variables:
        positive = variable.path.endswith(("gamma", "moving_variance"))
        noise = rng.uniform(0.7, 1.3, variable.shape) if positive else rng.normal(0, 0.05)
        variable.assign(noise if positive else np.asarray(variable) + noise)
    return nets


def _worst(found, wanted):
    """Largest difference over all maps, as a share of each map's range."""
    wanted = {name: np.asarray(wanted[name]) for name in found}
    return max(np.abs(found[n] - w).max() / max(1.0, np.ptp(w)) for n, w in wanted.items())


@pytest.mark.parametrize("norm", ["batch", "renorm", "none", "group", "instance"])
@pytest.mark.parametrize("dropout", ["late", "everywhere"])
def test_a_thin_network_is_the_masked_one(small, triplet, dropout, norm):
    nets, mr = _settled(small(dropout=dropout, norm=norm, blocks=2)), triplet(32)
    network = thin.Draws(nets)
    shared = network.shared(mr)
    for draw in [(0, 0), (0, 1), (2**31 - 1, 19)]:
        masked = nets.sampler([*mr, keras.ops.convert_to_tensor([draw], "int32")])
        assert _worst(network.outputs(shared, draw), masked) < 1e-5
    assert _worst(network.outputs(shared, None), nets.plain(mr)) < 1e-5


def test_whatever_the_mask(small, triplet, monkeypatch):
    nets, mr = _settled(small(dropout="everywhere", norm="batch")), triplet()
    network, mask = thin.Draws(nets), {}
    channels = {layer.name: layer for layer in nets.sampler.layers if layer.name.endswith("drop")}
    for kept in ("none", "one", "all", "first half", "every second"):
        for layer in channels.values():
            width = layer.output.shape[-1]
            mask[layer.index] = {
                "none": np.zeros(width, bool),
                "one": np.arange(width) == width - 1,
                "all": np.ones(width, bool),
                "first half": np.arange(width) < width // 2,
                "every second": np.arange(width) % 2 == 0,
            }[kept]
        monkeypatch.setattr(thin.draws, "kept_channels", lambda layer, **_: mask[layer])
        monkeypatch.setattr(
            thin.draws,
            "channel_mask",
            lambda _, layer, keep, **__: mask[layer][None].astype(np.float32) / keep,
        )
        masked = nets.sampler([*mr, keras.ops.convert_to_tensor([(0, 0)], "int32")])
        assert _worst(network.outputs(network.shared(mr), (0, 0)), masked) < 1e-5, kept


def test_a_u_net_and_an_output_norm(triplet):
    unet = networks.unet(base=2, levels=2, extra_convs=1, norm="batch", output_norm="batch")
    mr, network = triplet()[:1], thin.Draws(_settled(unet))
    assert _worst(network.outputs(network.shared(mr), None), unet.plain(mr)) < 1e-5


LOCAL = {"norm": "batch", "batch_statistics": "local"}
OUTPUT_ALONE = {"norm": "none", "batch_statistics": "local", "output_norm": "batch"}


@pytest.mark.parametrize(
    "kind",
    [*({"norm": n} for n in ("batch", "renorm", "none", "group", "instance")), LOCAL, OUTPUT_ALONE],
)
def test_slabs_change_nothing(small, triplet, monkeypatch, kind):
    nets, mr = _settled(small(dropout="late", **kind)), triplet()
    network = thin.Draws(nets)
    whole = network.outputs(network.shared(mr), (0, 0))
    monkeypatch.setattr(thin, "_SLAB_VOXELS", 600)  # two slices of 16 x 16 are a slab
    slabs = network.outputs(network.shared(mr), (0, 0))
    assert _worst(slabs, whole) < 1e-6


def test_an_output_with_local_statistics(small, triplet):
    nets, mr = _settled(small(dropout="late", **LOCAL, output_norm="batch")), triplet()
    network = thin.Draws(nets)
    masked = nets.sampler([*mr, keras.ops.convert_to_tensor([(0, 3)], "int32")])
    assert _worst(network.outputs(network.shared(mr), (0, 3)), masked) < 1e-5


def test_half_of_the_channels_are_half_of_the_work():
    nets = networks.multires(window=(16,) * 3, norm="batch", dropout="everywhere", uncertainty=True)
    network = thin.Draws(nets)
    shared, plain = network.multiply_adds(SHAPES, None)
    # First convolution and first half of the first block: 27 (1 + 16) 16 a voxel of each branch.
    assert shared == 27 * (1 + 16) * 16 * (32**3 + 24**3 + 20**3)
    draws = [network.multiply_adds(SHAPES, (0, k))[1] for k in range(6)]
    assert 0.5 < np.mean(draws) / plain < 0.56


def test_twenty_late_draws_cost_less_than_three_passes():
    nets = networks.multires(window=(80,) * 3, norm="batch", dropout="late", uncertainty=True)
    network = thin.Draws(nets)
    shapes = [(1, n, n, n, 1) for n in (160, 120, 100)]
    shared, last = network.multiply_adds(shapes, None)
    thin_draws = 20 * np.mean([network.multiply_adds(shapes, (0, k))[1] for k in range(4)])
    assert (shared + thin_draws) / (shared + last) < 3


def test_masks_do_not_depend_on_tile_nor_precision(small, monkeypatch):
    real, seen = thin.draws.kept_channels, []

    def recorded(**key):
        seen.append((key["layer"], real(**key).tolist()))
        return real(**key)

    monkeypatch.setattr(thin.draws, "kept_channels", recorded)
    found = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        network = thin.Draws(small(dropout="everywhere"))
        keras.config.set_dtype_policy("float32")
        for shapes in (SHAPES, [(1, 16, 16, 16, 1)] * 3):
            seen.clear()
            network.multiply_adds(shapes, (3, 1))
            found.append(sorted(seen))
    assert len(found[0]) == 3 * 3 + 3 + 2  # of blocks, branches and heads
    assert all(masks == found[0] for masks in found)


@pytest.mark.slow
def test_the_same_draw_under_another_backend(small, triplet, tmp_path, backend):
    nets, mr = small(dropout="everywhere", norm="batch", seed=3), triplet()
    network = thin.Draws(nets)
    here = {k: np.asarray(v) for k, v in network.outputs(network.shared(mr), (7, 3)).items()}
    np.savez(tmp_path / "mr.npz", *mr)
    nets.plain.save_weights(tmp_path / "w.weights.h5")
    code = f"""
import numpy as np
from multires_tf.model import networks, thin
from tests.model.conftest import SMALL
nets = networks.multires(**{{**SMALL, "dropout": "everywhere", "norm": "batch", "seed": 3}})
nets.plain.load_weights(r"{tmp_path}/w.weights.h5")
mr = list(np.load(r"{tmp_path}/mr.npz").values())
network = thin.Draws(nets)
found = network.outputs(network.shared(mr), (7, 3))
np.savez(r"{tmp_path}/out.npz", **{{k: np.asarray(v) for k, v in found.items()}})
"""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    with np.load(tmp_path / "out.npz") as there:
        assert _worst(here, dict(there)) < 1e-5
