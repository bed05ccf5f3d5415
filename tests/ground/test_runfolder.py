"""Writing that is complete or absent, and the lock of a run folder."""

from __future__ import annotations

import subprocess
import sys

import pytest

from multires_tf.ground import errors, runfolder

HOLDER = """
import pathlib, sys
from multires_tf.ground import runfolder
with runfolder.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def _names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    for text in ("old", "new"):
        with runfolder.replacing(path) as beside:
            assert beside.parent == path.parent and beside.name.endswith("table.csv")
            beside.write_text(text)
            assert not path.exists() or path.read_text() == "old"
        assert path.read_text() == text
    assert _names(path.parent) == ["table.csv"]


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "maps"
    path.mkdir()
    (path / "left over").write_text("old")
    with runfolder.replacing(path) as beside:
        beside.mkdir()
        (beside / "ct").write_text("new")
    assert _names(tmp_path) == ["maps"]
    assert _names(path) == ["ct"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_leaves_the_old_one_and_no_rubbish(tmp_path, kind):
    path = tmp_path / "thing"
    if kind == "file":
        path.write_text("old")
    else:
        path.mkdir()
        (path / "inside").write_text("old")
    with pytest.raises(ZeroDivisionError), runfolder.replacing(path) as beside:
        if kind == "file":
            beside.write_text("half")
        else:
            beside.mkdir()
            (beside / "inside").write_text("half")
        raise ZeroDivisionError
    assert _names(tmp_path) == ["thing"]
    assert (path if kind == "file" else path / "inside").read_text() == "old"


def test_what_killed_processes_left_goes_with_the_next_success_and_nothing_else(tmp_path):
    killed = tmp_path / ".0123abcd.maps"
    killed.mkdir()
    others = {".0123abcd.other", ".0123abcd.other.maps", ".hidden.maps", "maps.txt"}
    for name in others:
        (tmp_path / name).write_text("not ours")
    with runfolder.replacing(tmp_path / "maps") as beside:
        beside.mkdir()
    assert set(_names(tmp_path)) == {"maps", *others}


def test_a_folder_survives_a_block_that_wrote_nothing(tmp_path):
    path = tmp_path / "maps"
    path.mkdir()
    (path / "ct").write_text("old")
    with pytest.raises(FileNotFoundError), runfolder.replacing(path):
        pass
    assert _names(tmp_path) == ["maps"]
    assert (path / "ct").read_text() == "old"


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    lock = tmp_path / "run" / "train.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(errors.UserError, match="run: another process"), runfolder.locked(lock):
            pytest.fail("two processes hold one lock")
        holder.kill()
        holder.wait()
        with runfolder.locked(lock):
            assert lock.exists()


def test_what_is_missing_names_the_verb_that_makes_it(tmp_path):
    run = runfolder.RunFolder(tmp_path)
    with pytest.raises(errors.UserError, match=r"cohort.csv: not there yet; run 'prepare' first"):
        run.need(run.cohort, "prepare")
    run.cohort.write_text("subject\n")
    assert run.need(run.cohort, "prepare") == run.cohort
