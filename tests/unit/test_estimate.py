"""How long a task waits, from the work before it."""

from __future__ import annotations

import pytest

from tasks_app.queries.estimate import Estimate, Running, Work, estimate

KNOWN = {"short": 1.0, "long": 60.0}


def work(slots: int = 1, running: tuple[Running, ...] = (), **waiting: int) -> Work:
    return Work(slots=slots, waiting=waiting, running=running, seconds=KNOWN)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (work(), Estimate(0.0)),
        (work(short=9), Estimate(9.0)),
        (work(slots=2, long=8), Estimate(240.0)),
        # The queue was fast until a long one came.
        (work(short=9, running=(Running("long", 0.0),)), Estimate(69.0)),
        (work(running=(Running("long", 45.0),)), Estimate(15.0)),
        # One slot is free.
        (work(slots=2, running=(Running("long", 0.0),)), Estimate(0.0)),
        (work(slots=2, running=(Running("long", 0.0),), short=5), Estimate(5.0)),
        (work(slots=1, running=(Running("long", 0.0), Running("long", 30.0))), Estimate(60.0)),
        # The first of two slots gets free after 10 s, whatever the other has before it.
        (work(slots=2, running=(Running("long", 50.0), Running("long", 50.0))), Estimate(10.0)),
        # It runs for longer than such tasks do.
        (work(running=(Running("short", 30.0),)), Estimate(30.0, at_least=True)),
        (work(other=1), None),
        (work(running=(Running("other", 1.0),)), None),
        (work(slots=0, short=1), None),
    ],
)
def test_the_wait_is_the_work_before_it_shared_by_the_slots(before: Work, expected: Estimate | None) -> None:
    assert estimate(before) == expected
