import dicom_files
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import SAGITTAL, write_slice
from pydicom.uid import generate_uid

from multires_tf.data import geometry
from multires_tf.data.files import dicom, images
from multires_tf.ground import errors

STORED = np.arange(4 * 3 * 5, dtype=np.int16).reshape(4, 3, 5)


def write_series(folder, *, step_mm=(0.0, 0.0, 3.0), leave_out=(), prefix="", **options):
    options = {"uid": generate_uid(), **options}
    for k, pixels in enumerate(STORED):
        if k not in leave_out:
            # File names run against the positions: order must come from the headers.
            name = f"{prefix}{9 - k}.dcm"
            position_mm = np.array([7.0, 8.0, 9.0]) + k * np.array(step_mm)
            write_slice(folder / name, pixels, position_mm, **options)
    return options["uid"]


def test_slices_are_sorted_rescaled_and_placed(tmp_path):
    write_series(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    image = dicom.read(tmp_path)
    assert np.array_equal(sitk.GetArrayFromImage(image), STORED * 2.0 - 1000)
    expected = geometry.Geometry(
        (4, 3, 5), (3.0, 2.0, 1.5), (7.0, 8.0, 9.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)
    )
    assert geometry.of_image(image) == expected
    assert dicom.header(tmp_path) == expected


def test_slices_that_are_shown_inverted_keep_their_values(tmp_path):
    write_series(tmp_path, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(sitk.GetArrayFromImage(dicom.read(tmp_path)), STORED * 2.0 - 1000)


def test_pixels_that_are_lacking_are_not_made_up(tmp_path):
    write_series(tmp_path)
    path = tmp_path / "8.dcm"
    data = pydicom.dcmread(path)
    data.PixelData = data.PixelData[:10]
    data.save_as(path)
    with pytest.raises(errors.UserError, match=r"8\.dcm: damaged or cut short"):
        dicom.read(tmp_path)


def test_a_compression_that_nobody_knows_is_told(tmp_path):
    write_series(tmp_path)
    path = tmp_path / "8.dcm"
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = generate_uid()
    data.save_as(path, implicit_vr=False, little_endian=True)
    with pytest.raises(errors.UserError, match=r"8\.dcm: .*compressed in a way .*uncompressed"):
        dicom.read(tmp_path)


def test_a_spacing_may_be_rounded_from_slice_to_slice(tmp_path):
    uid = generate_uid()
    for k, pixels in enumerate(STORED):
        spacing = [0.9765625, 0.976562 + 5e-7 * (k % 2)]
        write_slice(tmp_path / f"{k}.dcm", pixels, (0, 0, 3.0 * k), uid=uid, PixelSpacing=spacing)
    assert dicom.header(tmp_path).spacing_mm == pytest.approx((3.0, 0.9765625, 0.9765625))
    write_slice(tmp_path / "3.dcm", STORED[3], (0, 0, 9.0), uid=uid, PixelSpacing=[0.977, 0.976])
    with pytest.raises(errors.UserError, match=r"3\.dcm: differs in orientation, size or spacing"):
        dicom.header(tmp_path)


def test_sagittal_slices_become_canonical(tmp_path):
    # Rows run to the feet, columns to the back; slices step to the right, along minus x.
    write_series(tmp_path, orientation=SAGITTAL, step_mm=(-3.0, 0.0, 0.0))
    image = geometry.canonical_image(images.read(tmp_path))
    grid = geometry.of_image(image)
    assert grid.spacing_mm == (2.0, 1.5, 3.0)
    assert np.allclose(grid.origin_mm, (7 - 9, 8, 9 - 4))
    expected = STORED.transpose(1, 2, 0)[::-1, :, ::-1] * 2.0 - 1000
    assert np.array_equal(sitk.GetArrayFromImage(image), expected)


def test_one_of_several_series_is_chosen_by_uid_or_description(tmp_path):
    uid = write_series(tmp_path, prefix="a", description="T1")
    write_series(tmp_path, prefix="b", description="T2", leave_out=(3,))
    with pytest.raises(errors.UserError, match=r"holds 2 series; choose one with --series: .*T2"):
        dicom.read(tmp_path)
    with pytest.raises(errors.UserError, match="--series 'T3' matches 0 of 2 series"):
        dicom.read(tmp_path, series="T3")
    assert dicom.read(tmp_path, series=uid).GetSize() == (5, 3, 4)
    assert dicom.read(tmp_path, series="T2").GetSize() == (5, 3, 3)


def test_a_missing_slice_is_refused(tmp_path):
    write_series(tmp_path, leave_out=(2,))
    with pytest.raises(errors.UserError, match=r"missing between 8\.dcm and 6\.dcm \(6 mm"):
        dicom.read(tmp_path)


@pytest.mark.parametrize("left", [b"", bytes(5000)], ids=["empty", "zeros"])
@pytest.mark.parametrize("name", ["6.dcm", "9.dcm"])  # the last slice, the first
def test_a_slice_whose_copy_broke_off_is_refused(tmp_path, name, left):
    write_series(tmp_path)
    (tmp_path / ".6.dcm").write_bytes(b"a file of the desktop's")
    assert dicom.read(tmp_path).GetSize() == (5, 3, 4)
    (tmp_path / name).write_bytes(left)
    with pytest.raises(errors.UserError, match=rf"/{name}: its DICOM header is damaged"):
        dicom.read(tmp_path)


def test_a_slice_without_a_suffix_whose_copy_broke_off_is_refused(tmp_path):
    write_series(tmp_path)
    for path in tmp_path.glob("*.dcm"):
        path.rename(path.with_suffix(""))
    (tmp_path / "README").write_text("no image")
    assert dicom.read(tmp_path).GetSize() == (5, 3, 4)
    (tmp_path / "6").write_bytes(b"")
    with pytest.raises(errors.UserError, match="/6: its DICOM header is damaged"):
        dicom.read(tmp_path)


def test_doubled_positions_are_refused(tmp_path):
    uid = write_series(tmp_path, prefix="a")
    write_series(tmp_path, prefix="b", uid=uid)
    with pytest.raises(errors.UserError, match=r"a9\.dcm and b9\.dcm are at the same position"):
        dicom.read(tmp_path)


def test_a_tilted_gantry_is_refused(tmp_path):
    write_series(tmp_path, step_mm=(0.0, 0.5, 3.0))
    with pytest.raises(errors.UserError, match="gantry tilt"):
        dicom.read(tmp_path)


def _write_long(folder, positions_mm):
    uid = generate_uid()
    for k, position_mm in enumerate(positions_mm):
        write_slice(folder / f"{k:03d}.dcm", STORED[0], np.round(position_mm, 3), uid=uid)


def test_a_tilt_that_shows_only_over_many_slices_is_refused_by_the_first_slice_off_its_place(
    tmp_path,
):
    """Two degrees are 0.1 mm from slice to slice; half a pixel, 1 mm, after ten of them."""
    tilt = 3 * np.tan(np.radians(2))
    _write_long(tmp_path, [(7, 8 + k * tilt, 3 * k) for k in range(40)])
    with pytest.raises(errors.UserError, match=r"tilted \(gantry tilt\): 010\.dcm is 1\.0 mm off"):
        dicom.header(tmp_path)


def test_distances_that_drift_are_refused(tmp_path):
    steps = np.where(np.arange(100) < 50, 3.0, 3.1)
    _write_long(tmp_path, [(7, 8, z) for z in np.cumsum(steps)])
    with pytest.raises(errors.UserError, match=r"unevenly spaced: 031\.dcm is 1\.6 mm off"):
        dicom.header(tmp_path)


def test_rounded_positions_and_cosines_of_a_long_series_are_accepted(tmp_path):
    turn = np.array([0.96, 0.28, 0, -0.28, 0.96, 0]).round(3) * 0.9995
    uid = generate_uid()
    for k in range(300):
        position_mm = np.round((7, 8, 3.0 * k / 1.001), 1)
        write_slice(
            tmp_path / f"{k:03d}.dcm",
            STORED[0],
            position_mm,
            uid=uid,
            orientation=[f"{cosine:.6g}" for cosine in turn],
        )
    assert dicom.header(tmp_path).spacing_mm[0] == pytest.approx(3 / 1.001, abs=1e-4)


def test_a_single_slice_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match="no DICOM image in it"):
        dicom.read(tmp_path)
    write_series(tmp_path, leave_out=(1, 2, 3))
    with pytest.raises(errors.UserError, match="a single slice"):
        dicom.read(tmp_path)


def test_slices_of_another_size_are_refused(tmp_path):
    uid = write_series(tmp_path)
    write_slice(tmp_path / "x.dcm", STORED[0, :2], (7, 8, 21), uid=uid)
    with pytest.raises(errors.UserError, match="differs in orientation, size or spacing"):
        dicom.read(tmp_path)


def test_many_frames_without_positions_are_refused(tmp_path):
    write_series(tmp_path, NumberOfFrames=2)
    with pytest.raises(errors.UserError, match=r"6\.dcm: many frames without their positions"):
        dicom.read(tmp_path)


@pytest.mark.parametrize("words", [3, 1])
def test_the_modality_chooses_and_a_scout_is_passed_over(tmp_path, words):
    write_series(tmp_path, prefix="a", Modality="MR", leave_out=(3,))
    write_series(tmp_path, prefix="b")
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"] if words > 1 else "LOCALIZER"
    write_series(tmp_path, prefix="c", Modality="MR", ImageType=scout, leave_out=(2, 3))
    assert dicom.read(tmp_path, modality="MR").GetSize() == (5, 3, 3)
    assert dicom.read(tmp_path, modality="CT").GetSize() == (5, 3, 4)
    with pytest.raises(errors.UserError, match="holds CT and MR, not PT; give the PT here"):
        dicom.read(tmp_path, modality="PT")


def test_a_series_is_chosen_by_number_among_others_for_the_other_role(tmp_path):
    write_series(tmp_path, prefix="a", SeriesNumber=4)
    write_series(tmp_path, prefix="b", SeriesNumber=5, leave_out=(3,))
    assert dicom.read(tmp_path, series="T1 VIBE,5").GetSize() == (5, 3, 3)
    write_series(tmp_path, prefix="c", SeriesNumber=0, leave_out=(2, 3))
    assert dicom.read(tmp_path, series="0").GetSize() == (5, 3, 2)


def test_the_choice_is_offered_without_uids(tmp_path):
    uids = [write_series(tmp_path, prefix=letter) for letter in "ab"]
    with pytest.raises(errors.UserError) as caught:
        dicom.read(tmp_path)
    assert not any(uid in str(caught.value) for uid in uids)


def test_uneven_spacing_is_told_from_a_missing_slice(tmp_path):
    uid = write_series(tmp_path, leave_out=(3,))
    write_slice(tmp_path / "x.dcm", STORED[3], (7.0, 8.0, 9 + 6 + 4.5), uid=uid)
    with pytest.raises(errors.UserError, match=r"unevenly spaced between 7\.dcm and x\.dcm \(4\.5"):
        dicom.read(tmp_path)


def test_slices_of_mixed_orientation_are_refused_by_name(tmp_path):
    uid = write_series(tmp_path)
    write_slice(tmp_path / "x.dcm", STORED[0], (7, 8, 21), uid=uid, orientation=SAGITTAL)
    with pytest.raises(errors.UserError, match=r"x\.dcm: differs in orientation"):
        dicom.read(tmp_path)


def test_a_slice_without_its_position_is_refused_by_name(tmp_path):
    write_series(tmp_path, ImageOrientationPatient=None)
    with pytest.raises(errors.UserError, match=r"6\.dcm: no ImageOrientationPatient"):
        dicom.read(tmp_path)


def frames(*numbers):
    """Slices as frames whose slopes differ."""
    return [(STORED[k], (7.0, 8.0, 9.0 + 3 * k), k + 1, -1000) for k in numbers]


def test_frames_of_an_enhanced_file_are_sorted_rescaled_and_placed(tmp_path):
    dicom_files.write_enhanced(tmp_path / "all.dcm", frames(3, 2, 1, 0))
    image = dicom.read(tmp_path)
    slopes = np.arange(1, 5).reshape(4, 1, 1)
    assert np.array_equal(sitk.GetArrayFromImage(image), STORED * slopes - 1000.0)
    grid = geometry.of_image(image)
    assert grid.spacing_mm == (3.0, 2.0, 1.5)
    assert grid.origin_mm == (7.0, 8.0, 9.0)


def test_a_missing_frame_is_refused_by_number(tmp_path):
    dicom_files.write_enhanced(tmp_path / "all.dcm", frames(3, 2, 0))
    words = r"missing between all\.dcm, frame 3 and all\.dcm, frame 2"
    with pytest.raises(errors.UserError, match=words):
        dicom.read(tmp_path)


def test_a_slice_cut_short_is_refused_by_name(tmp_path):
    write_series(tmp_path)
    path = tmp_path / "7.dcm"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(errors.UserError, match=r"7\.dcm: damaged or cut short"):
        dicom.read(tmp_path)


def test_a_folder_of_dicom_files_is_told_from_a_cohort(tmp_path):
    write_series(tmp_path / "a" / "mr")
    assert dicom.is_series_folder(tmp_path / "a" / "mr")
    assert not dicom.is_series_folder(tmp_path / "a")
    assert not dicom.is_series_folder(tmp_path / "a" / "mr" / "9.dcm")


def _report(folder, **fields):
    """An image that is no slice, in a series of its own: a dose report, say."""
    write_series(
        folder,
        prefix="report",
        leave_out=(1, 2, 3),
        description="Dose report",
        SeriesNumber=99,
        **{"ImagePositionPatient": None, **fields},
    )


@pytest.mark.parametrize("fields", [{}, {"SamplesPerPixel": 3}, {"NumberOfFrames": 2}])
@pytest.mark.parametrize("series", [None, "T1", "another's"])
def test_an_image_that_is_no_slice_hides_no_series(tmp_path, fields, series):
    write_series(tmp_path)
    _report(tmp_path, **fields)
    assert dicom.header(tmp_path, series=series, modality="CT").size == (4, 3, 5)
    with pytest.raises(errors.UserError, match=r"report9\.dcm: .* choose another with --series"):
        dicom.header(tmp_path, series="99")


def test_an_image_that_is_no_slice_is_not_offered(tmp_path):
    _report(tmp_path)
    write_series(tmp_path, prefix="a", SeriesNumber=4)
    write_series(tmp_path, prefix="b", SeriesNumber=5)
    with pytest.raises(errors.UserError) as caught:
        dicom.header(tmp_path)
    assert "holds 2 series" in str(caught.value)
    assert "Dose" not in str(caught.value)


def test_a_scout_is_not_taken_for_a_series_that_cannot_be_read(tmp_path):
    write_series(tmp_path, prefix="a", ImagePositionPatient=None)
    write_series(tmp_path, prefix="b", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    for series in (None, "another's"):
        with pytest.raises(errors.UserError, match=r"a6\.dcm: no ImagePositionPatient"):
            dicom.header(tmp_path, series=series)


def test_a_slice_without_its_place_spoils_its_own_series(tmp_path):
    uid = write_series(tmp_path, leave_out=(3,))
    write_slice(tmp_path / "x.dcm", STORED[3], (7, 8, 18), uid=uid, ImagePositionPatient=None)
    write_series(tmp_path, prefix="b", description="T2")
    with pytest.raises(errors.UserError, match=r"x\.dcm: no ImagePositionPatient"):
        dicom.header(tmp_path, series="T1")
    with pytest.raises(errors.UserError, match="holds 2 series"):
        dicom.header(tmp_path)
