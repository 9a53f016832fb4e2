"""The rate limit across processes: whichever web process is asked, one caller has one quota."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tasks_app.models import Batch, Task
from tests import stack as stacks
from tests.processes import free_port
from tests.stack import Stack

if TYPE_CHECKING:
    from django.contrib.auth.models import User

pytestmark = pytest.mark.django_db(transaction=True)

MakeToken = Callable[[], str]


@pytest.fixture(scope="module")
def module_ports(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, list[int]]]:
    for stack in stacks.running(tmp_path_factory.mktemp("limits")):
        ports = [free_port(), free_port()]
        for port in ports:
            stack.web(port, f"web-{port}")
        yield stack, ports


@pytest.fixture
def ports(module_ports: tuple[Stack, list[int]], transactional_db: None) -> Iterator[list[int]]:
    stack, ports = module_ports
    stack.news()
    yield ports
    print(stack.news())  # noqa: T201 (pytest shows it for a failed test only)


@pytest.fixture
def token(admin: User) -> MakeToken:
    from zenith_site.auth.tokens import create_token

    return lambda: create_token(admin, "test", ["read", "dispatch"])[1]


def trigger(port: int, raw: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"X-API-Key": raw, "Content-Type": "application/json"}
    connection.request("POST", "/tasks/trigger", '{"count": 1}', headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def at_once(asked: list[tuple[int, str]]) -> list[int]:
    """The statuses of triggers that are all sent at the same time, each to a port with a token."""
    with ThreadPoolExecutor(max_workers=len(asked)) as pool:
        return list(pool.map(lambda pair: trigger(*pair), asked))


def test_of_fifty_at_once_to_two_processes_exactly_five_pass(ports: list[int], token: MakeToken) -> None:
    raw = token()
    statuses = at_once([(ports[number % 2], raw) for number in range(50)])
    assert Counter(statuses) == {200: 5, 429: 45}
    assert Task.objects.count() == Batch.objects.count() == 5


def test_two_callers_at_once_do_not_take_each_others_places(ports: list[int], token: MakeToken) -> None:
    one, other = token(), token()
    statuses = at_once([(ports[number % 2], (one, other)[number // 2 % 2]) for number in range(40)])
    assert Counter(statuses) == {200: 10, 429: 30}
    sent_by = Batch.objects.values_list("sent_by", flat=True)
    assert sorted(Counter(sent_by).values()) == [5, 5]
