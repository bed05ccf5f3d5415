import dataclasses
import gzip
import re
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf.data import geometry
from multires_tf.data.files import images, nifti, text_headers
from multires_tf.ground import errors

GRID = geometry.Geometry(
    size=(4, 5, 6),
    spacing_mm=(3.0, 1.0, 2.0),
    origin_mm=(10.0, 20.0, 30.0),
    direction=(-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0),
)
RAMP = np.arange(120, dtype=np.int16).reshape(4, 5, 6)


@pytest.mark.parametrize("suffix", images.SUFFIXES)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_what_is_written_is_read_back(tmp_path, suffix, dtype):
    path = tmp_path / "deep" / f"x{suffix}"
    images.write(RAMP.astype(dtype), path, grid=GRID)
    image = images.read(path)
    assert np.array_equal(sitk.GetArrayFromImage(image), RAMP)
    assert sitk.GetArrayViewFromImage(image).dtype == dtype
    assert geometry.same_grid(geometry.of_image(image), GRID)
    assert geometry.same_grid(images.check_header(path), GRID)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_other_types_become_float32(tmp_path, dtype):
    sitk.WriteImage(sitk.GetImageFromArray(RAMP.astype(dtype)), str(tmp_path / "x.nii.gz"))
    image = images.read(tmp_path / "x.nii.gz")
    assert image.GetPixelID() == sitk.sitkFloat32
    assert np.array_equal(sitk.GetArrayFromImage(image), RAMP)


@pytest.mark.parametrize("suffix", images.SUFFIXES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path, suffix, share, capfd):
    path = tmp_path / f"x{suffix}"
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), useCompression=True)
    images.read(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(errors.UserError, match=rf"x{suffix}: .*cut short"):
        images.read(path)
    assert capfd.readouterr().err == ""


def test_a_flipped_byte_in_a_gzip_is_noticed(tmp_path):
    path = tmp_path / "x.nii.gz"
    images.write(RAMP, path, grid=GRID)
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 1  # in the checksum
    path.write_bytes(whole)
    assert not nifti.examine(path).complete


@pytest.mark.parametrize("suffix", images.SUFFIXES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voxels_that_are_not_finite_are_counted_not_zeroed(tmp_path, suffix, dtype):
    array = RAMP.astype(dtype)
    array[1, 2, 3], array[3, 0, 0] = np.nan, np.inf
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"x{suffix}"))
    with pytest.raises(errors.UserError, match="2 voxels are NaN or infinite"):
        images.read(tmp_path / f"x{suffix}")


def test_completeness_goes_by_the_bytes_not_by_the_name(tmp_path):
    images.write(RAMP, tmp_path / "x.nii", grid=GRID)
    plain = (tmp_path / "x.nii").read_bytes()
    assert len(plain) == 352 + 2 * 120
    (tmp_path / "y.nii.gz").write_bytes(plain)
    (tmp_path / "z.nii").write_bytes(gzip.compress(plain))
    assert nifti.examine(tmp_path / "y.nii.gz").complete
    assert nifti.examine(tmp_path / "z.nii").complete
    (tmp_path / "z.nii").write_bytes(gzip.compress(plain[:-1]))
    assert not nifti.examine(tmp_path / "z.nii").complete


def test_a_lossy_header_with_sheared_axes_is_refused(tmp_path):
    path = tmp_path / "x.nii"
    images.write(RAMP, path, grid=GRID)
    data = bytearray(path.read_bytes())
    data[252:254] = (0).to_bytes(2, "little")  # no qform, so that the sform counts
    data[280:296] = np.array([2, 1, 0, 0], "<f4").tobytes()  # its first row
    data[296:312] = np.array([0, 1, 0, 0], "<f4").tobytes()
    data[312:328] = np.array([0, 0, 3, 0], "<f4").tobytes()
    path.write_bytes(data)
    with pytest.raises(errors.UserError, match=r"x\.nii: its axes are not orthogonal"):
        images.read(path)


def test_a_colour_image_is_refused(tmp_path):
    path = tmp_path / "x.nii.gz"
    colours = np.zeros((4, 5, 6, 3), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(path))
    with pytest.raises(errors.UserError, match="several values a voxel"):
        images.read(path)


def test_an_array_needs_a_grid(tmp_path):
    with pytest.raises(ValueError, match="grid"):
        images.write(RAMP, tmp_path / "x.nii.gz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", images.SUFFIXES)
