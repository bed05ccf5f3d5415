"""Jobs on a real Dask cluster: a scheduler and two workers in processes of their own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from multires_tf.ground import cluster, errors
from multires_tf.studies import exhibits, study

distributed = pytest.importorskip("distributed")
ROOT = pathlib.Path(__file__).parents[2]


def start(*arguments):
    environment = {**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + arguments[0], *map(str, arguments[1:])],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def two_workers(folder):
    """Yields the scheduler's address and the two workers, which answer already."""
    address = f"tcp://127.0.0.1:{free_port()}"
    quiet = ("--no-dashboard", "--host", "127.0.0.1")
    processes = [start("dask_scheduler", *quiet, "--port", address.split(":")[-1])]
    try:
        for _ in range(2):
            place = ("--local-directory", folder)
            processes.append(
                start("dask_worker", address, *quiet, *place, "--nthreads", 1, "--no-nanny")
            )
        with distributed.Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, processes[1:]
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_without_an_address_items_are_worked_through_here_in_their_order():
    found = list(cluster.each(lambda n: n * n, [3, 1, 2], scheduler=None, words="square"))
    assert found == [(3, 9), (1, 1), (2, 4)]


def test_a_killed_worker_s_subject_goes_to_the_other_and_none_is_done_twice(tmp_path):
    out = tmp_path / "out"
    out.mkdir()

    def act(subject):
        import os
        import time

        if (out / f"{subject}.done").exists():
            return os.getpid()
        with open(out / f"{subject}.began", "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.5)
        with open(out / f"{subject}.done", "x"):  # fails if it is there already
            pass
        return os.getpid()

    names = [f"s{number}" for number in range(8)]
    with two_workers(tmp_path) as (address, workers):
        results = {}
        victim, killed = workers[0], False
        for subject, pid in cluster.each(act, names, scheduler=address, words="test"):
            results[subject] = pid
            if not killed:
                unfinished = _begun_by(out, victim.pid)
                while not unfinished:
                    time.sleep(0.02)
                    unfinished = _begun_by(out, victim.pid)
                victim.kill()
                killed = True
    assert sorted(results) == names
    assert sorted(path.stem for path in out.glob("*.done")) == names
    began = {path.stem: path.read_text().split() for path in out.glob("*.began")}
    again = {name for name, pids in began.items() if len(pids) > 1}
    assert len(again) == 1  # the one that the killed worker had in hand
    assert began[again.pop()] == [str(victim.pid), str(workers[1].pid)]


def _begun_by(out: pathlib.Path, pid: int) -> list[str]:
    begun = [p.stem for p in out.glob("*.began") if str(pid) in p.read_text().split()]
    return [name for name in begun if not (out / f"{name}.done").exists()]


def test_a_complaint_arrives_as_it_was_raised(tmp_path):
    def act(subject):
        from multires_tf.ground import errors

        raise errors.UserError(f"{subject}: spoilt; mend it")

    complaint = pytest.raises(errors.UserError, match=r"^s1: spoilt; mend it$")
    with two_workers(tmp_path) as (address, _), complaint:
        list(cluster.each(act, ["s1"], scheduler=address, words="test"))


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.5)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(errors.UserError, match=re.escape(f"--cluster {address}: no scheduler")):
        list(cluster.each(str, [1], scheduler=address, words="test"))
    with pytest.raises(errors.UserError, match="--cluster nonsense://x: no scheduler answers"):
        list(cluster.each(str, [1], scheduler="nonsense://x", words="test"))


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(errors.UserError, match=r"pip install .* -e \.\[cluster\]"):
        list(cluster.each(str, [1], scheduler="tcp://127.0.0.1:1", words="test"))


def command(*arguments):
    return [sys.executable, "-m", "multires_tf", *map(str, arguments)]


def run(*arguments):
    subprocess.run(command(*arguments), cwd=ROOT, check=True, capture_output=True)


SETTINGS = ["--config", "configs/multires_unc.yaml", "--overlay", "configs/overlays/tiny.yaml"]


