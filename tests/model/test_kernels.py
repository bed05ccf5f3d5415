"""Fast kernels against the plain ones: convolution, PReLU, scale and offset."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from multires_tf.ground import processor
from multires_tf.model import calls, convolution_tensorflow, kernels, winograd

tf = pytest.importorskip("tensorflow")
if kernels.specialised() is None:
    pytest.skip("this backend has the plain kernels alone", allow_module_level=True)


def _random(*shape: int, seed: int = 0, dtype: str = "float32"):
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return ops.cast(ops.convert_to_tensor(values), dtype)


def _with_gradients(function, *given):
    """Output and gradients of a weighted sum of it, as arrays."""

    @tf.function
    def run(*given):
        with tf.GradientTape() as tape:
            tape.watch(given)
            out = function(*given)
            weights = tf.cast(tf.reshape(tf.range(tf.size(out)) % 7, tf.shape(out)), out.dtype)
            total = tf.reduce_sum(out * weights)
        return [out, *tape.gradient(total, given)]

    return [np.asarray(ops.cast(tensor, "float32")) for tensor in run(*given)]


def _graph(function, *given):
    return tf.function(function).get_concrete_function(*given).graph


def _kept(function, *given):
    """Type and shape of what the forward pass leaves for the gradient, constants left out."""

    def run(*given):
        given = [tf.identity(one) for one in given]
        with tf.GradientTape() as tape:
            tape.watch(given)
            out = function(*given)
        with tf.name_scope("backward"):
            return tape.gradient(out, given, tf.ones_like(out))

    operations = _graph(run, *given).get_operations()
    first = next(i for i, op in enumerate(operations) if op.name.startswith("backward"))
    forward = [op for op in operations[:first] if op.type != "Const"]
    edges = {tensor.ref() for op in operations[first:] for tensor in op.inputs}
    kept = [tensor for op in forward for tensor in op.outputs if tensor.ref() in edges]
    return [(tensor.dtype, tensor.shape) for tensor in kept if tensor.shape.rank]


def _assert_near(got, want, relative):
    for one, other in zip(got, want, strict=True):
        assert np.abs(one - other).max() <= relative * np.abs(other).max()


@pytest.mark.parametrize(
    ("channels", "filters", "axes"), [(32, 32, 1), (32, 64, 2), (64, 64, 2), (8, 8, 0)]
)
def test_minimal_filtering_is_the_convolution(channels, filters, axes):
    x, kernel = _random(2, 9, 11, 10, channels), _random(3, 3, 3, channels, filters, seed=1)
    assert winograd.worthwhile_axes(x, kernel) == axes
    got = _with_gradients(kernels.convolution, x, kernel)
    want = _with_gradients(kernels.plain_convolution, x, kernel)
    _assert_near(got, want, 1e-5)


def test_draws_of_any_width_share_one_graph():
    x, kernel = _random(1, 9, 8, 12, 64), _random(3, 3, 3, 64, 64, seed=1)
    whole = kernels.convolution(x, kernel)
    graph = convolution_tensorflow.filtered((9, 8, 12), 2)
    traces = graph.experimental_get_tracing_count()
    for width in (50, 61):
        thin = kernels.convolution(x[..., :width], kernel[..., :width, :])
        rest = kernels.convolution(x[..., width:], kernel[..., width:, :])
        assert np.abs(thin + rest - whole).max() <= 1e-4 * np.abs(whole).max()
    assert graph.experimental_get_tracing_count() == traces == 1


@pytest.mark.parametrize("edges", [(6, 5, 4), (8, 9, 8)], ids=["directly", "filtered"])
@pytest.mark.parametrize(("dtype", "digit"), [("float16", 2**-10), ("bfloat16", 2**-7)])
def test_what_the_processor_emulates_is_convolved_in_float32_and_rounded_once(
    monkeypatch, dtype, digit, edges
):
    monkeypatch.setattr(processor, "emulates_bfloat16", lambda: True)
    x = _random(1, *edges, 32, dtype=dtype)
    kernel = _random(3, 3, 3, 32, 32, seed=1, dtype=dtype)
    got = _with_gradients(kernels.convolution, x, kernel)
    wide = [ops.cast(tensor, "float32") for tensor in (x, kernel)]
    want = _with_gradients(kernels.plain_convolution, *wide)
    rounded = ops.cast(ops.cast(want[0], dtype), "float32")
    assert kernels.convolution(x, kernel).dtype == dtype
    _assert_near(got, want, digit)
    # Sums in another order round otherwise now and then, sums of few digits most of the time.
    assert np.mean(np.asarray(ops.cast(got[0], "float32")) == np.asarray(rounded)) > 0.9


@pytest.mark.parametrize(
    ("x", "kernel"),
    [
        ((1, 8, 8, 8, 64), (1, 1, 1, 64, 64)),
        ((1, 8, 8, 80, 64), (3, 3, 3, 64, 64)),
        ((1, 4, 8, 8, 64), (3, 3, 3, 64, 64)),
    ],
    ids=["kernel of 1", "long lines", "short lines"],
)
def test_other_convolutions_are_the_library_s(x, kernel):
    assert winograd.worthwhile_axes(tf.zeros(x), tf.zeros(kernel)) == 0


def test_what_the_processor_computes_in_bfloat16_is_not_filtered(monkeypatch):
    monkeypatch.setattr(processor, "emulates_bfloat16", lambda: False)
    x = _random(1, 8, 8, 8, 64, dtype="bfloat16")
    kernel = _random(3, 3, 3, 64, 64, seed=1, dtype="bfloat16")
    assert winograd.worthwhile_axes(x, kernel) == 2
    graph = _graph(kernels.convolution, x, kernel)
    assert [op.type for op in graph.get_operations()].count("Conv3D") == 1


@pytest.mark.parametrize(
    ("dtype", "channels"), [("float32", 64), ("bfloat16", 64), ("bfloat16", 8)]
)
def test_the_gradient_of_a_convolution_keeps_what_was_given_alone(monkeypatch, dtype, channels):
    monkeypatch.setattr(processor, "emulates_bfloat16", lambda: True)
    x = _random(1, 9, 8, 12, channels, dtype=dtype)
    kernel = _random(3, 3, 3, channels, channels, seed=1, dtype=dtype)
    assert _kept(kernels.convolution, x, kernel) == [(x.dtype, x.shape), (x.dtype, kernel.shape)]


@pytest.mark.parametrize(
    ("dtype", "digit"), [("float32", 1e-5), ("float16", 2**-9), ("bfloat16", 2**-6)]
)
def test_batch_renormalisation_is_the_plain_one(dtype, digit):
    def through(kernel):
        def renormalised(x, gamma, beta):
            return kernel(x, lambda mean, variance: (gamma, beta + gamma * mean), 1e-5)

        return renormalised

    given = _random(2, 4, 5, 6, 8, dtype=dtype), _random(8, seed=1), _random(8, seed=2)
    got = _with_gradients(through(kernels.batch_renorm), *given)
    want = _with_gradients(through(kernels.plain_batch_renorm), *given)
    _assert_near(got, want, digit)


def test_the_gradient_of_batch_renormalisation_keeps_what_was_given_alone():
    x, gamma = _random(1, 4, 5, 6, 8), _random(8, seed=1)

    def renormalised(x, gamma):
        return kernels.batch_renorm(x, lambda mean, variance: (gamma, gamma * mean), 1e-5)

    kept = [shape for _, shape in _kept(renormalised, x, gamma) if shape.num_elements() > 8]
    assert kept == [(1, 4 * 5 * 6, 1, 8)]  # the input, flat


def test_lines_of_unknown_length_are_convolved_directly():
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, None, 32))])
    def free(x):
        return kernels.convolution(x, kernel)

    x, kernel = _random(1, 8, 8, 8, 32), _random(3, 3, 3, 32, 32, seed=1)
    _assert_near([np.asarray(free(x))], [np.asarray(kernels.plain_convolution(x, kernel))], 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("absent", [(), ("scale",), ("scale", "offset")])
def test_scale_offset_and_prelu_in_one_pass(absent, dtype):
    x = _random(1, 3, 4, 5, 6, dtype=dtype)
    given = {name: np.asarray(_random(6, seed=k)) for k, name in enumerate(["scale", "offset"], 1)}
    given |= dict.fromkeys(absent)
    alpha = np.linspace(-0.5, 1.5, 6, dtype=np.float32)
    got = kernels.affine_prelu(x, **given, alpha=alpha)
    want = kernels.plain_affine_prelu(x, **given, alpha=alpha)
    assert got.dtype == x.dtype == want.dtype
    relative = 1e-6 if dtype == "float32" else 2**-8
    _assert_near(*([np.asarray(ops.cast(t, "float32"))] for t in (got, want)), relative)


def test_one_graph_serves_every_number_of_channels():
    fast = kernels.specialised()
    for channels in range(1, 9):
        x, ones = _random(1, 2, 2, 2, channels), np.ones(channels, np.float32)
        kernels.affine_prelu(x, ones, ones, ones)
    assert fast._one_pass(tf.float32).experimental_get_tracing_count() == 1


@pytest.mark.parametrize("slopes", [(0.0, 0.25, 1.0, -0.5), (0.0, 0.25, 1.5, -0.5)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_prelu_of_any_slope(slopes, dtype):
    x = _random(2, 4, 4, 4, 4, dtype=dtype)
    alpha = ops.convert_to_tensor(np.array(slopes, np.float32))
    got = _with_gradients(kernels.prelu, x, alpha)
    want = _with_gradients(kernels.plain_prelu, x, alpha)
    exact = 1e-6 if dtype == "float32" else 2**-8
    _assert_near(got[:2], want[:2], exact)
    _assert_near(got[2:], want[2:], 1e-6)
    np.testing.assert_array_equal(got[0], want[0])  # alpha is not rounded first


def test_what_may_leave_the_process_asks_for_no_compiler():
    def graph():
        free = tf.TensorSpec((None, None, None, None, 3))
        traced = tf.function(lambda x: kernels.prelu(x, tf.zeros(3)), jit_compile=False)
        return str(traced.get_concrete_function(free).graph.as_graph_def())

    assert "_XlaMustCompile" in graph()
    with calls.portable.holds():
        assert "_XlaMustCompile" not in graph()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scale_and_offset(dtype):
    x, scale, offset = _random(2, 4, 4, 4, 6, dtype=dtype), _random(6), _random(6, seed=1)
    got = _with_gradients(kernels.affine, x, scale, offset)
    want = _with_gradients(kernels.plain_affine, x, scale, offset)
    _assert_near(got, want, 1e-6 if dtype == "float32" else 2e-2)


def test_models_are_recomputed_one_after_the_other():
    models = []
    for name in ("first", "second"):
        x = keras.Input((None, None, None, 1))
        models.append(keras.Model([x], keras.layers.Conv3D(1, 1, name=name)(x)))

    def run(x, y):
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            total = tf.add_n(kernels.recomputed(models, [[x], [y]]))
        return tape.gradient(total, [x, y])

    given = _random(1, 2, 2, 2, 1), _random(1, 2, 2, 2, 1, seed=1)
    operations = _graph(run, *given).get_operations()
    gradients = [op for op in operations if op.type == "Conv3DBackpropFilterV2"]
    first, second = (
        next(op for op in gradients if f"/{name}" in op.name) for name in ("first", "second")
    )
    assert first in _before(second) and second not in _before(first)


def _before(operation):
    """All that is computed before an operation."""
    found, open_ = set(), [operation]
    while open_:
        now = open_.pop()
        nearer = {*now.control_inputs, *(tensor.op for tensor in now.inputs)} - found
        found |= nearer
        open_ += nearer
    return found
