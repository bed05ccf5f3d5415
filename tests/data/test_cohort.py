import os
import pathlib

import pytest

from multires_tf.data import cohort
from multires_tf.ground import errors


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def table(tmp_path, text):
    path = tmp_path / "cohort.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_gives_its_subjects_in_order_and_ignores_other_files(tmp_path):
    touch(tmp_path, "010/mr.nii.gz", "010/ct.mha", "010/notes.txt", "010/truth/mr.nii.gz")
    touch(tmp_path, "002/mr.nrrd", "002/ct/1.dcm", "002/mr_station1.nii.gz", "002/t2.nii")
    touch(tmp_path, "README.md", "docs/page.html", ".cache/mr.nii.gz")
    found = cohort.discover(tmp_path)
    assert [one.subject for one in found] == ["002", "010"]
    assert found[0].mr == tmp_path / "002" / "mr.nrrd"
    assert found[0].ct == tmp_path / "002" / "ct"
    assert found[1].ct == tmp_path / "010" / "ct.mha"
    assert [one.split for one in found] == ["", ""]
    assert [one.mask for one in found] == [None, None]


def test_an_mr_alone_is_a_subject_without_ct(tmp_path):
    touch(tmp_path, "a/mr.nii.gz")
    assert cohort.discover(tmp_path)[0].ct is None


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (("a/mr.nii", "a/mr.nii.gz", "a/ct.nii"), "mr"),
        (("a/mr.nii", "a/ct.nii", "a/ct.nrrd"), "ct"),
        (("a/mr.nii", "a/ct.nii", "a/mr/1.dcm"), "mr"),
    ],
)
def test_two_candidates_for_a_role_are_refused(tmp_path, names, role):
    touch(tmp_path, *names)
    with pytest.raises(errors.UserError, match=rf"a: .* two candidates for {role}; keep one"):
        cohort.discover(tmp_path)


def test_stations_stand_for_the_mr_by_their_folder(tmp_path):
    touch(tmp_path, "a/mr_station1.nii.gz", "a/mr_station2.nii.gz", "a/ct.nii.gz")
    touch(tmp_path, "b/mr_station1.nii.gz", "b/mr_station2.nii.gz", "b/ct.nii.gz")
    assert [one.mr for one in cohort.discover(tmp_path)] == [tmp_path / "a", tmp_path / "b"]
    listed = table(tmp_path, "subject,mr,ct\na,,a/ct.nii.gz\nb,,\n")
    assert [one.mr for one in cohort.read(listed)] == [tmp_path / "a", tmp_path / "b"]


def test_faults_of_single_subjects_are_collected_where_asked(tmp_path):
    touch(tmp_path, "a/mr.nii.gz", "b/ct.nii.gz", "c/mr.nii", "c/mr.mha", "d/mr_station2.nii")
    faults = {}
    assert [one.subject for one in cohort.discover(tmp_path, faults=faults)] == ["a"]
    assert list(faults) == ["b", "c", "d"]
    assert faults["d"].endswith("d: mr_station1 is missing; add it, or number them from 1")


@pytest.mark.parametrize("linked", ["mr.nii.gz", ""])
def test_one_mr_of_two_subjects_is_refused_as_in_a_table(tmp_path, linked):
    touch(tmp_path, "a/mr.nii.gz", "c/mr.nii.gz")
    link = tmp_path / "b" / linked
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "a" / linked)
    complaint = f"{tmp_path}: subjects a and b have the same mr; keep one"
    with pytest.raises(errors.UserError) as caught:
        cohort.discover(tmp_path)
    assert str(caught.value) == complaint
    faults = {}
    assert [one.subject for one in cohort.discover(tmp_path, faults=faults)] == ["a", "c"]
    assert faults == {"b": complaint}


def test_a_ct_alone_an_empty_folder_and_no_folder_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match=r"no <subject>/mr\.nii\.gz"):
        cohort.discover(tmp_path)
    touch(tmp_path, "a/ct.nii.gz")
    with pytest.raises(errors.UserError, match="a ct but no mr"):
        cohort.discover(tmp_path)
    with pytest.raises(errors.UserError, match="no such cohort"):
        cohort.discover(tmp_path / "b")


