"""Which subjects train, validate and test, where the cohort does not say."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from multires_tf.data import cohort


def draw(
    subjects: Sequence[cohort.Subject], proportions: Sequence[int], seed: int | Sequence[int]
) -> list[cohort.Subject]:
    """Gives a split to every subject that has none; splits that are given stay.

    The counts follow the proportions over all subjects that are in a split at all, and each split
    with a share has at least one, if there are as many subjects as such splits. Which subject goes
    where depends only on the seed and the names.
    """
    without = sorted(one.subject for one in subjects if not one.split)
    counts = _counts(sum(one.split != "none" for one in subjects), proportions)
    filled = collections.Counter(one.split for one in subjects)
    places: list[str] = []
    for _ in without:
        # An empty split comes first, then the one that is furthest below its share.
        missing = {split: counts[split] - filled[split] for split in cohort.DRAWN_SPLITS}
        empty = {split: counts[split] > 0 and not filled[split] for split in cohort.DRAWN_SPLITS}
        places.append(max(cohort.DRAWN_SPLITS, key=lambda split: (empty[split], missing[split])))
        filled[places[-1]] += 1
    places.sort(key=cohort.DRAWN_SPLITS.index)
    order = np.random.default_rng(seed).permutation(len(without))
    drawn = {without[index]: place for index, place in zip(order, places, strict=True)}
    return [
        one if one.split else dataclasses.replace(one, split=drawn[one.subject]) for one in subjects
    ]


def _counts(total: int, proportions: Sequence[int]) -> dict[str, int]:
    """Splits `total` by largest remainder, then fills empty splits from the largest."""
    exact = [total * share / sum(proportions) for share in proportions]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(3), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    enough = total >= sum(share > 0 for share in proportions)
    for index, share in enumerate(proportions):
        if enough and share > 0 and counts[index] == 0:
            counts[counts.index(max(counts))] -= 1
            counts[index] = 1
    return dict(zip(cohort.DRAWN_SPLITS, counts, strict=True))
