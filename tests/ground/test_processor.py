import pytest

from multires_tf.ground import processor


@pytest.mark.parametrize(
    ("told", "emulates"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 avx2 fma\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", False),  # another kind of processor
        (None, False),
    ],
)
def test_bfloat16_is_emulated_where_the_processor_has_no_avx_512(
    monkeypatch, tmp_path, told, emulates
):
    path = tmp_path / "cpuinfo"
    if told is not None:
        path.write_text(told)
    monkeypatch.setattr(processor, "_TOLD", path)
    assert processor.emulates_bfloat16.__wrapped__() == emulates
