"""Folds: who is tested where, what of it lies in a study's folder, and what is refused."""

import collections
import pathlib
import shutil
import sys

import pytest

from multires_tf.data import cohort
from multires_tf.ground import errors
from multires_tf.studies import folds, study

SPLIT = (22, 5, 5)


def _subjects(count, **others):
    names = [f"s{number}" for number in range(count)]
    mr = {name: pathlib.Path(name, "mr.nii") for name in names}
    return [cohort.Subject(name, mr[name], None, None, others.get(name, "")) for name in names]


def _tested(placed):
    return {one.subject for one in placed if one.split == "test"}


def _table(folder, count, **others):
    """A cohort of so many subjects; its images need not be there."""
    folder.mkdir(exist_ok=True)
    rows = [f"s{n},s{n}/mr.nii,s{n}/ct.nii,{others.get(f's{n}', '')}" for n in range(count)]
    path = folder / "cohort.csv"
    path.write_text("\n".join(["subject,mr,ct,split", *rows]) + "\n")
    return path


def test_the_folds_of_five_subjects_by_hand():
    """numpy's generator of seed 0 brings 0 to 4 into the order 2, 4, 3, 0, 1."""
    first, second = folds.divide(_subjects(5), folds.Cut(2, 0, SPLIT))
    assert (_tested(first), _tested(second)) == ({"s4", "s2", "s3"}, {"s1", "s0"})
    assert {one.split for one in first} == {"train", "validation", "test"}
    assert collections.Counter(one.split for one in second) == {
        "train": 2,
        "validation": 1,
        "test": 2,
    }


@pytest.mark.parametrize(("count", "sizes"), [(2, (6, 6)), (5, (3, 3, 2, 2, 2)), (12, (1,) * 12)])
def test_every_subject_is_tested_once(count, sizes):
    subjects = _subjects(14, s3="none", s7="none")
    placed = folds.divide(subjects, folds.Cut(count, 7, SPLIT))
    tested = [name for fold in placed for name in _tested(fold)]
    assert sorted(tested) == sorted(one.subject for one in subjects if not one.split)
    assert tuple(len(_tested(fold)) for fold in placed) == sizes
    for fold in placed:
        assert [one.subject for one in fold] == [one.subject for one in subjects]
        assert {one.subject for one in fold if one.split == "none"} == {"s3", "s7"}


def test_the_rest_is_drawn_in_the_proportions_of_train_and_validation():
    for fold in folds.divide(_subjects(12), folds.Cut(3, 0, (3, 1, 9))):
        drawn = collections.Counter(one.split for one in fold)
        assert drawn == {"train": 6, "validation": 2, "test": 4}


def test_folds_depend_on_seed_names_and_number_alone():
    cut = folds.Cut(3, 0, SPLIT)
    tested = [_tested(fold) for fold in folds.divide(_subjects(9), cut)]
    turned = [_tested(fold) for fold in folds.divide(_subjects(9)[::-1], cut)]
    other = [_tested(fold) for fold in folds.divide(_subjects(9), folds.Cut(3, 0, (1, 1, 1)))]
    assert tested == turned == other
    seeds = [folds.divide(_subjects(9), folds.Cut(3, seed, SPLIT)) for seed in range(1, 5)]
    assert any([_tested(fold) for fold in found] != tested for found in seeds)


def test_a_fold_is_a_cohort_and_is_laid_out_again_where_it_is(tmp_path):
    data = _table(tmp_path / "data", 5, s1="none")
    cut = folds.Cut(2, 0, SPLIT)
    places = folds.lay_out(data, tmp_path / "root", cut)
    assert places == folds.found(tmp_path / "root") == folds.need(tmp_path / "root", 2)
    assert [place.name for place in places] == ["fold1", "fold2"]
    one = cohort.read(places[1] / "cohort.csv")[0]
    assert one.mr.resolve() == (tmp_path / "data" / "s0" / "mr.nii").resolve()
    before = [(place / "cohort.csv").read_bytes() for place in places]
    (places[0] / "cohort.csv").unlink()  # killed between the two
    assert folds.lay_out(data, tmp_path / "root", cut) == places
    assert [(place / "cohort.csv").read_bytes() for place in places] == before


def test_folders_of_folds_are_told_from_others(tmp_path):
    for name in ("fold10", "fold2", "fold0", "folder", "fold3"):
        _table(tmp_path / name, 1)
    (tmp_path / "fold1").mkdir()
    (tmp_path / "fold3" / "config.yaml").touch()  # the run of an arm of that name
    assert [folder.name for folder in folds.found(tmp_path)] == ["fold2", "fold10"]


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (folds.Cut(2, 0, SPLIT), r"in fold1 subject s\d is '\w+', not '\w+'"),
        (folds.Cut(4, 0, SPLIT), r"in fold\d subject s\d is '\w+', not '\w+'"),
        (folds.Cut(3, 1, SPLIT), "choose another --root"),
        (folds.Cut(3, 0, (1, 1, 1)), "choose another --root"),
    ],
)
def test_other_folds_are_not_mixed_with_those_that_are_there(tmp_path, cut, words):
    data, root = _table(tmp_path / "data", 7), tmp_path / "root"
    places = folds.lay_out(data, root, folds.Cut(3, 0, SPLIT))
    _table(places[1] / "arm", 7)
    before = {path: path.read_bytes() for path in root.rglob("*.csv")}
    with pytest.raises(errors.UserError, match=f"has runs of 3 other folds: .*{words}"):
        folds.lay_out(data, root, cut)
    assert {path: path.read_bytes() for path in root.rglob("*.csv")} == before


