"""Windows from the store: the paper's blocks, registered, and the same after a restart."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest

from multires_tf.data import pipeline, store, windows
from multires_tf.ground import errors

SHAPE = (21, 19, 30)
EDGE = 16
SCALES = (1, 2, 4)
FILLS = {"mr": 0.0, "ct": -1024.0, "mask": 0}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three subjects of odd size; returns their volumes and their arrays."""
    folder = tmp_path_factory.mktemp("volumes")
    found = []
    for k in range(3):
        random = np.random.default_rng(k)
        mask = np.ones(SHAPE, np.uint8)
        mask[4:16, 4:16, 8:24] = 2
        mask[:, :3] = 0
        arrays = {
            "mr": random.random(SHAPE, np.float32),
            "ct": random.uniform(-1000, 2000, SHAPE).astype(np.float32),
            "mask": mask,
        }
        paths = {role: folder / f"s{k}" / f"{role}.ome.zarr" for role in arrays}
        for role, array in arrays.items():
            reduce = "min" if role == "mask" else "mean"
            attributes = {"spacing_mm": [2.0, 1.0, 1.5]}
            store.write_pyramid(
                paths[role], array, fill=FILLS[role], reduce=reduce, attributes=attributes
            )
        found.append((pipeline.Volume(f"s{k}", **paths), arrays))
    return found


def rules(**changes):
    fields = {
        "seed": 5,
        "batch": 1,
        "window": (EDGE,) * 3,
        "tile": changes.get("window", (EDGE,) * 3),
        "scales": SCALES,
        "body_share": 0.5,
        "flip_axes": ("x",),
        "rotation_deg": 10.0,
        "scaling": 0.1,
        "augment_share": 0.5,
        "ct_window_hu": (-1024.0, 3071.0),
        "supervised_scales": (1,),
        **changes,
    }
    return pipeline.WindowRules(**fields)


def batches(cohort, *, start_step=0, steps=6, **changes):
    volumes = [volume for volume, _ in cohort]
    which = {name: changes.pop(name) for name in ("shares", "of", "parallel") if name in changes}
    dataset = pipeline.training_windows(
        volumes, rules(**changes), start_step=start_step, stop_step=steps, **which
    )
    return list(dataset.as_numpy_iterator())


