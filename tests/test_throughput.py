"""The throughput experiment: its arithmetic by hand, every question at a tiny size."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from experiments.throughput import __main__ as throughput
from experiments.throughput import branch, network, predict, roofline, tables
from multires_tf import door

ROOT = pathlib.Path(__file__).parent.parent
TINY = ["--overlay", "configs/overlays/tiny.yaml"]
# Runs a module as a program where TensorFlow cannot be found.
_WITHOUT_TENSORFLOW = """
import runpy, sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorboard"):
            return None
        return self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def _answer(folder: pathlib.Path, question: str, *flags: str) -> dict:
    chosen = throughput.parser().parse_args([question, "--results", str(folder), *flags])
    assert len(list(throughput.table(chosen))) == 1
    return json.loads((folder / f"throughput_{question}.json").read_text(encoding="utf-8"))


def test_the_roofline_of_a_convolution_by_hand():
    wide, narrow = roofline.convolutions(
        [(3, 3, 3, 64, 64), (1, 1, 1, 16, 1)], voxels=1000, itemsize=2
    )
    assert wide == roofline.Work(2 * 1000 * 27 * 64 * 64 / 1e12, 1000 * 128 * 2 / 1e9)
    assert narrow == roofline.Work(2 * 1000 * 16 / 1e12, 1000 * 17 * 2 / 1e9)
    ceilings = roofline.Ceilings(tflops=1.0, gbs=10.0)  # a hundred operations a byte
    assert wide.floor_s(ceilings) == pytest.approx(2.21184e-4)  # arithmetic: 864 a byte
    assert narrow.floor_s(ceilings) == pytest.approx(3.4e-6)  # memory: 1 a byte
    reached = roofline.summary([wide, narrow], 4.491680e-4, ceilings)
    assert reached == pytest.approx((0.49251, 0.64564, 2.0), rel=1e-4)


def test_ceilings_are_those_of_products_and_copies():
    square, long = np.ones((256, 256), np.float32), np.ones(1 << 20, np.float32)
    kind = {"square": square, "long": long, "itemsize": 4}
    found = roofline.measured(lambda x: x @ x, np.negative, lambda x: None, **kind)
    once = roofline.measured(lambda x: x, np.negative, lambda x: None, **kind)
    assert 0 < found.tflops < once.tflops and 0.1 < found.gbs < 1e4


def test_ratios_are_to_the_best_peer_of_equal_precision():
    times = {"ours float32": (2, 1), "monai float32 contiguous": (8, 1.5)}
    times |= {"monai float32 channels_last_3d": (6, 3), "monai bfloat16 contiguous": (1, 1)}
    rows = [{"contestant": n, "step s": a, "forward s": b} for n, (a, b) in times.items()]
    assert branch._ratios(rows)[0] | {"step ratio": 3, "forward ratio": 1.5} == rows[0]
    assert "step ratio" not in rows[1]


def test_a_body_is_compared_at_equal_precision_and_with_the_peer_s_best():
    times = {("masked", "float32"): 60, ("thin", "float32"): 10, ("MONAI", "float32"): 90}
    times |= {("masked", "mixed_bfloat16"): 20, ("MONAI", "mixed_bfloat16"): 50}
    rows = [{"way": w, "precision": p, predict.BODY_MIN: m} for (w, p), m in times.items()]
    thin = predict._ratios(rows)[1]
    found = {name: value for name, value in thin.items() if name.endswith("/ thin")}
    assert found == {"masked / thin": 6, "MONAI / thin": 9, "MONAI at its best / thin": 5}


def test_operations_belong_to_the_parts_that_their_layers_are_of():
    named = {
        "objective/multires_sampler/branch_4.res_3_1.conv_0/Conv3D": "branch, low",
        "gradient/multires_sampler/branch_1.fc_1.prelu/SelectV2": "branch, high",
        "gradient_tape/objective/multires_sampler/cascade_2.upsample/mul": "cascade",
        "objective/multires_sampler/ct.fc_1.conv/Conv3D": "head, CT",
        "objective/multires_sampler/log_var.out/Conv3D": "head, log variance",
        "objective/gaussian_nll/Exp": "loss",
        "adam/Pow": "optimiser",
        "AddN_3": "other",
    }
    assert {name: network.part_of(name) for name in named} == named


