"""The four networks: sizes, names, starts, saving, precision, backends."""

from __future__ import annotations

import dataclasses
import inspect
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from multires_tf.ground import config as configs
from multires_tf.joints import assembly
from multires_tf.model import networks

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def _parameters(model: keras.Model) -> int:
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(
    ("experiment", "expected", "printed"),
    [
        ("unet2d", 4_835_073, "4.84"),
        ("unet3d", 14_485_089, "14.49"),
        ("multires", 2_538_700, "2.54"),
        ("multires_unc", 2_608_805, "2.61"),
    ],
)
def test_parameters_of_the_paper(experiment, expected, printed):
    config = configs.load(CONFIGS / f"{experiment}.yaml")
    parameters = _parameters(assembly.networks(config).plain)
    assert parameters == expected
    assert f"{parameters / 1e6:.2f}" == printed


@pytest.mark.parametrize("kind", ["multires", "unet"])
def test_builders_default_to_the_base_config(kind):
    chosen = configs.load(CONFIGS / "base.yaml").network
    sizes = getattr(chosen, kind)
    wanted = {"norm": chosen.norm.kind, "groups": chosen.norm.groups, "keep": chosen.dropout.keep}
    wanted |= {"momentum": chosen.norm.momentum, "output_norm": chosen.norm.output}
    wanted |= {field.name: getattr(sizes, field.name) for field in dataclasses.fields(sizes)}
    for name, parameter in inspect.signature(getattr(networks, kind)).parameters.items():
        if name in wanted:
            assert parameter.default == wanted[name], name


@pytest.mark.parametrize("tile", [16, 32, 48])
def test_every_size_of_the_law(small, triplet, tile):
    out = small().plain(triplet(tile))
    edges = {name: tensor.shape[1:] for name, tensor in out.items()}
    assert edges == {
        "ct": (tile,) * 3 + (1,),
        "log_var": (tile,) * 3 + (1,),
        "ct_2": (tile // 2 + 8,) * 3 + (1,),
        "ct_4": (tile // 4 + 12,) * 3 + (1,),
    }


def test_axes_may_differ(small):
    nets = small(window=(16, 32, 48))
    edges = [(16, 32, 48), (8 + 8, 16 + 16, 24 + 24), (4 + 12, 8 + 24, 12 + 36)]
    mr = [keras.ops.zeros((1, *e, 1)) for e in edges]
    assert nets.plain(mr)["ct"].shape == (1, 16, 32, 48, 1)


def test_without_uncertainty_and_with_fewer_scales(small, triplet):
    nets = small(uncertainty=False, scales=(1, 2))
    assert set(nets.plain(triplet()[:2])) == {"ct", "ct_2"}
    assert set(small(uncertainty=False, scales=(1,)).plain(triplet()[:1])) == {"ct"}


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 3, 3)])
def test_unet_takes_every_pooled_size(kernel):
    nets = networks.unet(kernel=kernel, base=2, levels=3, extra_width=2, groups=2)
    depth = 3 if kernel[0] == 1 else 4
    assert nets.plain(keras.ops.zeros((2, depth, 8, 12, 1)))["ct"].shape == (2, depth, 8, 12, 1)
    assert nets.sampler is None


def test_two_dimensional_unet_sees_one_slice():
    nets = networks.unet(kernel=(1, 3, 3), base=2, levels=2, extra_width=2, norm="batch")
    x = np.random.default_rng(0).random((1, 3, 8, 8, 1)).astype(np.float32)
    out = np.asarray(nets.plain(keras.ops.convert_to_tensor(x))["ct"])
    x[:, 1] = 0
    changed = np.asarray(nets.plain(keras.ops.convert_to_tensor(x))["ct"]) != out
    assert changed.any((0, 2, 3, 4)).tolist() == [False, True, False]


def test_names_are_stable(small):
    names = {layer.name for layer in small().plain.layers}
    assert {"branch_1.res_2_0.conv_1", "branch_4.conv_0", "cascade_1.concat", "ct.out"} <= names
    assert [t.name for t in small(dropout="late").sampler.inputs] == [
        "mr_1", "mr_2", "mr_4", "draw",
    ]  # fmt: skip


