"""Arms side by side on the same subjects: the paper's Table 1, as Markdown and as CSV rows."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from multires_tf.ground import tables
from multires_tf.measure import scores, statistics

METRICS = tuple(metric for metric in scores.METRICS if metric.key in ("mae_hu", "mse_hu2"))


@dataclasses.dataclass(frozen=True)
class ScoredArm:
    """What one arm of a study came to.

    Attributes:
        name: of the arm.
        parameters: trainable ones, None where unknown.
        by_subject: its scores, by key of a metric.
    """

    name: str
    parameters: int | None
    by_subject: Mapping[str, Mapping[str, float]]

    def of(self, metric: scores.Metric, subjects: Sequence[str]) -> list[float]:
        """One score of each subject, in their order."""
        return [self.by_subject[subject].get(metric.key, math.nan) for subject in subjects]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Paired tests of one metric between two arms."""

    first: str
    second: str
    metric: scores.Metric
    test: statistics.PairedTest


def pairs(arms: Sequence[ScoredArm]) -> list[Pair]:
    """Tests every two arms on every metric, over the subjects; `subjects` says which."""
    names = subjects(arms)
    return [
        Pair(a.name, b.name, m, statistics.compare(a.of(m, names), b.of(m, names)))
        for m in METRICS
        for a, b in itertools.combinations(arms, 2)
    ]


def subjects(arms: Sequence[ScoredArm]) -> list[str]:
    """The subjects of all arms, in the first one's order.

    Raises:
        ValueError: an arm has others.
    """
    names = list(arms[0].by_subject)
    for arm in arms[1:]:
        if set(arm.by_subject) != set(names):
            odd = sorted(set(arm.by_subject) ^ set(names))[0]
            raise ValueError(f"subject {odd} is scored in only one of {arms[0].name}, {arm.name}")
    return names


def rows(arms: Sequence[ScoredArm]) -> list[dict[str, object]]:
    """One row an arm, full precision: parameters, mean and sd of each metric, subjects."""
    names = subjects(arms)
    found = []
    for arm in arms:
        row: dict[str, object] = {"arm": arm.name, "parameters": arm.parameters}
        for metric in METRICS:
            summary = statistics.summarise(arm.of(metric, names))
            row |= {metric.key: summary.mean, f"{metric.key}_sd": summary.sd}
        found.append(row | {"subjects": len(names)})
    return found


def pair_rows(arms: Sequence[ScoredArm]) -> list[dict[str, object]]:
    """One row a pair and metric, full precision."""
    return [
        {
            "first": pair.first,
            "second": pair.second,
            "metric": pair.metric.key,
            **dataclasses.asdict(pair.test),
        }
        for pair in pairs(arms)
    ]


def markdown(arms: Sequence[ScoredArm]) -> str:
    """The table in the paper's form, best mean in bold, and below it the paired tests.

    A bold mean is the lowest, no more: whether it is lower than another is what the tests say.
    """
    count = f"{len(subjects(arms))} test subjects, mean ± sd over them."
    return "\n".join([*_scores(arms), "", *_tests(arms), "", count])


def _scores(arms: Sequence[ScoredArm]) -> list[str]:
    table = rows(arms)
    best = {m.key: min(_number(row[m.key]) for row in table) for m in METRICS}
    lines = []
    for row in table:
        count = row["parameters"]
        millions = f"{count / 1e6:.2f}M" if isinstance(count, int) else "–"
        cells = [str(row["arm"]), millions]
        for m in METRICS:
            mean, sd = _number(row[m.key]), _number(row[f"{m.key}_sd"])
            words = f"{m.text(mean)} ± {m.text(sd)}"
            cells.append(f"**{words}**" if mean == best[m.key] else words)
        lines.append(cells)
    heads = ("arm", "parameters", *(f"{_short(m)} ({m.unit})" for m in METRICS))
    return tables.markdown(heads, lines)


def _tests(arms: Sequence[ScoredArm]) -> list[str]:
    tested, lines = pairs(arms), []
    for a, b in itertools.combinations([arm.name for arm in arms], 2):
        cells = [f"{a} − {b}"]
        for pair in (p for p in tested if (p.first, p.second) == (a, b)):
            test = pair.test
            cells += [pair.metric.text(test.mean_difference), _p(test.t_p), _p(test.wilcoxon_p)]
        lines.append(cells)
    columns = ("difference", "p of t", "p of Wilcoxon")
    heads = ("pair", *(f"{_short(m)}: {column}" for m in METRICS for column in columns))
    return tables.markdown(heads, lines)


def _short(metric: scores.Metric) -> str:
    return metric.label.partition(",")[0]


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _p(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
