import collections

import pytest

from multires_tf.data import cohort, splits


def subjects(*given):
    return [
        cohort.Subject(f"s{i:03d}", f"s{i}/mr.nii", None, None, split)
        for i, split in enumerate(given)
    ]


def counts(placed):
    return dict(collections.Counter(one.split for one in placed))


def test_splits_follow_the_proportions():
    assert counts(splits.draw(subjects(*[""] * 32), (22, 5, 5), 0)) == {
        "train": 22,
        "validation": 5,
        "test": 5,
    }


@pytest.mark.parametrize("count", [3, 4, 5, 7, 16])
def test_from_three_subjects_up_each_split_has_one(count):
    placed = counts(splits.draw(subjects(*[""] * count), (22, 5, 5), 1))
    assert set(placed) == {"train", "validation", "test"}
    assert sum(placed.values()) == count
    assert placed["train"] == max(placed.values())


def test_the_draw_depends_on_seed_and_names_only():
    some = subjects(*[""] * 10)
    first = splits.draw(some, (22, 5, 5), 3)
    again = splits.draw(some[::-1], (22, 5, 5), 3)
    assert first == again[::-1]
    others = [splits.draw(some, (22, 5, 5), seed) for seed in range(4, 10)]
    assert any(other != first for other in others)


def test_given_splits_stay_and_the_rest_fills_up():
    given = subjects("test", "none", "", "", "train", "")
    placed = splits.draw(given, (22, 5, 5), 0)
    assert [one.split for one in placed][:2] == ["test", "none"]
    assert placed[4].split == "train"
    assert counts(placed) == {"test": 1, "none": 1, "train": 3, "validation": 1}


def test_more_given_test_subjects_than_their_share_leave_fewer_for_training():
    placed = splits.draw(subjects("test", "test", "test", "", ""), (22, 5, 5), 0)
    assert counts(placed) == {"test": 3, "train": 1, "validation": 1}


@pytest.mark.parametrize(("given", "free"), [(20, 3), (10, 2)])
def test_many_given_for_training_leave_the_free_ones_to_the_empty_splits(given, free):
    named = subjects(*["train"] * given, *[""] * free)
    placed = counts(splits.draw(named, (22, 5, 5), 0))
    assert placed["validation"] >= 1 and placed["test"] >= 1
    assert sum(placed.values()) == given + free


def test_one_and_two_subjects_train():
    assert counts(splits.draw(subjects("", ""), (22, 5, 5), 0)) == {"train": 2}


def test_two_subjects_are_enough_for_two_splits():
    placed = splits.draw(subjects("", "", "none"), (22, 5, 0), 0)
    assert counts(placed) == {"train": 1, "validation": 1, "none": 1}
