"""Which conditions hold and which are over, as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from zenith_site.notify.decisions import (
    OTHER_QUEUES,
    Failures,
    HostStatus,
    dead_letters,
    hosts_unreachable,
    nodes_failed,
    queues_backing_up,
    recorder_behind,
    workers_lost,
)

AT = datetime(2030, 1, 1, tzinfo=UTC)


def page(key: str) -> str:
    return f"/of/{key}/"


def failures(fingerprint: str, letters: int = 1) -> Failures:
    return Failures(fingerprint, "mail.send", "TimeoutError", "it took <n> s", letters, AT)


@pytest.mark.parametrize(
    ("recent", "left", "open_keys", "holding", "over"),
    [
        ([], {}, set(), [], {}),
        (["new"], {}, set(), ["new"], {}),
        (["old", "new"], {"old": 3}, {"old"}, ["old", "new"], {}),
        ([], {}, {"decided"}, [], {"decided": "All its dead letters were replayed or discarded."}),
        ([], {"quiet": 1}, {"quiet"}, [], {"quiet": "No new failures for 6 h. 1 dead letter is still open."}),
        ([], {"quiet": 1200}, {"quiet"}, [], {"quiet": "No new failures for 6 h. 1,200 dead letters are still open."}),
    ],
)
def test_a_cause_holds_while_it_fails_and_nobody_has_decided(
    recent: list[str], left: dict[str, int], open_keys: set[str], holding: list[str], over: dict[str, str]
) -> None:
    look = dead_letters([failures(name) for name in recent], left, open_keys, page, "6 h")
    assert [condition.key for condition in look.holding] == holding
    assert look.over == over


def test_a_failure_says_what_failed_where_and_how_often() -> None:
    (condition,) = dead_letters([failures("abc", 3)], {}, set(), page, "6 h").holding
    assert (condition.title, condition.body) == ("TimeoutError in mail.send", "it took <n> s")
    assert (condition.link, condition.count) == ("/of/abc/", 3)


@pytest.mark.parametrize(
    ("ages", "open_keys", "holding", "over"),
    [
        ({}, set(), [], []),
        ({"w1": 2.0}, set(), [], []),
        ({"w1": 29.9, "w2": 30.0}, set(), ["w2"], []),
        ({"w1": 45.0}, {"w1"}, ["w1"], []),
        ({"w1": 1.0}, {"w1"}, [], ["w1"]),
        # Five minutes after its last heartbeat Redis has forgotten it: that is no news.
        ({}, {"w1"}, [], []),
    ],
)
def test_a_worker_is_gone_until_it_beats_again(
    ages: dict[str, float], open_keys: set[str], holding: list[str], over: list[str]
) -> None:
    look = workers_lost(ages, {}, open_keys, page, after=30)
    assert [condition.key for condition in look.holding] == holding
    assert list(look.over) == over


def test_a_worker_that_somebody_cleared_is_over_unless_it_is_back() -> None:
    look = workers_lost({"back": 45.0}, {"w1": "ada", "back": "ada", "unheard": "ada"}, {"w1", "back"}, page, after=30)
    assert look.over == {"w1": "ada cleared it."}
    assert [condition.key for condition in look.holding] == ["back"]


@pytest.mark.parametrize(
    ("oldest", "paused", "open_keys", "holding", "over"),
    [
        ({}, set(), set(), [], {}),
        ({"q": None, "r": 299.0}, set(), set(), [], {}),
        ({"q": 300.0}, set(), set(), ["q"], {}),
        ({"q": 301.0}, set(), {"q"}, ["q"], {}),
        ({"q": 900.0}, {"q"}, set(), [], {}),
        ({"q": 900.0}, {"q"}, {"q"}, [], {"q": "The queue is paused."}),
        ({"q": None}, set(), {"q"}, [], {"q": "No task has been waiting for 5 m any longer."}),
        ({"r": None}, set(), {"q"}, [], {"q": "The queue is no longer used."}),
        # Nobody has looked lately: nothing is known.
        ({}, set(), {"q"}, [], {}),
    ],
)
def test_a_queue_backs_up_while_its_oldest_task_waits_too_long(
    oldest: dict[str, float | None], paused: set[str], open_keys: set[str], holding: list[str], over: dict[str, str]
) -> None:
    look = queues_backing_up(oldest, paused, open_keys, page, "/all/", after=300)
    assert [condition.key for condition in look.holding] == holding
    assert look.over == over


def test_of_many_queues_that_back_up_twenty_are_named_and_one_notification_counts_the_rest() -> None:
    ages: dict[str, float | None] = {f"tenant-{number:04}": 300.0 + number for number in range(1500)}
    first = queues_backing_up(ages, set(), set(), page, "/all/", after=300)
    assert [condition.key for condition in first.holding] == [*(f"tenant-{number}" for number in range(1480, 1500)), OTHER_QUEUES]
    others = first.holding[-1]
    assert (others.title, others.link, others.count) == ("1,480 more queues are backing up", "/all/", 1480)
    assert "tenant-1479" in others.body


def test_queues_that_are_named_stay_named_while_they_back_up_and_the_rest_is_over_once_all_are() -> None:
    open_keys = {f"tenant-{number}" for number in range(20)} | {OTHER_QUEUES}
    ages: dict[str, float | None] = {f"tenant-{number}": 400.0 + number for number in range(21)}
    look = queues_backing_up(ages, set(), open_keys, page, "/all/", after=300)
    assert {condition.key for condition in look.holding} == open_keys
    look = queues_backing_up({**ages, "tenant-3": 1.0}, set(), open_keys, page, "/all/", after=300)
    assert {condition.key for condition in look.holding} == open_keys - {"tenant-3", OTHER_QUEUES} | {"tenant-20"}
    assert look.over.keys() == {"tenant-3", OTHER_QUEUES}
    assert queues_backing_up({}, set(), open_keys, page, "/all/", after=300).over == {}


@pytest.mark.parametrize(("lag", "holds"), [(0.0, False), (29.9, False), (30.0, True), (7200.0, True)])
def test_the_recorder_is_behind_from_a_bound_on(lag: float, holds: bool) -> None:
    look = recorder_behind(lag, "/events/", after=30)
    assert (len(look.holding), len(look.over)) == ((1, 0) if holds else (0, 1))


@pytest.mark.parametrize(
    ("failed", "now", "open_keys", "holding", "over"),
    [
        ({}, {}, set(), [], {}),
        ({"n1": ("reports-1", "no such image")}, {}, set(), ["Node reports-1 failed"], {}),
        ({"n1": ("reports-1", "no such image")}, {"n1": "failed"}, {"n1"}, ["Node reports-1 failed"], {}),
        ({}, {"n1": "ready"}, {"n1"}, [], {"n1": "The node is ready."}),
        ({}, {}, {"n1"}, [], {"n1": "The node was removed."}),
    ],
)
def test_a_node_has_failed_until_it_is_something_else(
    failed: dict[str, tuple[str, str]], now: dict[str, str], open_keys: set[str], holding: list[str], over: dict[str, str]
) -> None:
    look = nodes_failed(failed, now, open_keys, page)
    assert [condition.title for condition in look.holding] == holding
    assert look.over == over


@pytest.mark.parametrize(
    ("hosts", "open_keys", "holding", "over"),
    [
        ([], set(), [], {}),
        ([HostStatus("h", 59.0)], set(), [], {}),
        ([HostStatus("h", 60.0)], set(), ["Host h is unreachable"], {}),
        ([HostStatus("h", 1.0, "permission denied")], {"h"}, ["Docker on h is unreachable"], {}),
        ([HostStatus("h", 60.0, "permission denied")], {"h"}, ["Host h is unreachable"], {}),
        ([HostStatus("h", 1.0)], {"h"}, [], {"h": "The host is reachable again."}),
        ([HostStatus("h", None, "permission denied")], {"h"}, [], {"h": "Its agent was stopped."}),
        ([HostStatus("other", 1.0)], {"h"}, [], {"h": "The host was removed."}),
    ],
)
def test_a_host_is_unreachable_while_its_agent_is_silent_or_says_so(
    hosts: list[HostStatus], open_keys: set[str], holding: list[str], over: dict[str, str]
) -> None:
    look = hosts_unreachable(hosts, open_keys, page, after=60)
    assert [condition.title for condition in look.holding] == holding
    assert look.over == over
