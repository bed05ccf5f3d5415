"""A whole volume from tiles: with a network that changes nothing, the volume itself."""

from __future__ import annotations

import numpy as np
import pytest

from multires_tf.data import store
from multires_tf.joints import synthesis
from multires_tf.model import networks

SHAPE = (37, 51, 45)
WINDOW = (32, 32, 32)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "mr.ome.zarr"
    array = np.random.default_rng(0).random(SHAPE, np.float32)
    store.write_pyramid(path, array, fill=0.0, attributes={"spacing_mm": [2.0, 2.0, 2.0]})
    return store.open_pyramid(path)


def _tiling(edge, scales=(1, 2, 4)):
    return synthesis.Tiling((edge,) * 3, overlap=0.25, window=WINDOW, scales=scales, multiple=16)


@pytest.mark.parametrize("edge", [32, 48])
def test_an_identity_gives_the_volume_back(volume, edge):
    seen = []

    def identity(inputs):
        seen.append([array.shape[1:4] for array in inputs])
        return {"ct": inputs[0][0, ..., 0]}

    maps = synthesis.predict_volume(volume, identity, _tiling(edge), quiet=True)
    np.testing.assert_allclose(maps["ct"], volume.read_all(), rtol=0, atol=1e-5)
    # T, T / 2 + w / 2 and T / 4 + 3 w / 4 a side.
    sizes = [edge, edge // 2 + 16, edge // 4 + 24]
    assert seen[0] == [(size,) * 3 for size in sizes]
    assert len(seen) == {32: 2 * 2 * 2, 48: 1 * 2 * 1}[edge]


def test_a_small_volume_gets_one_small_tile(volume):
    tiling = _tiling(96)
    assert tiling.fitted(SHAPE).tile == (48, 64, 48)
    assert tiling.fitted((5, 16, 200)).tile == (16, 16, 96)
    flat = synthesis.Tiling((1, 96, 96), 0.25, (1, 96, 96), (1,), 8)
    assert flat.fitted(SHAPE).tile == (1, 56, 48)


def test_a_large_tile_shares_no_more_voxels_than_the_window():
    # 0.25 of 32: 8 voxels; tiles of 32 move on by 24, tiles of 64 by 56.
    assert [start[2] for start in _tiling(32).starts((32, 32, 80))] == [0, 24, 48]
    assert [start[2] for start in _tiling(64).starts((64, 64, 120))] == [0, 56]
    assert _tiling(64).along(120, 64, axis=2) == 2
    assert _tiling(64).along(124, 64, axis=2) == 3
    # 0.25 of 16, where the tile is smaller: they move on by 12.
    assert [start[2] for start in _tiling(16).starts((16, 16, 40))] == [0, 12, 24]


def test_maps_in_hu():
    maps = {"ct": np.array([0.0, 1.0]), "aleatoric": np.array([0.0, 1e-4])}
    hu = synthesis.in_hu(maps, (-1024.0, 3071.0))
    assert sorted(hu) == ["aleatoric_sd_hu", "ct"]
    assert hu["ct"].tolist() == [-1024.0, 3071.0]
    np.testing.assert_allclose(hu["aleatoric_sd_hu"], [0.0, 40.95])


def test_the_stabiliser_of_the_likelihood_is_part_of_the_variance():
    nets = networks.multires(window=WINDOW, scales=(1,), filters=(2,), blocks=1, dilations=(1,))
    tile = [np.random.default_rng(0).random((1, 4, 4, 4, 1), np.float32)]
    log_var = np.asarray(nets.plain(tile)["log_var"])[0, ..., 0]
    for stabiliser in (0.0, 0.005):
        compute = synthesis.monte_carlo(nets, samples=1, seed=0, stabiliser=stabiliser)
        expected = np.exp(log_var) + stabiliser
        np.testing.assert_allclose(compute(tile)["aleatoric"], expected, rtol=1e-5)


def _jump(array, borders):
    """Mean absolute jump along x across borders, relative to one voxel beside them."""
    jumps = np.abs(np.diff(array, axis=2)).mean(axis=(0, 1))
    at = np.mean([jumps[border - 1] for border in borders])
    beside = np.mean([jumps[[border - 2, border]] for border in borders])
    return at / beside


def test_no_seam_in_any_map_of_a_phantom(tmp_path):
    """Windows end inside the body: what a draw says at a tile's rim differs from its neighbour's.

    The masks are those of a draw in every tile, so both sigmas are as smooth as the mean.
    """
    z, y, x = np.ogrid[:48, :48, :160]
    body = ((y - 24) / 20) ** 2 + ((z - 24) / 20) ** 2 < 1
    rng = np.random.default_rng(0)
    mr = np.where(body, 0.5 + 0.2 * np.sin(x / 5) * np.cos(y / 4), 0.0)
    mr = (mr + rng.normal(0, 0.05, mr.shape)).astype(np.float32)
    path = tmp_path / "mr.ome.zarr"
    store.write_pyramid(path, mr, fill=0.0, attributes={"spacing_mm": [2.0, 2.0, 2.0]})
    nets = networks.multires(
        window=WINDOW,
        filters=(8, 8, 8),
        blocks=1,
        fc=(8,),
        head=(8,),
        norm="none",
        dropout="everywhere",
        keep=0.8,
    )
    for layer in nets.plain.layers:
        if layer.name.endswith(".out"):  # initial outputs are nearly constant
            layer.kernel.assign(30 * layer.kernel)
    # Twelve voxels; the base's windows share twenty.
    tiling = synthesis.Tiling(
        (48, 48, 48), overlap=12 / 32, window=WINDOW, scales=(1, 2, 4), multiple=16
    )
    compute = synthesis.monte_carlo(nets, samples=4, seed=0)
    volume = store.open_pyramid(path)
    maps = synthesis.predict_volume(volume, compute, tiling, quiet=True)
    starts = sorted({start[2] for start in tiling.starts(volume.shape)})
    borders = [*starts[1:], *(start + 48 for start in starts[:-1])]
    # Interpolated coarse maps bend at every multiple of 4, tile or no tile.
    others = [x for x in range(8, 156, 4) if x not in borders]
    assert len(borders) >= 6
    hu = synthesis.in_hu(maps, (-1024.0, 3071.0))
    for name in ("ct", "aleatoric_sd_hu", "epistemic_sd_hu"):
        assert hu[name].std() > 1
        assert _jump(hu[name], borders) <= 1.02 * _jump(hu[name], others), name


def test_the_variance_of_a_map_made_of_each_draw():
    nets = networks.multires(
        window=(16, 16, 16),
        scales=(1, 2),
        filters=(4,),
        blocks=1,
        dilations=(1,),
        fc=(4,),
        head=(4,),
        dropout="late",
    )
    tile = list(np.random.default_rng(0).random((2, 1, 16, 16, 16, 1), np.float32))
    seen = []

    def squared(ct):
        seen.append(ct.copy())
        return ct**2

    maps = synthesis.monte_carlo(nets, samples=4, seed=3, derived=squared)(tile)
    assert len(seen) == 4
    np.testing.assert_allclose(maps["ct"], np.mean(seen, axis=0), rtol=1e-5, atol=1e-8)
    expected = np.var(np.square(seen, dtype=np.float64), axis=0, ddof=1)
    np.testing.assert_allclose(maps["derived"], expected, rtol=1e-3, atol=1e-12)
    assert "derived" not in synthesis.monte_carlo(nets, samples=1, seed=3, derived=squared)(tile)
