"""Histories of one task as workers really report them, for Hypothesis."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

from hypothesis import strategies as st

from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.states import Status

NAME, QUEUE, ARGS, KWARGS = "billing.charge", "payments", [41, "EUR"], {"customer": "c-17"}
PARENT = "0193a5b2-5c3e-7d10-8a4f-3f2b1c0d9e8f"
#: All times are multiples of this, which binary fractions and microseconds both hold exactly.
TICK = 0.125
START = 1_760_000_000.0


@st.composite
def histories(draw: st.DrawFn, *, external: bool | None = None) -> list[Event]:
    """Return the steps of one task, in the order in which they happened.

    One to three attempts, of which each message was delivered one to three times; what came of an attempt may be told by
    any of its deliveries. At most one step is terminal. An outcome carries when its delivery was received and started, by a
    clock that differs a little from the one of the *started* step.
    """
    task_id = str(new_id())
    foreign = draw(st.booleans()) if external is None else external
    origin = {"name": NAME, "queue": QUEUE, "args": ARGS, "kwargs": KWARGS, "priority": 3, "parent_id": PARENT} if foreign else {}
    now = START
    steps: list[Event] = []

    def tick() -> float:
        nonlocal now
        now += TICK * draw(st.integers(1, 400))
        return now

    if foreign and draw(st.booleans()):
        steps.append(Event(task_id=task_id, status=Status.QUEUED, at=tick(), name=NAME, queue=QUEUE, args=ARGS, kwargs=KWARGS))
    attempts = draw(st.integers(1, 3))
    for attempt in range(attempts):
        deliveries = draw(st.integers(1, 3))
        told_by = draw(st.integers(0, deliveries - 1))
        for delivery in range(deliveries):
            common = {"task_id": task_id, "attempt": attempt, "delivery": delivery, "worker": f"w{attempt}{delivery}", **origin}
            received = tick()
            if draw(st.booleans()):
                steps.append(Event(status=Status.RECEIVED, at=received, received_at=received, **common))
            started = tick()
            if draw(st.booleans()):
                steps.append(Event(status=Status.STARTED, at=started, received_at=received, **common))
            if delivery == told_by:
                last = attempt == attempts - 1
                outcome = draw(st.sampled_from([Status.SUCCESS, Status.FAILURE, Status.REVOKED, None])) if last else Status.RETRY
                if outcome:
                    steps.append(_outcome(outcome, tick(), received, started + TICK, common))
    # A task of which nobody ever told anything is not known at all.
    return steps or [Event(task_id=task_id, status=Status.RECEIVED, at=now, received_at=now, worker="w00", **origin)]


def _outcome(status: Status, at: float, received: float, started: float, common: dict[str, object]) -> Event:
    event = Event(status=status, at=at, received_at=received, started_at=started, runtime=TICK, **common)  # type: ignore[arg-type]
    if status == Status.SUCCESS:
        return replace(event, result='{"charged": true}')
    failed = replace(event, error_type="CardError", error_message=f"declined {event.attempt}.{event.delivery}")
    if status == Status.RETRY:
        return replace(failed, not_before=at + 8)
    return replace(failed, traceback="Traceback …", result='{"exc_type": "CardError"}')


@st.composite
def arrivals(draw: st.DrawFn, history: list[Event]) -> list[Event]:
    """Return a history in any order, each step once or several times."""
    repeated = draw(st.lists(st.sampled_from(history), max_size=len(history)))
    return draw(st.permutations([*history, *repeated]))


def under_another_id(history: list[Event], task_id: UUID | None = None) -> list[Event]:
    """Return the same history of another task."""
    name = str(task_id or uuid4())
    return [replace(event, task_id=name) for event in history]
