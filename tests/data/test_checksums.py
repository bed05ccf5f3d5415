"""A store that was changed is noticed, one that was merely copied is not refused."""

from __future__ import annotations

import os
import shutil

import pytest

from multires_tf.data import checksums
from multires_tf.ground import errors


@pytest.fixture
def stores(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "0").mkdir(parents=True)
        (tmp_path / name / "0" / "chunk").write_bytes(name.encode() * 100)
    return {name: tmp_path / name for name in ("a", "b")}


def test_the_same_content_of_another_time_is_the_same_store(stores, tmp_path):
    known = checksums.stamped(stores, {})
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    os.utime(tmp_path / "copy" / "0" / "chunk", (1, 1))
    moved = {**stores, "a": tmp_path / "copy"}
    now = checksums.stamped(moved, known)
    assert now["a"]["stamp"] != known["a"]["stamp"]
    checksums.check(moved, now, known)


def test_one_changed_byte_is_refused_by_name(stores):
    known = checksums.stamped(stores, {})
    chunk = stores["b"] / "0" / "chunk"
    chunk.write_bytes(b"c" + chunk.read_bytes()[1:])
    with pytest.raises(errors.UserError, match=r"b: its contents are not those .* new run"):
        checksums.check(stores, checksums.stamped(stores, known), known)


def test_a_subject_added_or_taken_away_is_refused(stores):
    known = checksums.stamped({"a": stores["a"]}, {})
    with pytest.raises(errors.UserError, match="b: its contents"):
        checksums.check(stores, checksums.stamped(stores, known), known)
    only = {"a": stores["a"]}
    both = checksums.stamped(stores, {})
    with pytest.raises(errors.UserError, match="b: it was part of the run"):
        checksums.check(only, checksums.stamped(only, both), both)


def test_what_has_not_changed_is_not_read_again(stores):
    known = checksums.stamped(stores, {})
    known["a"]["checksum"] = "as it was noted"
    assert checksums.stamped(stores, known)["a"]["checksum"] == "as it was noted"
