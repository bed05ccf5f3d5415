"""A study runs what is asked and compares nothing that cannot be compared."""

import errno
import itertools
import pathlib
import shutil
import subprocess
import sys
import types

import pytest

from multires_tf.ground import config, errors, runfolder
from multires_tf.studies import folds, jobs, study

ROOT = pathlib.Path(__file__).parents[2]
ARMS = [
    study.Arm("base", "multires_unc", ("laptop",), ("seed=1",)),
    study.Arm("one_draw", "multires_unc", trained_as="base", predict=("--samples", "1")),
]


@pytest.fixture
def commands(monkeypatch):
    """The command lines that a study would have run, without the interpreter."""
    found = []

    def record(command, **_):
        found.append(command[3:])
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(jobs.subprocess, "run", record)
    return found


def _run(root, *, split="test", subject="s1"):
    run = runfolder.RunFolder(root)
    root.mkdir(parents=True, exist_ok=True)
    lines = ["subject,mr,ct,split", "s0,a.nii,b.nii,train", f"{subject},c.nii,d.nii,{split}"]
    run.cohort.write_text("\n".join(lines) + "\n")
    return run


def _trained(root):
    run = _run(root)
    run.volumes.mkdir()
    run.checkpoints.mkdir()
    for path in (run.config, run.history, run.provenance):
        path.write_text("x")
    return run


def test_an_arm_that_predicts_otherwise_takes_the_training_of_another(tmp_path, commands):
    _trained(tmp_path / "base")
    study.run(ARMS, data=tmp_path, root=tmp_path, verbs=("prepare", "train", "predict", "evaluate"))
    assert [command[0] for command in commands] == [
        *("prepare", "train", "predict", "evaluate"),
        *("predict", "evaluate"),
    ]
    assert commands[0][-4:] == ["--set", "seed=1", "--data", str(tmp_path)]
    assert commands[4] == ["predict", "--workdir", str(tmp_path / "one_draw"), "--samples", "1"]
    linked = tmp_path / "one_draw" / "checkpoints"
    assert linked.is_symlink() and linked.resolve() == (tmp_path / "base" / "checkpoints").resolve()
    study.run(ARMS[1:], data=tmp_path, root=tmp_path, verbs=("predict",))  # and again


def test_without_that_training_it_says_so(tmp_path, commands):
    with pytest.raises(errors.UserError, match=r"config.yaml: not there yet; run that arm first"):
        study.run(ARMS[1:], data=tmp_path, root=tmp_path, verbs=("predict",))
    assert not commands


def test_an_arm_without_a_run_is_named():
    runs = {"a": [runfolder.RunFolder(pathlib.Path("nowhere") / "a")]}
    with pytest.raises(errors.UserError, match=r"arm a: no run in nowhere.a; run it, or leave it"):
        study.check(runs)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"split": "train"}, "subject s1 is 'test' in a but 'train' in b"),
        ({"subject": "s2"}, "subject s1 is 'test' in a but 'absent' in b"),
    ],
)
def test_arms_of_different_splits_are_not_compared(tmp_path, other, words):
    runs = {"a": [_run(tmp_path / "a")], "b": [_run(tmp_path / "b", **other)]}
    with pytest.raises(errors.UserError, match=f"arm b: {words}; prepare both from one cohort"):
        study.check(runs)
    study.check({"a": runs["a"], "c": [_run(tmp_path / "c")]})


def test_a_subject_in_no_split_may_have_a_row_or_none(tmp_path):
    runs = {"a": [_run(tmp_path / "a", split="none")], "b": [_run(tmp_path / "b", split="none")]}
    table = runs["b"][0].cohort
    rows = [line for line in table.read_text().splitlines() if not line.startswith("s1,")]
    table.write_text("\n".join(rows) + "\n")  # it was gone before b was made
    study.check(runs)


def test_a_user_s_mistake_ends_in_one_line_and_code_2(tmp_path):
    command = [sys.executable, "-m", "experiments.figure2", "--show", "--root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"arm unet2d: no run in {tmp_path / 'unet2d'}; run it, or leave it out"
    ]


def test_exhibits_are_shown_of_the_arms_asked_for(tmp_path):
    _run(tmp_path / "base")
    exhibit = lambda runs, folder: [f"{', '.join(runs)} in {folder.name}"]  # noqa: E731
    lines = study.show(ARMS[:1], root=tmp_path, exhibits=[exhibit])
    assert lines == ["", f"base in {tmp_path.name}"]


def test_what_is_prepared_alike_is_prepared_once(tmp_path, commands):
    """Another network, rate or overlay of training needs no other volumes; a seed and a grid do."""
    arms = [
        study.Arm("first", "multires_unc", ("laptop",), ("register=none",)),
        study.Arm("unet", "unet2d", ("laptop",), ("register=none", "train.steps=7")),
        study.Arm("seed", "multires_unc", ("laptop",), ("register=none", "seed=1")),
        study.Arm("grid", "unet3d", ("laptop",), ("register=none", "spacing_mm=[6, 6, 6]")),
        study.Arm("same_grid", "multires", ("laptop",), ("register=none", "spacing_mm=[6, 6, 6]")),
    ]
    volume = tmp_path / "first" / "volumes" / "s0" / "mr.ome.zarr" / "0"
    volume.parent.mkdir(parents=True)
    volume.write_bytes(b"voxels")
    study.run(arms, data=tmp_path, root=tmp_path, verbs=("prepare",))
    names = [pathlib.Path(command[command.index("--workdir") + 1]).name for command in commands]
    assert names == ["first", "seed", "grid", "unet", "same_grid"]
    linked = tmp_path / "unet" / volume.relative_to(tmp_path / "first")
    assert linked.samefile(volume)
    assert not any((tmp_path / name / "volumes").exists() for name in ("seed", "grid", "same_grid"))


