"""What interrupts a worker between a task's body and its report costs time, never the outcome."""

from __future__ import annotations

import time

import pytest
import redis
from celery.exceptions import SoftTimeLimitExceeded

from zenith_worker.reporting import with_redis_retries
from zenith_worker.wire import client


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes time; a soft time limit comes in each."""
    made: list[float] = []

    def sleep(seconds: float) -> None:
        made.append(seconds)
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(time, "sleep", sleep)
    return made


def test_an_outcome_waits_for_redis_through_time_limits_for_as_long_as_it_takes(pauses: list[float]) -> None:
    errors: list[Exception] = [*(redis.ConnectionError("refused") for _ in range(500)), SoftTimeLimitExceeded()]

    def attempt() -> str:
        if errors:
            raise errors.pop()
        return "reported"

    assert with_redis_retries(attempt) == "reported"
    assert len(pauses) == 500
    assert sum(pauses) > 300
    assert max(pauses) <= 5


def test_patience_ends_where_there_is_a_bound() -> None:
    def attempt() -> None:
        raise redis.ConnectionError("refused")

    with pytest.raises(redis.ConnectionError):
        with_redis_retries(attempt, patience=0.05)


def test_an_answer_that_was_not_read_is_not_taken_for_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = client._thread_connection().connection
    with monkeypatch.context() as interrupted:
        interrupted.setattr(connection, "read_response", _interrupt)
        with pytest.raises(SoftTimeLimitExceeded):
            client.command("ECHO", "first")
    assert client.command("ECHO", "second") in (b"second", "second")


def _interrupt(*_: object, **__: object) -> None:
    raise SoftTimeLimitExceeded
