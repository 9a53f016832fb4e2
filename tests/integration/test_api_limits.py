"""The rate limit: exact, per caller, and told to the caller in the fields that the draft names."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from tasks_app.dispatch import limits
from tasks_app.errors import RateLimitedError
from tasks_app.models import Batch, Task
from tests.integration.conftest import ApiClient
from zenith_site.env import Rate

PATH = "/tasks/trigger"
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


def test_whoever_waits_as_long_as_told_may_go_on(settings: Any) -> None:
    settings.ZENITH_RATE_LIMIT = Rate(2, 1)
    limits.check("patient")
    limits.check("patient")
    with pytest.raises(RateLimitedError) as caught:
        limits.check("patient")
    time.sleep(caught.value.retry_after)
    assert limits.check("patient").remaining >= 0


def test_the_window_moves_instead_of_starting_anew(settings: Any) -> None:
    settings.ZENITH_RATE_LIMIT = Rate(2, 2)
    limits.check("mover")
    time.sleep(1.2)
    limits.check("mover")
    time.sleep(1.0)  # the first is out of the window, the second is not
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
    assert time.monotonic() - started < 3
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
    assert time.monotonic() - started < 3
    assert response.status_code == 503
    assert not Task.objects.exists()