def test_a_table_has_every_column_of_every_row():
    rows = [{"a": "x", "b": 0.12345}, {"a": "y", "c": 12345.6}]
    assert tables.markdown(rows).splitlines() == [
        "| a | b | c |",
        "|---|---|---|",
        "| x | 0.123 |  |",
        "| y |  | 12346 |",
    ]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["branch", "--only", "theirs"], "--only ['theirs']: no contestant's name begins so"),
        (["branch", "--edge", "30"], "--edge 30: needs a multiple of 4"),
        (["branch", "--rounds", "0"], "--rounds: needs a whole number from 1 to "),
        (["predict", "--depth", "8"], "--depth 8: needs a multiple of 16"),
        (["memory", "--smaller", "600"], "--smaller 600: needs 1 to 21"),
        (["memory", "--results", "setup.cfg/x"], "setup.cfg is a file, not a folder; choose"),
    ],
)
def test_a_flag_that_cannot_be_is_the_user_s_mistake(words, complaint, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["throughput", *words])
    with pytest.raises(SystemExit) as ended:
        door.enter(throughput.parser, throughput.table)
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and complaint in line


def test_the_input_is_timed(tmp_path):
    found = _answer(tmp_path, "input", *TINY, "--windows", "5", "--edge", "40")
    assert [row["a second"] > 0 for row in found["rows"]] == [True] * 3


@pytest.mark.slow
def test_a_network_s_step_is_timed_and_its_parts_told_apart(tmp_path):
    found = _answer(tmp_path, "network", *TINY, "--within", "--rounds", "1")
    (row,) = found["rows"]
    assert row["step s"] > 0 and row["forward s"] > 0 and row["peak GiB"] > 0
    shares = [float(row[part][:-1]) for part in (*network.PARTS, "other")]
    assert sum(shares) == pytest.approx(100, abs=1) and min(shares[:3]) > 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_draws(tmp_path):
    draws = ("--samples", "2", "--samples", "40")
    few, many = _answer(tmp_path, "memory", "--smaller", "4", *draws)["rows"]
    assert (few["draws"], many["draws"]) == (2, 40)
    # Two float32 maps of 128 x 128 x 132 voxels a draw would be 0.66 GB.
    assert many["peak GB"] == pytest.approx(few["peak GB"], abs=0.2)


@pytest.mark.slow
def test_a_branch_and_its_peer_are_timed_in_turn(tmp_path):
    pytest.importorskip("monai", reason="the peer comes with the bench extra")
    only = ["--only", "ours float32", "--only", "monai float32 contiguous"]
    found = _answer(tmp_path, "branch", "--edge", "16", "--rounds", "1", *only)
    ours, peer = found["rows"]
    assert ours["contestant"] == "ours float32" and ours["step ratio"] > 0
    assert peer["contestant"] == "monai float32 contiguous" and peer["step s"] > 0
    assert all(row["step / roofline"] > 1 and row["forward GB/s"] > 0 for row in (ours, peer))


@pytest.mark.slow
@pytest.mark.parametrize(
    # Without instructions for it torch takes minutes for a product of matrices in bfloat16.
    ("backend", "precision"),
    [("jax", "bfloat16"), ("torch", "float32")],
    indirect=["backend"],
)
def test_other_backends_need_no_tensorflow(tmp_path, backend, precision):

    def run(module: str, *flags: str, words: str = "") -> str:
        return subprocess.run(
            [sys.executable, "-c", _WITHOUT_TENSORFLOW, module, *flags],
            env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
            input=words,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    own = ["network", "--within", *TINY, "--rounds", "1", "--results", str(tmp_path)]
    run("experiments.throughput", *own)
    found = json.loads((tmp_path / "throughput_network.json").read_text(encoding="utf-8"))
    assert found["rows"][0]["step s"] > 0
    specification = json.dumps({"who": "ours", "precision": precision, "edge": 16})
    words = "step\nforward\ndescribe\n"
    told = run("experiments.throughput.contestant", specification, words=words)
    step, forward, described = (json.loads(line) for line in told.splitlines())
    assert step["seconds"] > 0 and forward["seconds"] > 0
    assert described["ceilings"]["tflops"] > 0 and described["ceilings"]["gbs"] > 0
