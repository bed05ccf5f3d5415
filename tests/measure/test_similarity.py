"""The challenges' definitions, written out in the plainest way, against the streaming ones."""

import math

import numpy as np
import pytest
from scipy import ndimage, signal
from skimage.metrics import structural_similarity

from multires_tf.measure import similarity


@pytest.fixture(scope="module")
def pair():
    random = np.random.default_rng(3)
    ct_hu = random.uniform(-1100, 3200, (60, 12, 11)).astype(np.float32)
    pct_hu = ct_hu + random.normal(0, 300, ct_hu.shape).astype(np.float32)
    return pct_hu, ct_hu, random.random(ct_hu.shape) < 0.7


def test_psnr_by_hand():
    # Clipping leaves a difference of 402.4 HU, a tenth of the range: 20 dB.
    true, predicted = np.array([3000.0, -9999.0]), np.array([3000.0 - 402.4, -1024.0 + 402.4])
    assert similarity.psnr_db(predicted, true) == pytest.approx(20.0, abs=1e-9)
    assert similarity.psnr_db(true, true) == math.inf


def test_psnr_equals_scikit_image(pair):
    from skimage.metrics import peak_signal_noise_ratio

    pct_hu, ct_hu, body = (array.astype(float) for array in pair)
    voxels = [np.clip(image[body > 0], -1024, 3000) for image in (ct_hu, pct_hu)]
    expected = peak_signal_noise_ratio(*voxels, data_range=4024)
    assert similarity.psnr_db(pct_hu[body > 0], ct_hu[body > 0]) == pytest.approx(
        expected, abs=1e-9
    )


def test_ssim_in_slabs_equals_synthrad2023_in_one(pair):
    pct_hu, ct_hu, body = pair
    assert ct_hu.shape[0] > similarity.SLAB
    clipped = (np.clip(image, -1024, 3000).astype(float) for image in (ct_hu, pct_hu))
    images = [np.where(body, image, -1024.0) + 1024 for image in clipped]
    _, whole = structural_similarity(*images, data_range=4024, full=True)
    inner = (slice(3, -3),) * 3
    expected = whole[inner][body[inner]].mean()
    assert similarity.ssim(pct_hu, ct_hu, body) == pytest.approx(expected, abs=1e-10)


def test_ssim_of_one_slice_is_that_of_the_same_slice_repeated(pair):
    pct_hu, ct_hu, body = (array[:1] for array in pair)
    repeated = (np.repeat(array, 7, axis=0) for array in (pct_hu, ct_hu, body))
    thin = similarity.ssim(pct_hu, ct_hu, body)
    assert 0 < thin < 1
    assert thin == pytest.approx(similarity.ssim(*repeated), abs=1e-10)


def test_ssim_without_an_inner_body_voxel_is_nan(pair):
    pct_hu, ct_hu, body = pair
    rim = np.zeros_like(body)
    rim[:2] = True
    assert math.isnan(similarity.ssim(pct_hu, ct_hu, rim))


def test_the_range_of_2025_is_wider():
    true, predicted = np.array([3071.0, 0.0]), np.array([3071.0 - 409.5, 409.5])
    found = similarity.psnr_db(predicted, true, similarity.SYNTHRAD2025)
    assert found == pytest.approx(20.0, abs=1e-9)
    # 2023 cuts both at 3000 HU: the first difference shrinks to 338.5.
    narrow = 10 * math.log10(4024**2 / ((338.5**2 + 409.5**2) / 2))
    assert similarity.psnr_db(predicted, true) == pytest.approx(narrow, abs=1e-9)


