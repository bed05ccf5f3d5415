"""One bad subject beside a good one, case by case, through the command line.

Each ends with one line that names the file and the remedy, exit code 2, and nothing written. With
--keep_going the good subject is done, the bad one listed last, exit code 1.
"""

import dataclasses
import gzip
import os
import pathlib
import shutil
import struct

import dicom_files
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.uid import generate_uid

from multires_tf import cli
from multires_tf.data import geometry
from multires_tf.data.files import images

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "multires_unc.yaml"
GRID = geometry.Geometry(
    size=(12, 20, 20),
    spacing_mm=(4.0, 4.0, 4.0),
    origin_mm=(0.0, 0.0, 0.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
Z, Y, X = np.ogrid[:12, :20, :20]
BODY = (Y - 10) ** 2 + (X - 9 - Z / 6) ** 2 < 7**2
CT_HU = np.where(BODY, 40, -1000).astype(np.int16)
NOISE = np.random.default_rng(0).integers(1, 60, GRID.size)
MR = (np.where(BODY, 300 + 8 * X, 0) + NOISE).astype(np.int16)

CASES = {}


def case(*words):
    """Enters a function that spoils the folder of subject b, and what the complaint has to say."""

    def enter(spoil):
        CASES[spoil.__name__] = (spoil, words)
        return spoil

    return enter


def cohort(root):
    for name in ("a", "b"):
        images.write(MR, root / name / "mr.nii.gz", grid=GRID)
        images.write(CT_HU, root / name / "ct.nii.gz", grid=GRID)


def prepare(data, *flags):
    arguments = ["multires-tf", "prepare", "--workdir", str(data.parent / "run")]
    arguments += ["--config", str(CONFIG), "--data", str(data), "--set", "register=none", *flags]
    return cli._run(cli._parse(arguments))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Files that are no sound image


@case("b/mr.nii.gz: not an image", "convert it")
def empty(b):
    (b / "mr.nii.gz").write_bytes(b"")


@case("b/mr.nii.gz: voxels of 0.004 mm", "millimetres")
def header_in_metres(b):
    grid = dataclasses.replace(GRID, spacing_mm=tuple(mm / 1000 for mm in GRID.spacing_mm))
    images.write(MR, b / "mr.nii.gz", grid=grid)
    images.write(CT_HU, b / "ct.nii.gz", grid=grid)


@case("b/mr.nii.gz: not an image", "convert it")
def text(b):
    (b / "mr.nii.gz").write_text("no image")


@case("b/ct.nii.gz: not an image", "convert it")
def random_bytes(b):
    (b / "ct.nii.gz").write_bytes(np.random.default_rng(1).bytes(4000))


@case("b/ct.nii.gz: not an image", "cut short", "copy")
def gzip_cut_short(b):
    whole = (b / "ct.nii.gz").read_bytes()
    (b / "ct.nii.gz").write_bytes(whole[: len(whole) // 2])


@case("b/mr.nii.gz: not an image", "cut short", "copy")
def gzip_of_too_little(b):
    whole = gzip.decompress((b / "mr.nii.gz").read_bytes())
    (b / "mr.nii.gz").write_bytes(gzip.compress(whole[:-100]))


def _other_format(b, suffix):
    (b / "mr.nii.gz").unlink()
    path = b / f"mr{suffix}"
    sitk.WriteImage(geometry.to_image(MR, GRID), str(path))
    return path


@case("b/mr.mha: not an image", "cut short", "copy")
def metaimage_cut_short(b):
    path = _other_format(b, ".mha")
    path.write_bytes(path.read_bytes()[:-1000])


@case("b/mr.nrrd: not an image", "cut short", "copy")
def nrrd_cut_short(b):
    path = _other_format(b, ".nrrd")
    path.write_bytes(path.read_bytes()[:-1000])


@case("b: a ct but no mr", "add the MR")
def another_suffix(b):
    (b / "mr.nii.gz").rename(b / "mr.img")


# Shapes and voxels


def _write(b, array, **geometry_):
    image = sitk.GetImageFromArray(array, isVector=geometry_.get("vector", False))
    sitk.WriteImage(image, str(b / "mr.nii.gz"))


@case("b/mr.nii.gz: a 2-D image", "give the whole 3-D volume")
def two_dimensions(b):
    _write(b, MR[0])


@case("b/mr.nii.gz: a 2-D image", "give the whole 3-D volume")
def one_slice(b):
    _write(b, MR[:1])


@case("b/mr.nii.gz: a 4-D image", "give one 3-D volume")
def four_dimensions(b):
    series = sitk.JoinSeries([geometry.to_image(MR, GRID)] * 2)
    sitk.WriteImage(series, str(b / "mr.nii.gz"))


@case("b/mr.nii.gz: several values a voxel", "give a scalar image")
def colour(b):
    _write(b, np.stack([MR] * 3, axis=-1).astype(np.uint8), vector=True)


def _with_value(b, value):
    array = MR.astype(np.float32)
    array[2, 3, 4:6] = value
    images.write(array, b / "mr.nii.gz", grid=GRID)


@case("b/mr.nii.gz: 2 voxels are NaN or infinite", "replace them")
def not_a_number(b):
    _with_value(b, np.nan)


@case("b/mr.nii.gz: 2 voxels are NaN or infinite", "replace them")
def infinite(b):
    _with_value(b, np.inf)


@case("b/mr.nii.gz: all voxels are 7", "give an image with something in it")
def constant(b):
    images.write(np.full(GRID.size, 7, np.int16), b / "mr.nii.gz", grid=GRID)


# A CT that is not in HU


def _ct(b, ct):
    images.write(ct.astype(np.float32), b / "ct.nii.gz", grid=GRID)


@case("b/ct.nii.gz: a CT from 0 to 1040 is not in HU", "convert it to HU")
def without_intercept(b):
    _ct(b, CT_HU + 1000)


@case("b/ct.nii.gz: a CT", "is not in HU", "convert it to HU")
def intercept_twice(b):
    _ct(b, CT_HU - 1024)


@case("b/ct.nii.gz: a CT", "is not in HU", "convert it to HU")
def scaled_to_one(b):
    _ct(b, CT_HU / 4095)


@case("b/ct.nii.gz: a CT", "is not in HU", "convert it to HU")
def other_sign(b):
    _ct(b, -CT_HU)


@case("b/ct.nii.gz: a CT", "is not in HU", "convert it to HU")
def air_alone(b):
    _ct(b, np.where(BODY, -990, -1000))


@case("b/ct.nii.gz: a CT", "is not in HU", "convert it to HU")
def the_mr_for_the_ct(b):
    shutil.copy(b / "mr.nii.gz", b / "ct.nii.gz")


# Where voxels lie


def _patched(b, role, *patches):
    path = b / f"{role}.nii.gz"
    header = bytearray(gzip.decompress(path.read_bytes()))
    for form, offset, *values in patches:
        struct.pack_into(form, header, offset, *values)
    path.write_bytes(gzip.compress(bytes(header)))


@case("b/mr.nii.gz: voxels of 0 x 4 x 4 mm (pixdim)", "correct the header")
def voxels_of_no_size(b):
    _patched(b, "mr", ("<f", 80, 0.0))


@case("b/mr.nii.gz: voxels of 4 x 4 x nan mm (pixdim)", "correct the header")
def voxels_of_unknown_size(b):
    _patched(b, "mr", ("<f", 88, np.nan))


@case("b/ct.nii.gz: voxels of 4 x -4 x 4 mm (pixdim)", "correct the header")
def voxels_of_negative_size(b):
    _patched(b, "ct", ("<f", 84, -4.0))


@case("b/ct.nii.gz: its sform and qform disagree by up to 12.0 mm", "set the code")
def two_places(b):
    _patched(b, "ct", ("<f", 292, 12.0))  # the sform's offset along x


@case("b/ct.nii.gz: voxels of 4 x 4 x 2 mm by its sform, of 4 x 4 x 4 mm by pixdim", "correct")
def two_sizes(b):
    sform = (-4, 0, 0, 0, 0, -4, 0, 0, 0, 0, 2, 0)
    _patched(b, "ct", ("<2h", 252, 0, 1), ("<12f", 280, *sform))


@case("b/mr.nii.gz: does not say where its voxels lie", "convert it again")
def no_place(b):
    _patched(b, "mr", ("<2h", 252, 0, 0))


@case("b/mr.nii.gz: its axes are not orthogonal", "resample it")
def sheared(b):
    _patched(b, "mr", ("<2h", 252, 0, 1), ("<12f", 280, 4, 2, 0, 0, 0, 4, 0, 0, 0, 0, 4, 0))


@case("b/ct.nii.gz: does not overlap", "give a pair in one frame")
def apart(b):
    far = geometry.Geometry(GRID.size, GRID.spacing_mm, (0.0, 0.0, 900.0), GRID.direction)
    images.write(CT_HU, b / "ct.nii.gz", grid=far)


def _with_mask(b, mask, grid=GRID):
    images.write(mask.astype(np.uint8), b / "body.nii.gz", grid=grid)
    rows = ("a,a/mr.nii.gz,a/ct.nii.gz,", "b,b/mr.nii.gz,b/ct.nii.gz,b/body.nii.gz", "")
    (b.parent / "cohort.csv").write_text("\n".join(("subject,mr,ct,mask", *rows)))


@case("b/body.nii.gz: no voxel above 0 in the field of ct.nii.gz", "in the CT's frame")
def mask_apart(b):
    far = geometry.Geometry(GRID.size, GRID.spacing_mm, (0.0, 0.0, 900.0), GRID.direction)
    _with_mask(b, BODY, far)


@case("b/body.nii.gz: all voxels are 0", "something in it")
def mask_empty(b):
    _with_mask(b, BODY & False)


# Roles


@case("subject b has no ct", "add it")
def no_ct(b):
    (b / "ct.nii.gz").unlink()


@case("b: mr.nii and mr.nii.gz are two candidates for mr", "keep one")
def two_mrs(b):
    images.write(MR, b / "mr.nii", grid=GRID)


@case("subject b has one file as mr and ct", "name two")
def mr_is_the_ct(b):
    (b / "mr.nii.gz").unlink()
    (b / "mr.nii.gz").symlink_to("ct.nii.gz")


@case("b: ct and ct.nii.gz are two candidates for ct", "keep one")
def a_ct_and_a_folder(b):
    (b / "ct").mkdir()


# DICOM


def _series(b, *, modality="MR", uid=None, skip=(), prefix="", step_mm=(0, 0, 4.0), **fields):
    """Writes the MR as a series of 12 slices, 00.dcm at the feet, in place of the NIfTI file."""
    (b / "mr.nii.gz").unlink(missing_ok=True)
    uid = uid or generate_uid()
    for k in range(len(MR)):
        if k not in skip:
            place = tuple(k * np.array(step_mm))
            _slice(b, f"{prefix}{k:02d}.dcm", MR[k], place, uid=uid, Modality=modality, **fields)
    return uid


def _slice(b, name, pixels, position_mm, **fields):
    plain = {"RescaleSlope": "1", "RescaleIntercept": "0", "PixelSpacing": [4.0, 4.0]}
    fields = {**plain, "Modality": "MR", **fields}
    dicom_files.write_slice(b / "mr" / name, pixels, position_mm, **fields)


@case("b/mr: a slice is missing between 04.dcm and 06.dcm", "export the whole series")
def missing_slice(b):
    _series(b, skip=(5,))


@case("b/mr: slices are unevenly spaced between 10.dcm and 11.dcm", "export the whole series")
def uneven_slices(b):
    uid = _series(b, skip=(11,))
    _slice(b, "11.dcm", MR[11], (0, 0, 46.0), uid=uid)


@case("b/mr: 03.dcm and x.dcm are at the same position", "each slice once")
def slice_twice(b):
    uid = _series(b)
    _slice(b, "x.dcm", MR[3], (0, 0, 12.0), uid=uid)


@case("b/mr: the slices are tilted from 00.dcm and 01.dcm on", "resample it")
def tilted_gantry(b):
    _series(b, step_mm=(0, 1.0, 4.0))


@case("b/mr/x.dcm: differs in orientation", "give one volume")
def mixed_orientations(b):
    uid = _series(b)
    _slice(b, "x.dcm", MR[0], (0, 0, 48.0), uid=uid, orientation=dicom_files.SAGITTAL)


@case("b/mr/x.dcm: differs in orientation, size or spacing", "give one volume")
def mixed_sizes(b):
    uid = _series(b)
    _slice(b, "x.dcm", MR[0, :10], (0, 0, 48.0), uid=uid)


@case("b/mr/x.dcm: differs in orientation, size or spacing", "give one volume")
def mixed_spacings(b):
    uid = _series(b)
    _slice(b, "x.dcm", MR[0], (0, 0, 48.0), uid=uid, PixelSpacing=[2.0, 4.0])


@case("b/mr: a single slice", "give the whole series")
def single_slice(b):
    _series(b, skip=range(1, 12))


@case("b/mr: no DICOM image in it", "give a folder with a series")
def empty_folder(b):
    (b / "mr.nii.gz").unlink()
    (b / "mr").mkdir()


@case("b/mr: holds 2 series", "choose one with --series: 1 (MR 'T1'), 2 (MR 'T1')")
def two_series(b):
    _series(b, prefix="a", SeriesNumber=1)
    _series(b, prefix="b", SeriesNumber=2)


@case("b/mr: holds CT, not MR", "give the MR here")
def other_modality(b):
    _series(b, modality="CT")


@case("b/mr/00.dcm: a colour image", "give a scalar series")
def colour_slices(b):
    _series(b, SamplesPerPixel=3)


@case("b/mr/00.dcm: no ImagePositionPatient in its header", "export the series again")
def slices_without_position(b):
    _series(b, ImagePositionPatient=None)


@case("b/mr/00.dcm: its rows and columns are not at right angles", "export the series again")
def skewed_slices(b):
    _series(b, orientation=(1, 0, 0, 0.6, 0.8, 0))


@case("b/mr/07.dcm: damaged or cut short", "export the series again")
def slice_cut_short(b):
    _series(b)
    path = b / "mr" / "07.dcm"
    path.write_bytes(path.read_bytes()[:-9])


@case("b/mr/07.dcm: its DICOM header is damaged", "export the series again")
def slice_overwritten(b):
    _series(b)
    (b / "mr" / "07.dcm").write_bytes(b"no DICOM at all")


@case("b/mr/00.dcm: many frames without their positions", "export it as single slices")
def frames_without_positions(b):
    _series(b, NumberOfFrames=2)


@case("missing between all.dcm, frame 3 and all.dcm, frame 4", "export the whole series")
def missing_frame(b):
    (b / "mr.nii.gz").unlink()
    frames = [(MR[k], (0, 0, 4.0 * k), 1, 0) for k in range(12) if k != 3]
    dicom_files.write_enhanced(b / "mr" / "all.dcm", frames, pixel_mm=(4.0, 4.0), Modality="MR")


# Stations


def _stations(b, *cuts):
    """Writes stations 1, 2, ... of these slices, in place of the whole MR."""
    (b / "mr.nii.gz").unlink()
    for number, (low, high) in enumerate(cuts, start=1):
        _station(b, number, MR[low:high], low)


def _station(b, number, array, first, spacing_mm=4.0, suffix=".nii.gz"):
    grid = geometry.Geometry(array.shape, (spacing_mm, 4, 4), (0, 0, 4.0 * first), GRID.direction)
    images.write(array, b / f"mr_station{number}{suffix}", grid=grid)


@case("b: mr_station2 is missing", "add it")
def missing_station(b):
    _stations(b, (7, 12), (4, 9), (0, 6))
    (b / "mr_station2.nii.gz").unlink()


@case("b/mr_station1.nii.gz: a single station", "add the others")
def single_station(b):
    _stations(b, (0, 12))


@case("b/mr_station3.nii.gz: lies on the wrong side of mr_station2", "in the order of")
def swapped_names(b):
    _stations(b, (8, 12), (0, 6), (4, 10))


@case("b/mr_station2.nii.gz and mr_station1.nii.gz: show different anatomy", "in order")
def swapped_contents(b):
    _stations(b, (4, 12), (0, 8))
    other = np.where((Y - 3) ** 2 + (X - 3) ** 2 < 3**2, 500, 0) + NOISE
    turned = np.where(BODY, 500 - 20 * X, 0) + other
    _station(b, 2, turned[:8].astype(np.int16), 0)


@case("b/mr_station2.nii.gz: does not overlap mr_station1.nii.gz", "missing: add it")
def gap_between_stations(b):
    _stations(b, (8, 12), (0, 4))


@case("b/mr_station2.nii.gz: differs in orientation or spacing", "stations of one protocol")
def station_of_another_spacing(b):
    _stations(b, (6, 12), (0, 8))
    _station(b, 2, MR[:8], 0, spacing_mm=5.0)


@case("b: mr_station1.mha and mr_station1.nii.gz are two candidates", "keep one")
def station_twice(b):
    _stations(b, (6, 12), (0, 8))
    _station(b, 1, MR[6:], 6, suffix=".mha")


@case("b/mr_station2.nii.gz: not an image", "cut short", "copy")
def station_cut_short(b):
    _stations(b, (6, 12), (0, 8))
    path = b / "mr_station2.nii.gz"
    path.write_bytes(path.read_bytes()[:-500])


def test_there_are_forty_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_a_bad_subject(name, tmp_path, capsys):
    spoil, words = CASES[name]
    data = tmp_path / "data"
    cohort(data)
    spoil(data / "b")
    before = contents(data)

    assert prepare(data) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    for word in words:
        assert word in shown.err
    assert not (tmp_path / "run").exists()

    assert prepare(data, "--keep_going") == 1
    shown = capsys.readouterr()
    assert shown.err == ""
    last = shown.out.splitlines()[-1]
    assert last.startswith("left out: b: ")
    for word in words:
        assert word in last
    assert [path.name for path in (tmp_path / "run" / "volumes").iterdir()] == ["a"]
    assert contents(data) == before


def test_the_good_cohort_and_a_good_series_are_accepted(tmp_path, capsys):
    cohort(tmp_path / "data")
    _series(tmp_path / "data" / "b")
    assert prepare(tmp_path / "data") == 0


REAL = pathlib.Path(__file__).parents[3] / "shared" / "data" / "dicom" / "STS_002" / "mr"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real series are not here")
def test_a_real_series_is_whole_and_misses_the_slice_that_is_taken_out(tmp_path):
    files = sorted(REAL.iterdir())
    for folder, kept in (("whole", files), ("less", files[:10] + files[11:])):
        (tmp_path / folder).mkdir()
        for file in kept:
            os.symlink(file, tmp_path / folder / file.name)
    assert images.check_header(tmp_path / "whole", modality="MR").size[0] == len(files)
    with pytest.raises(Exception, match=r"a slice is missing between 0000\d\d\.dcm and"):
        images.check_header(tmp_path / "less")