def test_an_image_without_geometry_is_refused(tmp_path, suffix):
    path = tmp_path / f"mr{suffix}"
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    grid = geometry.Geometry(array.shape, (2.0,) * 3, (0.0,) * 3, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    images.write(array, path, grid=grid)
    assert images.check_header(path).size == (2, 3, 4)
    content = bytearray(path.read_bytes())
    zipped = suffix == ".nii.gz"
    if zipped:
        content = bytearray(gzip.decompress(content))
    if suffix.startswith(".nii"):
        content[252:256] = bytes(4)  # neither transform is in use
    elif suffix == ".mha":
        content = content.replace(b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b"")
    else:
        content = re.sub(rb"space[ a-z]*: [^\n]*\n", b"", content)
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(errors.UserError, match=rf"mr{suffix}: does not say where .* convert it"):
        images.read(path)


@pytest.mark.parametrize(
    ("suffix", "found", "instead", "complaint"),
    [
        (".mha", rb"ElementSpacing[^\n]*\n", b"", r"where its voxels lie \(no ElementSpacing\)"),
        (".mha", rb"Offset[^\n]*\n", b"", r"where its voxels lie \(no Offset\)"),
        (".mha", rb"LOCAL", b"voxels.raw", r"in another file; convert it to a \.mha"),
        (".mha", rb"ElementSpacing", b"elementSpacing", r"\(no ElementSpacing\)"),
        (
            ".mha",
            rb"DimSize",
            b"DistanceUnits = cm\nDimSize",
            "its unit is cm, and it is read as mm",
        ),
        (".nrrd", rb"(?<=space origin: ).*", b"(nan,nan,nan)", r"\(no space origin\)"),
        (".nrrd", rb"(?<=space directions: )\S+", b"none", r"\(no space directions\)"),
        (".nrrd", rb"(?=encoding: )", b'space units: "cm" "cm" "cm"\n', 'its unit is "cm"'),
        (".nrrd", rb"space origin[^\n]*\n", b"", r"where its voxels lie \(no space origin\)"),
        (".nrrd", rb"space: [^\n]*", b"space dimension: 3", r"its voxels lie \(no space\)"),
        (".nrrd", rb"left-posterior-superior", b"scanner-xyz", "space is scanner-xyz, not a pat"),
        (".nrrd", rb"(?=encoding: )", b"data file: voxels.raw\n", r"in another file; .* \.nrrd"),
    ],
)
def test_a_text_header_that_leaves_something_to_guess_is_refused(
    tmp_path, suffix, found, instead, complaint
):
    path = tmp_path / f"mr{suffix}"
    images.write(RAMP, path, grid=GRID)
    header = re.sub(found, instead, path.read_bytes(), count=1)
    (tmp_path / "voxels.raw").write_bytes(RAMP.tobytes())
    path.write_bytes(re.sub(rb"CompressedData[^\n]*\n|gzip", _uncompressed, header))
    with pytest.raises(errors.UserError, match=f"mr{suffix}: .*{complaint}"):
        images.check_header(path)


@pytest.mark.parametrize(
    ("suffix", "line"),
    [
        (".nrrd", b"data file:=voxels.raw\n"),
        (".nrrd", b"space:=weird\n"),
        (".nrrd", b"space:x:=weird\n"),
        (".nrrd", b'space units: "millimeter(s)" "millimeter(s)" "millimeter(s)"\n'),
        (".nrrd", b'space units: "" "" ""\n'),
        (".nrrd", b'space units: "millimeter" "millimeter" "millimeter"\n'),
        (".mha", b"DistanceUnits = ?\n"),
        (".mha", b"space = x\n"),
    ],
)
def test_notes_of_the_user_and_units_that_are_unknown_are_no_fault(tmp_path, suffix, line):
    path = tmp_path / f"mr{suffix}"
    images.write(RAMP, path, grid=GRID)
    place = rb"(?=encoding: )" if suffix == ".nrrd" else rb"(?=DimSize)"
    path.write_bytes(re.sub(place, lambda _: line, path.read_bytes(), count=1))
    assert text_headers.header_fault(path) is None


def _uncompressed(found):
    return b"raw" if found[0] == b"gzip" else b""


@pytest.mark.parametrize(
    ("patches", "complaint"),
    [
        ((("<h", 254, 0), ("<f", 268, np.nan)), "NaN or infinite numbers"),
        ((("<h", 254, 0), ("<f", 256, np.inf)), "NaN or infinite numbers"),
        ((("<4s", 344, b"\0\0\0\0"),), "no NIfTI header"),
        ((("<B", 123, 1),), "voxels of 3000 mm; correct the header"),
    ],
)
def test_a_nifti_header_that_itk_would_guess_from_is_refused(tmp_path, patches, complaint):
    path = tmp_path / "mr.nii"
    images.write(RAMP, path, grid=dataclasses.replace(GRID, spacing_mm=(3.0, 3.0, 3.0)))
    content = bytearray(path.read_bytes())
    for form, place, value in patches:
        struct.pack_into(form, content, place, value)
    path.write_bytes(content)
    with pytest.raises(errors.UserError, match=rf"mr\.nii: .*{complaint}"):
        images.check_header(path)


def test_a_suffix_that_itk_does_not_know_is_told(tmp_path):
    images.write(RAMP, tmp_path / "mr.mha", grid=GRID)
    (tmp_path / "mr.mha").rename(tmp_path / "mr.MHA")
    with pytest.raises(errors.UserError, match=r"mr\.MHA: write its suffix in small letters"):
        images.read(tmp_path / "mr.MHA")


@pytest.mark.parametrize("space", [b"RAS", b"right-anterior-superior"])
def test_a_patient_s_other_spaces_are_turned_into_ours(tmp_path, space):
    path = tmp_path / "mr.nrrd"
    images.write(RAMP, path, grid=GRID)
    path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", space))
    turned = geometry.of_image(images.read(path))
    x, y, z = GRID.origin_mm
    assert turned.origin_mm == (-x, -y, z)
    assert np.array_equal(np.diag([-1, -1, 1]) @ GRID.matrix, turned.matrix)
