import html.parser
import json
import re

import pytest

from multires_tf.ground import errors
from multires_tf.steps import evaluate, report


def _page(run):
    assert report.run(workdir=run.folder.root) == [str(run.folder.report)]
    return run.folder.report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(kept_run):
    evaluate.run(workdir=kept_run.folder.root)
    return _page(kept_run)


def test_page_needs_nothing_but_itself(page, kept_run):
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?:|url\(|@import|<script src|<link", page)
    assert "default-src 'none'" in page
    assert str(kept_run.folder.root.parent) not in page


def test_page_is_closed_where_it_is_opened(page):
    void = {"meta", "img", "input", "!doctype"}
    open_tags = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in void:
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag, self.getpos()

    Parser().feed(page)
    assert open_tags == []


def test_viewer_has_every_image_and_a_name_for_every_control(page):
    content = json.loads(re.search(r'id="viewer-data">(.*?)</script>', page, re.S)[1])
    assert [subject["name"] for subject in content["subjects"]] == ["p4", "p<5>"]
    assert content["views"] == ["mr", "ct", "pct", "error"] and content["overlays"] == []
    part = page[page.index("<form") : page.index("</form>")]
    for control in re.findall(r"<(?:input|select)[^>]*>", part):
        before = part[: part.index(control)]
        assert before.count("<label") == before.count("</label>") + 1, control


def test_page_shows_curve_and_panels_of_each_test_subject(page):
    assert re.findall(r'alt="([^"]*)"', page) == [
        "training curve",
        "panels of p4",
        "panels of p&lt;5&gt;",
    ]
    assert "Can the uncertainties be trusted" not in page


def test_page_shows_scores_beside_the_baseline(page):
    assert "<h1>Synthetic CT from MR: some_run</h1>" in page
    assert "2026-01-02" in page
    row = re.search(r"<tr><th>MAE, bone.*?</tr>", page)[0]
    assert re.findall(r"<td.*?>(.*?)</td>", row) == ["30.0 ± 0.0", "100.0 ± 0.0", "0.30"]
    assert "<th>p&lt;5&gt;</th>" in page and "p<5>" not in page


def test_worst_subject_comes_first(known_run):
    known_run.predict("p<5>", known_run.ct_hu + 500)
    evaluate.run(workdir=known_run.folder.root)
    page = _page(known_run)
    assert page.index("<th>p&lt;5&gt;</th>") < page.index("<th>p4</th>")
    assert page.index("panels of p&lt;5&gt;") < page.index("panels of p4")


def test_uncertainties_are_explained_where_there_are_any(known_run):
    for subject in ("p4", "p<5>"):
        known_run.predict(subject, known_run.ct_hu + 10, aleatoric=6.0, epistemic=8.0, total=10.0)
        path = known_run.folder.prediction(subject) / "prediction.json"
        path.write_text('{"samples": 20}')
    evaluate.run(workdir=known_run.folder.root)
    page = _page(known_run)
    assert 'alt="uncertainty against error"' in page
    assert 'alt="calibration and sparsification"' in page
    assert '"overlays": ["aleatoric", "epistemic", "total"]' in page
    assert "N = 20 draws" in page and "= 16 %" in page and "32 % for the variance" in page
    assert "<strong>1.00</strong>" in page and "<strong>100.0 %</strong>" in page


def test_a_run_without_training_files_still_has_a_page(known_run):
    known_run.folder.history.unlink()
    known_run.folder.provenance.unlink()
    evaluate.run(workdir=known_run.folder.root)
    page = _page(known_run)
    assert "training curve" not in page and "panels of p4" in page


def test_report_before_evaluate_names_evaluate(known_run):
    with pytest.raises(errors.UserError, match="'evaluate'"):
        report.run(workdir=known_run.folder.root)
    assert not known_run.folder.report.exists()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            lambda text: text.replace("mae_hu", "mea_hu"),
            "scores.csv: damaged table; run 'evaluate'",
        ),
        (lambda text: text.splitlines()[0] + "\n", "scores.csv: no subject in it; run 'evaluate'"),
    ],
)
def test_scores_that_were_cut_are_refused(known_run, damage, complaint):
    evaluate.run(workdir=known_run.folder.root)
    path = known_run.folder.scores_csv
    path.write_text(damage(path.read_text()))
    with pytest.raises(errors.UserError, match=complaint):
        report.run(workdir=known_run.folder.root)
