"""Bad input: one line that names the file and the remedy, and nothing half-written."""

import contextlib
import errno
import gzip
import os
import pathlib
import re
import subprocess

import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf.data import geometry, store
from multires_tf.data.files import images
from multires_tf.ground import config as configs
from multires_tf.ground import errors, runfolder
from multires_tf.steps import prepare

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "multires_unc.yaml"
GRID = geometry.Geometry(
    size=(8, 20, 20),
    spacing_mm=(4.0, 4.0, 4.0),
    origin_mm=(0.0, 0.0, 0.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)
Y, X = np.ogrid[:20, :20]
BODY = np.broadcast_to((Y - 10) ** 2 + (X - 10) ** 2 < 7**2, GRID.size)
CT_HU = np.where(BODY, 40, -1000).astype(np.int16)
MR = (np.where(BODY, 300, 0) + np.random.default_rng(0).integers(1, 60, GRID.size)).astype(np.int16)


@pytest.fixture
def data(tmp_path):
    """A cohort of two good subjects; the tests spoil subject b, which is checked last."""
    for name in ("a", "b"):
        images.write(MR, tmp_path / "data" / name / "mr.nii.gz", grid=GRID)
        images.write(CT_HU, tmp_path / "data" / name / "ct.nii.gz", grid=GRID)
    return tmp_path / "data"


def run(data, workdir, **options):
    return prepare.run(workdir=workdir, config=configs.load(CONFIG), data=data, **options)


def refused(data, *words):
    """Expects a one-line error with these words, and that nothing at all was written."""
    workdir = data.parent / "run"
    with pytest.raises(errors.UserError) as caught:
        run(data, workdir)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line
    assert not workdir.exists()


def test_the_good_cohort_is_accepted(data, tmp_path):
    assert run(data, tmp_path / "run")[1].endswith("2 prepared")


@pytest.mark.parametrize("name", [".hidden", "a/b", "a\tb", "x" * 101])
def test_a_name_that_is_no_folder_s(data, name):
    (data / "cohort.csv").write_text(f"subject,mr,ct\n{name},b/mr.nii.gz,b/ct.nii.gz\n")
    refused(data, "cohort.csv, line 2: subject", "cannot name a folder", "use letters and digits")


def test_a_config_that_is_not_there_is_named_itself(tmp_path):
    for path in (tmp_path / "nope.yaml", tmp_path):
        with pytest.raises(errors.UserError, match=f"{path.name}: no such config"):
            configs.load(path)
    alone = tmp_path / "alone.yaml"
    alone.write_text("seed: 1\n")
    with pytest.raises(errors.UserError, match=r"alone\.yaml: no base\.yaml beside it"):
        configs.load(alone)


def test_another_series_is_prepared_anew(data, tmp_path):
    run(data, tmp_path / "run")
    kept = tmp_path / "run" / "volumes" / "a" / "mr.ome.zarr" / ".zattrs"
    first = kept.stat().st_mtime_ns
    run(data, tmp_path / "run")
    assert kept.stat().st_mtime_ns == first
    run(data, tmp_path / "run", series="t1")  # images that are no DICOM have no series to choose
    assert kept.stat().st_mtime_ns > first


def test_a_missing_file(data):
    (data / "cohort.csv").write_text("subject,mr,ct\nb,b/mr.nii.gz,b/other.nii.gz\n")
    refused(data, "b/other.nii.gz: no such file", "correct the path")


def test_a_missing_cohort(tmp_path):
    refused(tmp_path / "data", "data: no such cohort", "correct the path")


def test_a_missing_ct(data):
    (data / "b" / "ct.nii.gz").unlink()
    refused(data, "data/b: subject b has no ct", "add it")


def test_two_files_for_one_role(data):
    images.write(MR, data / "b" / "mr.nii", grid=GRID)
    refused(data, "data/b", "mr.nii and mr.nii.gz", "two candidates for mr", "keep one")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_gzip(data, share):
    path = data / "b" / "ct.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(data, "b/ct.nii.gz", "cut short", "copy or convert it again")


def test_a_gzip_whose_contents_end_early(data):
    path = data / "b" / "mr.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100]))
    refused(data, "b/mr.nii.gz", "cut short", "copy or convert it again")


@pytest.mark.parametrize("content", [b"", b"no image", os.urandom(4000)])
def test_not_an_image(data, content):
    (data / "b" / "mr.nii.gz").write_bytes(content)
    refused(data, "b/mr.nii.gz: not an image", "convert it")


def test_a_file_of_another_kind(data):
    (data / "b" / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (data / "cohort.csv").write_text("subject,mr,ct\nb,b/photo.jpg,b/ct.nii.gz\n")
    refused(data, "b/photo.jpg: not an image", "give one of .nii.gz")


@pytest.mark.parametrize("shape", [(20, 20), (1, 20, 20)])
def test_a_2d_image(data, shape):
    flat = sitk.GetImageFromArray(np.arange(400, dtype=np.int16).reshape(shape))
    sitk.WriteImage(flat, str(data / "b" / "mr.nii.gz"))
    refused(data, "b/mr.nii.gz: a 2-D image", "give the whole 3-D volume")


def test_a_4d_image(data):
    series = sitk.JoinSeries([geometry.to_image(MR, GRID)] * 3)
    sitk.WriteImage(series, str(data / "b" / "mr.nii.gz"))
    refused(data, "b/mr.nii.gz: a 4-D image", "give one 3-D volume")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_or_infinite_voxels(data, value):
    array = MR.astype(np.float32)
    array[2, 3, 4:6] = value
    images.write(array, data / "b" / "mr.nii.gz", grid=GRID)
    refused(data, "b/mr.nii.gz: 2 voxels are NaN or infinite", "replace them")


def test_a_constant_image(data):
    images.write(np.full(GRID.size, 7, np.int16), data / "b" / "mr.nii.gz", grid=GRID)
    refused(data, "b/mr.nii.gz: all voxels are 7", "give an image with something in it")


PADDED = np.where((Y - 10) ** 2 + (X - 10) ** 2 > 13**2, -2000, CT_HU + 1024)


@pytest.mark.parametrize(
    ("ct", "seen"),
    [
        (CT_HU + 1000, "from 0 to 1040"),
        (CT_HU / 4095, "from -0.2442 to 0.009768"),
        (PADDED, "from -2000 to 1064"),  # stored values with padding: the intercept was left out
        (CT_HU - 1024, "from -2024 to -984"),  # the intercept applied twice
        (-CT_HU, "from -40 to 1000"),
        (CT_HU * 0.5, "from -500 to 20"),
        (CT_HU * 10, "from -10000 to 400"),
    ],
)
def test_a_ct_not_in_hu(data, ct, seen):
    images.write(ct.astype(np.float32), data / "b" / "ct.nii.gz", grid=GRID)
    refused(data, "b/ct.nii.gz", seen, "not in HU", "convert it to HU")


def test_grids_that_do_not_overlap(data):
    far = geometry.Geometry(GRID.size, GRID.spacing_mm, (0.0, 0.0, 32.0), GRID.direction)
    images.write(CT_HU, data / "b" / "ct.nii.gz", grid=far)
    refused(data, "b/ct.nii.gz: does not overlap", "b/mr.nii.gz", "give a pair in one frame")


def test_a_duplicate_subject(data):
    line = "a,a/mr.nii.gz,a/ct.nii.gz\n"
    (data / "cohort.csv").write_text("subject,mr,ct\n" + line + line)
    refused(data, "cohort.csv: subject a appears twice", "keep one line")


def test_a_subject_in_two_splits(data):
    line = "a,a/mr.nii.gz,a/ct.nii.gz,"
    (data / "cohort.csv").write_text(f"subject,mr,ct,split\n{line}train\n{line}test\n")
    refused(data, "cohort.csv: subject a is in two splits, 'train' and 'test'", "keep one line")


def test_an_unknown_config_key():
    with pytest.raises(errors.UserError, match=r"intensity\.ct_windo.*intensity\.ct_window_hu"):
        configs.load(CONFIG, [], ["intensity.ct_windo=[-1024, 3071]"])


def test_a_mistyped_config_key():
    with pytest.raises(errors.UserError, match=r"train\.learning_rate: needs float.*1\.0e-4"):
        configs.load(CONFIG, [], ["train.learning_rate=1e-4"])


def test_axes_that_are_not_orthogonal(data):
    path = data / "b" / "mr.nii"
    images.write(MR, path, grid=GRID)
    header = bytearray(path.read_bytes())
    header[252:254] = bytes(2)  # no qform, so that the sform counts
    header[280:328] = np.array([4, 2, 0, 0, 0, 4, 0, 0, 0, 0, 4, 0], "<f4").tobytes()
    (data / "b" / "mr.nii.gz").write_bytes(gzip.compress(header))
    path.unlink()
    refused(data, "b/mr.nii.gz: its axes are not orthogonal", "resample it")


def test_a_single_station(data):
    (data / "b" / "mr.nii.gz").rename(data / "b" / "mr_station1.nii.gz")
    refused(data, "b/mr_station1.nii.gz: a single station", "call it mr")


@contextlib.contextmanager
def tiny_disk(path, size):
    """A real file system of so many bytes; needs the right to mount one."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("kibibytes", [16, 48, 96, 128])
def test_a_full_disk(data, tmp_path, kibibytes):
    with tiny_disk(tmp_path / "disk", kibibytes << 10) as disk:
        with pytest.raises(OSError) as caught:
            run(data, disk / "run")
        assert caught.value.errno == errno.ENOSPC
        folder = runfolder.RunFolder(disk / "run")
        assert not folder.cohort.exists()
        temporary = re.compile(r"\.[0-9a-f]{8}\.")
        assert not [path for path in disk.rglob("*") if temporary.match(path.name)]
        for subject in folder.volumes.glob("*"):
            assert all(store.is_complete(folder.volume(subject.name, r)) for r in ("mr", "ct"))


@pytest.mark.parametrize("suffix", images.SUFFIXES)
def test_an_image_written_to_a_full_disk_is_absent(tmp_path, suffix):
    noise = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    grid = geometry.Geometry(noise.shape, GRID.spacing_mm, GRID.origin_mm, GRID.direction)
    with tiny_disk(tmp_path / "disk", 128 << 10) as disk:
        with pytest.raises(OSError) as caught:
            images.write(noise, disk / f"ct{suffix}", grid=grid)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(disk / f"ct{suffix}")
        assert list(disk.iterdir()) == []


def test_a_run_folder_below_a_file(data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(errors.UserError, match="file: a file, not a folder; choose another"):
            run(data, workdir)
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_unwritable_folder(data, tmp_path):
    with tiny_disk(tmp_path / "disk", 1 << 20) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(OSError) as caught:
            run(data, disk / "run")
        assert caught.value.errno == errno.EROFS
        assert list(disk.iterdir()) == []


def test_a_folder_without_write_permission(data, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):
        pytest.skip("permissions do not bind this user")
    with pytest.raises(OSError) as caught:
        run(data, closed / "run")
    assert caught.value.errno == errno.EACCES
    assert list(closed.iterdir()) == []


def test_an_image_smaller_than_a_window_is_padded_not_refused(data, tmp_path):
    run(data, tmp_path / "run")
    mr = store.open_pyramid(runfolder.RunFolder(tmp_path / "run").volume("b", "mr"))
    assert mr.shape == GRID.size
    window = mr.read(1, (-36, -30, -30), (80, 80, 80))
    assert window.shape == (80, 80, 80)
    assert np.array_equal(window[36:44, 30:50, 30:50], mr.read_all())
    assert np.count_nonzero(window) == np.count_nonzero(mr.read_all())
