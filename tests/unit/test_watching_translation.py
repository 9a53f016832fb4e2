"""Celery's events become the steps of tasks, in whatever order they come and whatever strangers put into them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.recording.reducer import TaskState, fold
from tasks_app.watching import representations
from tasks_app.watching.runs import Known
from tasks_app.watching.translation import ASKED, OLDEST, OddEventError, Translator, time_of
from zenith_worker.wire.events import Event, decode, encode
from zenith_worker.wire.states import Status, attempt_of, position

NOW = 1_700_000_000.0


def event(type_: str, id_: str = "a", *, at: float = 0.0, worker: str = "celery@one", **more: Any) -> dict[str, Any]:
    body = {"type": f"task-{type_}", "uuid": id_, "hostname": worker, "timestamp": NOW + at, "utcoffset": 0, "pid": 1, "clock": 1}
    return {**body, **more}


def received(at: float = 0.1, *, retries: int = 0, name: str = "shop.pay", args: str = "(1,)", **more: Any) -> dict[str, Any]:
    return event("received", at=at, name=name, args=args, kwargs="{}", retries=retries, eta=None, expires=None, **more)


def failed(type_: str, at: float, error: str = "ValueError('no')") -> dict[str, Any]:
    return event(type_, at=at, exception=error, traceback=f"Traceback …\n{error.partition('(')[0]}: no\n")


def steps(*events: dict[str, Any], translator: Translator | None = None) -> list[Event]:
    translator = translator or Translator()
    translator.look_up(events)
    told = [step for item in events for step in translator.steps(item, NOW + 60)]
    return [*told, *translator.rejected(NOW + 3600)]


def told(*events: dict[str, Any], translator: Translator | None = None) -> list[tuple[str, int, int, int]]:
    return [(step.status.value, step.attempt, step.delivery, step.nesting) for step in steps(*events, translator=translator)]


def row(*events: dict[str, Any]) -> TaskState:
    state = TaskState(id="a")
    for step in steps(*events):
        fold(state, step)
    return state


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [event("sent", retries=0, name="shop.pay", queue="tills"), received(), event("started", at=0.2),
             event("succeeded", at=0.3, result="'paid'", runtime=0.1)],
            [("QUEUED", 0, 0, 0), ("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("SUCCESS", 0, 0, 0)],
            id="plain",
        ),
        pytest.param(
            [received(), event("started"), failed("failed", 0.3)],
            [("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("FAILURE", 0, 0, 0)], id="failing",
        ),
        pytest.param(
            [received(), event("started"), failed("retried", 0.3), received(0.4, retries=1), event("started"),
             event("succeeded", result="1")],
            [("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("RETRY", 0, 0, 0), ("RECEIVED", 1, 0, 0), ("STARTED", 1, 0, 0),
             ("SUCCESS", 1, 0, 0)],
            id="retried",
        ),
        pytest.param(
            [received(), event("started"), received(0.25, retries=1, worker="celery@two"), failed("retried", 0.3),
             event("started", worker="celery@two"), event("succeeded", worker="celery@two")],
            [("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("RECEIVED", 1, 0, 0), ("RETRY", 0, 0, 0), ("STARTED", 1, 0, 0),
             ("SUCCESS", 1, 0, 0)],
            id="the next attempt is received before this one is told to be over",
        ),
        pytest.param(
            [received(), event("started"), received(5, worker="celery@two"), event("started", worker="celery@two"),
             event("succeeded", worker="celery@two")],
            [("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("RECEIVED", 0, 1, 0), ("STARTED", 0, 1, 0), ("SUCCESS", 0, 1, 0)],
            id="delivered again after its worker died",
        ),
        pytest.param(
            [received(), received(), event("started"), event("started")],
            [("RECEIVED", 0, 0, 0), ("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("STARTED", 0, 0, 0)], id="told twice",
        ),
        pytest.param(
            [received(), event("started"), received(5, name="shop.other"), event("started"), event("succeeded")],
            [("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("REPLACED", 0, 0, 0), ("RECEIVED", 0, 0, 1), ("STARTED", 0, 0, 1),
             ("SUCCESS", 0, 0, 1)],
            id="replaced",
        ),
        pytest.param(
            [received(), event("started"), event("rejected", requeue=True), received(2), event("started")],
            [("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("QUEUED", 0, 1, 0), ("RECEIVED", 0, 1, 0), ("STARTED", 0, 1, 0)],
            id="rejected, back in its queue",
        ),
        pytest.param(
            [received(), event("started"), event("rejected", requeue=False)],
            [("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("FAILURE", 0, 0, 0)], id="rejected for good",
        ),
        pytest.param(
            [received(), event("started"), event("rejected", requeue=False), failed("failed", 1)],
            [("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("FAILURE", 0, 0, 0)], id="rejected for good, and told why",
        ),
        pytest.param(
            [received(), event("started"), event("retried", exception="KeyError()"), received(1, retries=1), event("started"),
             failed("failed", 1), event("rejected", requeue=False)],
            [("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("RETRY", 0, 0, 0), ("RECEIVED", 1, 0, 0), ("STARTED", 1, 0, 0),
             ("FAILURE", 1, 0, 0)], id="told why, and then rejected for good",
        ),
        pytest.param(
            [received(), event("revoked", terminated=False, expired=True, signum=None)],
            [("RECEIVED", 0, 0, 0), ("REVOKED", 0, 0, 0)], id="expired",
        ),
        pytest.param([event("started"), event("succeeded")], [("STARTED", 0, 0, 0), ("SUCCESS", 0, 0, 0)], id="from the middle"),
        pytest.param([event("custom"), event("cancelled")], [], id="events that tell no step"),
        pytest.param([event("sent", retries=1, name="x")], [], id="the message of a retry"),
    ],
)  # fmt: skip
def test_events_tell_the_steps_of_a_task(events: list[dict[str, Any]], expected: list[tuple[str, int, int, int]]) -> None:
    assert told(*events) == expected


def test_the_row_shows_the_last_attempt_with_its_error_and_times() -> None:
    state = row(received(), event("started", at=0.2), failed("retried", 0.3), received(0.4, retries=1), event("started", at=0.5),
                failed("failed", 0.9, "KeyError('gone')"))  # fmt: skip
    assert (state.status, state.error_type, state.error_message) == (Status.FAILURE, "KeyError", "no")
    assert state.position == position(1, 0, Status.FAILURE)
    assert (state.started_at, state.finished_at) == (NOW + 0.5, NOW + 0.9)
    assert (state.name, state.args, state.kwargs or {}) == ("shop.pay", [1], {})


def test_a_retry_that_was_sent_tells_when_it_is_due() -> None:
    due = event("sent", retries=1, name="shop.pay", eta="2023-11-14T22:13:50+00:00")
    told_steps = steps(received(), event("started"), due, failed("retried", 0.3))
    assert told_steps[-1].not_before == NOW + 30


def test_steps_of_a_task_that_an_earlier_observer_saw_belong_to_its_recorded_attempt() -> None:
    asked: list[list[str]] = []

    def recorded(ids: Any) -> dict[str, Known]:
        asked.append(list(ids))
        return {"a": Known(position(2, 1, Status.STARTED), worker="celery@one")}

    translator = Translator(recorded)
    events = [event("retried"), received(retries=3), event("succeeded"), event("started", "b"), {**received(), "uuid": "c"}]
    assert told(*events, translator=translator)[:3] == [("RETRY", 2, 1, 0), ("RECEIVED", 3, 0, 0), ("SUCCESS", 3, 0, 0)]
    # What tells its attempt itself is not looked up.
    assert asked == [["a", "b"]]


def test_the_memory_is_bounded_and_forgets_what_has_ended() -> None:
    translator = Translator(most=10)
    for number in range(100):
        steps(event("started", str(number)), translator=translator)
    assert translator.remembered == 10
    for number in range(90, 100):
        steps(event("succeeded", str(number)), translator=translator)
    assert translator.remembered == 0


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"uuid": None}, "uuid"), ({"uuid": ""}, "uuid"), ({"uuid": "x" * 2000}, "uuid"), ({"uuid": ["a"]}, "uuid"),
        ({"hostname": 7}, "hostname"), ({"timestamp": "now"}, "timestamp"), ({"timestamp": float("nan")}, "timestamp"),
        ({"timestamp": True}, "timestamp"), ({"retries": -1}, "retries"), ({"retries": "1"}, "retries"),
        ({"retries": 2**40}, "retries"), ({"retries": [1]}, "retries"),
    ],
)  # fmt: skip
def test_an_odd_event_is_refused_with_the_reason(odd: dict[str, Any], reason: str) -> None:
    with pytest.raises(OddEventError, match=reason):
        steps({**received(), **odd})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_MEMBERS = (
    "uuid", "hostname", "timestamp", "utcoffset", "retries", "name", "args", "kwargs", "eta", "parent_id", "queue", "runtime",
    "result", "exception", "traceback", "requeue", "terminated", "signum", "expired",
)  # fmt: skip


@given(
    st.sampled_from(["sent", "received", "started", "succeeded", "failed", "retried", "revoked", "rejected"]),
    st.dictionaries(st.sampled_from(_MEMBERS), _JSON, max_size=6),
)
def test_whatever_a_stranger_sends_is_a_readable_step_or_odd(type_: str, odd: dict[str, Any]) -> None:
    try:
        told_steps = steps({**received(), **event(type_), **odd})
    except OddEventError:
        return
    assert len(decode(encode(told_steps))) == len(told_steps)


@pytest.mark.parametrize(
    ("at", "offset", "expected"),
    [
        (NOW - 1, 0, NOW - 1),
        (NOW - 1, 5, NOW - 1),  # Unix time, wherever the worker is
        (NOW - 5 * 3600 - 1, 5, NOW - 1),  # local time
        (NOW + 10, 0, NOW),  # from the future
        (NOW - OLDEST - 1, 0, NOW),  # a clock that is wrong
        (NOW - 1, "west", NOW - 1),
        (1e300, 0, NOW),
    ],
)
def test_an_event_happened_when_its_clock_says_if_that_can_be(at: float, offset: Any, expected: float) -> None:
    assert time_of({"timestamp": at, "utcoffset": offset}, NOW) == expected


@pytest.mark.parametrize(
    ("args", "kwargs", "shown"),
    [
        ("()", "{}", ([], {})),
        ("(1, 'two', None, [3])", "{'a': 1.5, 'b': {'c': True}}", ([1, "two", None, [3]], {"a": 1.5, "b": {"c": True}})),
        ("(1, <object at 0x7f>)", "{'a': <X>}", (["(1, <object at 0x7f>)"], {"**": "{'a': <X>}"})),
        ("('long...", "{'a': 'b...", (["('long..."], {"**": "{'a': 'b..."})),
        ("(1, ...)", "{'a': ...}", ([1, "…"], {"a": "…"})),
        ("(" * 5000, "-" * 9000, (["(" * 5000], {"**": "-" * 9000})),
        ("(b'x', {1, 2}, 10**9)", None, (["(b'x', {1, 2}, 10**9)"], None)),
        ([1, "two"], {"a": 1}, ([1, "two"], {"a": 1})),
        (None, 7, (None, None)),
        ("(9999999999999999999999999,)", "{1: 2}", (["9999999999999999999999999"], {"1": 2})),
    ],
)  # fmt: skip
def test_arguments_are_shown_as_what_they_are(args: Any, kwargs: Any, shown: tuple[Any, Any]) -> None:
    assert (representations.arguments(args), representations.keywords(kwargs)) == shown


@pytest.mark.parametrize(
    ("exception", "traceback", "expected"),
    [
        ("ValueError('no')", "Traceback …\nValueError: no\n", ("ValueError", "no")),
        ("ShopError('a', 2)", "Traceback …\nshop.errors.ShopError: a costs 2\nand more\n", ("ShopError", "a costs 2\nand more")),
        ("ValueError('no')", None, ("ValueError", "no")),
        ("ValueError('no',)", "", ("ValueError", "no")),
        ("KeyError(3)", 7, ("KeyError", "3")),
        ("NotRegistered('shop.pay')", None, ("NotRegistered", "shop.pay")),
        ("something odd", None, ("Exception", "something odd")),
        ("<odd>", "Traceback …\nshop.ShopError: why\n", ("ShopError", "why")),
        (None, None, ("Exception", "None")),
    ],
)
def test_an_error_is_told_apart(exception: Any, traceback: Any, expected: tuple[str, str]) -> None:
    assert representations.raised(exception, traceback) == expected


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_sender_whose_event_comes_after_those_of_a_quick_worker_replaces_nothing(place: int) -> None:
    sent = event("sent", at=0.3, retries=0, name="shop.pay", args="(1,)", kwargs="{}", queue="tills")
    happened = [received(0.1), event("started", at=0.2)]
    happened.insert(place, sent)
    assert {step[1:] for step in told(*happened)} == {(0, 0, 0)}
    assert row(*happened).status == "STARTED"


def test_a_body_that_replaced_itself_before_its_start_was_told_has_started_all_the_same() -> None:
    first, second = received(0.1), received(0.2, name="shop.add", args="(2,)")
    happened = [
        first,
        second,
        event("started", at=0.3),
        event("started", at=0.4),
        event("succeeded", at=0.5, result="2", runtime=0.1),
    ]
    assert [(step.status.value, step.nesting, step.at - NOW) for step in steps(*happened)] == [
        ("RECEIVED", 0, pytest.approx(0.1)), ("REPLACED", 0, pytest.approx(0.2)), ("RECEIVED", 1, pytest.approx(0.2)),
        ("STARTED", 0, pytest.approx(0.3)), ("STARTED", 1, pytest.approx(0.4)), ("SUCCESS", 1, pytest.approx(0.5)),
    ]  # fmt: skip


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_a_worker_says_that_was_asked_is_no_delivery_of_its_own(place: int) -> None:
    asked = event("received", at=0.25, name="shop.pay", args=[1], kwargs={}, queue="tills", **{ASKED: True})
    happened = [received(0.1), event("started", at=0.2)]
    happened.insert(place, asked)
    assert {step[1:] for step in told(*happened)} == {(0, 0, 0)}
    assert row(*happened).status == "STARTED"


ONE, TWO = {"worker": "celery@one"}, {"worker": "celery@two"}
AGAIN = {"pid": 2}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [received(), event("started"), received(5, **TWO), event("started", **TWO), event("succeeded", **ONE)],
            [("RECEIVED", 0, 0), ("STARTED", 0, 0), ("RECEIVED", 0, 1), ("STARTED", 0, 1), ("SUCCESS", 0, 0)],
            id="it runs twice, and the first one ends first",
        ),
        pytest.param(
            [received(), received(5, **TWO), event("started", at=6, **TWO), event("started", at=7)],
            [("RECEIVED", 0, 0), ("RECEIVED", 0, 1), ("STARTED", 0, 1), ("STARTED", 0, 0)], id="both start, the second one first",
        ),
        pytest.param(
            [received(), received(5, **AGAIN), event("started", at=6, **AGAIN), event("succeeded", at=7, **AGAIN)],
            [("RECEIVED", 0, 0), ("RECEIVED", 0, 1), ("STARTED", 0, 1), ("SUCCESS", 0, 1)],
            id="delivered again to a worker of the same name",
        ),
        pytest.param(
            [received(), event("started", at=1), event("started", at=5, **TWO), failed("retried", 6) | {"hostname": "celery@two"},
             received(7, retries=1)],
            [("RECEIVED", 0, 0), ("STARTED", 0, 0), ("STARTED", 0, 1), ("RETRY", 0, 1), ("RECEIVED", 1, 0)],
            id="the reception elsewhere was not heard",
        ),
        pytest.param(
            [received(), event("started", at=1), event("started", at=5), event("succeeded", at=6)],
            [("RECEIVED", 0, 0), ("STARTED", 0, 0), ("STARTED", 0, 1), ("SUCCESS", 0, 1)],
            id="the reception by the same worker was not heard",
        ),
        pytest.param(
            [received(1, retries=1, **TWO), received(0.5), event("started", at=0.6), failed("retried", 0.7),
             event("started", at=2, **TWO), event("succeeded", at=3, **TWO)],
            [("RECEIVED", 1, 0), ("RECEIVED", 0, 0), ("STARTED", 0, 0), ("RETRY", 0, 0), ("STARTED", 1, 0), ("SUCCESS", 1, 0)],
            id="what a worker tells of the attempt before comes late",
        ),
        pytest.param(
            [received(1, retries=1, **TWO), failed("retried", 1.1), event("started", at=2, **TWO)],
            [("RECEIVED", 1, 0), ("RETRY", 0, 0), ("STARTED", 1, 0)], id="nothing was heard of an attempt before it was over",
        ),
        pytest.param(
            [received(), event("started"), received(1, retries=1, **TWO), event("started", at=2, **TWO),
             event("succeeded", at=3, **TWO), failed("retried", 4)],
            [("RECEIVED", 0, 0), ("STARTED", 0, 0), ("RECEIVED", 1, 0), ("STARTED", 1, 0), ("SUCCESS", 1, 0), ("RETRY", 0, 0)],
            id="a retry is told after another worker has ended the task",
        ),
        pytest.param(
            [received(), event("started"), received(1, retries=1), event("started", at=2), event("succeeded", at=3),
             failed("retried", 4)],
            [("RECEIVED", 0, 0), ("STARTED", 0, 0), ("RECEIVED", 1, 0), ("STARTED", 1, 0), ("SUCCESS", 1, 0), ("RETRY", 0, 0)],
            id="a retry is told after the same worker has ended the task",
        ),
        pytest.param(
            [received(9, **TWO), event("started", at=10, **TWO), event("succeeded", at=11, **TWO), received(1),
             received(9, **TWO), received(12, name="shop.other")],
            [("RECEIVED", 0, 0), ("STARTED", 0, 0), ("SUCCESS", 0, 0), ("RECEIVED", 0, 1), ("RECEIVED", 0, 0),
             ("RECEIVED", 0, 2)],
            id="what is received once a task has ended is another delivery, and replaces nothing",
        ),
        pytest.param(
            [received(), event("started"), received(1, retries=1, **TWO), event("started", at=1.1, **TWO), received(2, retries=2),
             failed("retried", 3), failed("retried", 4) | {"hostname": "celery@two"}, event("started", at=5)],
            [("RECEIVED", 0, 0), ("STARTED", 0, 0), ("RECEIVED", 1, 0), ("STARTED", 1, 0), ("RECEIVED", 2, 0), ("RETRY", 0, 0),
             ("RETRY", 1, 0), ("STARTED", 2, 0)],
            id="two retries are told after the third attempt was received",
        ),
        pytest.param(
            [received(1, retries=2) | {"eta": "2023-11-14T22:13:25+00:00"}, event("started", at=2), failed("retried", 3),
             event("started", at=6), event("succeeded", at=7)],
            [("RECEIVED", 2, 0), ("STARTED", 1, 0), ("RETRY", 1, 0), ("STARTED", 2, 0), ("SUCCESS", 2, 0)],
            id="what starts before the next attempt is due is the one before it",
        ),
        pytest.param(
            [received(), event("started"), event("rejected", at=2, requeue=True), received(3, **TWO),
             event("started", at=4, **TWO), event("succeeded", at=5, **TWO)],
            [("RECEIVED", 0, 0), ("STARTED", 0, 0), ("QUEUED", 0, 1), ("RECEIVED", 0, 1), ("STARTED", 0, 1), ("SUCCESS", 0, 1)],
            id="put back, and taken by another worker",
        ),
        pytest.param(
            [received(), received(0.2, name="shop.other", **TWO), event("started", at=0.3, **TWO),
             event("succeeded", at=0.4, **TWO), event("started", at=0.1)],
            [("RECEIVED", 0, 0), ("REPLACED", 0, 0), ("RECEIVED", 0, 0), ("STARTED", 0, 0), ("SUCCESS", 0, 0), ("STARTED", 0, 0)],
            id="replaced before its start was told, and told after the end of what replaced it",
        ),
        pytest.param(
            [received(), event("started"), failed("retried", 1), received(0.1), event("started", at=2)],
            [("RECEIVED", 0, 0), ("STARTED", 0, 0), ("RETRY", 0, 0), ("RECEIVED", 0, 0), ("STARTED", 1, 0)],
            id="a reception is told again after its attempt is over",
        ),
    ],
)  # fmt: skip
def test_an_event_is_about_a_run_at_the_worker_that_tells_it(
    events: list[dict[str, Any]], expected: list[tuple[str, int, int]]
) -> None:
    assert [step[:3] for step in told(*events)] == expected


@pytest.mark.parametrize(
    ("known", "events", "expected"),
    [
        pytest.param(
            Known(position(0, 0, Status.STARTED), "shop.pay", "celery@one", NOW + 1, NOW + 2), [received(9, **AGAIN)],
            [("RECEIVED", 0, 1, 0)], id="delivered again after its worker died",
        ),
        pytest.param(
            Known(position(0, 0, Status.RECEIVED), "shop.pay", "celery@one", NOW + 1), [received(1)], [("RECEIVED", 0, 0, 0)],
            id="its reception is told again",
        ),
        pytest.param(
            Known(position(0, 0, Status.RECEIVED), "shop.pay", "celery@one", NOW + 1), [event("started", at=2)],
            [("STARTED", 0, 0, 0)], id="it starts",
        ),
        pytest.param(
            Known(position(0, 0, Status.QUEUED), "shop.pay"), [received(9)], [("RECEIVED", 0, 0, 0)], id="only sent before",
        ),
        pytest.param(
            Known(position(0, 2, Status.QUEUED), "shop.pay"), [received(9)], [("RECEIVED", 0, 2, 0)], id="put back before",
        ),
        pytest.param(
            Known(position(1, 0, Status.RETRY), "shop.pay", "celery@one", NOW + 1, NOW + 2), [event("started", at=9)],
            [("STARTED", 2, 0, 0)], id="tried again, which nobody heard to be received",
        ),
        pytest.param(
            Known(position(0, 0, Status.REPLACED), "shop.pay", "celery@one", NOW + 1, NOW + 2), [received(9, name="shop.add")],
            [("RECEIVED", 0, 0, 1)], id="replaced before",
        ),
        pytest.param(
            Known(position(0, 0, Status.STARTED), "shop.pay", "celery@one", NOW + 1, NOW + 2), [received(9, name="shop.add")],
            [("REPLACED", 0, 0, 0), ("RECEIVED", 0, 0, 1)], id="replaced now",
        ),
    ],
)  # fmt: skip
def test_a_task_that_was_open_when_an_observer_began_goes_on_from_what_is_recorded(
    known: Known, events: list[dict[str, Any]], expected: list[tuple[str, int, int, int]]
) -> None:
    assert told(*events, translator=Translator(open_tasks={"a": known})) == expected


def test_two_observers_at_once_give_the_same_step_to_a_retry_that_the_other_one_has_recorded() -> None:
    recorded = Known(position(1, 0, Status.RETRY), "shop.pay", "celery@one", NOW + 1, NOW + 2)
    assert told(failed("retried", 3), translator=Translator(lambda _: {"a": recorded})) == [("RETRY", 1, 0, 0)]
    assert told(event("started", at=4), translator=Translator(lambda _: {"a": recorded})) == [("STARTED", 2, 0, 0)]


def test_what_ran_before_a_gap_is_over_once_its_worker_has_the_attempt_after_next() -> None:
    translator = Translator()
    assert told(received(1), event("started", at=2), translator=translator) == [("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0)]
    translator.listens_since = NOW + 5
    assert told(received(6, retries=2), event("started", at=7), failed("retried", 8), translator=translator) == [
        ("RECEIVED", 2, 0, 0), ("STARTED", 2, 0, 0), ("RETRY", 2, 0, 0),
    ]  # fmt: skip


def test_of_the_tasks_that_are_open_the_newest_are_remembered() -> None:
    known = {str(number): Known(position(0, 0, Status.RECEIVED)) for number in range(20)}
    translator = Translator(open_tasks=known, most=10)
    assert [number for number in range(20) if translator.knows(str(number))] == list(range(10, 20))


def test_a_worker_that_is_asked_tells_of_a_start_that_was_not_heard_and_of_no_other() -> None:
    def asked(at: float, **more: Any) -> dict[str, Any]:
        return event("started", at=at, name="shop.pay", args=[1], kwargs={}, **{ASKED: True, **more})

    assert told(received(1), asked(2), event("succeeded", at=3)) == [
        ("RECEIVED", 0, 0, 0), ("STARTED", 0, 0, 0), ("SUCCESS", 0, 0, 0),
    ]  # fmt: skip
    # Its own event may still come.
    assert told(received(1), asked(2), event("started", at=2.1))[1:] == [("STARTED", 0, 0, 0)] * 2
    # The answer is older than what was heard since.
    assert told(received(1), event("started", at=2), failed("retried", 3), received(4, retries=1), asked(2))[4:] == []
    # It was delivered again while nobody listened.
    assert told(received(1), event("started", at=2), asked(5, **TWO))[2:] == [("STARTED", 0, 1, 0)]


@given(st.permutations([received(1), event("started", at=2), failed("failed", 3), received(1), event("started", at=2)]))
def test_in_whatever_order_and_however_often_its_events_are_told_a_task_has_ended(happened: list[dict[str, Any]]) -> None:
    assert row(*happened).status == "FAILURE"


class Happened(NamedTuple):
    """An event of a simulated task: when it arrives, and the attempt that it truly is of."""

    arrives: float
    event: dict[str, Any]
    attempt: int


def simulated(runs: list[tuple[int, str]], lags: tuple[float, float]) -> list[Happened]:
    """Return the events of a task that two workers run, each of which tells so many seconds later, in the order of arrival.

    A run is tried again, is put back into the queue, or its worker is killed and started again, before or after its start; the
    last one succeeds. The next run may begin before a worker tells that this one is over.
    """
    happened: list[Happened] = []
    pids, now, attempt = [1, 1], 1.0, 0
    worker = 0

    def tell(type_: str, at: float, **more: Any) -> None:
        told = event(type_, at=at, worker=f"celery@{worker}", **{"pid": pids[worker], **more})
        happened.append(Happened(at + lags[worker], told, attempt))

    for worker, fate in runs:
        due = datetime.fromtimestamp(NOW + now + 0.1, UTC).isoformat() if attempt else None
        tell("received", now, name="shop.pay", args="()", kwargs="{}", retries=attempt, eta=due)
        starts = now + 0.12
        if fate != "killed before":
            tell("started", starts)
        if fate.startswith("killed"):
            pids[worker], now = pids[worker] + 1, starts + 1
        elif fate == "succeeded":
            tell("succeeded", starts + 0.1, result="1", runtime=0.1)
        elif fate == "requeued":
            tell("rejected", starts + 0.1, requeue=True)
            now = starts + 0.09
        else:
            tell("retried", starts + 0.1, exception="ValueError('no')")
            now, attempt = starts + 0.05, attempt + 1
    return sorted(happened, key=lambda item: item.arrives)


_RUNS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["retried", "requeued", "killed before", "killed after"])), max_size=5
)
_LAGS = st.tuples(st.sampled_from([0.0, 0.07, 0.2]), st.sampled_from([0.0, 0.07, 0.2]))


@given(runs=_RUNS, last=st.integers(0, 1), lags=_LAGS)
def test_each_event_is_of_its_true_attempt_wherever_it_ran_and_however_late_a_worker_tells(
    runs: list[tuple[int, str]], last: int, lags: tuple[float, float]
) -> None:
    happened = simulated([*runs, (last, "succeeded")], lags)
    translator, state, attempts = Translator(), TaskState(id="a"), []
    for item in happened:
        for step in translator.steps(item.event, NOW + 60):
            attempts.append((step.status.value, step.attempt))
            fold(state, step)
    assert [attempt for _, attempt in attempts] == [item.attempt for item in happened], attempts
    of_the_last = [item.event["timestamp"] for item in happened if item.event["type"] in ("task-received", "task-started")]
    assert (state.status, state.worker) == (Status.SUCCESS, f"celery@{last}")
    assert (state.received_at, state.started_at) == tuple(sorted(of_the_last)[-2:])


@given(runs=_RUNS, last=st.integers(0, 1), lags=_LAGS, gap=st.tuples(st.floats(0, 6), st.floats(0, 3)), is_new=st.booleans())
def test_whatever_was_not_heard_in_a_gap_what_is_heard_afterwards_is_recorded(
    runs: list[tuple[int, str]], last: int, lags: tuple[float, float], gap: tuple[float, float], is_new: bool
) -> None:
    happened = simulated([*runs, (last, "succeeded")], lags)
    begins, ends = gap[0], sum(gap)
    before, after = [item for item in happened if item.arrives < begins], [item for item in happened if item.arrives > ends]
    translator, state, steps_at = Translator(), TaskState(id="a"), set()
    for item in [*before, *after]:
        if item.arrives > ends and translator.listens_since == 0:
            if is_new and state.position and not state.is_terminal:
                known = Known(state.position, state.name, state.worker, state.received_at, state.started_at)
                translator = Translator(open_tasks={"a": known})
            translator.listens_since = NOW + ends
        for step in translator.steps(item.event, NOW + 60):
            steps_at.add((step.position, step.at))
            fold(state, step)
    if len(before) + len(after) == len(happened):
        # No two events are taken for the same step, so each is recorded.
        assert len({at for at, _ in steps_at}) == len(happened)
    ended_at = [item.event["timestamp"] for item in [*before, *after] if item.event["type"] == "task-succeeded"]
    assert (state.status == Status.SUCCESS, [state.finished_at] if ended_at else []) == (bool(ended_at), ended_at)


_ENDS = [
    event("succeeded", at=9, result="'paid'", runtime=0.1), failed("failed", 9),
    event("revoked", at=9, terminated=True, signum="9"), event("revoked", at=9, expired=True),
]  # fmt: skip


@given(
    runs=st.lists(st.sampled_from(["retried", "lost", "requeued"]), max_size=4),
    end=st.sampled_from(_ENDS),
    heard=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_whatever_was_not_heard_before_the_end_a_task_has_ended(runs: list[str], end: dict[str, Any], heard: list[bool]) -> None:
    """Runs that were tried again, that died with their worker, and whose message was put back; any of it in a gap."""
    happened, retries = [], 0
    for number, run in enumerate([*runs, "ended"]):
        happened += [received(number, retries=retries), event("started", at=number + 0.1)]
        if run == "retried":
            happened.append(failed("retried", number + 0.2))
            retries += 1
        elif run == "requeued":
            happened.append(event("rejected", at=number + 0.2, requeue=True))
    known = [item for item, is_heard in zip(happened, heard, strict=False) if is_heard]
    state = row(*known, end)
    assert attempt_of(state.position) >= max((item.get("retries", 0) for item in known), default=0)
    assert state.status == {"succeeded": "SUCCESS", "failed": "FAILURE", "revoked": "REVOKED"}[end["type"].partition("-")[2]]
