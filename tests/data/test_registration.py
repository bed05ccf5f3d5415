"""Registration: known displacements are found again; what made things worse is not kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf.data import alignment, geometry, preparation, registration, scans
from multires_tf.data.phantom import subject
from multires_tf.ground import errors


def phantom_pair(index: int, spacing_mm: float, part: tuple) -> tuple[sitk.Image, sitk.Image]:
    """MR and CT of a part (x, y, z) of one phantom, in one frame."""
    made = subject.simulate(11, index, spacing_mm=spacing_mm)
    grid = geometry.Geometry(
        size=made.images["mr"].shape,
        spacing_mm=(spacing_mm,) * 3,
        origin_mm=made.origin_mm,
        direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )
    mr, ct = (made.images[name].astype(np.float32) for name in ("mr", "ct"))
    return geometry.to_image(mr, grid)[part], geometry.to_image(ct, grid)[part]


def known_displacement(ct: sitk.Image, seed: int) -> sitk.CompositeTransform:
    """Up to 15 mm and 8 degrees on each axis, and a B-spline of up to 10 mm."""
    chance = np.random.default_rng(seed)
    rigid = sitk.Euler3DTransform()
    rigid.SetCenter(ct.TransformContinuousIndexToPhysicalPoint([n / 2 for n in ct.GetSize()]))
    rigid.SetRotation(*np.radians(chance.uniform(-8, 8, 3)))
    rigid.SetTranslation(chance.uniform(-15, 15, 3))
    # Wider than the images: where a B-spline ends it would tear them.
    domain = sitk.ConstantPad(ct, [20] * 3, [20] * 3)
    spline = sitk.BSplineTransformInitializer(domain, [4, 4, 8], order=3)
    spline.SetParameters(chance.uniform(-10, 10, len(spline.GetParameters())))
    return sitk.CompositeTransform([spline, rigid])


def target_errors_mm(
    ct: sitk.Image, away: sitk.Transform, found: sitk.Transform
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of 300 landmarks in bone, before and after.

    `away` brings points of the displaced CT to the MR's frame, `found` the other way: one after
    the other they should leave a landmark where it was.
    """
    bone = np.argwhere(sitk.GetArrayViewFromImage(ct) > 300)[:, ::-1]
    chosen = np.random.default_rng(0).choice(bone, 300, replace=False)
    points = [ct.TransformIndexToPhysicalPoint(p.tolist()) for p in chosen]
    before = [np.subtract(away.TransformPoint(p), p) for p in points]
    after = [np.subtract(away.TransformPoint(found.TransformPoint(p)), p) for p in points]
    return np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1)


def register_displaced(index: int, spacing_mm: float, part: tuple):
    mr, ct = phantom_pair(index, spacing_mm, part)
    away = known_displacement(ct, index)
    displaced = scans.ct_in_its_own_frame(sitk.Resample(ct, ct, away, sitk.sitkLinear, -1024))
    own = scans.mr_in_its_own_frame(mr, zero_is_outside=True)
    _, found = preparation.register(own, displaced, kind="deformable")
    return found, *target_errors_mm(ct, away, found.transform)


@pytest.fixture(scope="module")
def found_again():
    return register_displaced(0, 8.0, np.s_[36:, :, 85:115])