def _ms_ssim_of_equation(pct_hu, ct_hu, body):
    """The challenge's formula on whole arrays, image by image as its text has it."""
    missing = [max(97 - size, 0) for size in body.shape]
    widths = [(n // 2, n - n // 2) for n in missing]
    x, y = (np.where(body, np.clip(v, -1024, 3071), -1024) + 1024.0 for v in (ct_hu, pct_hu))
    x, y, m = (np.pad(v, widths, mode="edge") for v in (x, y, body))
    c1, c2 = (0.01 * 4095) ** 2, (0.03 * 4095) ** 2
    result, inner = 1.0, (slice(3, -3),) * 3
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        blur = lambda v: ndimage.uniform_filter(v, 7)  # noqa: E731
        ux, uy, unbiased = blur(x), blur(y), 343 / 342
        vx = unbiased * (blur(x * x) - ux * ux)
        vy = unbiased * (blur(y * y) - uy * uy)
        vxy = unbiased * (blur(x * y) - ux * uy)
        sx, sy = np.sqrt(np.clip(vx, 0, None)), np.sqrt(np.clip(vy, 0, None))
        luminance = np.clip((2 * ux * uy + c1) / (ux**2 + uy**2 + c1), 0, None)
        contrast = np.clip((2 * sx * sy + c2) / (vx + vy + c2), 0, None)
        structure = np.clip((vxy + c2 / 2) / (sx * sy + c2 / 2), 0, None)
        similar = luminance**weight * contrast**weight * structure**weight
        result *= np.clip(similar[inner][m[inner]].mean(), 0, 1)
        x, y = (signal.fftconvolve(v, np.ones((2, 2, 2)) / 8, mode="same") for v in (x, y))
        x, y, m = (v[::2, ::2, ::2] for v in (x, y, m))
    return result


@pytest.mark.parametrize("shape", [(112, 20, 98), (60, 12, 11)])
def test_ms_ssim_in_slabs_equals_synthrad2025_in_one(shape):
    random = np.random.default_rng(5)
    ct_hu = ndimage.gaussian_filter(random.normal(0, 9000, shape), 2).astype(np.float32)
    pct_hu = (0.7 * ct_hu + random.normal(0, 600, shape)).astype(np.float32)
    body = random.random(shape) < 0.8
    body[shape[0] // 3 : -(shape[0] // 3)] = True  # the coarsest scale sees the middle alone
    expected = _ms_ssim_of_equation(pct_hu, ct_hu, body)
    assert 0.3 < expected < 0.98
    assert similarity.ms_ssim(pct_hu, ct_hu, body) == pytest.approx(expected, abs=1e-6)


def test_ms_ssim_of_an_image_with_itself_is_one():
    ct_hu = np.random.default_rng(0).normal(0, 300, (8, 9, 10))
    assert similarity.ms_ssim(ct_hu, ct_hu, np.ones(ct_hu.shape, bool)) == pytest.approx(1.0)


def test_ms_ssim_of_two_constants_is_the_luminance_alone():
    # 0 and 512 HU are 1024 and 1536 above the window's start; the edges continue them.
    full = np.ones((5, 5, 5), bool)
    c1 = (0.01 * 4095) ** 2
    first = (2 * 1024 * 1536 + c1) / (1024**2 + 1536**2 + c1)
    found = similarity.ms_ssim(np.full(full.shape, 512.0), np.zeros(full.shape), full)
    # The first scale has weight 0.0448; the zero before the first voxel darkens the rim of the
    # others, so that they are not simply the luminance to their weight.
    assert 0.5 < found < first**0.0448


def test_halving_is_the_convolution_with_ones():
    for shape in ((6, 7, 9), (97, 8, 5)):
        image = np.random.default_rng(1).normal(size=shape)
        convolved = signal.fftconvolve(image, np.ones((2, 2, 2)) / 8, mode="same")
        np.testing.assert_allclose(
            similarity._halved(image), convolved[::2, ::2, ::2], rtol=0, atol=1e-12
        )


def test_ms_ssim_without_a_body_voxel_that_counts_is_nan():
    rim = np.zeros((100, 8, 8), bool)
    rim[:2] = True  # nearer to the volume's end than a window's margin
    volume = np.zeros(rim.shape, np.float32)
    assert math.isnan(similarity.ms_ssim(volume, volume, rim))