def test_a_subject_that_joins_makes_other_folds(tmp_path):
    cut, root = folds.Cut(2, 0, SPLIT), tmp_path / "root"
    (place, _) = folds.lay_out(_table(tmp_path / "data", 6), root, cut)
    (place / "arm").mkdir()
    (place / "arm" / "landmarks.txt").touch()  # of subjects that train here
    with pytest.raises(errors.UserError, match="has runs of 2 other folds"):
        folds.lay_out(_table(tmp_path / "data", 7), root, cut)


def test_folds_that_nothing_was_prepared_from_are_no_hindrance(tmp_path):
    """The cohort could not be used, say, and is now mended."""
    root = tmp_path / "root"
    folds.lay_out(_table(tmp_path / "data", 7), root, folds.Cut(3, 0, SPLIT))
    places = folds.lay_out(_table(tmp_path / "data", 7, s2="none"), root, folds.Cut(2, 0, SPLIT))
    assert folds.found(root) == places and len(places) == 2
    splits = {one.subject: one.split for one in cohort.read(places[0] / "cohort.csv")}
    assert splits["s2"] == "none"


def _main(monkeypatch, capsys, *arguments):
    """Exit code and lines of stderr of an experiment of two arms."""
    arms = [study.Arm("a", "multires", ("tiny",)), study.Arm("b", "unet2d", ("tiny",), ("seed=1",))]
    monkeypatch.setattr(sys, "argv", ["experiment", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        study.main(arms, verbs=("prepare",), root=pathlib.Path("nowhere"), exhibits=[])
    return done.value.code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("others", "number", "words"),
    [
        ({}, 1, "--folds 1: needs at least 2; leave it out for no folds"),
        ({}, 0, "--folds 0: needs at least 2; leave it out for no folds"),
        (
            {"s0": "none"},
            5,
            "--folds 5: the cohort has 4 subjects that are not in split 'none';"
            " give no more folds than that",
        ),
        (
            {"s0": "none", "s1": "none"},
            2,
            "--folds 2: of 3 subjects one alone is left to train and validate;"
            " add folds or subjects",
        ),
        (
            {"s3": "train"},
            2,
            "DATA: --folds draws the splits itself, but subject s3 is in split 'train';"
            " empty that column but for 'none', or leave out --folds",
        ),
    ],
)
def test_folds_that_cannot_be_end_in_one_line_and_code_2(
    tmp_path, monkeypatch, capsys, others, number, words
):
    data = _table(tmp_path / "data", 5, **others)
    found = _main(
        monkeypatch, capsys, "--data", data, "--root", tmp_path / "root", "--folds", number
    )
    assert found == (2, [words.replace("DATA", str(data))])
    assert not (tmp_path / "root").exists()


def test_a_study_is_shown_with_the_folds_it_has(tmp_path, monkeypatch, capsys):
    root = tmp_path / "root"
    shown = ("--show", "--root", root)
    code, lines = _main(monkeypatch, capsys, *shown, "--folds", 3)
    advice = "leave it out, or run with it first"
    assert (code, lines) == (2, [f"--folds 3: {root} has 0 folds; {advice}"])
    folds.lay_out(_table(tmp_path / "data", 5), root, folds.Cut(2, 0, SPLIT))
    code, lines = _main(monkeypatch, capsys, *shown, "--folds", 3)
    assert (code, lines) == (2, [f"--folds 3: {root} has 2 folds; give --folds 2"])
    code, lines = _main(monkeypatch, capsys, *shown)
    advice = "add --folds 2, or choose another --root"
    assert (code, lines) == (2, [f"{root}: its runs are in folds; {advice}"])
    code, lines = _main(monkeypatch, capsys, *shown, "--folds", 2)
    place = root / "fold1" / "a"
    assert (code, lines) == (2, [f"arm a of fold1: no run in {place}; run it, or leave it out"])


def test_runs_without_folds_are_not_mixed_with_folds(tmp_path, monkeypatch, capsys):
    data, root = _table(tmp_path / "data", 5), tmp_path / "root"
    (root / "a").mkdir(parents=True)
    shutil.copy(data, root / "a" / "cohort.csv")
    code, lines = _main(monkeypatch, capsys, "--data", data, "--root", root, "--folds", 2)
    reason = f"{root}: arm a has a run without folds there; leave out --folds"
    assert (code, lines) == (2, [f"{reason}, or choose another --root"])


def test_arms_of_unlike_proportions_have_no_folds_in_common(tmp_path):
    arms = [
        study.Arm("a", "multires", ("tiny",)),
        study.Arm("b", "multires", ("tiny",), ("cohort.split=[1, 1, 1]",)),
    ]
    with pytest.raises(errors.UserError, match=r"^--folds: arm a has cohort.split.* as in arm b"):
        study.folds_of(arms, 2)
    # A seed of its own is no other cohort: all arms share the folds of the first.
    seeds = [study.Arm("a", "multires", sets=("seed=3",)), study.Arm("b", "multires")]
    assert study.folds_of(seeds, 2) == folds.Cut(2, 3, SPLIT)