@pytest.mark.slow
def test_a_cohort_predicted_by_two_workers_of_which_one_is_killed(tmp_path):
    data, work, out = (tmp_path / name for name in ("phantoms", "run", "out"))
    run("phantom", "--out", data, "--subjects", 6, "--seed", 1, "--spacing_mm", 14)
    run("prepare", "--workdir", work, *SETTINGS, "--data", data)
    run("train", "--workdir", work, *SETTINGS)
    given = ("--workdir", work, "--input", data, "--samples", 2)
    run("predict", *given, "--output", tmp_path / "alone")
    with two_workers(tmp_path) as (address, workers):
        process = subprocess.Popen(
            command("predict", *given, "--output", out, "--cluster", address), cwd=ROOT
        )
        while not list(out.glob("*/prediction.json")):
            assert process.poll() is None
            time.sleep(0.1)
        workers[0].kill()
        assert process.wait() == 0
    names = [f"phantom{number:03d}" for number in range(6)]
    assert sorted(entry.name for entry in out.iterdir()) == names
    for name in names:
        for file in (tmp_path / "alone" / name).glob("*.nii.gz"):
            assert file.read_bytes() == (out / name / file.name).read_bytes()


@pytest.mark.slow
def test_a_cohort_prepared_by_two_workers_of_which_one_is_killed(tmp_path):
    data, alone, together = (tmp_path / name for name in ("phantoms", "alone", "together"))
    run("phantom", "--out", data, "--subjects", 6, "--seed", 1, "--spacing_mm", 14)
    prepare = ("prepare", *SETTINGS, "--data", data)
    run(*prepare, "--workdir", alone)
    with two_workers(tmp_path) as (address, workers):
        process = subprocess.Popen(
            command(*prepare, "--workdir", together, "--cluster", address), cwd=ROOT
        )
        while not list(together.glob("volumes/*/ct.ome.zarr")):
            assert process.poll() is None
            time.sleep(0.05)
        workers[0].kill()
        assert process.wait() == 0
    wanted = {p.relative_to(alone) for p in alone.rglob("*") if p.is_file()}
    assert wanted == {p.relative_to(together) for p in together.rglob("*") if p.is_file()}
    for name in ("cohort.csv", *(str(p) for p in wanted if p.suffix == ".png" or "/c/" in str(p))):
        assert (alone / name).read_bytes() == (together / name).read_bytes(), name


@pytest.mark.slow
def test_the_folds_of_a_study_by_two_workers(tmp_path):
    run("phantom", "--out", tmp_path / "data", "--subjects", 4, "--seed", 1, "--spacing_mm", 14)
    table = tmp_path / "data" / "cohort.csv"
    rows = [line.split(",")[:3] for line in table.read_text().splitlines()]
    table.write_text("".join(",".join(row) + "\n" for row in rows))
    arms = [study.Arm("one", "multires_unc", ("tiny",), ("register=none",))]
    with two_workers(tmp_path) as (address, _):
        study.run(
            arms,
            data=tmp_path / "data",
            root=tmp_path / "runs",
            verbs=("prepare", "train", "predict", "evaluate"),
            scheduler=address,
            cut=study.folds_of(arms, 2),
        )
    shown = [exhibits.table1, exhibits.figure2, exhibits.figure3, exhibits.coverage, exhibits.page]
    lines = study.show(arms, root=tmp_path / "runs", exhibits=shown, count=2)
    assert "4 test subjects, mean ± sd over them." in lines
    volumes = [tmp_path / "runs" / fold / "one" / "volumes" for fold in ("fold1", "fold2")]
    one, two = (min(folder.rglob("ct.ome.zarr/.zattrs")) for folder in volumes)
    assert one.samefile(two)


@pytest.mark.slow
def test_the_arms_of_a_study_by_two_workers(tmp_path):
    run("phantom", "--out", tmp_path / "data", "--subjects", 3, "--seed", 1, "--spacing_mm", 14)
    arms = [
        study.Arm(f"seed_{seed}", "multires_unc", ("tiny",), (f"seed={seed}",)) for seed in (0, 1)
    ]
    places = {"data": tmp_path / "data", "root": tmp_path / "runs"}
    with two_workers(tmp_path) as (address, _):
        study.run(arms, verbs=("prepare", "train"), scheduler=address, **places)
    table = exhibits.summary(("val_mae_hu",))
    rows = study.show(arms, root=tmp_path / "runs", exhibits=[table])
    assert [row.split()[1] for row in rows[3:]] == ["seed_0", "seed_1"]
