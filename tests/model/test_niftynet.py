"""HighRes3DNet against arrays that NiftyNet computed."""

from __future__ import annotations

import itertools
import os
import pathlib

import keras
import numpy as np
import pytest

from multires_tf.ground import errors
from multires_tf.model import highres3dnet, niftynet

FIXTURES = os.environ.get("MULTIRES_TF_FIXTURES")
_ORIGINAL, _FLOAT64 = 5e-5, 2e-5  # NiftyNet's own float32 is up to 2.6e-5 from float64


@pytest.fixture
def weights(golden):
    """The reference network's variables."""
    return golden("highres3dnet_weights_*.npz")


@pytest.fixture
def reference(golden):
    """What the original computed with them."""
    return golden("highres3dnet_reference.npz")


def _call(model, x, **kwargs):
    return np.asarray(model(keras.ops.convert_to_tensor(x), **kwargs)["ct"])


def test_parameters_are_the_originals(weights):
    model = niftynet.model(weights)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 809_586
    assert len(model.trainable_weights) == 83
    assert len(niftynet.layer_names(weights)) == len(weights) == 125


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_outputs(weights, reference, mode):
    out = _call(niftynet.model(weights), reference["input"], training=mode == "training")
    np.testing.assert_allclose(out, reference[f"output_{mode}"], atol=_ORIGINAL, rtol=0)
    exact = reference[f"output_{mode}_float64_reference"]
    np.testing.assert_allclose(out, exact, atol=_FLOAT64, rtol=0)


def test_layers_on_the_way(weights, reference):
    model = niftynet.model(weights)
    names = ["niftynet.res_1_2.sum", "niftynet.res_2_2.sum"]
    inner = keras.Model(model.inputs, [model.get_layer(n).output for n in names])
    plain, dilated = inner(keras.ops.convert_to_tensor(reference["input"]))
    np.testing.assert_allclose(
        plain[:, 8:16, 8:16, 8:16], reference["layer/res_1_2"], atol=_ORIGINAL, rtol=0
    )
    # the original's sub-lattices come in the order of ours
    np.testing.assert_allclose(
        dilated[:2, 8:, 8:, 8:], reference["layer/res_2_2"], atol=_ORIGINAL, rtol=0
    )


def test_gradients(weights, reference):
    tf = pytest.importorskip("tensorflow")
    model = niftynet.model(weights)
    with tf.GradientTape() as tape:
        out = model(keras.ops.convert_to_tensor(reference["input"]), training=True)["ct"]
        loss = 0.5 * tf.reduce_sum(tf.square(out - reference["target"]))
        variables = model.trainable_variables
        # NiftyNet's L2 regulariser is the mean over variables of half the squared norm
        penalty = [1e-5 * tf.nn.l2_loss(tf.convert_to_tensor(v)) for v in variables]
        total = loss + tf.add_n(penalty) / len(penalty)
    assert float(loss) == pytest.approx(float(reference["loss_train/L2Loss"]), rel=1e-5)
    gradients = {
        v.path: np.asarray(g)
        for v, g in zip(variables, tape.gradient(total, variables), strict=True)
    }
    got, want = [], []
    for name, path in niftynet.layer_names(weights).items():
        if path in gradients:
            gradient = gradients[path]
            got.append(gradient if gradient.ndim == 1 else gradient.reshape(-1)[::131])
            want.append(reference[f"gradient/{name}"])
    assert len(got) == 83
    assert _relative(np.concatenate(got), np.concatenate(want)) <= 1e-3
    # Single variables: in float64 they are as far off. A voxel that rounding carries across a
    # PReLU's kink changes them by up to 0.5 %; the first convolution's, of which four numbers are
    # kept, by up to 1.02 % (on a processor without AVX-512).
    off = sorted(map(_relative, got, want))
    assert off[-2] <= 1e-2 and off[-1] <= 2e-2