def by_the_paper(array, start, *, fill, reduce=np.mean):
    """Cuts the context of 4 x 16 voxels, reduces it by 2 and 4 and crops the centres to 16."""
    padded = np.pad(array, 64, constant_values=fill)
    first = [o + EDGE // 2 - 2 * EDGE + 64 for o in start]
    context = padded[tuple(slice(o, o + 4 * EDGE) for o in first)]
    found = {}
    for s in SCALES:
        n = 4 * EDGE // s
        blocks = context.reshape(n, s, n, s, n, s)
        centre = slice((n - EDGE) // 2, (n + EDGE) // 2)
        found[s] = reduce(blocks, axis=(1, 3, 5))[centre, centre, centre]
    return found


def all_starts():
    ends = [windows.first_and_last_start(length, EDGE, 4) for length in SHAPE]
    return list(itertools.product(*(range(low, high + 1, 4) for low, high in ends)))


def test_triplets_are_the_paper_s_blocks_for_every_start(cohort):
    volume, arrays = cohort[0]
    assert len(all_starts()) == 3 * 2 * 5
    for start in all_starts():
        found = pipeline.read_windows(
            volume.pyramids["mr"], start, (EDGE,) * 3, window=(EDGE,) * 3, scales=SCALES
        )
        for s, expected in by_the_paper(arrays["mr"], start, fill=0).items():
            np.testing.assert_allclose(found[f"mr_{s}"], expected, atol=1e-6)


def test_batches_hold_the_paper_s_blocks_of_mr_ct_and_mask(cohort):
    seen = set()
    for found in batches(
        cohort, steps=40, flip_axes=(), augment_share=0.0, supervised_scales=SCALES
    ):
        start = tuple(found["start"][0].tolist())
        seen.add(start)
        arrays = cohort[found["subject"][0]][1]
        mr = by_the_paper(arrays["mr"], start, fill=0)
        ct_hu = by_the_paper(arrays["ct"], start, fill=-1024)
        field = by_the_paper(arrays["mask"] > 0, start, fill=0, reduce=np.min)
        for s in SCALES:
            np.testing.assert_allclose(found[f"mr_{s}"][0, ..., 0], mr[s], atol=1e-6)
            np.testing.assert_allclose(
                found[f"ct_{s}"][0, ..., 0] * 4095 - 1024, ct_hu[s], atol=1e-3
            )
            np.testing.assert_array_equal(found[f"weight_{s}"][0, ..., 0], field[s])
    assert seen <= set(all_starts()) and len(seen) > 10


def test_elements_have_static_shapes_and_the_planned_types(cohort):
    dataset = pipeline.training_windows(
        [cohort[0][0]], rules(batch=2, supervised_scales=(1, 2)), start_step=0, stop_step=4
    )
    spec = dataset.element_spec
    arrays = {"mr_1", "mr_2", "mr_4", "ct_1", "weight_1", "ct_2", "weight_2"}
    assert set(spec) == arrays | {"subject", "start", "step", "index"}
    assert all(spec[key].shape == (2, 16, 16, 16, 1) for key in arrays)
    assert all(spec[key].dtype == "float32" for key in arrays)
    assert (spec["subject"].shape, spec["subject"].dtype) == ((2,), "int32")
    assert (spec["start"].shape, spec["start"].dtype) == ((2, 3), "int32")
    assert (spec["step"].shape, spec["step"].dtype) == ((), "int64")


def test_a_larger_tile_is_what_prediction_would_read_of_it(cohort):
    (found,) = batches(
        cohort,
        steps=1,
        tile=(32, 32, 32),
        flip_axes=(),
        augment_share=0.0,
        supervised_scales=SCALES,
    )
    assert {s: found[f"ct_{s}"].shape[1:4] for s in SCALES} == {
        1: (32, 32, 32),
        2: (24, 24, 24),
        4: (20, 20, 20),
    }
    volume = cohort[found["subject"][0]][0]
    expected = pipeline.read_windows(
        volume.pyramids["mr"], found["start"][0], (32,) * 3, window=(EDGE,) * 3, scales=SCALES
    )
    for s in SCALES:
        np.testing.assert_array_equal(found[f"mr_{s}"][0, ..., 0], expected[f"mr_{s}"])


@pytest.mark.parametrize("batch", [1, 2])
def test_a_continued_run_sees_what_an_uninterrupted_one_would(cohort, batch):
    whole = batches(cohort, batch=batch, steps=8, parallel=4)
    rest = batches(cohort, batch=batch, start_step=5, steps=8, parallel=1)
    assert [found["step"] for found in whole] == list(range(8))
    for expected, found in zip(whole[5:], rest, strict=True):
        for key in expected:
            np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


@pytest.mark.parametrize("shares", [(0, 1, 2, 3), (2, 3), (3,)])
def test_devices_share_the_batch_that_one_would_get(cohort, shares):
    whole = batches(cohort, batch=4, start_step=1, steps=4)
    parts = batches(cohort, batch=4, start_step=1, steps=4, shares=shares, of=4)
    assert [int(part["step"]) for part in parts] == [s for s in (1, 2, 3) for _ in shares]
    for place, part in enumerate(parts):
        step, share = place // len(shares), shares[place % len(shares)]
        assert part["index"].tolist() == [share]
        for name in ("mr_1", "ct_1", "weight_1", "subject", "start"):
            assert np.array_equal(part[name][0], whole[step][name][share])


def test_every_subject_once_an_epoch(cohort):
    seen = [int(found["subject"][0]) for found in batches(cohort, steps=9)]
    assert [sorted(seen[i : i + 3]) for i in (0, 3, 6)] == [[0, 1, 2]] * 3


def test_flips_mirror_all_arrays_alike(cohort):
    straight = batches(cohort, steps=12, augment_share=0.0, flip_axes=())
    flipped = batches(cohort, steps=12, augment_share=0.0, flip_axes=("x",))
    mirrored = 0
    for a, b in zip(straight, flipped, strict=True):
        turn = -1 if not np.array_equal(a["mr_1"], b["mr_1"]) else 1
        mirrored += turn == -1
        for key in ("mr_1", "mr_2", "mr_4", "ct_1", "weight_1"):
            np.testing.assert_array_equal(a[key][:, :, :, ::turn], b[key])
    assert 0 < mirrored < 12


def test_turned_windows_stay_registered_and_are_filled_with_air(tmp_path):
    inside = np.full((40, 40, 40), 0.5, np.float32)
    paths = {role: tmp_path / f"{role}.ome.zarr" for role in FILLS}
    attributes = {"spacing_mm": [1.0, 1.0, 1.0]}
    store.write_pyramid(paths["mr"], inside, fill=0.0, attributes=attributes)
    ct_hu = inside * 4095 - 1024
    store.write_pyramid(paths["ct"], ct_hu, fill=-1024.0, attributes=attributes)
    mask = np.ones(inside.shape, np.uint8)
    store.write_pyramid(paths["mask"], mask, fill=0, reduce="min", attributes=attributes)
    cohort = [(pipeline.Volume("s", **paths), {})]
    for found in batches(cohort, steps=8, augment_share=1.0):
        # CT in units was made equal to the MR, so the two must agree to the last partial voxel.
        np.testing.assert_allclose(found["mr_1"], found["ct_1"], atol=1e-5)
        np.testing.assert_array_equal(found["weight_1"] == 1, found["mr_1"] > 0.4995)
        assert found["mr_4"].min() == 0  # the context of 64 voxels reaches beyond the volume
        assert found["mr_4"].max() == pytest.approx(0.5)


def test_flat_windows_of_the_2d_net(cohort):
    found = batches(cohort, steps=12, window=(1, 16, 16), scales=(1,), augment_share=0.0)
    assert found[0]["mr_1"].shape == (1, 1, 16, 16, 1) and "mr_2" not in found[0]
    assert any(f["start"][0, 0] % 4 for f in found)
    for f in found:
        z, y, x = f["start"][0]
        if y + 16 <= SHAPE[1] and x + 16 <= SHAPE[2]:
            cut = cohort[f["subject"][0]][1]["mr"][z, y : y + 16, x : x + 16]
            row = f["mr_1"][0, 0, ..., 0]
            assert np.array_equal(row, cut) or np.array_equal(row[:, ::-1], cut)


def test_a_missing_store_is_told_before_the_first_step(tmp_path):
    volume = pipeline.Volume("s", tmp_path / "mr", tmp_path / "ct", tmp_path / "mask")
    with pytest.raises(errors.UserError, match="run 'prepare'"):
        batches([(volume, {})])


def test_stores_of_different_shape_are_refused(cohort, tmp_path):
    volume = cohort[0][0]
    attributes = {"spacing_mm": [2.0, 1.0, 1.5]}
    store.write_pyramid(
        tmp_path / "ct.ome.zarr", np.zeros((21, 19, 31)), fill=-1024.0, attributes=attributes
    )
    other = pipeline.Volume("s", volume.mr, tmp_path / "ct.ome.zarr", volume.mask)
    with pytest.raises(errors.UserError, match="differ in shape"):
        batches([(other, {})])


def test_a_chunk_damaged_since_names_its_store(cohort, tmp_path):
    folder = tmp_path / "s0"
    shutil.copytree(cohort[0][0].mr.parent, folder)
    volume = pipeline.Volume("s0", *(folder / f"{r}.ome.zarr" for r in ("mr", "ct", "mask")))
    for chunk in (volume.ct / "0").rglob("[0-9]*"):
        if chunk.is_file():
            chunk.write_bytes(b"\0" * chunk.stat().st_size)
    with pytest.raises(Exception, match="UserError") as caught:
        batches([(volume, {})])
    told = pipeline.complaint(caught.value)
    assert str(told).startswith(f"{volume.ct}: the volume store is incomplete or damaged; delete")
    assert str(told).endswith("run 'prepare' again")


def test_other_errors_are_no_complaint_of_ours():
    assert pipeline.complaint(ValueError("a shape does not fit")) is None
