"""Files that may not be read are a mistake of the user's; as root, the system would allow them."""

import builtins
import errno
import os
import pathlib

import pydicom
import pytest
import test_bad_subjects

from multires_tf.data import cohort
from multires_tf.data.files import images
from multires_tf.ground import errors

REFUSED = "may not be read; change its permissions"


def _forbidding(action, name, kind=errno.EACCES):
    """The same action, which the system refuses for paths that end in `name`."""

    def forbidden(path, *arguments, **options):
        if str(path).endswith(name):
            raise PermissionError(kind, os.strerror(kind), str(path))
        return action(path, *arguments, **options)

    return forbidden


@pytest.mark.parametrize("kind", [errno.EACCES, errno.EPERM])
def test_a_dicom_file_that_may_not_be_read_is_its_subject_s_matter(
    tmp_path, capsys, monkeypatch, kind
):
    data = tmp_path / "data"
    test_bad_subjects.cohort(data)
    test_bad_subjects._series(data / "b")
    monkeypatch.setattr(pydicom, "dcmread", _forbidding(pydicom.dcmread, "03.dcm", kind))
    assert test_bad_subjects.prepare(data) == 2
    assert capsys.readouterr().err.endswith(f"b/mr/03.dcm: {REFUSED}\n")
    assert test_bad_subjects.prepare(data, "--keep_going") == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"left out: b: {data}/b/mr/03.dcm: {REFUSED}"
    assert [path.name for path in (tmp_path / "run" / "volumes").iterdir()] == ["a"]


def test_an_image_that_may_no_longer_be_read_is_its_subject_s_matter(tmp_path, capsys, monkeypatch):
    data = tmp_path / "data"
    test_bad_subjects.cohort(data)
    assert test_bad_subjects.prepare(data) == 0
    capsys.readouterr()
    monkeypatch.setattr(builtins, "open", _forbidding(open, "b/ct.nii.gz"))
    assert test_bad_subjects.prepare(data, "--keep_going") == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"b/ct.nii.gz: {REFUSED}")


def test_a_folder_that_may_not_be_read_is_its_subject_s_matter(tmp_path, monkeypatch):
    test_bad_subjects.cohort(tmp_path)
    monkeypatch.setattr(pathlib.Path, "iterdir", _forbidding(pathlib.Path.iterdir, "/b"))
    with pytest.raises(errors.UserError, match=f"/b: {REFUSED}"):
        cohort.discover(tmp_path)
    with pytest.raises(errors.UserError, match=f"/b: {REFUSED}"):
        images.stations_in(tmp_path / "b")
    faults = {}
    assert [one.subject for one in cohort.discover(tmp_path, faults=faults)] == ["a"]
    assert faults == {"b": f"{tmp_path}/b: {REFUSED}"}
