import threading

import pytest

from multires_tf.ground import errors, parallel


def most_at_once(items, budget_bytes, expected, monkeypatch, cores=4):
    """Runs items, each its own cost, and returns the largest sum of costs that ran together.

    Jobs wait for each other until the expected sum is reached.
    """
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: cores)
    lock, reached = threading.Lock(), threading.Event()
    running, peaks = [], []

    def action(cost):
        with lock:
            running.append(cost)
            peaks.append(sum(running))
            if peaks[-1] >= expected:
                reached.set()
        reached.wait(60)
        with lock:
            running.remove(cost)

    done = parallel.run(action, items, cost_bytes=float, budget_bytes=budget_bytes)
    assert sorted(item for item, _ in done) == sorted(items)
    return max(peaks)


@pytest.mark.parametrize(
    ("items", "budget", "cores", "together"),
    [([3] * 4, 6, 4, 6), ([3] * 4, 100, 4, 12), ([1] * 8, 100, 2, 2), ([9, 5], 6, 4, 9)],
)
def test_jobs_share_the_budget_and_one_too_large_runs_alone(
    items, budget, cores, together, monkeypatch
):
    assert most_at_once(items, budget, together, monkeypatch, cores) == together


def problems(action, items, keep_going):
    return parallel.problems(
        action, items, cost_bytes=float, budget_bytes=1, keep_going=keep_going, words="try"
    )


def test_mistakes_are_collected_or_end_it_all():
    tried = []

    def action(item):
        tried.append(item)
        if item == 2:
            raise errors.UserError("two is bad")

    assert problems(action, [1, 2, 3], keep_going=True) == [(2, "two is bad")]
    assert tried == [1, 2, 3]
    tried.clear()
    with pytest.raises(errors.UserError, match="two is bad"):
        problems(action, [1, 2, 3], keep_going=False)
    assert tried == [1, 2]


def test_a_failure_is_never_a_mistake():
    with pytest.raises(ZeroDivisionError):
        problems(lambda item: 1 / 0, [1], keep_going=True)
