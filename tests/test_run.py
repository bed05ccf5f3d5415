"""The honest path from phantoms to a report."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk

ROOT = pathlib.Path(__file__).parent.parent
_BIN = pathlib.Path(sys.executable).parent
SETTINGS = ["--config", "configs/multires_unc.yaml", "--overlay", "configs/overlays/tiny.yaml"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "multires_tf", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("cohort") / "phantoms"
    run("phantom", "--out", folder, "--subjects", 3, "--seed", 1, "--spacing_mm", 14)
    return folder


@pytest.fixture(scope="module")
def finished(phantoms, tmp_path_factory) -> pathlib.Path:
    """A run folder after prepare, train, calibrate, predict, evaluate and report."""
    folder = tmp_path_factory.mktemp("run") / "w"
    run("prepare", "--workdir", folder, *SETTINGS, "--data", phantoms)
    run("train", "--workdir", folder, *SETTINGS)
    run("calibrate", "--workdir", folder, "--samples", 2)
    run("predict", "--workdir", folder, "--samples", 2)
    run("evaluate", "--workdir", folder)
    run("report", "--workdir", folder)
    return folder


def test_a_run_leaves_exactly_what_the_contract_says(finished):
    names = {entry.name for entry in finished.iterdir()}
    assert names == {
        *("config.yaml", "cohort.csv", "volumes", "qa", "checkpoints", "tensorboard"),
        *("history.csv", "provenance.json", "predictions", "scores.csv", "scores.json", "report"),
        *("reliability.csv", "reliability.json", "reliability.npz", "train.lock"),
    }
    (prediction,) = (finished / "predictions").iterdir()
    assert {entry.name for entry in prediction.iterdir()} == {
        *("ct.nii.gz", "aleatoric_sd_hu.nii.gz", "epistemic_sd_hu.nii.gz"),
        *("total_sd_hu.nii.gz", "prediction.json"),
    }
    rows = list(csv.reader((finished / "history.csv").open()))
    assert rows[0][:3] == ["step", "loss", "val_mae_hu"]
    assert [row[0] for row in rows[1:]] == ["2", "4"]


def test_maps_lie_on_the_grid_of_the_mr(finished, phantoms):
    (prediction,) = (finished / "predictions").iterdir()
    mr = sitk.ReadImage(str(phantoms / prediction.name / "mr.nii.gz"))
    for name in ("ct", "total_sd_hu"):
        made = sitk.ReadImage(str(prediction / f"{name}.nii.gz"))
        assert made.GetSize() == mr.GetSize()
        np.testing.assert_allclose(made.GetOrigin(), mr.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(made.GetDirection(), mr.GetDirection(), atol=1e-6)
    assert sitk.ReadImage(str(prediction / "ct.nii.gz")).GetPixelID() == sitk.sitkInt16


def test_total_variance_is_the_sum_of_its_parts(finished):
    (prediction,) = (finished / "predictions").iterdir()
    aleatoric, epistemic, total = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(prediction / f"{kind}_sd_hu.nii.gz")))
        for kind in ("aleatoric", "epistemic", "total")
    )
    assert epistemic.max() > 0
    np.testing.assert_allclose(total**2, aleatoric**2 + epistemic**2, rtol=1e-4)


def test_what_was_calibrated_is_scaled_by_what_the_checkpoint_has_beside_it(finished):
    kept = json.loads((finished / "checkpoints" / "calibration.json").read_text())
    (prediction,) = (finished / "predictions").iterdir()
    facts = json.loads((prediction / "prediction.json").read_text())
    assert facts["calibration"]["scale"] == kept["scale"] > 0
    assert facts["calibration"]["half_widths_hu"] == kept["half_widths_hu"]
    with (finished / "reliability.csv").open(newline="") as file:
        rows = {(row["maps"], row["region"]): row for row in csv.DictReader(file)}
    raw, calibrated = (float(rows[maps, "body"]["zms"]) for maps in ("raw", "calibrated"))
    assert raw == pytest.approx(calibrated * kept["scale"] ** 2, rel=1e-4)


def test_scores_can_be_recomputed_from_the_files(finished, phantoms):
    from multires_tf.data import store

    (prediction,) = (finished / "predictions").iterdir()
    pct_hu = sitk.GetArrayFromImage(sitk.ReadImage(str(prediction / "ct.nii.gz")))
    ct_hu = sitk.GetArrayFromImage(sitk.ReadImage(str(phantoms / prediction.name / "ct.nii.gz")))
    body = (
        store.open_pyramid(finished / "volumes" / prediction.name / "mask.ome.zarr").read_all() == 2
    )
    error = pct_hu.astype(np.float64) - ct_hu
    scores = json.loads((finished / "scores.json").read_text())
    assert scores["n"]["mae_hu"] == 1
    assert scores["mean"]["mae_hu"] == pytest.approx(np.abs(error)[body].mean(), rel=1e-6)
    bone = body & (ct_hu > 200)
    assert scores["mean"]["mae_bone_hu"] == pytest.approx(np.abs(error)[bone].mean(), rel=1e-6)


def test_a_finished_run_is_left_unchanged(finished):
    before = (finished / "checkpoints" / "last.npz").stat().st_mtime_ns
    done = run("train", "--workdir", finished, *SETTINGS)
    assert "already finished" in done.stdout
    assert (finished / "checkpoints" / "last.npz").stat().st_mtime_ns == before


def test_another_config_is_refused_by_its_key(finished):
    done = subprocess.run(
        command("train", "--workdir", finished, *SETTINGS, "--set", "train.learning_rate=0.5"),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "train.learning_rate" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_new_image_of_any_orientation_gets_maps_on_its_own_grid(finished, phantoms, tmp_path):
    subject = (phantoms / "cohort.csv").read_text().splitlines()[1].split(",")[0]
    mr = sitk.ReadImage(str(phantoms / subject / "mr.nii.gz"))
    turned = sitk.PermuteAxes(mr, [2, 0, 1])[::-1, :, :]
    sitk.WriteImage(turned, str(tmp_path / "turned.nii.gz"))
    flags = ["--samples", 1, "--output"]
    run(
        "predict",
        "--workdir",
        finished,
        "--input",
        tmp_path / "turned.nii.gz",
        *flags,
        tmp_path / "a",
    )
    straight = phantoms / subject / "mr.nii.gz"
    run("predict", "--workdir", finished, "--input", straight, *flags, tmp_path / "b")
    made, plain = (sitk.ReadImage(str(tmp_path / name / "ct.nii.gz")) for name in "ab")
    assert made.GetSize() == turned.GetSize()
    back = sitk.DICOMOrient(made, "LPS")
    difference = sitk.GetArrayFromImage(back) - sitk.GetArrayFromImage(
        sitk.DICOMOrient(plain, "LPS")
    )
    assert np.abs(difference).max() <= 1


def test_the_export_agrees_in_a_fresh_process(finished):
    done = run("export", "--workdir", os.path.relpath(finished, ROOT))  # as make gives it
    assert "agrees to" in done.stdout
    shown = subprocess.run(
        [_BIN / "saved_model_cli", "show", "--all", "--dir", finished / "saved_model"],
        capture_output=True,
        text=True,
    ).stdout
    windows = {"mr_full_resolution", "mr_half_resolution", "mr_quarter_resolution"}
    inputs = {
        part.split("'")[0]: set(re.findall(r"inputs\['(\w+)'\]", part))
        for part in shown.split("signature_def['")[1:]
    }
    assert inputs.pop("serve") == inputs.pop("serving_default") == windows
    assert inputs.pop("sample") == {*windows, "seed", "draw"}
    assert inputs.pop("serve_context") == {"mr_context"}
    assert set(inputs) <= {"__saved_model_init_op"}


def test_an_exported_context_is_its_pyramid(finished):
    import tensorflow as tf

    from multires_tf.data import store

    loaded = tf.saved_model.load(str(finished / "saved_model"))
    context = np.random.default_rng(0).random((2, 80, 64, 64, 1), np.float32)
    # Windows of 16 around tiles of 32 x 16 x 16: T / s + 16 (1 - 1 / s) voxels a side.
    sizes = {1: (32, 16, 16), 2: (24, 16, 16), 4: (20, 16, 16)}
    pyramids = [store.levels(one, fill=0.0) for one in context[..., 0]]
    windows = {}
    for scale, name in ((1, "full"), (2, "half"), (4, "quarter")):
        levels = np.stack([pyramid[scale] for pyramid in pyramids])
        cut = tuple(
            slice((n - size) // 2, (n + size) // 2)
            for n, size in zip(levels.shape[1:], sizes[scale], strict=True)
        )
        windows[f"mr_{name}_resolution"] = tf.constant(levels[(slice(None), *cut)][..., None])
    whole = loaded.signatures["serve_context"](mr_context=tf.constant(context))
    parts = loaded.signatures["serve"](**windows)
    assert whole["ct_hu"].shape == (2, 32, 16, 16, 1)
    for name in ("ct_hu", "sd_hu"):
        np.testing.assert_allclose(whole[name], parts[name], atol=0.05)


@pytest.mark.slow
def test_the_export_in_bfloat16(finished):
    done = run("export", "--workdir", finished, "--precision", "mixed_bfloat16")
    assert "agrees to" in done.stdout
    facts = json.loads((finished / "saved_model" / "multires_tf.json").read_text())
    assert facts["precision"] == "mixed_bfloat16"


@pytest.mark.parametrize("verb", ["predict", "export"])
@pytest.mark.parametrize("name", ["config.yaml", "checkpoints/best.npz"])
def test_a_model_folder_that_was_cut_short(finished, tmp_path, verb, name):
    folder = tmp_path / "w"
    for part in ("config.yaml", "cohort.csv", "checkpoints/best.npz"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(finished / part, folder / part)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    done = subprocess.run(
        command(verb, "--workdir", folder), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and pathlib.Path(name).name in done.stderr
    assert not (folder / "predictions").exists() and not (folder / "saved_model").exists()


def test_volumes_that_changed_since_the_run_began_are_refused(finished, phantoms, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    assert "already finished" in run("train", "--workdir", folder, *SETTINGS).stdout  # a mere copy
    cohort = csv.DictReader((folder / "cohort.csv").open())
    subject = next(row["subject"] for row in cohort if row["split"] == "train")
    chunk = folder / "volumes" / subject / "mr.ome.zarr" / "0" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1
    chunk.write_bytes(content)
    done = subprocess.run(
        command("train", "--workdir", folder, *SETTINGS), capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{subject}/mr.ome.zarr: its contents are not those that" in done.stderr


@pytest.mark.slow
def test_a_killed_prediction_goes_on_with_the_missing_tiles(finished, phantoms, tmp_path):
    subject = (phantoms / "cohort.csv").read_text().splitlines()[1].split(",")[0]
    flags = ["--workdir", finished, "--input", phantoms / subject / "mr.nii.gz", "--tile", 16]
    flags += ["--samples", 8, "--output"]
    run("predict", *flags, tmp_path / "whole")
    kept = tmp_path / ".killed.unfinished" / "tiles"
    process = subprocess.Popen(
        command("predict", *flags, tmp_path / "killed"),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and len(list(kept.glob("tile_*.npy"))) < 5:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in kept.glob("tile_*.npy")}
    assert len(done) >= 5 and not (tmp_path / "killed").exists()

    process = subprocess.Popen(command("predict", *flags, tmp_path / "killed"), cwd=ROOT)
    more = set()
    while process.poll() is None:
        seen = {path for path in done if path.exists() and path.stat().st_mtime_ns != done[path]}
        assert not seen, "a tile that was there was computed again"
        more |= set(kept.glob("tile_*.npy")) - set(done)
        time.sleep(0.05)
    assert process.returncode == 0 and more
    assert not kept.parent.exists()
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {path.name for path in (tmp_path / "killed").iterdir()}
    for name in names - {"prediction.json"}:
        whole, killed = ((tmp_path / kind / name).read_bytes() for kind in ("whole", "killed"))
        assert whole == killed, name
