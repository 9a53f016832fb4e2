"""A pytest plugin that the suites run under (`-p tests.witness.plugin`): their application is Zenith's.

Transport and consumer come from the configuration that source.py writes beside Celery's suite. What a configuration cannot say is
said here: the result backend, the class of tasks, with automatic retries off, and the worker's step. For kombu's,
`redis:` means Zenith's transport. A test that takes too long fails, so that one that waits for ever does not stop the others.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import kombu.transport
import pytest
from celery.loaders.base import BaseLoader
from celery.worker.consumer import Consumer

from tests.waiting import eventually
from zenith_worker import signals
from zenith_worker.task import ZenithTask
from zenith_worker.wire import client, questions

assert signals
#: Seconds for one test; in `make test-long` more, for those that run only there.
LIMIT = 300 if os.environ.get("ZENITH_TESTS") == "long" else 90

client.configure(os.environ["TEST_BACKEND"])
# No engine runs here. Nothing ended so long ago that its claim is forgotten.
questions.answer_here(lambda question: {})
kombu.transport.TRANSPORT_ALIASES["redis"] = "zenith_worker.wire.transport:Transport"
BaseLoader.override_backends = {"redis": "zenith_worker.backend:ZenithBackend"}
Consumer.Blueprint.default_steps.append("zenith_worker.own_worker:OwnWorker")


class PatientTask(ZenithTask):
    """Zenith's task, of which nothing is retried by itself: what the suite's tasks raise is meant."""

    no_retry_for: ClassVar[tuple[type[BaseException], ...]] = (Exception,)


@pytest.fixture(scope="session")
def celery_parameters() -> dict[str, Any]:
    """What the suite's applications are made with."""
    return {"task_cls": f"{__name__}:PatientTask"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give time to what Celery's own suite looks at only once: with 42 errbacks, all but the first.

    On a busy machine, the others may take longer than the second that passes between.
    """
    for module in {item.getparent(pytest.Module) for item in items}:
        look_once = getattr(getattr(module, "obj", None), "await_redis_count", None)
        if look_once is not None:
            module.obj.await_redis_count = _patient(look_once)


def _patient(look_once: Callable[..., None]) -> Callable[..., None]:
    def await_redis_count(expected_count: int, redis_key: str = "redis-count", timeout: float = 60) -> None:
        if not timeout:
            eventually(lambda: client.client().get(redis_key))
        look_once(expected_count, redis_key=redis_key, timeout=timeout)

    return await_redis_count


@pytest.fixture(autouse=True)
def kept_garbage(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep Python from collecting what earlier tests left while a test counts subscriptions: results that go end theirs."""
    if "cancels_subscription" not in request.node.name:
        yield
        return
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """End a test that takes too long."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it took longer than {LIMIT} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
