"""The rate limit: exact, per caller, and told to the caller in the fields that the draft names."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from tasks_app.models import Batch, Task
from tests.integration.conftest import ApiClient
from zenith_site.common import limits
from zenith_site.common.callers import Caller
from zenith_site.common.errors import RateLimitedError
from zenith_site.env import Rate

PATH = "/tasks/trigger"
#: Seconds in which every answer is there that waits for a deadline of its own and not for Redis.
NOT_HANGING = 10
ONE = {"data": '{"count": 1}', "content_type": "application/json"}


def trigger(client: Client) -> Any:
    return client.post(PATH, **ONE)  # type: ignore[arg-type]


def test_what_is_left_is_told_with_every_answer(api: ApiClient) -> None:
    client = api("dispatch")
    answers = [trigger(client) for _ in range(2)]
    assert [answer.headers["RateLimit-Policy"] for answer in answers] == ['"triggers";q=5;w=60'] * 2
    assert answers[0].headers["RateLimit"] == '"triggers";r=4;t=60'
    assert answers[1].headers["RateLimit"].startswith('"triggers";r=3;t=')


def test_the_sixth_in_a_minute_is_429_and_dispatches_nothing(api: ApiClient) -> None:
    client = api("dispatch")
    assert [trigger(client).status_code for _ in range(6)] == [200] * 5 + [429]
    refused = trigger(client)
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit"] == f'"triggers";r=0;t={refused.headers["Retry-After"]}'
    assert refused.headers["RateLimit-Policy"] == '"triggers";q=5;w=60'
    assert Batch.objects.count() == 5


def test_each_token_and_each_person_has_a_quota_of_their_own(api: ApiClient, admin: Any) -> None:
    person = Client()
    person.force_login(admin)
    for client in (api("dispatch"), api("dispatch"), person):
        assert [trigger(client).status_code for _ in range(6)] == [200] * 5 + [429]


def test_a_request_of_the_wrong_shape_is_not_counted(api: ApiClient) -> None:
    client = api("dispatch")
    for _ in range(10):
        assert client.post(PATH, data="{", content_type="application/json").status_code == 422
    assert trigger(client).status_code == 200


def test_a_request_that_fails_after_it_was_counted_says_what_is_left(api: ApiClient) -> None:
    refused = api("dispatch").post(PATH, data='{"task": "no such task"}', content_type="application/json")
    assert refused.status_code == 422
    assert refused.headers["RateLimit"] == '"triggers";r=4;t=60'
    assert refused.headers["RateLimit-Policy"] == '"triggers";q=5;w=60'


def test_a_token_with_a_rate_of_its_own_is_counted_by_that(admin: Any) -> None:
    caller = replace(Caller.person(admin), rate_limit=Rate(7, 30))
    quotas = [limits.count_trigger(caller) for _ in range(7)]
    assert [(quota.limit, quota.window, quota.remaining) for quota in quotas] == [(7, 30, left) for left in range(6, -1, -1)]
    with pytest.raises(RateLimitedError, match="At most 7 triggers in 30 s"):
        limits.count_trigger(caller)


# --- What else counts as a trigger, and what does not ---

REPLAY = "/api/v1/dead-letters/replay"


def ask(client: Client, path: str, **body: Any) -> int:
    return int(client.post(path, data=json.dumps(body), content_type="application/json").status_code)


def test_a_forced_replay_counts_as_a_trigger_since_it_can_be_repeated(api: ApiClient) -> None:
    client = api("dispatch", "operate")
    assert [ask(client, REPLAY, all=True, forced=True) for _ in range(6)] == [200] * 5 + [429]
    assert trigger(client).status_code == 429


def test_what_decides_about_tasks_that_exist_is_not_counted(api: ApiClient) -> None:
    client = api("dispatch", "operate")
    for _ in range(6):
        assert ask(client, REPLAY, all=True) == 200
        assert ask(client, "/api/v1/dead-letters/discard", all=True) == 200
    assert trigger(client).headers["RateLimit"] == '"triggers";r=4;t=60'


# --- Reads ---

READS = ("/tasks/all", "/task-status/no-such-task", "/api/v1/dead-letters", "/api/v1/dead-letters/groups")


@pytest.mark.parametrize("path", READS)
def test_programs_read_by_a_generous_limit_of_its_own(api: ApiClient, path: str) -> None:
    answer = api("read").get(path)
    assert answer.headers["RateLimit-Policy"] == '"reads";q=600;w=60'
    assert answer.headers["RateLimit"] == '"reads";r=599;t=60'


def test_reads_beyond_their_limit_are_429_and_leave_the_triggers_alone(api: ApiClient, settings: Any) -> None:
    settings.ZENITH_READ_RATE_LIMIT = Rate(3, 60)
    client = api("read", "dispatch")
    assert [client.get(path).status_code for path in READS] == [200, 404, 200, 429]
    refused = client.head("/tasks/all")
    assert refused.status_code == 429
    refused = client.get("/tasks/all")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["detail"].startswith("At most 3 reads in 60 s; try again in ")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit"] == f'"reads";r=0;t={refused.headers["Retry-After"]}'
    assert trigger(client).headers["RateLimit"] == '"triggers";r=4;t=60'
    assert api("read").get("/tasks/all").status_code == 200


def test_pages_the_health_check_and_strangers_are_not_counted(api: ApiClient, admin: Any, settings: Any) -> None:
    settings.ZENITH_READ_RATE_LIMIT = Rate(1, 60)
    person = Client()
    person.force_login(admin)
    for _ in range(3):
        page = person.get("/")
        assert page.status_code == 200
        assert "RateLimit" not in page.headers
        assert "RateLimit" not in Client().get("/health").headers
        assert Client().get("/tasks/all").status_code == 401
    assert person.get("/tasks/all").status_code == 200
    assert person.get("/tasks/all").status_code == 429


def test_counting_costs_no_query(api: ApiClient, django_assert_num_queries: Any) -> None:
    client = api("read")
    client.get("/tasks/all")
    with django_assert_num_queries(2):  # the token and the tasks
        client.get("/tasks/all")


def test_without_redis_nobody_knows_who_read_how_much(api: ApiClient, redis_away: None) -> None:
    response = api("read").get("/tasks/all")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Content-Type"] == "application/problem+json"


# --- The window ---


def test_whoever_waits_as_long_as_told_may_go_on(settings: Any) -> None:
    settings.ZENITH_RATE_LIMIT = Rate(2, 1)
    limits.check("patient")
    limits.check("patient")
    with pytest.raises(RateLimitedError) as caught:
        limits.check("patient")
    time.sleep(caught.value.retry_after)
    assert limits.check("patient").remaining >= 0


def test_the_window_moves_instead_of_starting_anew(settings: Any) -> None:
    settings.ZENITH_RATE_LIMIT = Rate(2, 5)
    limits.check("mover")
    time.sleep(2.6)
    limits.check("mover")
    time.sleep(2.5)  # the first is out of the window, the second is not for another 2.5 s
    limits.check("mover")
    with pytest.raises(RateLimitedError):
        limits.check("mover")


@pytest.mark.django_db(transaction=True)
def test_of_fifty_at_once_exactly_five_pass(api: ApiClient) -> None:
    header = api("dispatch").defaults

    def one(_: int) -> int:
        client = Client()
        client.defaults.update(header)
        try:
            return int(trigger(client).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=50) as pool:
        statuses = list(pool.map(one, range(50)))
    assert sorted(statuses) == [200] * 5 + [429] * 45
    assert Task.objects.count() == 5


def test_without_redis_nobody_knows_so_nothing_is_dispatched(api: ApiClient, redis_away: None) -> None:
    started = time.monotonic()
    response = trigger(api("dispatch"))
    assert time.monotonic() - started < NOT_HANGING
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Content-Type"] == "application/problem+json"
    assert not Task.objects.exists()


def test_a_redis_that_hangs_does_not_hang_the_answer(api: ApiClient, settings: Any) -> None:
    client = api("dispatch")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.ZENITH_REDIS_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        limits._limiter.cache_clear()
        started = time.monotonic()
        try:
            response = trigger(client)
        finally:
            limits._limiter.cache_clear()
    assert time.monotonic() - started < NOT_HANGING
    assert response.status_code == 503
    assert not Task.objects.exists()


# --- For people ---


def test_a_person_who_ran_too_much_is_told_calmly_when_to_go_on(admin: Any) -> None:
    person = Client()
    person.force_login(admin)
    for _ in range(5):
        assert person.post("/run/", headers={"HX-Request": "true"}).status_code == 200
    limited = person.post("/run/", headers={"HX-Request": "true"})
    assert limited.status_code == 429
    seconds = limited.headers["Retry-After"]
    assert f'<span data-countdown aria-live="off">{seconds}</span> s.' in limited.text
    assert "You can dispatch 5 times in 60 s. Nothing was dispatched. Try again in" in limited.text
    assert "toast-info" in limited.text
    # Without script it is the same sentence, after a redirect.
    page = person.post("/run/", follow=True)
    assert page.redirect_chain == [("/", 302)]
    assert "Nothing was dispatched. Try again in" in page.text
    assert Batch.objects.count() == 5