def test_a_table_in_the_folder_overrides_it(tmp_path):
    touch(tmp_path, "a/mr.nii.gz", "b/mr.nii.gz")
    table(tmp_path, "subject,mr,ct,split\n007,a/mr.nii.gz,a/ct.nii.gz,test\n")
    (one,) = cohort.discover(tmp_path)
    assert one.subject == "007"
    assert one.mr == tmp_path / "a" / "mr.nii.gz"
    assert one.split == "test"


def test_names_stay_strings_and_empty_cells_are_none(tmp_path):
    text = "\ufeffsubject, mr, ct, mask, split, age\n0012, m, c, , , 40\n1e3, n, , k, none, 50\n"
    first, second = cohort.read(table(tmp_path, text))
    assert (first.subject, first.mask, first.split) == ("0012", None, "")
    assert (second.subject, second.ct, second.mask) == ("1e3", None, tmp_path / "k")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("subject,mr,ct\na,m,c\na,m,c\n", "subject a appears twice"),
        (
            "subject,mr,ct,split\na,m,c,train\na,m,c,test\n",
            "a is in two splits, 'train' and 'test'",
        ),
        ("subject,mr,ct\na,m,c\nb,m,c\n", "a and b have the same mr"),
        ("subject,mr,ct,split\na,m,c,training\n", "line 2: split 'training' of a; use train"),
        ("subject,mr,ct,spilt\na,m,c,test\n", "unknown column 'spilt'; did you mean 'split'"),
        ("subject,mr,mr,ct\na,m,m,c\n", "twice"),
        ("subject,ct\na,c\n", "no column 'mr'"),
        ("subject,mr,ct\n../a,m,c\n", "cannot name a folder"),
        ("subject,mr,ct\n,m,c\n", "cannot name a folder"),
        ("subject,mr,ct\na,,c\n", "line 2: subject a has no mr, and .* no mr_station1"),
        ("subject,mr,ct\n", "no subject"),
        ("", "no column 'subject'"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_name(tmp_path, text, complaint):
    path = table(tmp_path, text)
    with pytest.raises(errors.UserError, match=complaint) as caught:
        cohort.read(path)
    assert str(path) in str(caught.value)


def test_binary_data_is_no_table(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(errors.UserError, match="not a table"):
        cohort.read(path)


def test_what_is_written_is_read_back_with_relative_paths(tmp_path):
    touch(tmp_path, "data/a/mr.nii.gz", "data/a/ct.nii.gz", "data/b/mr.nii.gz")
    data = tmp_path / "data"
    made = [
        cohort.Subject("a", data / "a/mr.nii.gz", data / "a/ct.nii.gz", None, "train"),
        cohort.Subject("b", data / "b/mr.nii.gz", None, None, "none"),
    ]
    path = tmp_path / "run" / "cohort.csv"
    cohort.write(path, made)
    lines = path.read_text().splitlines()
    assert lines[0] == "subject,mr,ct,mask,split,flags"
    assert lines[1] == "a,../data/a/mr.nii.gz,../data/a/ct.nii.gz,,train,"
    read = cohort.read(path)
    assert [one.mr.resolve() for one in read] == [one.mr for one in made]
    assert [(one.subject, one.split) for one in read] == [("a", "train"), ("b", "none")]


def test_an_image_may_be_a_link_to_a_file_of_another_name(tmp_path):
    touch(tmp_path, "store/0001", "a/note")
    link = tmp_path / "a" / "mr.nii.gz"
    link.symlink_to(tmp_path / "store" / "0001")
    cohort.write(tmp_path / "run" / "cohort.csv", cohort.discover(tmp_path / "a" / ".."))
    (read,) = cohort.read(tmp_path / "run" / "cohort.csv")
    assert read.mr.name == "mr.nii.gz" and read.mr.samefile(link)


def test_only_folders_of_subjects_need_a_name_for_the_table(tmp_path):
    for name in ("a", "notes "):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "mr.nii.gz").touch()
    assert [one.subject for one in cohort.discover(tmp_path)] == ["a"]
    odd = tmp_path / os.fsdecode(b"M\xfcller")  # Latin-1
    odd.mkdir()
    (odd / "mr.nii.gz").touch()
    with pytest.raises(errors.UserError, match=r"subject 'M\\udcfcller' cannot name a folder"):
        cohort.discover(tmp_path)


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    folder = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "mr.nii.gz").touch()
    with pytest.raises(errors.UserError, match=r"M\\xfcller: its name is not UTF-8; rename it"):
        cohort.discover(folder)