def test_a_known_displacement_is_found_again(found_again):
    """Around one hip, where eight millimetres are one voxel."""
    found, before_mm, after_mm = found_again
    assert not found.flags
    assert np.median(before_mm) > 10
    assert np.median(after_mm) < 8
    assert found.after.mutual_information > found.before.mutual_information
    assert found.after.dice > found.before.dice
    assert found.after.jacobian[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("index", range(1, 5))
def test_known_displacements_at_five_millimetres(index):
    _, before_mm, after_mm = register_displaced(index, 5.0, np.s_[:, :, :])
    assert np.median(after_mm) <= 5.0
    assert np.median(after_mm) < np.median(before_mm)


def test_the_transform_is_saved_as_itk_writes_them(found_again, tmp_path):
    found, *_ = found_again
    found.save(tmp_path)
    read = sitk.ReadTransform(str(tmp_path / "registration.tfm"))
    point = (10.0, -20.0, 30.0)
    assert read.TransformPoint(point) == pytest.approx(found.transform.TransformPoint(point))
    record = json.loads((tmp_path / "registration.json").read_text())
    assert [stage["name"] for stage in record["stages"]] == ["rigid", "coarse", "fine"]
    assert record["after"]["dice"] == found.after.dice
    assert record["flags"] == []


def small_pair(shift_mm: float = 6.0):
    """A bright ellipsoid in the MR, and the same in the CT some millimetres to the left."""
    z, y, x = np.ogrid[:20, :24, :24]
    body = ((z - 10) / 8) ** 2 + ((y - 12) / 9) ** 2 + ((x - 12) / 7) ** 2 < 1
    grid = geometry.Geometry(
        (20, 24, 24), (5.0,) * 3, (0.0,) * 3, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    )
    moved = geometry.Geometry(grid.size, grid.spacing_mm, (shift_mm, 0.0, 0.0), grid.direction)
    noise = np.random.default_rng(0).normal(0, 5, grid.size)
    mr = geometry.to_image((np.where(body, 200, 10) + noise).astype(np.float32), grid)
    ct = geometry.to_image((np.where(body, 40, -1000) + noise).astype(np.float32), moved)
    everywhere = np.ones(grid.size, bool)
    return alignment.Side(mr, body, everywhere), alignment.Side(ct, body, everywhere)


def test_rigid_stops_after_the_first_stage_and_repeats_to_the_bit():
    first, second = (registration.register(*small_pair(), kind="rigid") for _ in range(2))
    assert [stage.name for stage in first.stages] == ["rigid"]
    point = (50.0, 60.0, 50.0)
    moved = first.transform.TransformPoint(point)
    assert moved == second.transform.TransformPoint(point)
    assert np.subtract(moved, point) == pytest.approx((6, 0, 0), abs=1.0)
    assert first.stages[0].trace == second.stages[0].trace


def test_none_measures_only():
    found = registration.register(*small_pair(), kind="none")
    assert found.transform is None
    assert found.stages == ()
    assert 0.5 < found.after.dice < 0.98


def test_a_pair_without_a_common_voxel_is_flagged_not_a_failure():
    found = registration.register(*small_pair(shift_mm=500.0), kind="deformable")
    assert found.transform is None
    assert len(found.flags) == 3
    assert found.before.mutual_information is None


def test_a_body_that_vanishes_on_the_grid_of_comparison_is_told():
    thin = geometry.to_image(
        np.pad(np.full((2, 4, 4), 100, np.float32), ((3, 3), (20, 20), (20, 20))),
        geometry.Geometry((8, 44, 44), (0.3,) * 3, (0.0,) * 3, (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    )
    body = sitk.GetArrayViewFromImage(thin) > 0
    side = alignment.Side(thin, body, np.ones(body.shape, bool))
    with pytest.raises(errors.UserError, match="the MR's body is smaller than 4 mm; correct its"):
        alignment.Pair.of(side, side)


def test_an_aligned_pair_measures_as_such():
    pair = alignment.Pair.of(*small_pair(shift_mm=0.0))
    identity = sitk.TranslationTransform(3)
    found = pair.alignment(identity)
    assert found.dice == 1
    assert found.jacobian == (1, 1)
    apart = pair.alignment(sitk.TranslationTransform(3, (10.0, 0.0, 0.0)))
    assert apart.dice < found.dice
    assert apart.mutual_information < found.mutual_information
    nowhere = pair.alignment(sitk.TranslationTransform(3, (1000.0, 0.0, 0.0)))
    assert nowhere.mutual_information is None
    assert nowhere.dice == nowhere.overlap == 0


def tilted_pair(size: tuple[int, ...] = (12, 16, 20)) -> alignment.Pair:
    """All body, on a grid that is turned by 40 degrees about x and 25 about z."""
    turn = sitk.Euler3DTransform((0.0,) * 3, np.radians(40), 0.0, np.radians(25)).GetMatrix()
    grid = geometry.Geometry(size, (6.0, 5.0, 4.0), (10.0, -20.0, 30.0), turn)
    everywhere = np.ones(grid.size, bool)
    image = geometry.to_image(np.random.default_rng(0).random(grid.size, np.float32), grid)
    side = alignment.Side(image, everywhere, everywhere)
    return alignment.Pair.of(side, side)


@pytest.mark.parametrize("size", [(12, 16, 20), (60, 80, 100)])
def test_a_rotation_changes_no_volume_on_a_tilted_grid(size):
    """Nor on a large one, whose memory the system takes back as soon as nobody holds it."""
    rigid = sitk.Euler3DTransform((40.0, 0.0, 50.0), 0.2, -0.3, 0.25, (5.0, 9.0, -7.0))
    assert tilted_pair(size)._jacobian(rigid) == pytest.approx((1, 1), abs=1e-3)


@pytest.mark.parametrize(("stretch", "determinant"), [(-1.3, -1.3), (0.5, 0.5), (1.5, 1.5)])
def test_a_fold_along_a_tilted_axis_is_found(stretch, determinant):
    """Space is stretched along the second index axis alone, by a negative factor where it folds."""
    pair = tilted_pair()
    axis = pair.grid.matrix[:, 1]
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((np.eye(3) + (stretch - 1) * np.outer(axis, axis)).ravel().tolist())
    assert pair._jacobian(affine) == pytest.approx((determinant, determinant), abs=1e-3)


GOOD = alignment.Alignment(mutual_information=0.5, dice=0.95, overlap=1000, jacobian=(0.8, 1.2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"mutual_information": 0.499}, "no gain"),
        ({"mutual_information": 0.48}, "mutual information fell"),
        ({"mutual_information": None}, "would overlap less"),
        ({"overlap": 800}, "would overlap less"),
        ({"jacobian": (-0.1, 3.0)}, "would fold tissue"),
        ({"dice": 0.94}, "overlap less"),
    ],
)
def test_a_stage_that_made_things_worse_is_refused(change, words):
    now = alignment.Alignment(**{**GOOD.__dict__, **change})
    assert words in registration._refusal(GOOD, GOOD, now)
    assert bool(registration._refusal(GOOD, GOOD, now)) == bool(words)


def test_after_a_refusal_the_last_good_transform_stays(monkeypatch):
    """A search that moves the CT out of sight is not kept, and the subject is flagged."""

    def away(pair, kept, tick):
        return sitk.TranslationTransform(3, (500.0, 0.0, 0.0)), [0.0]

    monkeypatch.setattr(registration, "_rigid", away)
    found = registration.register(*small_pair(), kind="rigid")
    assert found.transform is None
    assert found.after == found.before
    assert found.flags == ["rigid registration refused: MR and CT would overlap less"]
