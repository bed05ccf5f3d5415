"""The command line: exit codes and one-line complaints, in real processes."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "multires_unc.yaml"
TINY = ROOT / "configs" / "overlays" / "tiny.yaml"


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "multires_tf", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "--workdir", "x", "--config", "configs/nope.yaml"], "configs/nope.yaml"),
        (["train", "--workdir", "x", "--conf", "configs/base.yaml"], "--config"),
        (["evaluate"], "--workdir"),
        (["prophesy"], "prophesy"),
        ([], "verb"),
        (["phantom", "--out", "x", "--subjects", "0"], "--subjects"),
        (["describe", "--config", CONFIG, "--set", "seed=a"], "seed"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(arguments, named, tmp_path):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "first"),
    [("predict", "prepare"), ("evaluate", "prepare"), ("report", "prepare"), ("export", "train")],
)
def test_a_verb_names_the_one_to_run_first(verb, first, tmp_path):
    done = run(verb, "--workdir", tmp_path)
    assert done.returncode == 2
    assert f"run '{first}' first" in done.stderr


def test_describe_speaks_json():
    done = run("describe", "--config", CONFIG, "--overlay", TINY, "--json")
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    assert facts["windows"] == {"mr_1": [16] * 3, "mr_2": [16] * 3, "mr_4": [16] * 3}
    assert facts["context_voxels"] == [64, 64, 64]
    assert facts["trainable_parameters"] > 0
    assert done.stderr == ""


def test_help_names_every_verb():
    done = run("--help")
    steps = (ROOT / "multires_tf" / "steps").glob("[a-z]*.py")
    for verb in (path.stem for path in steps):
        assert re.search(rf"^ +{verb}\b", done.stdout, re.MULTILINE), verb
