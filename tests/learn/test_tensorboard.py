"""The page of TensorBoard, opened in a browser on a real run."""

from __future__ import annotations

import html
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

import pytest
from training_runs import ROOT, prepared, run, settings

BROWSER = shutil.which("chromium")


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory) -> pathlib.Path:
    """A run of a few steps, profiled."""
    folder, flags = tmp_path_factory.mktemp("run") / "w", settings(steps=12, validate_every=6)
    prepared(folder, phantoms, flags)
    done = run("train", "--workdir", folder, *flags, "--profile")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def address(trained):
    """Where `make tensorboard` shows the run."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["make", "tensorboard", f"WORKDIR={trained}", f"ARGS=--port={port}"]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        yield f"http://localhost:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def fetch(address: str) -> bytes:
    """The answer of a server that may still be starting, or reading the run."""
    for _ in range(240):
        try:
            return urllib.request.urlopen(address, timeout=60).read()
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no answer from {address}")


def page(address: str, tags: str, profile: pathlib.Path) -> str:
    """What a browser makes of the time-series tab, with the cards of the tags that match."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    flags += ["--window-size=1400,3000", "--virtual-time-budget=60000", "--dump-dom"]
    flags += [f"--screenshot={profile}.png", f"{address}/?tagFilter={tags}#timeseries"]
    done = subprocess.run([BROWSER, *flags], capture_output=True, text=True, timeout=1200)
    return html.unescape(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs the browser chromium (Debian package chromium)")
def test_a_browser_finds_the_scalars_and_the_pictures(address, tmp_path):
    fetch(f"{address}/data/plugin/timeseries/tags")
    for attempt in range(8):  # the page shows its cards once the server has read the run
        shown = page(address, "validation/|train/loss", tmp_path / f"browser{attempt}")
        pictures = re.findall(r'<img[^>]*src="([^"]*image[^"]*)"', shown)
        if pictures:
            break
    names = ("mae_hu", "mae_air_hu", "mae_soft_hu", "mae_bone_hu", "axial", "coronal")
    for name in ("train/loss", *(f"validation/{name}" for name in names)):
        assert name in shown, name
    assert len(pictures) == 2
    for source in pictures:
        assert fetch(f"{address}/{source}").startswith(b"\x89PNG")


@pytest.mark.slow
def test_every_tab_has_something_to_show(address):
    for _ in range(60):
        tabs = json.loads(fetch(f"{address}/data/plugins_listing"))
        wanted = {"scalars", "images", "histograms", "graphs", "text", "hparams"}
        if all(tabs[name]["enabled"] for name in wanted):
            break
        time.sleep(0.5)
    assert [name for name in sorted(wanted) if not tabs[name]["enabled"]] == []
    scalars = json.loads(fetch(f"{address}/data/plugin/scalars/tags"))["."]
    terms = ("loss", "likelihood", "residual_term", "variance_term", "learning_rate")
    wanted = {f"train/{name}" for name in terms}
    wanted |= {"stop/best_val_mae_hu", "stop/share_of_last_step"}
    assert wanted | {"time/steps_per_second", "time/waiting_share"} <= set(scalars)
    histograms = json.loads(fetch(f"{address}/data/plugin/histograms/tags"))["."]
    kinds = {name.split("/")[0] for name in histograms}
    assert kinds == {"weights", "gradients"}


@pytest.mark.slow
def test_a_profile_is_there_on_request(trained):
    assert list((trained / "tensorboard" / "plugins" / "profile").rglob("*.xplane.pb"))
