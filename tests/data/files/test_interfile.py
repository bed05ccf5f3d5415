import dataclasses

import numpy as np
import pytest

from multires_tf.data import geometry
from multires_tf.data.files import interfile

GRID = geometry.Geometry(
    size=(2, 3, 4),
    spacing_mm=(5.0, 2.5, 1.25),
    origin_mm=(-10.0, -20.0, 100.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
MU = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 100
# What STIR's own header of an image holds, in its order (User's Guide, Interfile images).
EXPECTED = [
    ("!INTERFILE", ""),
    ("!imaging modality", "PT"),
    ("name of data file", "mumap.v"),
    ("!GENERAL DATA", ""),
    ("patient orientation", "head_in"),
    ("patient rotation", "supine"),
    ("!GENERAL IMAGE DATA", ""),
    ("!type of data", "PET"),
    ("imagedata byte order", "LITTLEENDIAN"),
    ("!PET STUDY (General)", ""),
    ("!PET data type", "Image"),
    ("process status", "Reconstructed"),
    ("!number format", "float"),
    ("!number of bytes per pixel", "4"),
    ("number of dimensions", "3"),
    ("matrix axis label [1]", "x"),
    ("!matrix size [1]", "4"),
    ("scaling factor (mm/pixel) [1]", "1.25"),
    ("matrix axis label [2]", "y"),
    ("!matrix size [2]", "3"),
    ("scaling factor (mm/pixel) [2]", "2.5"),
    ("matrix axis label [3]", "z"),
    ("!matrix size [3]", "2"),
    ("scaling factor (mm/pixel) [3]", "5"),
    ("first pixel offset (mm) [1]", "-10"),
    ("first pixel offset (mm) [2]", "-20"),
    ("first pixel offset (mm) [3]", "-105"),  # the head's end, z = 105, seen from there downwards
    ("number of time frames", "1"),
    ("image scaling factor [1]", "1"),
    ("data offset in bytes [1]", "0"),
    ("!END OF INTERFILE", ""),
]


def keys(header):
    lines = [line for line in header.read_text().splitlines() if not line.startswith(";")]
    return [tuple(part.strip() for part in line.split(":=")) for line in lines]


def test_every_key_is_what_stir_reads(tmp_path):
    interfile.write(tmp_path / "mumap.hv", MU, GRID, comment="attenuation in 1/cm")
    assert keys(tmp_path / "mumap.hv") == EXPECTED
    assert (tmp_path / "mumap.hv").read_text().splitlines()[1] == "; attenuation in 1/cm"


def test_voxels_run_from_the_head_to_the_feet(tmp_path):
    interfile.write(tmp_path / "mumap.hv", MU, GRID, comment="")
    found = np.fromfile(tmp_path / "mumap.v", "<f4").reshape(2, 3, 4)
    assert np.array_equal(found, MU[::-1])


def test_a_turned_grid_is_refused(tmp_path):
    turned = dataclasses.replace(GRID, direction=(-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    with pytest.raises(ValueError, match="upright"):
        interfile.write(tmp_path / "mumap.hv", MU, turned, comment="")
    assert not list(tmp_path.iterdir())