def _unsplit(folder, count):
    folder.mkdir()
    rows = [f"s{n},s{n}/mr.nii,s{n}/ct.nii" for n in range(count)]
    (folder / "cohort.csv").write_text("\n".join(["subject,mr,ct", *rows]) + "\n")
    return folder


def _places(commands, root):
    """Verb, run folder and cohort of each command, as they lie in the study's folder."""
    found = []
    for verb, *flags in commands:
        given = dict(itertools.pairwise(flags))
        paths = [given[flag] for flag in ("--workdir", "--data") if flag in given]
        found.append((verb, *(str(pathlib.Path(path).relative_to(root)) for path in paths)))
    return found


CUT = folds.Cut(2, 0, (22, 5, 5))


def test_every_arm_has_a_run_in_every_fold_and_takes_volumes_and_training(tmp_path, commands):
    data, root = _unsplit(tmp_path / "data", 5), tmp_path / "root"
    for fold in ("fold1", "fold2"):
        _trained(root / fold / "base")
    (root / "fold2" / "base" / "volumes").rmdir()
    volume = root / "fold1" / "base" / "volumes" / "s0" / "0"
    volume.parent.mkdir()
    volume.write_bytes(b"voxels")
    study.run(ARMS, data=data, root=root, verbs=("prepare", "train", "predict"), cut=CUT)
    assert _places(commands, root) == [
        ("prepare", "fold1/base", "fold1/cohort.csv"),
        *((verb, "fold1/base") for verb in ("train", "predict")),
        ("prepare", "fold2/base", "fold2/cohort.csv"),
        *((verb, "fold2/base") for verb in ("train", "predict")),
        ("predict", "fold1/one_draw"),
        ("predict", "fold2/one_draw"),
    ]
    assert (root / "fold2" / "base" / "volumes" / "s0" / "0").samefile(volume)
    linked = root / "fold2" / "one_draw" / "checkpoints"
    assert linked.resolve() == (root / "fold2" / "base" / "checkpoints").resolve()


def test_volumes_that_depend_on_who_trains_are_prepared_in_each_fold(tmp_path, commands):
    data, root = _unsplit(tmp_path / "data", 5), tmp_path / "root"
    sets = ("intensity.mr_landmarks=nyul",)
    arms = [study.Arm("a", "multires", sets=sets), study.Arm("b", "unet2d", sets=sets)]
    study.run(arms, data=data, root=root, verbs=("prepare",), cut=CUT)
    assert [place for _, place, _ in _places(commands, root)] == [
        *("fold1/a", "fold2/a"),
        *("fold1/b", "fold2/b"),
    ]


def test_a_verb_that_fails_names_arm_and_fold(tmp_path, monkeypatch):
    failed = types.SimpleNamespace(returncode=1)
    monkeypatch.setattr(jobs.subprocess, "run", lambda *_, **__: failed)
    data = _unsplit(tmp_path / "data", 5)
    with pytest.raises(errors.UserError, match=r"^arm base of fold1: 'prepare' failed; see"):
        study.run(ARMS, data=data, root=tmp_path / "root", verbs=("prepare",), cut=CUT)


def test_splits_and_configs_are_compared_fold_by_fold(tmp_path):
    folders = [tmp_path / fold / arm for arm in "ab" for fold in ("fold1", "fold2")]
    one, two, *others = (_run(folder) for folder in folders)
    for run in (one, two, *others):
        shutil.copy(ROOT / "configs" / "base.yaml", run.config)
    study.check({"a": [one, two], "b": others})
    other = config.load(ROOT / "configs" / "base.yaml", sets=["loss.beta=0.25"])
    two.config.write_text(config.dump(other))
    words = r"fold2.a.config.yaml: fold1 has loss.beta: .*, not 0.25 as in fold2; run all folds"
    with pytest.raises(errors.UserError, match=words):
        study.check({"a": [one, two], "b": others})
    _run(others[1].root, split="train")
    words = "arm b of fold2: subject s1 is 'test' in a of fold2 but 'train' in b of fold2; prepare"
    with pytest.raises(errors.UserError, match=words):
        study.check({"a": [one, two], "b": others})


def test_volumes_are_copied_where_they_cannot_be_linked(tmp_path, monkeypatch):
    (tmp_path / "one" / "volumes" / "s").mkdir(parents=True)
    (tmp_path / "one" / "volumes" / "s" / "chunk").write_bytes(b"voxels")

    def across_disks(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(jobs.os, "link", across_disks)
    jobs._take_volumes(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "volumes" / "s" / "chunk").read_bytes() == b"voxels"
