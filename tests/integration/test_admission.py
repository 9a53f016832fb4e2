"""Which deliveries run: what admission asks, and what it does with those that do not."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from zenith_worker import admission
from zenith_worker.errors import NotNow, NotThisDelivery
from zenith_worker.wire import claims, keys
from zenith_worker.wire.claims import Claim, Verdict
from zenith_worker.wire.headers import DELIVERY_HEADER, RECEIVED_HEADER
from zenith_worker.wire.questions import NobodyAnswersError

APPS = {scheme: Celery(broker=f"{scheme}://", set_as_current=False) for scheme in ("redis", "memory")}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "REQUEUE_AFTER", 0.0)


def request(*, tag: str = "tag", number: int = 0, received: float | None = None, retries: int = 0) -> Any:
    """A request as a body's process has it."""
    headers = {RECEIVED_HEADER: received, DELIVERY_HEADER: number}
    return SimpleNamespace(id="x", retries=retries, properties={"delivery_tag": tag}, headers={}, **headers)


def refused(claim: Claim, *, acks_late: bool = True, broker: str = "redis", **about: Any) -> type[BaseException]:
    """How a delivery ends that is refused."""
    with pytest.raises((NotNow, NotThisDelivery)) as raised:
        admission._refuse(SimpleNamespace(request=request(**about), acks_late=acks_late, app=APPS[broker]), claim)
    return raised.type


def test_a_message_that_may_be_the_only_one_left_stays() -> None:
    taken = Claim(Verdict.TAKEN, holder="tag@2")
    assert refused(taken, tag="tag", number=1) == NotNow
    # kombu's Redis transport has one note for both deliveries of a message: the first acknowledgement removes it.
    assert refused(taken, tag="tag") == NotNow
    # Sent twice, or acknowledged before it began.
    assert refused(taken, tag="other") == NotThisDelivery
    assert refused(taken, tag="tag", acks_late=False) == NotThisDelivery
    # A broker that does not tell what it delivered before.
    assert refused(taken, tag="other", broker="memory") == NotNow


def test_a_message_that_waited_longer_than_ends_are_remembered_may_be_a_copy() -> None:
    now = time.time()
    assert not admission._may_be_a_copy(request(received=now))
    assert not admission._may_be_a_copy(request())
    assert admission._may_be_a_copy(request(received=now - claims.ENDED_KEPT - 1))


@pytest.mark.parametrize("problem", [NobodyAnswersError, SoftTimeLimitExceeded])
def test_what_was_acknowledged_before_it_began_waits_until_somebody_answers(
    problem: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no message any more that could go back."""

    def ask(*_: Any) -> Any:
        if len(asked) < 3:
            asked.append(1)
            raise problem
        return {"x": True}

    asked: list[int] = []
    monkeypatch.setattr(admission, "ask", ask)
    assert admission._ended_before("x", waits=True) is True
    assert len(asked) == 3
    asked.clear()
    with pytest.raises(NotNow):
        admission._ended_before("x")


def test_a_cancelled_task_does_not_run_because_its_applications_own_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Zenith's Redis may be away for a task to run unclaimed."""

    def away(*_: Any, **__: Any) -> None:
        raise redis.ConnectionError("theirs")

    monkeypatch.setattr(claims, "begin", lambda *_, **__: Claim(Verdict.CANCELLED))
    monkeypatch.setattr(keys._Own, "name", "shop")
    task = SimpleNamespace(
        request=request(), acks_late=True, ignore_result=False, store_errors_even_if_ignored=False,
        backend=SimpleNamespace(mark_as_revoked=away),
    )  # fmt: skip
    with pytest.raises(redis.ConnectionError, match="theirs"):
        admission.admit(task)  # type: ignore[arg-type]