def _relative(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@pytest.mark.skipif(
    FIXTURES is None, reason="MULTIRES_TF_FIXTURES is not set, see goldens/README.md"
)
def test_prediction_that_niftynet_wrote():
    """Windows of 16, border 4: the last writer wins, the outer 4 voxels stay 0."""
    with np.load(pathlib.Path(FIXTURES) / "e2e_inference_fixture.npz") as volume:
        mr, prediction = volume["mr"], volume["prediction"]
        arrays = {k[5:]: volume[k] for k in volume.files if k.startswith("ckpt/")}
    model, out = niftynet.model(arrays), np.zeros_like(mr)
    edges = [sorted({*range(0, n - 15, 8), n - 16}) for n in mr.shape]
    starts = list(itertools.product(*edges))
    windows = [mr[z : z + 16, y : y + 16, x : x + 16, None] for z, y, x in starts]
    for first in range(0, len(starts), 9):
        tiles = _call(model, np.stack(windows[first : first + 9]))
        for (z, y, x), tile in zip(starts[first:], tiles, strict=False):
            out[z + 4 : z + 12, y + 4 : y + 12, x + 4 : x + 12] = tile[4:12, 4:12, 4:12, 0]
    np.testing.assert_allclose(out, prediction, atol=_ORIGINAL, rtol=0)


def test_three_layers_and_a_noise_output():
    shape = niftynet.Architecture(
        channels=2,
        trunk=highres3dnet.Trunk((4, 6), 2, (1, 2)),
        series=("conv_1_bn_prelu", "fc_1_bn_prelu", "fc_2_bn_prelu"),
        widths=(8, 8, 8),
        outputs={"ct": "mean_out_bn", "log_var": "noise_out_bn"},
        output_norm="batch",
    )
    arrays = _arrays(shape)
    arrays |= {
        "global_step": np.array(7),
        "Net/conv_0_bn_prelu/conv_/w/Adam": np.zeros(3),
        "Net/conv_0_bn_prelu/bn_/Net/conv_0_bn_prelu/bn_/moving_mean/biased": np.zeros(4),
    }
    model = niftynet.model(arrays)
    assert set(model.output) == {"ct", "log_var"}
    assert model.inputs[0].shape[-1] == 2
    for layer, name in {
        "niftynet.fc_2.conv": "Net/fc_1_bn_prelu/conv_/w",
        "niftynet.log_var": "Net/noise_out_bn/conv_/w",
        "niftynet.res_2_1.conv_1": "Net/res_2_1/conv_1/w",
    }.items():
        np.testing.assert_array_equal(model.get_layer(layer).kernel, arrays[name])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.pop("Net/res_1_1/conv_0/w"), "res_1_1/conv_0/w: missing"),
        (lambda a: a.clear(), "no NiftyNet network"),
        (lambda a: a.update({"Other/conv_0_bn_prelu/conv_/w": np.zeros(1)}), "Net, Other"),
        (lambda a: a.update({"Net/out_bn/conv_/w": np.zeros((1, 1, 1, 8, 3))}), "shape"),
    ],
)
def test_bad_checkpoints_are_named(spoil, message):
    shape = niftynet.Architecture(
        1, highres3dnet.Trunk((4,), 2, (1,)), ("conv_1_bn_prelu",), (8,), {"ct": "out_bn"}, "batch"
    )
    arrays = _arrays(shape)
    spoil(arrays)
    with pytest.raises(errors.UserError, match=message):
        niftynet.model(arrays)


def _arrays(shape: niftynet.Architecture) -> dict[str, np.ndarray]:
    """Random variables of an architecture, by NiftyNet's names."""
    rng, arrays = np.random.default_rng(0), {}

    def block(name: str, suffix: str, channels: int, width: int, k: int, *, first: int) -> None:
        arrays[f"Net/{name}/conv_{suffix}/w"] = rng.normal(size=(k, k, k, channels, width))
        for leaf in ("gamma", "beta", "moving_mean", "moving_variance"):
            arrays[f"Net/{name}/bn_{suffix}/{leaf}"] = rng.random(first)
        if not name.endswith("out_bn"):
            arrays[f"Net/{name}/prelu_acti_{suffix}/alpha"] = rng.random(first)

    filters = shape.trunk.filters
    block("conv_0_bn_prelu", "", shape.channels, filters[0], 3, first=filters[0])
    width = filters[0]
    for stage, wider in enumerate(filters, 1):
        for number in range(shape.trunk.blocks):
            for i in ("0", "1"):
                block(f"res_{stage}_{number}", i, width, wider, 3, first=width)
                width = wider
    for name, wider in zip(shape.series, shape.widths, strict=True):
        block(name, "", width, wider, 1, first=wider)
        width = wider
    for name in shape.outputs.values():
        block(name, "", width, 1, 1, first=1)
    return {name: array.astype(np.float32) for name, array in arrays.items()}
