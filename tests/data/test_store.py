import json
import pathlib

import numpy as np
import pytest

from multires_tf.data import store
from multires_tf.ground import errors

SPACING_MM = [3.0, 1.0, 2.0]


def write(path, array, **options):
    arguments = {"fill": 0.0, "attributes": {"spacing_mm": SPACING_MM}, **options}
    store.write_pyramid(path, array, **arguments)
    return store.open_pyramid(path)


@pytest.fixture
def ramp():
    return np.arange(10 * 9 * 8, dtype=np.float32).reshape(10, 9, 8)


def test_levels_average_blocks_by_2_and_4(tmp_path, ramp):
    pyramid = write(tmp_path / "mr.ome.zarr", ramp[:8, :8])
    blocks = ramp[:8, :8].reshape(2, 4, 2, 4, 2, 4).mean(axis=(1, 3, 5))
    assert np.array_equal(pyramid.read_all(4), blocks)
    assert np.array_equal(pyramid.read_all(2)[0, 0, 0], ramp[:2, :2, :2].mean())


def test_the_end_of_each_axis_is_padded_with_the_fill_before_averaging(tmp_path):
    pyramid = write(tmp_path / "ct.ome.zarr", np.zeros((2, 4, 5), np.float32), fill=-1000.0)
    assert pyramid.shape == (2, 4, 5)
    assert pyramid.read_all(2).shape == (2, 2, 4)
    assert pyramid.read_all(2)[0, 0].tolist() == [0, 0, -500, -1000]
    assert pyramid.read_all(4).tolist() == [[[-500, -875]]]


def test_a_mask_takes_the_minimum_of_each_block(tmp_path):
    mask = np.full((4, 4, 4), 2, np.uint8)
    mask[0, 0, 0], mask[3, 3, 3] = 0, 1
    pyramid = write(tmp_path / "mask.ome.zarr", mask, fill=0, reduce="min")
    assert pyramid.read_all(2).tolist() == [[[0, 2], [2, 2]], [[2, 2], [2, 1]]]
    assert pyramid.read_all(4).tolist() == [[[0]]]
    assert pyramid.read_all(1).dtype == np.uint8


@pytest.mark.parametrize("start", [(-3, 0, 5), (2, 3, 4), (9, -2, -2), (20, 0, 0), (-30, 0, 0)])
def test_a_window_beyond_the_volume_is_filled(tmp_path, ramp, start):
    pyramid = write(tmp_path / "mr.ome.zarr", ramp, fill=-7.0)
    padded = np.pad(ramp, 40, constant_values=-7.0)
    size = (6, 5, 4)
    expected = padded[tuple(slice(40 + a, 40 + a + n) for a, n in zip(start, size, strict=True))]
    assert np.array_equal(pyramid.read(1, start, size), expected)


def test_windows_over_many_chunks_are_read_back(tmp_path):
    array = np.random.default_rng(0).normal(size=(70, 65, 40)).astype(np.float32)
    pyramid = write(tmp_path / "mr.ome.zarr", array)
    assert np.array_equal(pyramid.read(1, (5, 6, 7), (64, 50, 33)), array[5:69, 6:56, 7:40])
    assert np.array_equal(pyramid.read_all(), array)


def test_attributes_and_spacing_come_back(tmp_path, ramp):
    attributes = {"spacing_mm": SPACING_MM, "mr_low": 12.5}
    pyramid = write(tmp_path / "mr.ome.zarr", ramp, fill=-1024.0, attributes=attributes)
    assert pyramid.spacing_mm == (3.0, 1.0, 2.0)
    assert pyramid.attributes["mr_low"] == 12.5
    assert pyramid.fill == -1024.0


def test_a_path_may_go_up(tmp_path, ramp, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    pyramid = write(pathlib.Path("../there/mr.ome.zarr"), ramp)
    assert np.array_equal(pyramid.read_all(), ramp)


def test_levels_carry_their_half_voxel_offsets(tmp_path, ramp):
    write(tmp_path / "mr.ome.zarr", ramp)
    root = json.loads((tmp_path / "mr.ome.zarr" / ".zattrs").read_text())
    datasets = root["multiscales"][0]["datasets"]
    offsets = [one["coordinateTransformations"][1]["translation"] for one in datasets]
    assert offsets == [[0, 0, 0], [1.5, 0.5, 1.0], [4.5, 1.5, 3.0]]
    scales = [one["coordinateTransformations"][0]["scale"] for one in datasets]
    assert scales == [[3, 1, 2], [6, 2, 4], [12, 4, 8]]


def test_the_ome_zarr_package_opens_it(tmp_path, ramp):
    io = pytest.importorskip("ome_zarr.io")
    reader = pytest.importorskip("ome_zarr.reader")
    pyramid = write(tmp_path / "mr.ome.zarr", ramp)
    node = next(iter(reader.Reader(io.parse_url(str(tmp_path / "mr.ome.zarr")))()))
    assert [axis["name"] for axis in node.metadata["axes"]] == ["z", "y", "x"]
    assert len(node.data) == 3
    for level, scale in zip(node.data, store.SCALES, strict=True):
        assert np.array_equal(np.asarray(level), pyramid.read_all(scale))


def test_a_missing_store_is_refused_with_the_verb(tmp_path):
    with pytest.raises(errors.UserError, match=r"mr\.ome\.zarr.*run 'prepare' first"):
        store.open_pyramid(tmp_path / "mr.ome.zarr")


def damage_chunk_missing(path):
    next((path / "0").glob("0/0/0")).unlink()


def damage_chunk_cut(path):
    chunk = path / "2" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])


def damage_metadata_missing(path):
    (path / "1" / ".zarray").unlink()


def damage_root_cut(path):
    root = path / ".zattrs"
    root.write_text(root.read_text()[:50])


def damage_root_missing(path):
    (path / ".zattrs").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        damage_chunk_missing,
        damage_chunk_cut,
        damage_metadata_missing,
        damage_root_cut,
        damage_root_missing,
    ],
)
def test_a_store_that_is_cut_short_is_refused(tmp_path, ramp, damage):
    path = tmp_path / "mr.ome.zarr"
    # Even a volume of nothing but fill has all its files.
    write(path, np.zeros_like(ramp))
    assert store.is_complete(path)
    damage(path)
    assert not store.is_complete(path)
    with pytest.raises(errors.UserError, match="incomplete or damaged"):
        store.open_pyramid(path)


def test_a_chunk_damaged_after_opening_is_an_error_not_fill(tmp_path, ramp):
    pyramid = write(tmp_path / "mr.ome.zarr", ramp)
    chunk = tmp_path / "mr.ome.zarr" / "0" / "0" / "0" / "0"
    chunk.write_bytes(b"\0" * chunk.stat().st_size)
    with pytest.raises(errors.UserError, match="damaged"):
        pyramid.read_all()


def test_a_failed_write_leaves_nothing_and_a_new_one_replaces(tmp_path, ramp):
    path = tmp_path / "mr.ome.zarr"
    with pytest.raises(ValueError, match="floating-point"):
        write(path, ramp.astype(np.int32))
    assert list(tmp_path.iterdir()) == []
    write(path, ramp)
    assert np.array_equal(write(path, ramp + 1).read_all(), ramp + 1)
    assert list(tmp_path.iterdir()) == [path]
