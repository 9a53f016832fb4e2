"""The guard `retries`: Zenith's rule for tasks without rules of their own, under the oldest and the newest Celery."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attached.conftest import Shop

pytestmark = pytest.mark.processes

#: How often each task was called, and how it ended.
EXPECTED = {
    "flaky": [3, "done"],
    "once more": [2, "ValueError"],
    "endless": [7, "done"],
    "throws": [1, "KeyError"],
    "no_retry_for": [1, "IndexError"],
    "own rules": [2, "KeyError"],
    "itself": [4, "ValueError"],
    "itself, one": [2, "ValueError"],
    "unsent": [2, "done"],
    "call fails": [1, "OwnCallError"],
    "limited": [2, "in time"],
    "headers": [2, {"mine": 1}],
    "none requested": [1, "ValueError"],
    "four requested": [5, "ValueError"],
    "one requested of itself": [2, "ValueError"],
    "one requested, own rules": [1, "ValueError"],
    "odd request": [3, "done"],
    "chain": [1, 3],
    "chord": [1, 42],
    "quiet": [3, None],
    "ignore": [1, None],
    "reject": [1, None],
    "called": ["it raised", None],
    "eager": ["done", None],
    "left behind": [[], None],
}


@pytest.mark.parametrize("version", ["5.3", "5.7"])
def test_tasks_without_rules_of_their_own_are_retried(version: str, shop: Callable[[str], Shop]) -> None:
    here = shop(version)
    # Nothing of it needs Zenith's Redis.
    away = {"ZENITH_URL": "redis://127.0.0.1:1/0"}
    here.celery_worker("retried", "shop@one", "-c", "2", **away)
    ended = here.run("retried.py", **away)
    assert ended == EXPECTED, here.log[-4000:]
