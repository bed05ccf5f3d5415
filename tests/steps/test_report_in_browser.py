"""The page in Debian's chromium, headless, from file://."""

import re
import shutil

import numpy as np
import pytest

from multires_tf.steps import evaluate, report

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
PATIENCE_MS = 120_000


@pytest.fixture
def page(known_run):
    """The page of a run whose total sd grows from slice to slice, ready; fails on any complaint."""
    playwright = pytest.importorskip("playwright.sync_api")
    sd_hu = np.arange(0.0, 400.0, 50.0)[:, None, None] + np.zeros(known_run.ct_hu.shape)
    for subject in ("p4", "p<5>"):
        known_run.predict(subject, known_run.ct_hu + 100, aleatoric=6.0, epistemic=8.0)
        known_run.write(subject, "total_sd_hu.nii.gz", sd_hu.astype(np.float32))
    evaluate.run(workdir=known_run.folder.root)
    report.run(workdir=known_run.folder.root)
    complaints, requests = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1200, "height": 900})
        opened.set_default_timeout(PATIENCE_MS)
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda request: requests.append(request.url.partition(":")[0]))
        opened.goto(known_run.folder.report.as_uri())
        opened.wait_for_selector("#viewer[data-ready]")
        yield opened
        browser.close()
    assert complaints == []
    assert set(requests) <= {"file", "data"}


def _shown(page) -> str:
    return page.locator("output[name=shown]").inner_text()


def _pixels(page, title: str) -> str:
    name = re.compile(f"^{re.escape(title)} of p4, axial")
    canvas = page.get_by_role("img", name=name)
    return canvas.evaluate("canvas => canvas.toDataURL()")


def test_wheel_and_keys_scroll(page):
    page.get_by_label("axial").check()
    assert _shown(page) == "2 of 8"
    views = page.get_by_role("group", name="Linked slices")
    views.hover()
    page.mouse.wheel(0, -100)
    assert _shown(page) == "3 of 8"
    views.press("ArrowUp")
    assert _shown(page) == "4 of 8"
    views.press("End")
    assert _shown(page) == "8 of 8"
    page.get_by_label("Slice", exact=False).first.focus()
    page.keyboard.press("Home")
    assert _shown(page) == "1 of 8"


def test_threshold_changes_the_overlay_and_the_window_the_ct(page):
    page.get_by_label("axial").check()
    views = page.get_by_role("group", name="Linked slices")
    views.press("End")
    views.press("ArrowDown")  # the last slice is no body
    page.locator("[name=threshold]").fill("400")
    plain, picture = _pixels(page, "CT"), views.screenshot()
    page.locator("[name=threshold]").fill("100")
    assert _pixels(page, "CT") != plain
    assert views.screenshot() != picture
    page.get_by_label("Overlay", exact=False).first.select_option("")
    assert _pixels(page, "CT") == plain
    error = _pixels(page, "pCT − CT")
    page.get_by_label("bone", exact=True).check()
    assert _pixels(page, "CT") != plain and _pixels(page, "pCT − CT") == error


def test_click_moves_the_cross_of_all_views(page):
    page.get_by_label("axial").check()
    box = page.get_by_role("img", name="MR of p4").bounding_box()
    page.mouse.click(box["x"] + 0.99 * box["width"], box["y"] + 0.01 * box["height"])
    page.get_by_label("sagittal").check()
    assert _shown(page) == "10 of 10"
    page.get_by_label("coronal").check()
    assert _shown(page) == "1 of 9"
    assert "CT 20 HU, pCT 120 HU, pCT − CT 100 HU" in page.locator("p[role=status]").inner_text()
