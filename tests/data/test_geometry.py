import dataclasses
import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from multires_tf.data import geometry


def grid(**fields):
    defaults = {
        "size": (4, 5, 6),
        "spacing_mm": (3.0, 1.0, 2.0),
        "origin_mm": (10.0, 20.0, 30.0),
        "direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    }
    return geometry.Geometry(**{**defaults, **fields})


def rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0)


def all_directions():
    """The 48 axis permutations with flips, each turned by 20 degrees about z."""
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            columns = np.eye(3)[:, axes] * signs
            yield tuple((np.reshape(rotation(20), (3, 3)) @ columns).ravel().tolist())


def test_image_and_back_keep_grid_and_array():
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    image = geometry.to_image(array, grid())
    assert image.GetSize() == (6, 5, 4)
    assert image.GetSpacing() == (2.0, 1.0, 3.0)
    assert geometry.of_image(image) == grid()
    assert np.array_equal(sitk.GetArrayFromImage(image), array)
    assert geometry.from_dict(grid().as_dict()) == grid()


def test_an_array_of_another_size_is_refused():
    with pytest.raises(ValueError, match="size"):
        geometry.to_image(np.zeros((4, 5, 5), np.float32), grid())


def test_position_and_index_are_inverse_and_in_mm():
    assert grid().position_mm((1, 1, 1)).tolist() == [12, 21, 33]
    turned = grid(direction=rotation(90))
    assert np.allclose(turned.position_mm((1, 0, 0)), (10, 22, 30))
    assert np.allclose(turned.index_xyz((10, 22, 30)), (1, 0, 0))


def test_bounds_hold_whole_voxels():
    low, high = grid().bounds_mm()
    assert low.tolist() == [9, 19.5, 28.5]
    assert high.tolist() == [21, 24.5, 40.5]


def test_canonical_equals_simpleitk_for_any_tilt():
    for turned in Rotation.random(200, rng=0):
        own = grid(direction=tuple(turned.as_matrix().ravel()))
        image = geometry.canonical_image(geometry.to_image(np.zeros((4, 5, 6), np.int16), own))
        ours, theirs = geometry.canonical(own), geometry.of_image(image)
        assert (ours.size, ours.spacing_mm) == (theirs.size, theirs.spacing_mm)
        assert np.allclose(ours.direction, theirs.direction, atol=1e-12)


@pytest.mark.parametrize("direction", list(all_directions()))
def test_canonical_equals_simpleitk_for_every_orientation(direction):
    own = grid(direction=direction)
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    image = geometry.canonical_image(geometry.to_image(array, own))
    ours, theirs = geometry.canonical(own), geometry.of_image(image)
    assert ours.size == theirs.size
    assert ours.spacing_mm == theirs.spacing_mm
    assert np.allclose(ours.origin_mm, theirs.origin_mm, atol=1e-9)
    assert np.allclose(ours.direction, theirs.direction, atol=1e-12)
    assert np.all(np.diag(ours.matrix) > 0.9)


def test_prepared_grid_at_the_same_spacing_is_the_mr_grid():
    assert geometry.prepared_grid(grid(), (3.0, 1.0, 2.0)) == grid()
    assert geometry.prepared_grid(grid(), None) == grid()
    # 3.27 in one header, 3.26996 in the other.
    assert geometry.prepared_grid(grid(), (3.0001, 1.0, 2.0)) == grid()


def test_prepared_grid_keeps_the_first_edge_and_covers_the_field():
    made = geometry.prepared_grid(grid(), (3.0, 2.0, 1.0))
    # y: 5 voxels of 1 mm need 3 of 2 mm; the edge is at 19.5. x: 12 voxels of 1 mm; edge at 9.
    assert made.size == (4, 3, 12)
    assert made.origin_mm == (9.5, 20.5, 30.0)
    assert made.spacing_mm == (3.0, 2.0, 1.0)


def test_prepared_grid_does_not_grow_by_rounding():
    own = grid(size=(80, 80, 80), spacing_mm=(1.2, 1.2, 1.2))
    assert geometry.prepared_grid(own, (2.4, 2.4, 2.4)).size == (40, 40, 40)
    assert geometry.prepared_grid(own, (2.3, 2.4, 2.4)).size == (42, 40, 40)


def test_prepared_grid_has_canonical_axes_but_keeps_a_tilt():
    made = geometry.prepared_grid(grid(direction=rotation(100)), None)
    assert made.size == (4, 6, 5)
    assert made.spacing_mm == (3.0, 2.0, 1.0)
    assert np.allclose(made.direction, rotation(10))


def test_same_grid_forgives_rounding_only():
    assert geometry.same_grid(grid(), grid(origin_mm=(10.001, 20.0, 30.0)))
    assert not geometry.same_grid(grid(), grid(origin_mm=(10.1, 20.0, 30.0)))
    assert not geometry.same_grid(grid(), grid(spacing_mm=(3.1, 1.0, 2.0)))
    assert not geometry.same_grid(grid(), grid(size=(4, 5, 7)))


def turned(degrees, **fields):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    direction = (1.0, 0.0, 0.0, 0.0, c, -s, 0.0, s, c)
    level = geometry.Geometry((10, 20, 30), (4.0, 2.0, 2.0), (-5.0, 7.0, 11.0), direction)
    return dataclasses.replace(level, **fields)


def test_an_upright_grid_keeps_the_voxels_of_one_along_the_axes():
    coronal = geometry.Geometry(
        (20, 30, 40), (3.0, 1.0, 2.0), (0, 0, 0), (1, 0, 0, 0, 0, 1, 0, -1, 0)
    )
    upright = geometry.upright(coronal)
    assert upright.size == (30, 20, 40)
    assert upright.spacing_mm == (1.0, 3.0, 2.0)
    assert upright.origin_mm == (0.0, 0.0, -29.0)
    assert np.array_equal(upright.matrix, np.eye(3))


def test_an_upright_grid_of_an_oblique_one_holds_its_field():
    oblique = turned(20.0)
    upright = geometry.upright(oblique)
    assert np.array_equal(upright.matrix, np.eye(3))
    assert upright.spacing_mm == oblique.spacing_mm
    (low, high), (least, most) = upright.bounds_mm(), oblique.bounds_mm()
    assert (low <= least + 1e-2).all() and (high >= most - 1e-2).all()
    assert (high - low <= most - least + upright.spacing_mm[::-1]).all()


def test_square_pixels_take_the_finer_spacing():
    flat = turned(0.0, spacing_mm=(4.0, 1.0, 3.0))
    square = geometry.upright(flat, square=True)
    assert square.spacing_mm == (4.0, 1.0, 1.0)
    assert square.size == (10, 20, 90)
    np.testing.assert_allclose(square.bounds_mm(), flat.bounds_mm())
    assert geometry.upright(flat).spacing_mm == (4.0, 1.0, 3.0)