def test_kernels_of_one_shape_start_different_and_reproducibly(small):
    first, again, other = (small(seed=s).plain for s in (0, 0, 1))
    kernels = {w.path: np.asarray(w) for w in first.weights if "kernel" in w.path}
    by_shape: dict = {}
    for kernel in kernels.values():
        by_shape.setdefault(kernel.shape, []).append(kernel.tobytes())
    assert all(len(set(same)) == len(same) for same in by_shape.values())
    for a, b, c in zip(first.weights, again.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
        if "kernel" in a.path:
            assert np.abs(np.asarray(a) - np.asarray(c)).max() > 0


def test_outputs_start_near_their_bias(small, triplet):
    out = small().plain(triplet())
    means = {name: float(np.mean(tensor)) for name, tensor in out.items()}
    assert means == pytest.approx({"ct": 0.25, "ct_2": 0.25, "ct_4": 0.25, "log_var": -3}, abs=0.4)


def test_cascade_is_registered_on_a_ramp(small):
    """Branches replaced by identities: all three maps of the concatenation are the same ramp."""
    nets = small(window=(16, 16, 16))
    mr = []
    for scale, n in ((1, 16), (2, 16), (4, 16)):
        start = -(16 * scale - 16) / 2
        line = start + scale * np.arange(n) + (scale - 1) / 2  # voxel centres, fine voxels
        mr.append(
            np.broadcast_to(line.astype(np.float32)[:, None, None], (n, n, n))[None, ..., None]
        )
    graph = {layer.name: layer for layer in nets.plain.layers}
    coarse = mr[2]
    for scale in (2, 1):
        x = keras.ops.convert_to_tensor(coarse)
        for step in ("crop", "upsample", "trim"):
            x = graph[f"cascade_{scale}.{step}"](x)
        coarse = graph[f"cascade_{scale}.concat"]([mr[scale - 1], x])
    np.testing.assert_array_equal(coarse[..., 1], coarse[..., 0])
    np.testing.assert_array_equal(coarse[..., 2], coarse[..., 0])


@pytest.mark.parametrize("dropout", ["late", "everywhere"])
def test_saved_and_reloaded_to_the_bit(small, triplet, tmp_path, dropout):
    nets, mr = small(dropout=dropout, norm="batch"), triplet()
    draw = keras.ops.convert_to_tensor(np.array([[3, 4]], np.int32))
    nets.sampler([*mr, draw], training=True)  # statistics that are not the initial ones
    for model, inputs in ((nets.plain, mr), (nets.sampler, [*mr, draw])):
        path = tmp_path / f"{model.name}.keras"
        model.save(path)
        again = keras.saving.load_model(path, compile=False)
        out, reloaded = model(inputs), again(inputs)
        for name in out:
            np.testing.assert_array_equal(out[name], reloaded[name])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_outputs_are_float32_under_mixed_precision(small, triplet, policy):
    keras.config.set_dtype_policy(policy)
    try:
        nets = small(dropout="everywhere", norm="group")
    finally:
        keras.config.set_dtype_policy("float32")
    exact = small(dropout="everywhere", norm="group")
    exact.plain.set_weights(nets.plain.get_weights())
    out, want = nets.plain(triplet()), exact.plain(triplet())
    assert nets.plain.get_layer("branch_1.res_1_0.conv_0").compute_dtype == policy[6:]
    for name in out:
        assert out[name].dtype == "float32"
        np.testing.assert_allclose(out[name], want[name], atol=0.1)


def test_output_norm_of_the_original_standardises_each_patch(small, triplet):
    out = small(output_norm="batch", norm="batch").plain(triplet(), training=True)["ct"]
    assert float(np.mean(out)) == pytest.approx(0, abs=1e-4)
    assert float(np.std(out)) == pytest.approx(1, abs=1e-2)


def test_bad_choices_are_refused(small):
    for wrong in ({"dropout": "early"}, {"norm": "layer"}, {"scales": (1, 4)}, {"filters": (4,)}):
        with pytest.raises(ValueError):
            small(**wrong)


_OTHER_BACKEND = """
import sys
import numpy as np
import keras
from multires_tf.joints import assembly
from multires_tf.ground import config as configs
from multires_tf.model import networks

assert keras.backend.backend() == sys.argv[3] and "tensorflow" not in sys.modules
with np.load(sys.argv[1]) as saved:
    saved = dict(saved)
results = {}
for norm in ("batch", "renorm", "group"):
    nets = networks.multires(window=(16, 16, 16), filters=(4, 6, 8), blocks=1, fc=(8, 8),
                             head=(8,), groups=2, norm=norm, dropout="everywhere")
    nets.plain.set_weights([saved[f"{norm}_{i}"] for i in range(len(nets.plain.weights))])
    inputs = [saved[f"mr_{s}"] for s in (1, 2, 4)]
    for name, model in (("plain", nets.plain), ("sampler", nets.sampler)):
        given = inputs if name == "plain" else [*inputs, np.array([[3, 4]], np.int32)]
        out = model.predict_on_batch(given)  # compiled under JAX
        results |= {f"{norm}_{name}_{k}": v for k, v in out.items()}
np.savez(sys.argv[2], **results)
"""


@pytest.mark.slow
def test_backends_agree(small, triplet, tmp_path, backend):
    mr = triplet()
    draw = keras.ops.convert_to_tensor(np.array([[3, 4]], np.int32))
    arrays = {f"mr_{s}": np.asarray(m) for s, m in zip((1, 2, 4), mr, strict=True)}
    expected = {}
    for norm in ("batch", "renorm", "group"):
        nets = small(dropout="everywhere", norm=norm)
        nets.sampler([*mr, draw], training=True)
        arrays |= {f"{norm}_{i}": np.asarray(w) for i, w in enumerate(nets.plain.weights)}
        calls = {"plain": nets.plain(mr), "sampler": nets.sampler([*mr, draw])}
        expected |= {f"{norm}_{c}_{k}": v for c, out in calls.items() for k, v in out.items()}
    np.savez(tmp_path / "in.npz", **arrays)
    root = str(pathlib.Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", _OTHER_BACKEND, tmp_path / "in.npz", tmp_path / "out.npz", backend],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
        check=True,
    )
    with np.load(tmp_path / "out.npz") as out:
        assert set(out.files) == set(expected)
        for name in expected:
            np.testing.assert_allclose(out[name], expected[name], atol=1e-4, err_msg=name)
