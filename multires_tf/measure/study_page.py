"""The page of a study: its tables and figures, and the way to each arm's own report."""

from __future__ import annotations

import dataclasses
import html
import string
import urllib.parse
from collections.abc import Mapping, Sequence

import markdown

from multires_tf.measure import page


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        content: Markdown with tables, or a picture as PNG.
    """

    title: str
    content: str | bytes


def render(name: str, sections: Sequence[Section], reports: Mapping[str, str]) -> str:
    """Returns the page as HTML; tables and pictures are embedded, reports lie beside it.

    Args:
        name: of the study.
        sections: in their order.
        reports: path of each arm's report, relative to the page.
    """
    links = (
        f'<a href="{html.escape(urllib.parse.quote(path))}">{html.escape(arm)}</a>'
        for arm, path in reports.items()
    )
    return string.Template(page.resource("study_page.html")).substitute(
        style=page.resource("page.css"),
        name=html.escape(name),
        arms=", ".join(links) or "none yet",
        sections="\n".join(map(_section, sections)),
    )


def _section(section: Section) -> str:
    title = html.escape(section.title)
    if isinstance(section.content, bytes):
        shown = page.image(section.content, title)
    else:
        # What is in a table may be a name of a file or a person: it is text, not HTML.
        made = markdown.markdown(html.escape(section.content), extensions=["tables"])
        shown = f'<div class="scroll">{made}</div>'
    return f"<h2>{title}</h2>\n{shown}"
