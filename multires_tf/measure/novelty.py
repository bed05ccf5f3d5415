"""How unlike the training subjects an input is: an out-of-distribution score of few, plain numbers.

Each statistic of a new subject is compared with the training subjects' mean and standard deviation;
the score is the root mean square of these distances. What is usual is told by the training subjects
themselves, each scored against the others (leave-one-out), so that no threshold has to be known
for a cohort beforehand.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

# From so many subjects on a spread can be told at all.
FEWEST = 4
# Higher than any training subject by half: some two dozen subjects do not show all that is usual.
_MARGIN = 1.5
# Statistics that hardly vary in a small cohort would make every newcomer a stranger: distances are
# counted from this spread up (shares, quantiles of [0, 1] and logarithms alike).
_LEAST_SD = 0.02
_TELLING = 3.0


@dataclasses.dataclass(frozen=True)
class Novelty:
    """What is said about one subject.

    Attributes:
        score: root mean square distance, in standard deviations; about 1 for a usual subject.
        limit: from which on the subject counts as unlike the training subjects.
        unusual: names of the statistics that are far out, farthest first, with their distance.
    """

    score: float
    limit: float
    unusual: dict[str, float]

    @property
    def is_high(self) -> bool:
        """Whether the subject is unlike the training subjects."""
        return self.score > self.limit


class Reference:
    """The training subjects' statistics.

    Args:
        subjects: {name: value} of each, all with the same names; at least `FEWEST`.

    Raises:
        ValueError: too few subjects, or names that differ.
    """

    def __init__(self, subjects: Sequence[Mapping[str, float]]) -> None:
        if len(subjects) < FEWEST:
            raise ValueError(f"{len(subjects)} training subjects show no spread; needs {FEWEST}")
        self._names = sorted(subjects[0])
        if any(sorted(one) != self._names for one in subjects):
            raise ValueError("the subjects' statistics have different names")
        self._values = np.array([[one[name] for name in self._names] for one in subjects])

    def novelty(self, subject: Mapping[str, float]) -> Novelty:
        """Scores a subject.

        Raises:
            ValueError: its statistics have other names.
        """
        if sorted(subject) != self._names:
            raise ValueError("the subject's statistics have other names than the reference")
        distances = _distances(np.array([subject[name] for name in self._names]), self._values)
        order = np.argsort(-np.abs(distances))
        unusual = {
            self._names[i]: round(float(distances[i]), 2)
            for i in order
            if abs(distances[i]) > _TELLING
        }
        return Novelty(_score(distances), self._limit(), unusual)

    def _limit(self) -> float:
        others = [
            _score(_distances(one, np.delete(self._values, i, axis=0)))
            for i, one in enumerate(self._values)
        ]
        return _MARGIN * max(others)


def _distances(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    # A new subject scatters about the mean of n others by their spread times sqrt(1 + 1/n).
    spread = np.maximum(others.std(axis=0, ddof=1), _LEAST_SD)
    return (one - others.mean(axis=0)) / (spread * math.sqrt(1 + 1 / len(others)))


def _score(distances: np.ndarray) -> float:
    return float(np.sqrt(np.mean(distances**2)))
