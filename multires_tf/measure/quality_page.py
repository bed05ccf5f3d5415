"""The page by which a cohort is checked: a row a subject, the worst first."""

from __future__ import annotations

import dataclasses
import html
import string
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from multires_tf.measure import page


@dataclasses.dataclass(frozen=True)
class Checked:
    """One subject as the page shows it.

    Attributes:
      subject: its name.
      split: train, validation, test or none.
      flags: why it should be looked at; "" if nothing is known.
      picture: the file name of its PNG, beside the page.
      record: what `registration.json` holds.
    """

    subject: str
    split: str
    flags: str
    picture: str
    record: Mapping[str, Any]


def render(name: str, subjects: Sequence[Checked]) -> str:
    """Returns the page as HTML; pictures are files beside it.

    Args:
      name: of the run.
      subjects: in any order; flagged ones come first, then by falling overlap of the bodies.
    """
    ordered = sorted(subjects, key=lambda one: (not one.flags, one.record["after"]["dice"]))
    flagged = sum(bool(one.flags) for one in subjects)
    return string.Template(page.resource("quality.html")).substitute(
        name=html.escape(name),
        count=f"{len(subjects)} subject{'s' * (len(subjects) != 1)}",
        flagged=f"{flagged} flagged" if flagged else "none flagged",
        rows="\n".join(_row(one) for one in ordered),
    )


def _row(one: Checked) -> str:
    before, after = one.record["before"], one.record["after"]
    low, high = after["jacobian"]
    label = html.escape(one.subject)
    flags = f'<p class="flags">{html.escape(one.flags)}</p>' if one.flags else ""
    source = html.escape(urllib.parse.quote(one.picture))
    return f"""<section>
<h2>{label} <small>{html.escape(one.split)}</small></h2>
{flags}
<dl>
<dt>Dice of the bodies</dt><dd>{_change(before["dice"], after["dice"], 3)}</dd>
<dt>Mutual information</dt><dd>{
        _change(before["mutual_information"], after["mutual_information"], 3)
    }</dd>
<dt>Jacobian</dt><dd>{low:.2f} to {high:.2f}</dd>
<dt>Stages</dt><dd>{_stages(one.record["stages"])}</dd>
</dl>
<a href="{source}"><img src="{source}" loading="lazy" alt="MR, CT, edges and checkerboards of
{label}"></a>
</section>"""


def _change(before: float | None, after: float | None, digits: int) -> str:
    words = ["unknown" if value is None else f"{value:.{digits}f}" for value in (before, after)]
    return words[0] if words[0] == words[1] else f"{words[0]} → {words[1]}"


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    if not stages:
        return "not registered"
    words = [one["name"] + (f" ({one['refused']})" if one["refused"] else "") for one in stages]
    return html.escape(", ".join(words))
